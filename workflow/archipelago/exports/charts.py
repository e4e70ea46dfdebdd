"""Finding charts: a PDF with two candidates on a page, from the search's own cutouts.

All text from data is drawn as printable ASCII, and no formula in it is read. Equal data give equal
bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from numpy.typing import NDArray

from archipelago.base.files import atomic_path
from archipelago.base.images import ImageSet
from archipelago.exports.choose import (
    Magnitudes,
    ascii_text,
    magnitudes,
    names,
    numbers,
    priorities,
    quasar_probability,
    remarks,
    texts,
)
from archipelago.exports.neighbours import Neighbours, Surroundings
from archipelago.exports.positions import best_month, sexagesimal_dec, sexagesimal_ra

#: A page [mm]: A4.
_WIDTH_MM, _HEIGHT_MM = 210.0, 297.0
_MARGIN_MM = 15.0
#: Side of the large chart, and of the small pictures of the bands [mm].
_CHART_MM, _SMALL_MM = 84.0, 17.0
#: Small pictures beside each other.
_PER_ROW = 5
#: Lengths that a scale bar may have [arcsec].
_BARS_ARCSEC = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
#: Grey values: asinh from so many sigma below the sky to the brightest pixel, linear up to
#: `_LINEAR_SIGMA`; the top is at least `_TOP_SIGMA`, so that empty sky stays empty.
_BELOW_SIGMA, _LINEAR_SIGMA, _TOP_SIGMA = 2.0, 4.0, 8.0
#: Radius in which a band's light is compared with its noise [arcsec].
_BEST_RADIUS_ARCSEC = 1.0
#: Neighbours named beside a chart.
_NAMED = 4
_LINE_MM = 3.9


@dataclass(frozen=True)
class ChartOptions:
    """How charts are drawn.

    Attributes
    ----------
    run : name of the search.
    bands : whose magnitudes are given.
    chart_band : of the large image; None: for each object the one with the most light over noise.
    oriented : whether north is up in the images and east to the left; if nobody knows, no arrows
        are drawn.
    """

    run: str
    bands: Sequence[str]
    chart_band: str | None = None
    oriented: bool = True


def write_finding_charts(
    path: str | Path,
    chosen: pd.DataFrame,
    catalogue: pd.DataFrame,
    images: ImageSet | None,
    options: ChartOptions,
) -> None:
    """Write a PDF of finding charts, completely or not at all; one candidate per half page.

    Parameters
    ----------
    path : the file.
    chosen : the candidates, in this order; see `archipelago.exports.choose.chosen`.
    catalogue : all objects: id, ra_deg, dec_deg (ICRS), and magnitudes, for the neighbours.
    images : cutouts; None where there are none. An object without gets a chart of the catalogue.
    options : how they are drawn.
    """
    surroundings = Surroundings(catalogue)
    seen = {band: magnitudes(catalogue, band) for band in options.bands}
    sheets = _sheets(chosen, images, surroundings, seen, options)
    with (
        _style(),
        atomic_path(path) as temporary,
        PdfPages(
            temporary, metadata={"Title": f"Finding charts of {options.run}", "CreationDate": None}
        ) as pdf,
    ):
        page: Figure | None = None
        for number, sheet in enumerate(sheets):
            if number % 2 == 0:
                if page is not None:
                    pdf.savefig(page)
                page = Figure(figsize=(_WIDTH_MM / 25.4, _HEIGHT_MM / 25.4))
            assert page is not None
            _draw(page, _HEIGHT_MM / 2 if number % 2 == 0 else 0.0, sheet, options)
        if page is None:
            page = Figure(figsize=(_WIDTH_MM / 25.4, _HEIGHT_MM / 25.4))
            _text(page, _MARGIN_MM, _HEIGHT_MM - 30, "There are no candidates to draw.", size=12)
        pdf.savefig(page)


@contextmanager
def _style() -> Iterator[None]:
    """matplotlib's own defaults, whatever a user's file has set; texts are no formulae."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {"font.size": 8, "font.sans-serif": ["DejaVu Sans"], "text.parse_math": False}
        )
        yield


@dataclass(frozen=True)
class _Sheet:
    """What half a page shows."""

    title: str
    lines: list[str]
    magnitudes: list[str]
    pixels: NDArray[np.float64] | None
    image_bands: Sequence[str]
    main_band: int
    pixel_scale_arcsec: float
    neighbours: Neighbours
    sizes: NDArray[np.float64]
    near: list[str]


