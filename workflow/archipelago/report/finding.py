"""Finding charts of the cards: all light, with scale, orientation and the object marked."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from archipelago.report.stamps import all_light, grey_stamp
from archipelago.report.svg import figure, number_words, tag

#: Side of the drawing [px of its own].
_SIDE = 240.0
#: Longest bar, as a share of the side.
_LONGEST_BAR = 0.4


def bar_length_arcsec(side_arcsec: float) -> float:
    """Return the longest of 1, 2, 5 x 10^n arcsec that is at most 0.4 of the side."""
    most = _LONGEST_BAR * side_arcsec
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))


def finding_chart(
    images: NDArray[np.floating], pixel_scale_arcsec: float, *, oriented: bool = True
) -> Markup | None:
    """Draw the sum of an object's images, dark on white, as charts at a telescope are.

    Parameters
    ----------
    images : (n_band, y, x); the last row is the northernmost, the first column the easternmost.
    pixel_scale_arcsec : side of a pixel [arcsec].
    oriented : whether north is up in the images; else no arrows are drawn.

    Returns
    -------
    The drawing: two ticks point at the middle of the stamp, where the catalogue has the object;
    a bar of round length [arcsec]; arrows to north (up) and east (left), where they are known.
    None without images.
    """
    light = all_light(images)
    if light is None or not light.size:
        return None
    uri = grey_stamp(light, inverse=True)
    side_arcsec = light.shape[-1] * pixel_scale_arcsec
    if uri is None or not side_arcsec > 0:
        return None
    length = bar_length_arcsec(side_arcsec)
    words = f"{number_words(length)}″"
    bar = _SIDE * length / side_arcsec
    middle, near, far = _SIDE / 2, 20.0, 46.0
    foot = _SIDE - 16
    return figure(
        int(_SIDE),
        int(_SIDE),
        tag(
            "image",
            href=uri,
            width=_SIDE,
            height=_SIDE,
            preserveAspectRatio="none",
            class_="pixels",
        ),
        tag("path", d=f"M{middle + near} {middle}H{middle + far}", class_="mark-line"),
        tag("path", d=f"M{middle} {middle - near}V{middle - far}", class_="mark-line"),
        tag("path", d=f"M14 {foot - 4}V{foot}H{14 + bar:.1f}V{foot - 4}", class_="chart-line"),
        tag("text", words, x=14 + bar / 2, y=foot - 8, class_="chart-text mid"),
        *(_arrows(foot) if oriented else ()),
        label="Finding chart, all bands added: "
        f"{'north is up, east is left' if oriented else 'orientation not known'}, the bar is "
        f"{words}, two ticks point at the object",
        class_="finding",
    )


def _arrows(foot: float) -> list[Markup]:
    return [
        tag("path", d=f"M226 {foot}V{foot - 36}l-4 7m4 -7l4 7", class_="chart-line"),
        tag("path", d=f"M226 {foot}H190l7 -4m-7 4l7 4", class_="chart-line"),
        tag("text", "N", x=226, y=foot - 41, class_="chart-text mid"),
        tag("text", "E", x=183, y=foot + 4, class_="chart-text mid"),
    ]
