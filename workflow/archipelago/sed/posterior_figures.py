"""Figures of the posteriors: corner plots and spectral energy distributions.

Files are SVG, and their bytes depend on the content only: no date, no random names.
Few artists, fixed ticks and no formulae in texts: matplotlib's time goes there.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from archipelago.base.files import write_text
from archipelago.passbands import Passband
from archipelago.sed.galaxy import GalaxyModel
from archipelago.sed.posterior_models import CLASSES, Measured, ObjectData, as_class
from archipelago.sed.posterior_spectra import spectra, wavelength_bins

Floats = NDArray[np.float64]

#: Draws whose spectra are made; a galaxy's takes 3 ms.
N_SPECTRA = 50

#: As on the cards of the report.
_COLOUR = {"star": "#b57a00", "galaxy": "#2b8a5b", "quasar": "#c43d3d", "lensed": "#5146b8"}
_TITLE = {"star": "Star", "galaxy": "Galaxy", "quasar": "Quasar", "lensed": "Galaxy + quasar"}
_AB_UJY = 23.9  # AB magnitude of 1 uJy
_AA_PER_UM = 1e4

#: How each parameter is written on an axis.
_LABEL = {
    "type_code": "type (M0 = 0)",
    "log_flux_j_ujy": "log J [µJy]",
    "redshift": "z",
    "m1450": "M(1450 Å)",
    "uv_slope": "UV slope",
    "ebv": "E(B-V)",
    "line_scale": "lines",
    "lya_scale": "Lyα",
    "igm_scale": "IGM",
    "bal_depth": "BAL",
    "age_gyr": "age [Gyr]",
    "log_mass": "log M [Msun]",
    "metallicity": "Z [Zsun]",
    "tau_gyr": "τ [Gyr]",
    "av_mag": "A(V)",
    "lens_redshift": "z, lens",
    "lens_log_mass": "log M, lens",
    "lens_log_age_gyr": "log age, lens",
    "lens_av_mag": "A(V), lens",
}


@contextmanager
def _style() -> Iterator[None]:
    """matplotlib's own defaults, whatever a user's file or BAGPIPES' import has set."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.size": 8,
                "font.sans-serif": ["DejaVu Sans"],  # matplotlib's own, the one it measures with
                "svg.hashsalt": "archipelago",
                "svg.fonttype": "none",
                "text.parse_math": False,
            }
        )
        yield


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as SVG, coordinates to 0.1 pt, completely or not at all."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    drawing = _NO_TURN.sub("", stream.getvalue())
    write_text(path, _COORDINATES.sub(_rounded, drawing))


#: Attributes that hold coordinates, which matplotlib writes to 1e-6 pt; and these numbers.
_COORDINATES = re.compile(r' (?:d|x|y)="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d+")
_CURVE = re.compile("[CQ]")
#: What matplotlib says of each text that is not turned.
_NO_TURN = re.compile(r' transform="rotate\(-0 [^"]*"')


def _rounded(attribute: re.Match[str]) -> str:
    """Round an attribute's numbers: to 0.1 pt along lines, to 0.01 pt in markers."""
    text = attribute[0]
    if _CURVE.search(text):
        return _NUMBER.sub(lambda number: f"{float(number[0]):.2f}", text)
    # A line goes on without its letter being repeated.
    text = text.replace(" \nL ", " ")
    return _NUMBER.sub(lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), text)


