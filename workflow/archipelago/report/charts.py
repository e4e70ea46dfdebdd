"""The figures of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from archipelago.report.svg import Scale, figure, join, number_words, tag, x_axis, y_axis

#: Wavelength at the middle of a band [um] where the templates do not tell it: pivot
#: wavelengths of DECam (Abbott et al. 2021), VISTA and WISE (SVO filter service).
BAND_UM: dict[str, float] = {
    "g": 0.481,
    "r": 0.643,
    "i": 0.783,
    "z": 0.926,
    "Y": 1.009,
    "J": 1.252,
    "K": 2.147,
    "Ks": 2.147,
    "W1": 3.353,
    "W2": 4.603,
}
#: AB magnitude of 1 uJy (Oke & Gunn 1983).
UJY_ZERO_POINT_AB = 23.9
#: Points drawn on a map at most; more are thinned, those on islands last.
MAX_POINTS = 6000
#: Colours of islands in the style sheet, used in turn.
N_ISLAND_COLOURS = 10


@dataclass(frozen=True)
class Photometry:
    """Measured and modelled fluxes of one object.

    Attributes
    ----------
    bands : names.
    wavelength_um : (n_band,) where a band is drawn [um].
    flux_ujy, flux_err_ujy : (n_band,) [uJy]; NaN where not observed.
    detected : (n_band,) bool.
    models : class to (n_band,) best-model fluxes [uJy].
    """

    bands: Sequence[str]
    wavelength_um: NDArray[np.float64]
    flux_ujy: NDArray[np.float64]
    flux_err_ujy: NDArray[np.float64]
    detected: NDArray[np.bool_]
    models: Mapping[str, NDArray[np.float64]]


def photometry_chart(data: Photometry) -> Markup | None:
    """Draw fluxes and the best model of each class over wavelength.

    Circles are detections with 1-sigma errors, arrows 3-sigma limits. None
    where the object has no flux to draw.
    """
    wavelength = data.wavelength_um
    limit = 3.0 * data.flux_err_ujy
    good = np.isfinite(wavelength) & np.isfinite(data.flux_err_ujy)
    shown = np.where(data.detected & (data.flux_ujy > 0), data.flux_ujy, limit)
    drawn = good & np.isfinite(shown) & (shown > 0)
    if not drawn.any():
        return None
    low, high = _flux_range(shown[drawn], data, drawn)
    x = Scale(0.42, 5.4, 62, 548, log=True)
    y = Scale(low, high, 268, 28, log=True)
    mag = Scale(_ab(low), _ab(high), y.start, y.end)
    parts = [
        y_axis(y, x.start, y.ticks(), "flux density  [µJy]", grid_to=x.end),
        y_axis(mag, x.end, mag.ticks(9), "AB magnitude", right=True),
        x_axis(x, y.start, [0.5, 0.7, 1, 2, 3, 5], "wavelength  [µm]"),
        tag("path", d=f"M{x.start} {y.end}V{y.start}H{x.end}V{y.end}", class_="axis"),
    ]
    lines, points = [], []
    for name, fluxes in data.models.items():
        order = [k for k in np.argsort(wavelength) if good[k] and np.isfinite(fluxes[k])]
        # A flux of 0, behind the Lyman forest, runs out of the frame's foot.
        places = [(x(wavelength[k]), y.clipped(max(fluxes[k], low / 10))) for k in order]
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        lines.append(tag("path", d=path, class_=f"model {_css(name)}"))
        lines += [
            tag("rect", x=px - 3, y=py - 3, width=6, height=6, class_=f"spot {_css(name)}")
            for px, py in places
        ]
    for k in np.flatnonzero(drawn).tolist():
        px, py = x(wavelength[k]), y.clipped(shown[k])
        points.append(tag("text", data.bands[k], x=px, y=18, class_="num mid"))
        points.append(_error_mark(px, py, k, y, data))
    return figure(610, 310, *parts, *lines, *points, label="Photometry and best models")


def _error_mark(px: float, py: float, k: int, y: Scale, data: Photometry) -> Markup:
    if not (data.detected[k] and data.flux_ujy[k] > 0):
        arrow = f"M{px - 6:.1f} {py:.1f}h12m-6 0v16m-4 -5l4 5l4 -5"
        return tag("path", d=arrow, class_="limit")
    top = y.clipped(data.flux_ujy[k] + data.flux_err_ujy[k])
    foot = y.clipped(max(data.flux_ujy[k] - data.flux_err_ujy[k], y.low))
    title = (
        f"{data.bands[k]}: {number_words(data.flux_ujy[k])} ± "
        f"{number_words(data.flux_err_ujy[k], 2)} µJy"
    )
    return tag(
        "g",
        tag("title", title),
        tag("line", x1=px, x2=px, y1=top, y2=foot, class_="error"),
        tag("circle", cx=px, cy=py, r=4, class_="datum"),
    )


def _flux_range(
    shown: NDArray[np.float64], data: Photometry, drawn: NDArray[np.bool_]
) -> tuple[float, float]:
    """Range that holds all points, and the models as far down as 1.5 decades below them."""
    tops = [shown.max()]
    feet = [shown.min()]
    for fluxes in data.models.values():
        good = fluxes[drawn & np.isfinite(fluxes) & (fluxes > 0)]
        if len(good):
            tops.append(min(good.max(), 10 * shown.max()))
            feet.append(max(good.min(), shown.min() / 30))
    return float(min(feet)) / 2.0, float(max(tops)) * 2.0


def _ab(flux_ujy: float) -> float:
    return UJY_ZERO_POINT_AB - 2.5 * math.log10(flux_ujy)


def map_chart(points: pd.DataFrame, *, size: int = 560, small: bool = False) -> Markup | None:
    """Draw the map of the images: every object at its place, coloured by the style sheet.

    Parameters
    ----------
    points : id, x, y, island, p (probability of quasar or lensed quasar, NaN if unknown),
        rank, is_known, is_card (shown as a card below), rank_unknown.
    size : height [px]; the width is 1.75 times that, or 1.3 times if small.
    small : without names and links, for a row of maps.

    Returns
    -------
    The drawing, or None where no object has a place. Each point carries the
    classes ``i0``... (island), ``sea`` (none) and ``p0`` to ``p9`` (probability).
    """
    points = points[np.isfinite(points["x"]) & np.isfinite(points["y"])]
    if not len(points):
        return None
    points = thin(points, MAX_POINTS // (3 if small else 1))
    width = round(size * (1.3 if small else 1.75))
    x, y = _square_scales(points, width, size)
    radius = 2.6 if len(points) < 3000 else 1.8
    dots, marks = [], []
    # The likeliest are drawn last, on top.
    for row in points.sort_values("rank", ascending=False).to_dict("records"):
        px, py = x(row["x"]), y(row["y"])
        colours = _point_classes(int(row["island"]), float(row["p"]))
        dots.append(tag("circle", cx=px, cy=py, r=radius, class_=colours))
        if row["is_known"]:
            marks.append(_star(px, py, 6.5))
        elif row["is_card"]:
            ring = tag("circle", cx=px, cy=py, r=6, class_="ring")
            words = tag("title", f"#{row['rank']}  {row['id']}")
            marks.append(ring if small else tag("a", words, ring, href=f"#object-{row['id']}"))
    return figure(
        width,
        size,
        tag("rect", width=width, height=size, rx=6, class_="plot"),
        tag("g", *dots, class_="dots"),
        tag("g", *marks, class_="marks"),
        label="Map of the images",
        class_="map",
    )


def thin(points: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Keep at most about ``limit`` points: marked ones and islands first, then every k-th by id."""
    if len(points) <= limit:
        return points
    kept = points["is_known"] | points["is_card"]
    for extra in (points["island"] >= 0, pd.Series(True, index=points.index)):
        rest = points[extra & ~kept].sort_values("id")
        room = limit - int(kept.sum())
        if room <= 0:
            break
        step = max(1, math.ceil(len(rest) / room))
        kept = kept | points.index.isin(rest.index[::step])
    return points[kept]