def _sheets(
    chosen: pd.DataFrame,
    images: ImageSet | None,
    surroundings: Surroundings,
    seen: dict[str, Magnitudes],
    options: ChartOptions,
) -> Iterator[_Sheet]:
    place = {} if images is None else {int(one): row for row, one in enumerate(images.ids)}
    own = {band: magnitudes(chosen, band) for band in options.bands}
    columns = zip(
        chosen["id"].astype(int).tolist(),
        names(chosen),
        numbers(chosen, "ra_deg").tolist(),
        numbers(chosen, "dec_deg").tolist(),
        _facts(chosen),
        remarks(chosen),
        strict=True,
    )
    for row, (number, name, ra, dec, facts, remark) in enumerate(columns):
        near = surroundings.near(ra, dec, number)
        pixels = None
        if images is not None and number in place:
            pixels = np.asarray(images.images[place[number]], dtype=float)
            if not np.isfinite(pixels).any():
                pixels = None
        band, sizes = _sizes(near, seen)
        bands: Sequence[str] = () if images is None else images.bands
        scale = 1.0 if images is None else images.pixel_scale_arcsec
        lines = [
            f"RA {sexagesimal_ra(ra, separator=' ')}  Dec {sexagesimal_dec(dec, separator=' ')}"
            "  (J2000, ICRS)",
            f"{ra:.6f}  {dec:+.6f} deg;  id {number};  best in {best_month(ra)}",
            facts,
        ]
        yield _Sheet(
            title=f"{row + 1}   {name}",
            lines=[*lines, *([ascii_text(remark)[:95]] if remark else [])],
            magnitudes=[f"{one:<3} {found.text(row)}" for one, found in own.items()],
            pixels=pixels,
            image_bands=bands,
            main_band=_main_band(pixels, bands, scale, options.chart_band),
            pixel_scale_arcsec=scale,
            neighbours=near,
            sizes=sizes,
            near=_near_lines(near, band, seen),
        )


def _facts(chosen: pd.DataFrame) -> list[str]:
    classes = texts(chosen, "combined_class")
    classes = classes if any(classes) else texts(chosen, "best_class")
    found = []
    for rank, priority, chance, kind, redshift in zip(
        chosen["rank"].astype(int).tolist(),
        priorities(chosen),
        quasar_probability(chosen).tolist(),
        classes,
        numbers(chosen, "z_quasar").tolist(),
        strict=True,
    ):
        text = f"rank {rank}, priority {priority}"
        text += f", P(quasar or lensed) {chance:.2f}" if math.isfinite(chance) else ""
        text += f", {ascii_text(kind)}" if kind else ""
        found.append(text + (f", z = {redshift:.2f}" if math.isfinite(redshift) else ""))
    return found


def _main_band(
    pixels: NDArray[np.float64] | None, bands: Sequence[str], scale: float, wanted: str | None
) -> int:
    """Place of the band of the large image: the wanted one, or that with most light over noise."""
    if pixels is None:
        return 0
    if wanted is not None and wanted in bands:
        return list(bands).index(wanted)
    y, x = np.indices(pixels.shape[1:])
    middle = (np.array(pixels.shape[1:]) - 1) / 2
    near = np.hypot(y - middle[0], x - middle[1]) <= max(_BEST_RADIUS_ARCSEC / scale, 1.0)
    best, most = 0, -math.inf
    for row, plane in enumerate(pixels):
        level, sigma = sky(plane)
        light = plane[near & np.isfinite(plane)] - level
        over = float(light.sum()) / sigma if len(light) and math.isfinite(level) else -math.inf
        if over > most:
            best, most = row, over
    return best


