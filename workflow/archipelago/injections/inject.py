"""Injected objects of one shard: painted, measured, and put to the cuts of the search."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.images import ImageSet
from archipelago.injections.colours import Colours, learn_colours
from archipelago.injections.design import KINDS, Truth, draw, model_error, wanted
from archipelago.injections.noise import BandNoise, Partner, bright_objects
from archipelago.injections.paint import (
    aperture_light,
    beam_light,
    centres,
    lay_out,
    light_of,
    point_aperture_shares,
)
from archipelago.injections.places import Places, cleared, find_places
from archipelago.injections.query import passes, query_cuts
from archipelago.photometry.fluxes import BandPhotometry, BandSpec, measure_band
from archipelago.photometry.measure import columns_of, measure, read_depths
from archipelago.sed.data import aperture_shares
from archipelago.sed.dust import galactic_correction
from archipelago.sed.templates import TemplateSet
from archipelago.simulate.conditions import draw_noise

_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

#: What each column is, for the tables' metadata.
ABOUT = {
    "id": "number of the injected object in the design of both kinds",
    "kind": "quasar or lensed",
    "quasar_mag": "true AB magnitude of all the quasar's images together, as seen behind Galactic "
    "dust, in the band of injections.band",
    "redshift": "of the quasar",
    "lens_mag": "true total AB magnitude of the lens galaxy in the same band",
    "lens_redshift": "of the lens galaxy",
    "separation_arcsec": "largest distance of two images",
    "magnification": "of all images together",
    "ln_weight": "ln of how many such objects the priors of sed.fit expect, up to a constant of "
    "each kind",
    "place_id": "object whose cutout it is painted into; -1: none",
    "ra_deg": "of that object",
    "dec_deg": "of that object",
    "ebv_sfd98": "Galactic E(B-V) there",
    "lost_at": "what it was lost at, a line of the cut flow; empty: it reached the ranking",
    "has_images": "its images are there, as of nearly all objects of the run",
}
#: Line of what the query asks that measured values do not tell.
OTHER_CONDITIONS = "query: all else"
#: Objects detected at this level tell how the catalogue's photometry compares with apertures.
_CALIBRATE_SIGMA = 15.0
_FEWEST = 10
#: Objects of the run measured for that.
_MOST_MEASURED = 4000
#: Quasars injected to stand beside the known ones.
_DRAWN_FOR_COLOURS = 1_024


@dataclass(frozen=True)
class Run:
    """What the injection takes from a run.

    Attributes
    ----------
    catalogue : the run's objects after the cuts.
    templates : of the SED stage.
    images : of the run; None without.
    sources, matched, losses : of the query, of the matches, and what the matches lost; None where
        the catalogue is the user's own.
    specs : what each band's numbers are.
    partners : sections of the matched catalogues.
    query : text of the query; '' without one.
    query_columns : column of the query's result: (band, "value" or "error").
    known : id and known_redshift of the known quasars in the catalogue.
    photometry : section ``photometry``.
    fit : section ``sed.fit``.
    """

    catalogue: pd.DataFrame
    templates: TemplateSet
    images: ImageSet | None
    sources: pd.DataFrame | None
    matched: pd.DataFrame | None
    losses: pd.DataFrame | None
    specs: Mapping[str, BandSpec]
    photometry: Mapping[str, Any]
    fit: Mapping[str, Any]
    partners: Sequence[Mapping[str, Any]] = ()
    query: str = ""
    query_columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    known: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame({"id": [], "known_redshift": []}, dtype=float)
    )

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the search."""
        return tuple(self.photometry["bands"])

    def measured(self) -> dict[str, BandPhotometry]:
        """Return the photometry of the objects that tell errors, each band as measured."""
        depths = read_depths(self.bands, self.photometry["depths"])
        sigma = float(self.photometry["detection_sigma"])
        if self.matched is None:
            result = {}
            for band in self.bands:
                seen = self.catalogue[f"detected_{band}"].to_numpy(dtype=bool)
                flux = self.catalogue[f"flux_ujy_{band}"].where(seen)
                error = self.catalogue[f"flux_err_ujy_{band}"].where(seen)
                spec = BandSpec("", "", "flux_ujy", self.specs[band].vega_to_ab_mag)
                result[band] = measure_band(flux, error, spec, depths[band], sigma)
            return result
        table = self.matched
        names = {band: columns_of(table, band) for band in self.bands}
        return {
            band: measure_band(
                table[names[band][0]], table[names[band][1]], self.specs[band], depths[band], sigma
            )
            for band in self.bands
        }