def draw_shard(
    folder: str | Path,
    objects: Sequence[Measured],
    table: pd.DataFrame,
    arrays: Mapping[str, NDArray[Any]],
    passbands: Mapping[str, Passband],
    fit: Mapping[str, Any],
    history: str,
) -> None:
    """Write all figures of a shard: ``<id>/sed.svg`` and ``<id>/corner_<class>.svg``.

    An object that nothing was sampled of has none.

    Parameters
    ----------
    folder : made if it is not there.
    objects : as they were given to `run_shard`.
    table, arrays : as it returned them.
    passbands : per band a Passband, in the order of the data.
    fit : model errors and aperture effects, see `as_class`.
    history : ``delayed`` or ``constant`` star formation of class galaxy.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    galaxies = GalaxyModel(passbands)
    edges_aa = wavelength_bins(passbands)
    for measured in objects:
        rows = table[table["id"] == measured.id].set_index("class")
        panels = []
        for name in (name for name in CLASSES if f"{measured.id}/{name}/samples" in arrays):
            start = f"{measured.id}/{name}"
            draws, names = arrays[f"{start}/samples"], arrays[f"{start}/parameters"].tolist()
            row = rows.loc[name]
            title = (
                f"{_TITLE[name]}: ln Z = {row['ln_evidence']:.2f} ± {row['ln_evidence_err']:.2f}, "
                f"best χ² = {row['chi2_best']:.1f} of {row['n_bands']:.0f} bands"
            )
            labels = [_LABEL[parameter] for parameter in names]
            with _style():
                corner = corner_figure(draws, labels, f"{measured.id}\n{title}", _COLOUR[name])
                save_figure(corner, folder / str(measured.id) / f"corner_{name}.svg")
            data = as_class(measured, name, list(passbands), fit)
            fluxes = arrays[f"{start}/fluxes_ujy"] / data.aperture
            made = spectra(name, names, draws[:N_SPECTRA], edges_aa, galaxies, history)
            panels.append((name, title, data, fluxes, made))
        if panels:
            pivots_um = np.array([band.pivot_aa for band in passbands.values()]) / _AA_PER_UM
            with _style():
                figure = sed_figure(
                    str(measured.id), panels, pivots_um, edges_aa / _AA_PER_UM, list(passbands)
                )
                save_figure(figure, folder / str(measured.id) / "sed.svg")


# ------------------------------------------------------------------------- the SED


def sed_figure(
    title: str,
    panels: Sequence[tuple[str, str, ObjectData, Floats, Mapping[str, Floats]]],
    pivots_um: Floats,
    edges_um: Floats,
    bands: Sequence[str],
) -> Figure:
    """Draw an object as each of its classes, two panels a row, residuals below each.

    Parameters
    ----------
    title : of the figure.
    panels : per class its name, a title, the data as that class sees them, total band
        fluxes of the draws [uJy], (draw, n_band), and spectra from `spectra`.
    pivots_um : pivot wavelengths of the bands [um], (n_band,).
    edges_um : edges of the spectra's bins [um], (n_bin + 1,).
    bands : names of the bands.
    """
    n_rows = (len(panels) + 1) // 2
    height = 0.6 + 3.9 * n_rows
    figure = Figure(figsize=(11, height))
    figure.suptitle(
        f"{title}: total fluxes, Galactic extinction and each class' aperture loss taken out"
    )
    # Not matplotlib's own layout, which draws everything twice.
    outer = figure.add_gridspec(
        n_rows,
        2,
        left=0.06,
        right=0.94,
        wspace=0.22,
        hspace=0.22,
        bottom=0.45 / height,
        top=1 - 0.6 / height,
    )
    for index, (name, heading, data, fluxes, made) in enumerate(panels):
        grid = outer[index // 2, index % 2].subgridspec(2, 1, height_ratios=[3, 1], hspace=0.14)
        upper = figure.add_subplot(grid[0])
        lower = figure.add_subplot(grid[1], sharex=upper)
        upper.set_title(heading, fontsize=8)
        _draw_fluxes(upper, name, data, fluxes, made, pivots_um, edges_um)
        _draw_residuals(lower, name, data, fluxes, pivots_um, bands)
    return figure


def _draw_fluxes(
    axes: Axes,
    name: str,
    data: ObjectData,
    fluxes: Floats,
    made: Mapping[str, Floats],
    pivots_um: Floats,
    edges_um: Floats,
) -> None:
    low, high = _flux_range(data, fluxes)
    centre_um = np.sqrt(edges_um[1:] * edges_um[:-1])
    for component, f_nu in made.items():
        colour = _COLOUR[component]
        q = np.clip(np.percentile(f_nu, (2.5, 16, 50, 84, 97.5), axis=0), low / 10, high * 10)
        total = component == name
        if total:
            axes.fill_between(centre_um, q[0], q[4], color=colour, alpha=0.15, linewidth=0)
            axes.fill_between(centre_um, q[1], q[3], color=colour, alpha=0.25, linewidth=0)
        style: dict[str, Any] = {"linewidth": 1.0} if total else {"linewidth": 0.8, "ls": "--"}
        label = f"{_TITLE[component].lower()}: median" + (", 68, 95 %" if total else "")
        axes.plot(centre_um, q[2], color=colour, label=label, **style)
    q = np.clip(np.percentile(fluxes, (2.5, 16, 84, 97.5), axis=0), low / 10, high * 10)
    bars: dict[str, Any] = {"colors": [to_rgba(_COLOUR[name], 0.35)]}
    axes.vlines(pivots_um, q[0], q[3], linewidth=3, **bars)
    axes.vlines(pivots_um, q[1], q[2], linewidth=6, label="draws in the bands: 68, 95 %", **bars)
    found = data.used & (data.flux_ujy > 0)
    with_model_ujy = data.total_error_ujy
    axes.errorbar(
        pivots_um[found],
        data.flux_ujy[found],
        with_model_ujy[found],
        fmt="o",
        color="black",
        markersize=3.5,
        linewidth=1,
        capsize=2,
        label="measured, model error included",
    )
    limit = data.used & ~found
    axes.plot(
        pivots_um[limit],
        2 * with_model_ujy[limit],
        "v",
        color="black",
        markersize=5,
        markerfacecolor="none",
        label="2 σ limit",
    )
    axes.set(xscale="log", yscale="log", ylim=(low, high), ylabel="flux [µJy]")
    axes.set_xlim(edges_um[0], edges_um[-1])
    axes.tick_params(axis="x", labelbottom=False)
    ticks = _log_ticks(low, high)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    magnitudes = axes.twinx()
    magnitudes.set_ylim(*(_AB_UJY - 2.5 * np.log10([low, high])))
    magnitudes.set_ylabel("AB magnitude")
    axes.legend(fontsize=6, loc="lower right", framealpha=0.8)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten inside a range, and 2 and 5 times them where it is short."""
    steps = (1, 2, 5) if high / low < 300 else (1,)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))))
    ticks = [step * 10.0**power for power in powers for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _flux_range(data: ObjectData, fluxes: Floats) -> tuple[float, float]:
    """Limits of the axis [uJy]: all data, and the median draws unless far below them."""
    error = data.total_error_ujy[data.used]
    flux = np.where(data.flux_ujy > 0, data.flux_ujy, 0.0)[data.used]
    seen = np.where(flux > 0, flux, 2 * error)
    model = np.median(fluxes[:, data.used], axis=0)
    model = model[np.isfinite(model) & (model > 0)]
    low, high = float(seen.min()), float((seen + error).max())
    if model.size:
        low = max(min(low, float(model.min())), low / 30)
        high = min(max(high, float(model.max())), high * 30)
    return low / 2, high * 2


def _draw_residuals(
    axes: Axes,
    name: str,
    data: ObjectData,
    fluxes: Floats,
    pivots_um: Floats,
    bands: Sequence[str],
) -> None:
    axes.axhline(0, color="black", linewidth=0.6)
    used = data.used
    sigma = (data.flux_ujy - fluxes)[:, used] / data.total_error_ujy[used]
    low, middle, high = np.percentile(sigma, (16, 50, 84), axis=0)
    axes.errorbar(
        pivots_um[used],
        middle,
        (middle - low, high - middle),
        fmt="o",
        color=_COLOUR[name],
        markersize=3.5,
        linewidth=1,
    )
    top = max(3.0, 1.15 * float(np.abs([low, high]).max()))
    axes.set(ylim=(-top, top), ylabel="data - draws [σ]", xlabel="observed wavelength [µm]")
    # The bands' names stand along the upper edge.
    for pivot_um, band in zip(pivots_um, bands, strict=True):
        axes.annotate(
            band,
            (pivot_um, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=6,
        )
    ticks = [tick for tick in (0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20) if _inside(tick, axes)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _inside(value: float, axes: Axes) -> bool:
    low, high = axes.get_xlim()
    return low <= value <= high


# ------------------------------------------------------------------------- corner plots

_CELL = (0.03, 0.97)  # part of a cell of side 1 that is drawn on
_BINS = 20  # of a region, in either direction


def corner_figure(draws: Floats, labels: Sequence[str], title: str, colour: str) -> Figure:
    """Draw histograms of all parameters and 68 and 95 % regions of all pairs.

    All cells lie on one pair of axes, parameters scaled to each, and all regions are one
    set of contours: twelve parameters take a quarter of a second, a grid of 78 axes five.

    Parameters
    ----------
    draws : equally weighted draws, (n, n_par).
    labels : of the parameters.
    title : of the figure.
    colour : of everything that is drawn.
    """
    n = draws.shape[1]
    limits = [_limits(column) for column in draws.T]
    scaled = np.column_stack(
        [
            _CELL[0] + (column - low) / (high - low) * (_CELL[1] - _CELL[0])
            for column, (low, high) in zip(draws.T, limits, strict=True)
        ]
    )
    side = max(1.0 * n + 1.5, 4.0)
    figure = Figure(figsize=(side, side))
    # Room for the labels, and for the title above that of the first histogram.
    before, right, above = 0.85 / side, 0.15 / side, 0.65 / side
    axes = figure.add_axes((before, before, 1 - before - right, 1 - before - above))
    axes.set(xlim=(0, n), ylim=(n, 0))
    axes.axis("off")
    frames, ticks = [], []
    for row in range(n):
        for column in range(row + 1):
            left, right = column + _CELL[0], column + _CELL[1]
            top, bottom = row + _CELL[0], row + _CELL[1]
            frames.append([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
        low, middle, high = np.percentile(draws[:, row], (16, 50, 84))
        width = high - low
        axes.text(
            row + 0.5,
            row - 0.02,
            f"{_written(middle, width)} +{_written(high - middle, width)} "
            f"-{_written(middle - low, width)}",
            ha="center",
            va="bottom",
            fontsize=7,
        )
        ticks += _ticks(axes, row, n, limits[row], labels[row])
    _regions(axes, scaled, colour)
    outlines = [_histogram(scaled[:, row], row) for row in range(n)]
    pale = to_rgba(colour, 0.3)
    axes.add_collection(
        PolyCollection(outlines, facecolors=[pale], edgecolors=[colour], linewidths=0.8)
    )
    axes.add_collection(LineCollection(frames + ticks, colors="0.4", linewidths=0.5))
    figure.text(0.99, 0.985, title, ha="right", va="top")
    return figure


def _limits(column: Floats) -> tuple[float, float]:
    """Range of an axis: 99 % of the draws and a margin; never empty."""
    low, high = np.percentile(column, (0.5, 99.5))
    margin = 0.08 * (high - low) or max(1e-3 * abs(low), 1e-6)
    return float(low - margin), float(high + margin)


def _histogram(values: Floats, row: int) -> Floats:
    """Return the outline of a histogram in its cell on the diagonal, (n_corner, 2)."""
    counts, edges = np.histogram(values, 24, _CELL)
    top = counts / max(counts.max(), 1) * 0.88 * (_CELL[1] - _CELL[0])
    base = row + _CELL[1]
    x = row + np.repeat(edges, 2)
    y = np.concatenate([[base], np.repeat(base - top, 2), [base]])
    return np.column_stack([x, y])


def _regions(axes: Axes, scaled: Floats, colour: str) -> None:
    """Fill, per pair, the smallest regions that hold 68 and 95 % of the draws, smoothed a little.

    The cells are tiles of one array, 0 between them. In each, densities are stretched so that
    1 and 2 are the levels of 95 and 68 %. y is scaled upwards, as a reader expects, though
    rows are counted downwards.
    """
    n = scaled.shape[1]
    edges = np.linspace(*_CELL, _BINS + 1)
    # One line of zeros on either side of a cell.
    at = np.concatenate([[_CELL[0]], (edges[1:] + edges[:-1]) / 2, [_CELL[1]]])
    side = at.size
    tiles = np.zeros((n * side, n * side))
    dots = []
    for row in range(n):
        for column in range(row):
            x, y = scaled[:, column], 1 - scaled[:, row]
            counts, _, _ = np.histogram2d(y, x, [edges, edges])
            smooth = gaussian_filter(counts, 1.0)
            ordered = np.sort(smooth.ravel())[::-1]
            share = np.cumsum(ordered) / max(ordered.sum(), 1e-300)
            last = np.minimum(np.searchsorted(share, (0.95, 0.68)), share.size - 1)
            levels = [0.0, *ordered[last], ordered[0]]
            if not (np.diff(levels) > 0).all():  # all draws in one place
                dots.append((column + x.mean(), row + y.mean()))
                continue
            inside = np.interp(smooth, levels, [0.0, 1.0, 2.0, 3.0])
            tiles[row * side + 1 : (row + 1) * side - 1, column * side + 1 :][:, :_BINS] = inside
    if tiles.any():
        places = (np.arange(n)[:, None] + at).ravel()
        colours = [to_rgba(colour, 0.25), to_rgba(colour, 0.65)]
        axes.contourf(places, places, tiles, levels=[1.0, 2.0, 3.1], colors=colours)
    if dots:
        axes.plot(*np.transpose(dots), ".", color=colour)


def _ticks(
    axes: Axes, index: int, n: int, limits: tuple[float, float], label: str
) -> list[list[tuple[float, float]]]:
    """Write values and name of a parameter below its column and left of its row.

    Returns the ticks' lines.
    """
    low, high = limits
    lines = []
    for tick in MaxNLocator(3).tick_values(low, high):
        at = _CELL[0] + (tick - low) / (high - low) * (_CELL[1] - _CELL[0])
        if not _CELL[0] <= at <= _CELL[1]:
            continue
        text = f"{tick:.6g}"
        bottom = n - 1 + _CELL[1]
        lines.append([(index + at, bottom), (index + at, bottom - 0.04)])
        axes.text(index + at, n, text, rotation=45, ha="right", va="top", fontsize=6)
        if index > 0:
            across = index + 1 - at
            lines.append([(_CELL[0], across), (_CELL[0] + 0.04, across)])
            axes.text(-0.02, across, text, ha="right", va="center", fontsize=6)
    axes.text(index + 0.5, n + 0.42, label, ha="center", va="top")
    if index > 0:
        axes.text(-0.42, index + 0.5, label, rotation=90, ha="right", va="center")
    return lines


def _written(value: float, width: float) -> str:
    """Return a number with two digits of the width of its range."""
    digits = 1 - int(np.floor(np.log10(width))) if width > 0 else 3
    return f"{value:.{min(max(digits, 0), 6)}f}"
