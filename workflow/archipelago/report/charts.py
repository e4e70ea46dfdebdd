"""The figures of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from archipelago.report.svg import Scale, figure, join, number_words, tag, x_axis, y_axis

#: Two arrays of equal length: x and y.
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

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
    spectra : class to wavelengths [um] and fluxes [uJy] of the best model; classes without a
        spectrum are drawn by their band fluxes.
    passbands : band to wavelengths [um] and transmission, its peak 1, drawn faintly.
    """

    bands: Sequence[str]
    wavelength_um: NDArray[np.float64]
    flux_ujy: NDArray[np.float64]
    flux_err_ujy: NDArray[np.float64]
    detected: NDArray[np.bool_]
    models: Mapping[str, NDArray[np.float64]]
    spectra: Mapping[str, Curve] = field(default_factory=dict)
    passbands: Mapping[str, Curve] = field(default_factory=dict)


def photometry_chart(data: Photometry) -> Markup | None:
    """Draw fluxes and the best model of each class over wavelength, and the passbands.

    Circles are detections with 1-sigma errors, arrows 3-sigma limits. None
    where the object has no flux to draw.
    """
    wavelength = data.wavelength_um
    limit = 3.0 * data.flux_err_ujy
    good = np.isfinite(wavelength) & np.isfinite(data.flux_err_ujy) & (wavelength > 0)
    shown = np.where(data.detected & (data.flux_ujy > 0), data.flux_ujy, limit)
    drawn = good & np.isfinite(shown) & (shown > 0)
    if not drawn.any():
        return None
    low, high = _flux_range(shown[drawn], data, drawn)
    x = Scale(*_wavelength_range(data, good), 62, 548, log=True)
    y = Scale(low, high, 268, 28, log=True)
    mag = Scale(_ab(low), _ab(high), y.start, y.end)
    parts = [
        y_axis(y, x.start, y.ticks(), "flux density  [µJy]", grid_to=x.end),
        y_axis(mag, x.end, mag.ticks(9), "AB magnitude", right=True),
        x_axis(x, y.start, _wavelength_ticks(x), "wavelength  [µm]"),
        tag("path", d=f"M{x.start} {y.end}V{y.start}H{x.end}V{y.end}", class_="axis"),
        *(_passband(name, curve, x, y) for name, curve in data.passbands.items()),
    ]
    lines, points = [], []
    for name, fluxes in data.models.items():
        order = [k for k in np.argsort(wavelength) if good[k] and np.isfinite(fluxes[k])]
        # A flux of 0, behind the Lyman forest, runs out of the frame's foot.
        places = [(x(wavelength[k]), y.clipped(max(fluxes[k], low / 10))) for k in order]
        path = _spectrum_path(data.spectra.get(name), x, y)
        if not path and places:
            path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        if path:
            lines.append(tag("path", d=path, class_=f"model {_css(name)}"))
        lines += [
            tag("rect", x=px - 3, y=py - 3, width=6, height=6, class_=f"spot {_css(name)}")
            for px, py in places
        ]
    for k in np.flatnonzero(drawn).tolist():
        px, py = x(wavelength[k]), y.clipped(shown[k])
        points.append(tag("text", data.bands[k], x=px, y=18, class_="num mid"))
        points.append(_error_mark(px, py, k, y, data))
    return figure(610, 310, *parts, *lines, *points, label=_photometry_words(data, drawn))


def _photometry_words(data: Photometry, drawn: NDArray[np.bool_]) -> str:
    """What the chart shows, for those who cannot see it."""
    seen = [data.bands[k] for k in np.flatnonzero(drawn & data.detected).tolist()]
    unseen = [data.bands[k] for k in np.flatnonzero(drawn & ~data.detected).tolist()]
    words = f"Photometry and best models: detected in {', '.join(seen) or 'no band'}"
    return f"{words}; limits in {', '.join(unseen)}" if unseen else words


def _wavelength_range(data: Photometry, good: NDArray[np.bool_]) -> tuple[float, float]:
    """Range that holds all bands, with their passbands where those are known."""
    ends = [value for k in np.flatnonzero(good) for value in data.wavelength_um[[k]] * (0.88, 1.14)]
    for name in data.bands:
        if name in data.passbands:
            curve = data.passbands[name][0]
            ends += [float(curve.min()), float(curve.max())]
    return float(min(ends)) * 0.97, float(max(ends)) * 1.03


def _wavelength_ticks(x: Scale) -> list[float]:
    """Round wavelengths [um] of which none stands on another."""
    steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    values = [step * 10.0**power for power in range(-3, 5) for step in steps]
    inside = [round(value, 6) for value in values if x.low <= value <= x.high]
    kept: list[float] = []
    for value in sorted(inside, key=lambda v: steps.index(round(v / 10 ** _power(v), 3))):
        if all(abs(x(value) - x(other)) > 30 for other in kept):
            kept.append(value)
    return sorted(kept) if len(kept) > 1 else Scale(x.low, x.high, x.start, x.end).ticks(6)


def _power(value: float) -> int:
    return math.floor(math.log10(value) + 1e-9)


def _passband(name: str, curve: Curve, x: Scale, y: Scale) -> Markup:
    """A passband as a faint hill on the axis, a quarter of the frame high at its peak."""
    wave, transmission = curve
    few = np.unique(np.linspace(0, len(wave) - 1, min(len(wave), 28)).round().astype(int))
    height = 0.25 * (y.start - y.end)
    places = [f"{x(wave[k]):.0f} {y.start - height * transmission[k]:.0f}" for k in few]
    path = f"M{x(wave[few[0]]):.0f} {y.start:.0f}L" + "L".join(places)
    path += f"L{x(wave[few[-1]]):.0f} {y.start:.0f}Z"
    return tag("path", tag("title", f"passband {name}"), d=path, class_="passband")


def _spectrum_path(curve: Curve | None, x: Scale, y: Scale) -> str:
    """A spectrum's path; parts below the frame are left out."""
    if curve is None:
        return ""
    parts, pen = [], "M"
    for wave, flux in zip(*curve, strict=True):
        if not (x.low <= wave <= x.high and np.isfinite(flux)) or flux < y.low:
            pen = "M"
            continue
        parts.append(f"{pen}{x(wave):.1f} {y.clipped(flux):.1f}")
        pen = "L"
    return "".join(parts)


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