@dataclass(frozen=True)
class Injected:
    """One shard.

    Attributes
    ----------
    table : all objects, columns of `ABOUT`.
    photometry : of those that pass all cuts, as `archipelago.photometry.measure.measure` makes it.
    images : of those of them that have images; None where the search has none.
    """

    table: pd.DataFrame
    photometry: pd.DataFrame
    images: ImageSet | None


def inject(run: Run, settings: Mapping[str, Any], shard: int, shards: int) -> Injected:
    """Make one shard of the injected objects and put them to the cuts.

    Parameters
    ----------
    run : what the search has.
    settings : section ``injections``: n_quasars, n_lensed, seed, band, axes,
        aperture_diameter_arcsec, beam_arcsec, other_loss.
    shard, shards : every ``shards``-th object of the design, from ``shard`` on.

    Returns
    -------
    Injected
        Objects that no template can stand for are left out, with a line in the log; none at
        all is a right result.
    """
    world = _with_colours(_World.of(run, settings))
    tables, photometries, pixels, start = [], [], [], 0
    for number, kind in enumerate(KINDS):
        n = int(settings[{"quasar": "n_quasars", "lensed": "n_lensed"}[kind]])
        rng = np.random.default_rng([int(settings["seed"]), number, shard, 6_051])
        design = wanted(settings["axes"], kind, n, int(settings["seed"]))
        mine = np.arange(shard, n, shards)
        truth = draw(
            run.templates,
            run.fit,
            run.bands,
            settings["band"],
            design.iloc[mine].reset_index(drop=True),
            kind,
            rng,
        )
        if len(truth) < len(mine):
            _LOG.warning("%d of %d %ss cannot be made", len(mine) - len(truth), len(mine), kind)
        ids = start + mine[truth.table["id"].to_numpy()]
        redshift = truth.table["redshift"].to_numpy(dtype=float)
        galaxy_error = model_error(run.fit, "galaxy", run.bands)
        moves = world.colours.drawn(len(truth), galaxy_error, rng)
        truth = replace(
            truth,
            table=truth.table.assign(id=ids),
            quasar_ujy=world.colours.applied(truth.quasar_ujy, redshift, world.band, moves),
            lens_ujy=moves.on_lenses(truth.lens_ujy, world.band),
        )
        one = _inject(world, truth, rng)
        tables.append(pd.concat([one.table, moves.columns()], axis=1))
        photometries.append(one.photometry)
        if one.images is not None:
            pixels.append(one.images)
        start += n
    table = pd.concat(tables, ignore_index=True)
    kept = pd.concat(photometries, ignore_index=True)
    images = None
    if run.images is not None:
        images = replace(
            run.images,
            images=np.concatenate([part.images for part in pixels]),
            ids=np.concatenate([part.ids for part in pixels]),
            asked="",
        )
    _LOG.info("%d objects injected, %d pass all cuts", len(table), len(kept))
    return Injected(table, kept, images)