def sky(plane: NDArray[np.float64]) -> tuple[float, float]:
    """Return median and noise (1.4826 x MAD, above 0) of the outer frame of an image (y, x).

    NaN where it has no finite pixel.
    """
    edge = max(2, min(plane.shape) // 7)
    frame = np.ones(plane.shape, dtype=bool)
    frame[edge:-edge, edge:-edge] = False
    values = plane[frame & np.isfinite(plane)]
    if not len(values):
        return math.nan, math.nan
    level = float(np.median(values))
    sigma = 1.4826 * float(np.median(np.abs(values - level)))
    return level, sigma if sigma > 0 else float(np.std(values)) or 1.0


def grey(plane: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return an image as darkness, 0 to 1: asinh over the noise; None without a finite pixel."""
    level, sigma = sky(plane)
    if not math.isfinite(level):
        return None
    over = np.nan_to_num((plane - level) / sigma, nan=-_BELOW_SIGMA, posinf=1e6, neginf=-1e6)
    top = max(_TOP_SIGMA, float(over.max()))
    shown = np.arcsinh((over + _BELOW_SIGMA) / _LINEAR_SIGMA)
    return np.clip(shown / np.arcsinh((top + _BELOW_SIGMA) / _LINEAR_SIGMA), 0.0, 1.0)


def _sizes(near: Neighbours, seen: dict[str, Magnitudes]) -> tuple[str, NDArray[np.float64]]:
    """A band that most neighbours are seen in, and their dots' areas by it [pt^2]."""
    best, mags = "", np.full(len(near), np.nan)
    for band, found in seen.items():
        these = found.mag_ab[near.row]
        if not best or np.isfinite(these).sum() > np.isfinite(mags).sum():
            best, mags = band, these
    area = np.interp(np.nan_to_num(mags, nan=24.0), [16.0, 24.0], [90.0, 8.0])
    return best, area


def _near_lines(near: Neighbours, band: str, seen: dict[str, Magnitudes]) -> list[str]:
    lines = []
    for place in range(min(_NAMED, len(near))):
        east, north = near.east_arcsec[place], near.north_arcsec[place]
        text = (
            f"{angle(near.distance_arcsec[place])}: {angle(abs(east))} {'E' if east >= 0 else 'W'}"
            f", {angle(abs(north))} {'N' if north >= 0 else 'S'}"
        )
        mag = seen[band].mag_ab[near.row[place]] if band else math.nan
        lines.append(text + (f";  {band} {mag:.1f}" if math.isfinite(mag) else ""))
    return lines


def angle(arcsec: float) -> str:
    """Return an angle [arcsec] in the unit that suits it: ``1.2"``, ``5.4'``, ``2.1 deg``."""
    if arcsec < 99.5:
        return f'{arcsec:.1f}"' if arcsec < 9.95 else f'{arcsec:.0f}"'
    if arcsec < 99.5 * 60:
        minutes = arcsec / 60
        return f"{minutes:.1f}'" if minutes < 9.95 else f"{minutes:.0f}'"
    return f"{arcsec / 3600:.1f} deg"


# ---------------------------------------------------------------------------- drawing


def _draw(page: Figure, bottom_mm: float, sheet: _Sheet, options: ChartOptions) -> None:
    """Draw one candidate onto the half of a page that begins ``bottom_mm`` above its foot."""
    top = bottom_mm + _HEIGHT_MM / 2 - 12
    _text(page, _MARGIN_MM, top, sheet.title, size=12, weight="bold")
    for number, line in enumerate(sheet.lines):
        _text(page, _MARGIN_MM, top - 6 - 4.4 * number, line, size=9)
    chart_bottom = bottom_mm + 12
    main = _axes(page, _MARGIN_MM, chart_bottom, _CHART_MM)
    right = _MARGIN_MM + _CHART_MM + 7
    y = chart_bottom + _CHART_MM
    if sheet.pixels is None:
        _neighbour_chart(main, sheet)
        what = "objects of the search's catalogue; no image"
    else:
        band = sheet.main_band
        _image_chart(main, sheet, options.oriented)
        what = f"band {sheet.image_bands[band]}, the search's cutout"
        for number, name in enumerate(sheet.image_bands):
            row, column = divmod(number, _PER_ROW)
            x = right + column * (_SMALL_MM + 1.2)
            small = _axes(page, x, y - _SMALL_MM - row * (_SMALL_MM + 5), _SMALL_MM)
            _show(small, sheet.pixels[number])
            small.set_title(name, fontsize=7, pad=2)
        y -= (_SMALL_MM + 5) * -(-len(sheet.image_bands) // _PER_ROW) + 2
    _text(page, _MARGIN_MM, chart_bottom - 4.5, f"{what}; search {options.run}", size=6.5)
    _text(page, right, y - 2, "AB magnitudes (error; >: 3 sigma limit)", size=8, weight="bold")
    y -= _LINE_MM + 2.5
    half = -(-len(sheet.magnitudes) // 2)
    for number, text in enumerate(sheet.magnitudes):
        x = right + (0 if number < half else 40)
        _text(page, x, y - (number % half) * _LINE_MM, text, size=8, family="DejaVu Sans Mono")
    y -= half * _LINE_MM + 3
    title = "Nearest in the catalogue" if sheet.near else "No other object of the catalogue near"
    _text(page, right, y, title, size=8, weight="bold")
    for number, text in enumerate(sheet.near):
        _text(page, right, y - (number + 1) * _LINE_MM, text, size=8)


def _image_chart(axes: Axes, sheet: _Sheet, oriented: bool) -> None:
    assert sheet.pixels is not None
    plane = sheet.pixels[sheet.main_band]
    _show(axes, plane)
    height, width = plane.shape
    _cross(axes, (width - 1) / 2, (height - 1) / 2, 1.0 / sheet.pixel_scale_arcsec)
    # Pixels: x grows to the west where the image is oriented.
    _bar(axes, width, sheet.pixel_scale_arcsec, (-0.5, -0.5))
    if oriented:
        _arrows(axes, width - 0.5 - 0.06 * width, -0.5 + 0.06 * width, 0.14 * width)


def _neighbour_chart(axes: Axes, sheet: _Sheet) -> None:
    """Offsets in arcsec, north up, east left: x grows to the west."""
    near, radius = sheet.neighbours, sheet.neighbours.chart_radius_arcsec()
    inside = (np.abs(near.east_arcsec) <= radius) & (np.abs(near.north_arcsec) <= radius)
    axes.scatter(
        -near.east_arcsec[inside],
        near.north_arcsec[inside],
        s=sheet.sizes[inside],
        color="black",
        linewidths=0,
    )
    axes.plot([0.0], [0.0], marker=".", markersize=3, color="tab:red")
    axes.set_xlim(-radius, radius)
    axes.set_ylim(-radius, radius)
    _cross(axes, 0.0, 0.0, 0.04 * radius)
    _bar(axes, 2 * radius, 1.0, (-radius, -radius))
    _arrows(axes, radius - 0.12 * radius, -radius + 0.12 * radius, 0.28 * radius)


def _show(axes: Axes, plane: NDArray[np.float64]) -> None:
    shown = grey(plane)
    if shown is None:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes)
        axes.set_xlim(-0.5, plane.shape[1] - 0.5)
        axes.set_ylim(-0.5, plane.shape[0] - 0.5)
        return
    axes.imshow(shown, cmap="gray_r", vmin=0, vmax=1, origin="lower", interpolation="nearest")


def _cross(axes: Axes, x: float, y: float, gap: float) -> None:
    """Two lines that point at the object and leave it free."""
    axes.plot([x + gap, x + 2.5 * gap], [y, y], color="tab:red", linewidth=1.2)
    axes.plot([x, x], [y + gap, y + 2.5 * gap], color="tab:red", linewidth=1.2)


def bar_length_arcsec(width_arcsec: float) -> float:
    """Return a round length of at most 30 % of a chart's width [arcsec]; the shortest if none."""
    fitting = [one for one in _BARS_ARCSEC if one <= 0.3 * width_arcsec]
    return float(fitting[-1] if fitting else _BARS_ARCSEC[0])


def _bar(axes: Axes, width: float, unit_arcsec: float, corner: tuple[float, float]) -> None:
    length = bar_length_arcsec(width * unit_arcsec)
    x, y = corner[0] + 0.05 * width, corner[1] + 0.05 * width
    axes.plot([x, x + length / unit_arcsec], [y, y], color="tab:blue", linewidth=2)
    label = f'{length:g}"' if length < 60 else f"{length / 60:g}'"
    axes.text(x, y + 0.02 * width, label, color="tab:blue", fontsize=9, va="bottom")


def _arrows(axes: Axes, x: float, y: float, length: float) -> None:
    for dx, dy, label in ((0.0, length, "N"), (-length, 0.0, "E")):
        axes.annotate(
            label,
            xy=(x, y),
            xytext=(x + dx, y + dy),
            color="tab:blue",
            fontsize=9,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "<-", "color": "tab:blue", "linewidth": 1.0},
        )


def _axes(page: Figure, x_mm: float, y_mm: float, side_mm: float) -> Axes:
    axes = page.add_axes(
        (x_mm / _WIDTH_MM, y_mm / _HEIGHT_MM, side_mm / _WIDTH_MM, side_mm / _HEIGHT_MM)
    )
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def _text(
    page: Figure,
    x_mm: float,
    y_mm: float,
    text: str,
    size: float,
    weight: str = "normal",
    family: str = "DejaVu Sans",
) -> None:
    page.text(
        x_mm / _WIDTH_MM,
        y_mm / _HEIGHT_MM,
        ascii_text(text) if not text.isascii() else text,
        fontsize=size,
        fontweight=weight,
        family=family,
        va="baseline",
    )