def _point_classes(island: int, chance: float) -> str:
    classes = f"i{island % N_ISLAND_COLOURS}" if island >= 0 else "sea"
    if math.isfinite(chance):
        classes += f" p{min(int(10 * chance), 9)}"
    return classes


def _square_scales(points: pd.DataFrame, width: int, height: int) -> tuple[Scale, Scale]:
    """Scales of equal unit on both axes that show all points, with a margin."""
    margin = 22.0
    low = points[["x", "y"]].min().to_numpy(dtype=float)
    high = points[["x", "y"]].max().to_numpy(dtype=float)
    middle = (low + high) / 2
    room = np.array([width - 2 * margin, height - 2 * margin])
    unit = float(max((high - low) / room)) or 1.0
    half = unit * room / 2
    return (
        Scale(middle[0] - half[0], middle[0] + half[0], margin, width - margin),
        Scale(middle[1] - half[1], middle[1] + half[1], height - margin, margin),
    )


def _star(px: float, py: float, radius: float) -> Markup:
    places = []
    for k in range(10):
        r = radius if k % 2 == 0 else 0.42 * radius
        angle = math.pi * (k / 5 - 0.5)
        places.append(f"{px + r * math.cos(angle):.1f},{py + r * math.sin(angle):.1f}")
    return tag("polygon", points=" ".join(places), class_="known")