@dataclass(frozen=True)
class _World:
    """What all objects of a shard share."""

    run: Run
    settings: Mapping[str, Any]
    #: The band of the magnitudes, or the first where the search has it not.
    band: str
    colours: Colours
    noise: Mapping[str, BandNoise]
    partners: tuple[Partner, ...]
    places: Places | None
    image_columns: list[int]
    counts_per_ujy: Floats
    ujy_per_count: Floats
    image_loss: float

    @classmethod
    def of(cls, run: Run, settings: Mapping[str, Any]) -> _World:
        measured = run.measured()
        band = settings["band"] if settings["band"] in run.bands else run.bands[0]
        bright = bright_objects(measured, band)
        depths = read_depths(run.bands, run.photometry["depths"])
        noise = {
            name: BandNoise.learn(one, bright, depths[name].flux_err_ujy)
            for name, one in measured.items()
        }
        partners = _partners(run, measured, band)
        n = len(run.bands)
        colours = Colours.of_templates(run.bands, np.empty((0, n)), np.empty(0))
        if run.images is None:
            empty = np.empty(0)
            return cls(run, settings, band, colours, noise, partners, None, [], empty, empty, 0.0)
        images = run.images
        at = run.catalogue.drop_duplicates("id").set_index("id").reindex(images.ids)
        places = find_places(
            images, at["ra_deg"].to_numpy(dtype=float), at["dec_deg"].to_numpy(dtype=float)
        )
        counts, back = _calibrated(run, places, settings)
        columns = [run.bands.index(name) if name in run.bands else -1 for name in images.bands]
        loss = 1 - float(np.isin(run.catalogue["id"], images.ids).mean()) if len(images) else 1.0
        return cls(
            run, settings, band, colours, noise, partners, places, columns, counts, back, loss
        )


def _with_colours(world: _World) -> _World:
    """Return a world that has learnt the colours of the run's known quasars; same in each shard."""
    run, settings = world.run, world.settings
    seed = int(settings["seed"])
    design = wanted(settings["axes"], "quasar", _DRAWN_FOR_COLOURS, seed)
    rng = np.random.default_rng([seed, 6_053])
    truth = draw(run.templates, run.fit, run.bands, settings["band"], design, "quasar", rng)
    if not len(truth):
        return world
    redshift = truth.table["redshift"].to_numpy(dtype=float)

    def inject_with(colours: Colours) -> pd.DataFrame:
        flux = colours.applied(truth.quasar_ujy, redshift, world.band)
        made = _inject(world, replace(truth, quasar_ujy=flux), np.random.default_rng([seed, 6_055]))
        passed = made.photometry.merge(truth.table[["id", "redshift"]], on="id")
        return passed[passed[f"flux_ujy_{world.band}"].to_numpy(dtype=float) > 0]

    known = run.catalogue.merge(run.known[["id", "known_redshift"]], on="id")
    templates = Colours.of_templates(run.bands, truth.quasar_ujy, redshift)
    return replace(world, colours=learn_colours(templates, inject_with, known, world.band))


def _partners(run: Run, measured: Mapping[str, BandPhotometry], band: str) -> tuple[Partner, ...]:
    if run.sources is None or run.matched is None or run.losses is None:
        return ()
    sources, found = run.sources, []
    if f"mag_ab_{band}" not in sources:
        sources = sources.assign(**{f"mag_ab_{band}": np.nan})
    for section in run.partners:
        name = section["name"]
        lost = run.losses["reason"].astype(str).str.startswith(f"no {name} partner")
        gone = run.losses.loc[lost, "id"].to_numpy()
        left = sources[~sources["id"].isin(gone)]
        column = f"separation_arcsec_{name}"
        separation = run.matched[column] if column in run.matched else pd.Series(dtype=float)
        found.append(
            Partner.learn(
                name,
                tuple(section["bands"]),
                float(section["radius_arcsec"]),
                sources,
                left["id"].to_numpy(),
                measured,
                separation.to_numpy(dtype=float),
                band,
            )
        )
        _LOG.info(
            "%s: %.1f %% of bright sources have no partner; partners are seen above %.1f sigma",
            name, 100 * found[-1].lost, found[-1].least_sigma,
        )  # fmt: skip
        sources = left
    return tuple(found)


def _calibrated(run: Run, places: Places, settings: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Return counts to paint per microjansky, and microjansky listed per count in the aperture.

    The second is what the run's own objects say: their flux in the catalogue over their light in
    the same aperture of their cutouts. The first makes a painted point lose in the catalogue's
    aperture what ``sed.fit.aperture_offset_mag`` says that points lose.
    """
    images = run.images
    assert images is not None  # asked only then
    diameter = float(settings["aperture_diameter_arcsec"])
    scale = images.pixel_scale_arcsec
    counts_per_ujy = 10 ** (0.4 * (images.zero_point_ab - 23.9))
    typical = np.full(len(images.bands), 1 / counts_per_ujy)
    width = np.median(places.fwhm_px, axis=0) if len(places) else places.conditions.fwhm_px
    rows = np.arange(len(images))[:: max(1, -(-len(images) // _MOST_MEASURED))]
    pixels = np.nan_to_num(np.asarray(images.images[rows]), nan=0.0, posinf=0.0, neginf=0.0)
    x, y = centres(pixels, float(np.median(width)) / 2.0)
    light = aperture_light(pixels, x, y, diameter, scale)
    at = run.catalogue.drop_duplicates("id").set_index("id").reindex(images.ids[rows])
    share = aperture_shares(run.fit["aperture_offset_mag"], "quasar", images.bands)
    for column, band in enumerate(images.bands):
        if f"flux_ujy_{band}" not in at:
            continue
        flux = at[f"flux_ujy_{band}"].to_numpy(dtype=float)
        error = at[f"flux_err_ujy_{band}"].to_numpy(dtype=float)
        good = (flux > _CALIBRATE_SIGMA * error) & (light[:, column] > 0)
        if good.sum() >= _FEWEST:
            typical[column] = np.median(flux[good] / light[good, column])
        else:
            typical[column] *= share[column] / max(
                point_aperture_shares(width[column : column + 1], diameter, scale, 41)[0], 0.05
            )
    seen = point_aperture_shares(width, diameter, scale, images.images.shape[-1])
    counts = share / (typical * np.maximum(seen, 0.05))
    _LOG.info(
        "painted counts per uJy over the zero point's: %s",
        ", ".join(
            f"{b} {c / counts_per_ujy:.2f}" for b, c in zip(images.bands, counts, strict=True)
        ),
    )
    return counts, typical


def _inject(world: _World, truth: Truth, rng: np.random.Generator) -> Injected:
    run, settings = world.run, world.settings
    n = len(truth)
    places = world.places
    table = truth.table.copy()
    spot = rng.integers(max(len(places), 1), size=n) if places is not None else np.zeros(n, int)
    at = _at_places(run, places, spot, n, rng)
    table = pd.concat([table, at], axis=1)
    truth = _behind_dust(truth, at["ebv_sfd98"].to_numpy(dtype=float), run, settings["band"])
    detect = _detection_columns(world, settings["band"])
    scale = run.images.pixel_scale_arcsec if run.images is not None else 1.0
    fwhm = float(np.median(places.conditions.fwhm_px)) * scale if places is not None else 0.9
    layout = lay_out(truth, detect, fwhm, rng)
    flux, pixels = np.zeros((n, len(run.bands))), None
    imaged = np.zeros(len(run.bands), dtype=bool)
    if run.images is not None and places is not None:
        pixels, seen = _painted(world, places, truth, layout, spot, rng)
        for column, target in enumerate(world.image_columns):
            if target >= 0:
                flux[:, target], imaged[target] = seen[:, column], True
    beams = [float(settings["beam_arcsec"].get(band, 0.0)) for band in run.bands]
    without = [column for column in range(len(run.bands)) if not imaged[column]]
    offsets = run.fit["aperture_offset_mag"]
    share = aperture_shares(offsets, "quasar", run.bands)
    total, dx, dy = beam_light(truth, layout, without, [beams[column] for column in without])
    flux[:, without] = total * share[without]
    listed, error = _with_errors(world, flux, imaged, rng)
    values = _listed_table(table, world, listed, error, rng)
    lost = _query_losses(world, values, rng)
    lost = _match_losses(world, listed, error, (without, dx, dy), lost, rng)
    kept, lost = _cut(world, values, lost)
    table["lost_at"] = lost.astype("str")
    has = np.zeros(n, dtype=bool)
    if pixels is not None:
        has = (rng.random(n) >= world.image_loss) & (lost == "").to_numpy()
    table["has_images"] = has
    images = None
    if run.images is not None and pixels is not None:
        images = replace(
            run.images, images=pixels[has], ids=table["id"].to_numpy(dtype=np.int64)[has], asked=""
        )
    return Injected(table[list(ABOUT)], kept, images)


def _at_places(
    run: Run, places: Places | None, spot: NDArray[Any], n: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Return place_id, ra_deg, dec_deg and ebv_sfd98 of the places drawn, (n) rows."""
    catalogue = run.catalogue.drop_duplicates("id").set_index("id")
    if run.images is not None and places is not None and len(places):
        ids = run.images.ids[places.row[spot]]
    elif len(catalogue):
        ids = catalogue.index.to_numpy()[rng.integers(len(catalogue), size=n)]
    else:
        ids = np.full(n, -1, dtype=np.int64)
    names = ["ra_deg", "dec_deg", "ebv_sfd98"]
    at = catalogue.reindex(columns=names).reindex(ids).reset_index(drop=True).astype(float)
    at["ebv_sfd98"] = at["ebv_sfd98"].fillna(0.0)
    at.insert(0, "place_id", np.asarray(ids, dtype=np.int64))
    return at


def _behind_dust(truth: Truth, ebv: Floats, run: Run, band: str) -> Truth:
    """Return fluxes behind Galactic dust, each part of the same magnitude in ``band`` as before."""
    factor = 1 / galactic_correction(ebv, run.bands)
    factor /= 1 / galactic_correction(ebv, [band])
    return replace(truth, quasar_ujy=truth.quasar_ujy * factor, lens_ujy=truth.lens_ujy * factor)


def _detection_columns(world: _World, band: str) -> list[int]:
    """Return the bands that objects are detected in: that of the magnitudes and two bluer ones."""
    columns = [column for column in world.image_columns if column >= 0]
    bands = world.run.bands
    if not columns or band not in bands:
        return [bands.index(band)] if band in bands else [0]
    reference = bands.index(band)
    near = [column for column in columns if column <= reference][-3:]
    return near or [reference]


def _painted(
    world: _World,
    places: Places,
    truth: Truth,
    layout: Any,
    spot: NDArray[Any],
    rng: np.random.Generator,
) -> tuple[Images, Floats]:
    """Return cutouts with the objects (n, band, y, x) and the fluxes in the aperture [uJy]."""
    images = world.run.images
    assert images is not None  # asked only then
    size, scale = images.images.shape[-1], images.pixel_scale_arcsec
    n, n_bands = len(truth), len(images.bands)
    if len(places):
        fwhm = places.fwhm_px[spot]
        order = np.argsort(spot, kind="stable")
        back = np.empty((n, *images.images.shape[1:]), dtype=np.float32)
        back[order] = images.images[places.row[spot[order]]]
        back = cleared(back, places.corners[spot], rng)
    else:
        _LOG.warning("no cutout can be painted into: sky is drawn like that of the images")
        scatter = rng.normal(0.0, 0.07, (n, n_bands))
        fwhm = places.conditions.fwhm_px * np.exp(scatter)
        sky, sigma = draw_noise(places.conditions, n, size, rng)
        back = (sigma[:, :, None, None] * sky).astype(np.float32)
    # A band that the photometry has not is painted by the templates only if they have it.
    columns = [max(column, 0) for column in world.image_columns]
    counts = np.where(np.array(world.image_columns) >= 0, world.counts_per_ujy, 0.0)
    light, x, y = light_of(truth, layout, columns, counts, fwhm, scale, size, rng)
    pixels = back + light
    diameter = float(world.settings["aperture_diameter_arcsec"])
    return pixels, aperture_light(pixels, x, y, diameter, scale) * world.ujy_per_count


def _with_errors(
    world: _World, flux: Floats, imaged: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return measured fluxes and errors (n, band) [uJy].

    Painted ones hold the noise of their sky already and get that of their own light; others get
    all of the noise that goes with the error.
    """
    listed, error = flux.copy(), np.zeros_like(flux)
    for column, band in enumerate(world.run.bands):
        noise = world.noise[band]
        error[:, column] = noise.error_of(flux[:, column], rng)
        extra = noise.own_error(error[:, column]) if imaged[column] else error[:, column]
        listed[:, column] += extra * rng.standard_normal(len(flux))
    return listed, error


def _listed_table(
    table: pd.DataFrame, world: _World, flux: Floats, error: Floats, rng: np.random.Generator
) -> pd.DataFrame:
    """Return what the catalogues list, as the match would hand it on."""
    values = table[["id", "ra_deg", "dec_deg", "ebv_sfd98"]].copy()
    sigma = float(world.run.photometry["detection_sigma"])
    for column, band in enumerate(world.run.bands):
        value, err = world.noise[band].listed(
            flux[:, column], error[:, column], world.run.specs[band], sigma, rng
        )
        values[f"value_{band}"], values[f"error_{band}"] = value, err
    return values


def _query_losses(world: _World, values: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
    """Return the condition of the query that each object fails first, '' for none, (n,)."""
    lost = pd.Series([""] * len(values), dtype="object")
    if not world.run.query:
        return lost
    columns = {
        name: values[f"{what}_{band}"]
        for name, (band, what) in world.run.query_columns.items()
        if band in world.run.bands
    }
    cuts = query_cuts(world.run.query, columns)
    _LOG.info("conditions of the query that are not put to injected objects: %s", list(cuts.left))
    frame = pd.DataFrame(columns)
    for condition in cuts.used:
        fails = ~passes(condition, frame) & (lost == "").to_numpy()
        lost[fails] = f"query: {condition}"
    chance = rng.random(len(values)) < float(world.settings["other_loss"])
    lost[chance & (lost == "").to_numpy()] = OTHER_CONDITIONS
    return lost


def _match_losses(
    world: _World,
    flux: Floats,
    error: Floats,
    beams: tuple[list[int], Floats, Floats],
    lost: pd.Series,
    rng: np.random.Generator,
) -> pd.Series:
    """Mark the objects that find no partner in a matched catalogue."""
    columns, dx, dy = beams
    for partner in world.partners:
        own = [world.run.bands.index(name) for name in partner.bands if name in world.run.bands]
        if not own:
            continue
        ratio = (flux[:, own] / error[:, own]).max(axis=1)
        seen = (ratio > partner.least_sigma) & (rng.random(len(flux)) >= partner.lost)
        place = columns.index(own[0]) if own[0] in columns else None
        x, y = np.zeros(len(flux)), np.zeros(len(flux))
        if place is not None:
            x, y = dx[:, place], dy[:, place]
        if len(partner.separation_arcsec):
            distance = rng.choice(partner.separation_arcsec, len(flux))
            angle = rng.uniform(0, 2 * np.pi, len(flux))
            x, y = x + distance * np.cos(angle), y + distance * np.sin(angle)
        found = seen & (np.hypot(x, y) <= partner.radius_arcsec)
        lost[~found & (lost == "").to_numpy()] = match_stage(partner.name)
    return lost


def match_stage(name: str) -> str:
    """Return the name of the stage that matches a catalogue, as in the cut flow."""
    return f"match {name}"


def _cut(world: _World, values: pd.DataFrame, lost: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """Put what is left to the cuts of the search: the photometry of those that pass, and losses."""
    section = world.run.photometry
    left = (lost == "").to_numpy()
    photometry, _, losses = measure(
        values[left],
        world.run.specs,
        section["depths"],
        section["detection_sigma"],
        section["cuts"],
        "injected",
    )
    reason = losses.set_index("id")["reason"].astype("object")
    new = values["id"].map(reason).astype("object").fillna("").to_numpy()
    return photometry, lost.where(~left, pd.Series(new, index=lost.index))


def stages(run: Run) -> list[str]:
    """Return the cuts in their order, as ``lost_at`` names them."""
    names: list[str] = []
    if run.query:
        known = [name for name, (band, _) in run.query_columns.items() if band in run.bands]
        names += [f"query: {one}" for one in query_cuts(run.query, known).used]
        names.append(OTHER_CONDITIONS)
    if run.sources is not None:
        names += [match_stage(section["name"]) for section in run.partners]
    return [*names, *(cut["name"] for cut in run.photometry["cuts"])]