def sky_chart(points: pd.DataFrame) -> Markup | None:
    """Draw where on the sky the objects are, right ascension growing to the left.

    Parameters
    ----------
    points : id, ra_deg, dec_deg, is_known, is_card, island.
    """
    points = points[np.isfinite(points["ra_deg"]) & np.isfinite(points["dec_deg"])]
    if not len(points):
        return None
    points = thin(points, 2500)
    ra, wrapped = _unwrapped(points["ra_deg"].to_numpy(dtype=float))
    dec = points["dec_deg"].to_numpy(dtype=float)
    x = Scale(*_padded(ra), 500, 56)
    y = Scale(*_padded(dec), 258, 12)
    parts = [
        y_axis(y, 56, y.ticks(4), "Dec  [deg]", grid_to=500),
        x_axis(
            x,
            258,
            x.ticks(6),
            "RA  [deg]",
            words=lambda value: number_words(value % 360) if wrapped else number_words(value),
        ),
        tag("path", d="M56 12V258H500V12Z", class_="axis"),
    ]
    dots, marks = [], []
    for a, d, known, card in zip(ra, dec, points["is_known"], points["is_card"], strict=True):
        px, py = x(a), y(d)
        if known:
            marks.append(_star(px, py, 5.5))
        elif card:
            marks.append(tag("circle", cx=px, cy=py, r=4.5, class_="ring"))
        else:
            dots.append(tag("circle", cx=px, cy=py, r=1.3, class_="sea"))
    return figure(
        516, 300, *parts, tag("g", *dots, class_="dots"), *marks, label="The sky searched"
    )


def _unwrapped(ra_deg: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """Right ascensions without the jump at 0/360: cut in the largest gap."""
    order = np.sort(ra_deg % 360)
    gaps = np.diff(np.append(order, order[0] + 360))
    k = int(np.argmax(gaps))
    if k == len(order) - 1:
        return ra_deg % 360, False
    start = order[k + 1]
    return (ra_deg - start) % 360 + start - 360, True


def _padded(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    pad = 0.05 * (high - low) or 0.1
    return low - pad, high + pad


def curves_chart(
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    x_label: str,
    y_label: str,
) -> Markup | None:
    """Draw named lines, one colour each; names stand at their ends.

    Parameters
    ----------
    curves : name to (x, y), of equal length each; points that are not finite are left out.
    """
    clean = {}
    for name, (xs, ys) in curves.items():
        good = np.isfinite(xs) & np.isfinite(ys)
        if good.any():
            clean[name] = (xs[good], ys[good])
    if not clean:
        return None
    x = Scale(
        min(float(v[0].min()) for v in clean.values()),
        max(float(v[0].max()) for v in clean.values()),
        62,
        440,
    )
    low, high = (
        min(float(v[1].min()) for v in clean.values()),
        max(float(v[1].max()) for v in clean.values()),
    )
    pad = 0.06 * (high - low) or 0.5
    y = Scale(low - pad, high + pad, 228, 14)
    parts = [
        y_axis(y, x.start, y.ticks(5), y_label, grid_to=x.end),
        x_axis(x, y.start, x.ticks(6), x_label),
        tag("path", d=f"M{x.start} {y.end}V{y.start}H{x.end}", class_="axis"),
    ]
    ends: list[float] = []
    for k, (name, (xs, ys)) in enumerate(clean.items()):
        places = [f"{x(a):.1f} {y(b):.1f}" for a, b in zip(xs, ys, strict=True)]
        colour = f"k{k % N_ISLAND_COLOURS}"
        parts.append(tag("path", d="M" + "L".join(places), class_=f"curve {colour}"))
        end = y(float(ys[-1]))
        while any(abs(end - other) < 13 for other in ends):
            end -= 13  # names at one height would lie on each other
        ends.append(end)
        last = x(float(xs[-1])) + 6
        parts.append(tag("text", name, x=last, y=end + 4, class_=f"num name {colour}"))
    return figure(520, 270, join(parts), label=f"{y_label} against {x_label}")


def _css(name: str) -> str:
    """Class of the style sheet for a class of objects."""
    return f"c-{name}" if name in ("star", "galaxy", "quasar", "lensed") else "c-other"
