"""The synthetic sky of the embedded survey: one object that holds all of its tables.

`build_sky` draws everything from one seed. The image painter, the TAP, X-Match and SIA
services and the truth table all read the `Sky` that it returns; nothing else is shared.

Fluxes are AB flux densities in microjansky (uJy), positions ICRS degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from astropy import units as u
from astropy_healpix import HEALPix
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from archipelago.base.errors import DataError
from archipelago.demosky import catalogues, population
from archipelago.demosky.population import Population

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

#: HEALPix pixels (NESTED, order 5) that hold objects: about 23.5 square degrees about
#: RA 0, declination -43, on both sides of RA 0 / 360.
TILES: tuple[int, ...] = (4096, 8866, 8872, 8874, 11601, 11604, 11605)
#: A pixel of the footprint in which there is nothing.
EMPTY_TILE = 8867
_GRID = HEALPix(nside=32, order="nested")

#: The bands of the sky, bluest first; the first five have images.
BANDS: tuple[str, ...] = ("g", "r", "i", "z", "Y", "J", "K", "W1", "W2")
IMAGE_BANDS: tuple[str, ...] = BANDS[:5]


@dataclass(frozen=True)
class Sky:
    """A synthetic sky: the truth, what is painted, and what each survey measured.

    Attributes
    ----------
    seed : the seed that it was drawn from.
    truth : one row per DES-catalogued object, sorted by ``id``:
        ``id`` (int64, the DES ``coadd_object_id``), ``ra_deg``, ``dec_deg``, ``hpix_32`` (int64),
        ``kind`` (str: "quasar", "lensed quasar", "quasar-galaxy blend", "M dwarf", "L dwarf",
        "T dwarf", "galaxy old", "galaxy dusty", "galaxy compact", "galaxy active",
        "artefact saturated", "artefact trail", "artefact bad column"),
        ``is_quasar``, ``is_lensed``, ``known`` (bool; known = listed in ``milliquas``),
        ``redshift`` (NaN for stars), ``lens_redshift`` (NaN where there is no foreground
        galaxy), ``n_images`` (int: 1 for a point source, 2 or 4 where lensed, 0 otherwise),
        ``image_separation_arcsec`` (largest distance between two images; NaN if not lensed),
        ``magnification`` (total; NaN if not lensed), ``spectral_type`` (0 = M0, 10 = L0,
        20 = T0; NaN if no dwarf), ``extinction_ebv_mag`` (dust in the source),
        ``ebv_sfd98`` (Galactic), ``absolute_mag_1450`` (NaN if no quasar),
        ``flux_ujy_B`` for the nine `BANDS`: total noise-free flux, all components together,
        behind Galactic dust; ``selected`` (bool): the DES cut of Byrne et al. (2024) keeps it,
        ``survives_allwise``, ``survives_unwise`` (bool): so do all later cuts with
        AllWISE x VHS and unWISE x VHS; ``removed_by`` (str): name of the first cut of the
        AllWISE search that removes it, "" if none does.
    components : what is painted into the images, sorted by ``object_id`` then ``component``:
        ``object_id`` (int64; equals ``truth.id``), ``component`` (int, from 0), ``role`` (str:
        "star", "galaxy", "quasar", "image", "lens"), ``ra_deg``, ``dec_deg``,
        ``flux_ujy_B`` for the nine `BANDS` (total, behind Galactic dust), ``profile`` ("point" or
        "sersic"), ``r_eff_arcsec`` (half-light semi-major axis), ``sersic_n``, ``axis_ratio``
        (minor / major), ``position_angle_deg`` (of the major axis, north through east);
        the last four are NaN for "point". A point at the same sky as others simply adds.
        Unrelated faint neighbours are not listed: the painter adds its own.
    artefacts : what spoils images, sorted by ``object_id``: ``object_id``, ``ra_deg``, ``dec_deg``,
        ``kind`` ("saturated": a star so bright that its core is full and bleeds along the
        detector's columns; "trail": a satellite's straight line through the position;
        "bad column": one column of hot pixels), ``bands`` (str, the bands concerned,
        as "g", "iz" or "grizY"), ``angle_deg`` (of the line, north through east; 0 for
        columns), ``level_ujy`` (saturated: total flux of the star in z; trail and bad column:
        surface brightness of the line in uJy per pixel of 0.263 arcsec), ``width_px``,
        ``offset_px`` (of the line from the position, across it).
    des : the table ``des_dr2.mag``: ``coadd_object_id``, ``ra``, ``dec``, ``tilename``,
        ``mag_aper_4_b``, ``magerr_aper_4_b`` (99 where not measured), ``flags_b``,
        ``imaflags_iso_b`` for b in g r i z y, ``ebv_sfd98``, ``hpix_32``. Apertures of 1.95
        arcsec without aperture correction. ``tilename`` is only a label here (as
        "DES2359-4457"); the tiles that the images lie in are the painter's.
    allwise : VizieR II/328/allwise: ``AllWISE``, ``RAJ2000``, ``DEJ2000``, ``W1mag``,
        ``e_W1mag``, ``W2mag``, ``e_W2mag`` (Vega; NaN error = upper limit, NaN magnitude =
        nothing), ``ccf``, ``ex`` (int), ``var``, ``qph``.
    unwise : VizieR II/363/unwise: ``objID``, ``RAJ2000``, ``DEJ2000``, ``FW1``, ``FW2``,
        ``e_FW1``, ``e_FW2`` (Vega nanomaggies, NaN where there is no detection), ``q_W1``,
        ``q_W2`` (quality factors, 0 to 1).
    vhs : VizieR II/367/vhs_dr5: ``SrcID`` (int64), ``RAJ2000``, ``DEJ2000``, ``Mclass`` (int: 1
        galaxy, -1 star), ``Jpmag``, ``e_Jpmag``, ``Jap3``, ``e_Jap3``, ``Kspmag``,
        ``e_Kspmag``, ``Ksap3``, ``e_Ksap3`` (Vega; NaN where missing; ``p``: Petrosian, which the
        search uses; ``ap3``: in 2 arcsec, corrected as for points), ``prim`` (int).
    milliquas : VizieR VII/294/catalog: ``RAJ2000``, ``DEJ2000``, ``Name``, ``z``; the known quasars
        of this sky, ones elsewhere, and ones at other redshifts.
    """

    seed: int
    truth: pd.DataFrame
    components: pd.DataFrame
    artefacts: pd.DataFrame
    des: pd.DataFrame
    allwise: pd.DataFrame
    unwise: pd.DataFrame
    vhs: pd.DataFrame
    milliquas: pd.DataFrame


#: Objects drawn per kind for a sky of 12 000 selected ones: somewhat more than are kept. Of
#: what the W1 - W2 cut lets through all stay (up to `_SURVIVOR_SHARE`), of the rest a random part.
_POOL: dict[str, int] = {
    "M dwarf": 20_500,
    "L dwarf": 700,
    "T dwarf": 12,
    "galaxy old": 5_600,
    "galaxy compact": 320,
    "galaxy dusty": 60,
    "galaxy active": 60,
    "artefact": 360,
}
#: Quasars of a sky of 12 000: wanted among the survivors of both searches, wanted among those
#: that the DES cut selects but a later cut removes, wanted among those that the DES cut removes,
#: and trials. Lensed ones: so many with four images.
_QUASARS: dict[str, tuple[int, int, int, int]] = {
    "quasar": (26, 8, 4, 700),
    "quasar-galaxy blend": (3, 1, 1, 250),
    "lensed quasar": (12, 4, 3, 1_100),
}
_QUADS = 3
#: Objects that the DES cut removes, as a share of those that it selects.
_REJECTED_SHARE = 0.2
#: Survivors of the AllWISE search that are no quasars, as a share of what the DES cut selects
#: (3.4 % on the real sky), at most.
_SURVIVOR_SHARE = 0.118
_LATE_CUTS = (
    "W1 error missing",
    "W2 error missing",
    "J missing",
    "K missing",
    "J undetected",
    "K undetected",
    "W1 undetected",
    "W2 undetected",
)


def build_sky(seed: int, n_selected: int = 12_000) -> Sky:
    """Draw the sky of ``seed``; the same seed gives the same tables, bit for bit.

    Parameters
    ----------
    seed : any non-negative integer.
    n_selected : about how many objects the DES cut keeps; at least 1000. The numbers of all
        kinds scale with it.

    Raises
    ------
    ValueError
        If ``n_selected`` is too small.
    DataError
        If too few quasars that survive the cuts were drawn (no seed is known to do so).
    """
    if n_selected < 1000:
        raise ValueError(f"n_selected is {n_selected}; a sky needs at least 1000")
    scale = n_selected / 12_000
    root = np.random.SeedSequence(seed)
    rng = [np.random.default_rng(child) for child in root.spawn(6)]
    field = catalogues.draw_field(rng[0], len(BANDS) + 1)
    crowd = _draw_crowd(rng[1], scale)
    pool = population.join([crowd, *_draw_quasar_trials(rng[2], scale)])
    ra, dec = _positions(rng[3], len(pool))
    seen = catalogues.measure(rng[4], pool, ra, dec, _plane(ra, dec), field)
    keep = _choose(rng[5], pool, seen, n_selected)
    chosen = pool.take(keep)
    owner = pool.parts["object"].to_numpy()
    inside = np.flatnonzero(np.isin(owner, keep))
    rank = np.full(len(pool), -1)
    rank[keep] = np.arange(len(keep))
    part_rows = inside[np.argsort(rank[owner[inside]], kind="stable")]
    return _assemble(rng[5], seed, chosen, seen.take(keep, part_rows))


def quasar_trials(seed: int, draw: int = 0) -> pd.DataFrame:
    """Return quasars as nature has them on the sky of ``seed``, and what becomes of each.

    A sky keeps so many quasars of each fate: shares of those that survive cannot be told from it.
    These are all that are drawn, measured under the same depth and dust.

    Parameters
    ----------
    seed : of the sky.
    draw : other numbers give other quasars.

    Returns
    -------
    kind, redshift, lens_redshift, image_separation_arcsec, magnification; total noise-free
    z fluxes behind Galactic dust ``quasar_ujy_z`` (all images) and ``front_ujy_z`` [uJy];
    ``removed_by``: first cut of the AllWISE search that removes it, "" if none does.
    """
    root = np.random.SeedSequence(seed)
    field = catalogues.draw_field(np.random.default_rng(root.spawn(6)[0]), len(BANDS) + 1)
    rng = np.random.default_rng([seed, draw, 8_517])
    pool = population.join(_draw_quasar_trials(rng, 1.0))
    ra, dec = _positions(rng, len(pool))
    seen = catalogues.measure(rng, pool, ra, dec, _plane(ra, dec), field)
    fate = catalogues.removed_by(_cuts(seen, "allwise"))
    conditions = catalogues.des_cut(seen.des)
    selected = np.all(list(conditions.values()), axis=0)
    first = catalogues.removed_by(conditions)
    column = BANDS.index("z")
    owner = pool.parts["object"].to_numpy()
    front = pool.parts["role"].isin(["lens", "galaxy"]).to_numpy()
    light = seen.part_flux_ujy[:, column]
    names = ["kind", "redshift", "lens_redshift", "image_separation_arcsec", "magnification"]
    table = pool.objects[names].copy()
    table["quasar_ujy_z"] = np.bincount(owner, np.where(front, 0.0, light), len(pool))
    table["front_ujy_z"] = np.bincount(owner, np.where(front, light, 0.0), len(pool))
    table["removed_by"] = np.where(selected, fate, first).astype(str)
    return table


def _draw_crowd(rng: np.random.Generator, scale: float) -> Population:
    """Everything but quasars."""
    parts = []
    for kind, number in _POOL.items():
        n = max(int(number * scale), 20)
        if kind.endswith("dwarf"):
            parts.append(population.draw_dwarfs(rng, n, kind))
        elif kind == "artefact":
            parts.append(population.draw_artefacts(rng, n))
        else:
            parts.append(population.draw_galaxies(rng, n, kind))
    return population.join(parts)


def _draw_quasar_trials(rng: np.random.Generator, scale: float) -> list[Population]:
    share = max(scale, 0.6)  # rare ones need trials on small skies too
    return [
        population.draw_quasars(rng, int(_QUASARS["quasar"][3] * share)),
        population.draw_blends(rng, int(_QUASARS["quasar-galaxy blend"][3] * share)),
        population.draw_lensed(rng, int(_QUASARS["lensed quasar"][3] * share)),
    ]


def _positions(
    rng: np.random.Generator, n: int, apart_arcsec: float = 4.0
) -> tuple[Floats, Floats]:
    """Positions within `TILES`, uniform, none nearer than ``apart_arcsec`` to another."""
    ra, dec = _anywhere(rng, n)
    for _ in range(50):
        # Far from the poles: plane distances do. Both sides of RA 0 lie side by side in it.
        tree = cKDTree(np.stack(_plane(ra, dec), axis=1))
        again = np.unique(tree.query_pairs(apart_arcsec / 3600, output_type="ndarray")[:, 1])
        if not len(again):
            break
        ra[again], dec[again] = _anywhere(rng, len(again))
    return ra, dec


def _anywhere(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    pixel = rng.choice(np.array(TILES), n)
    # Pixels' own coordinates preserve area; a margin of 2 % keeps clear of the footprint's edge.
    dx, dy = rng.uniform(0.02, 0.98, (2, n))
    lon, lat = _GRID.healpix_to_lonlat(pixel, dx=dx, dy=dy)
    return lon.to_value(u.deg), lat.to_value(u.deg)


def _plane(ra_deg: Floats, dec_deg: Floats) -> tuple[Floats, Floats]:
    """Positions on a plane [deg], continuous across RA 0."""
    wrapped = np.mod(ra_deg + 180.0, 360.0) - 180.0
    return wrapped * np.cos(np.deg2rad(dec_deg)), dec_deg


def _cuts(seen: catalogues.Measured, wise: str) -> dict[str, NDArray[np.bool_]]:
    """Later cuts with each object's own partners (before unrelated sources come in)."""
    table = getattr(seen, wise)

    def partner(rows: pd.DataFrame) -> NDArray[np.bool_]:
        near = np.hypot(rows["east_arcsec"], rows["north_arcsec"]) < 1.0
        return (rows["seen"] & near).to_numpy(dtype=bool)

    return catalogues.partner_cuts(
        catalogues.wise_magnitudes(table, partner(table)),
        catalogues.vhs_magnitudes(seen.vhs, partner(seen.vhs)),
    )


def _choose(
    rng: np.random.Generator, pool: Population, seen: catalogues.Measured, n_selected: int
) -> Rows:
    """Rows of the pool that the sky keeps, in random order."""
    scale = n_selected / 12_000
    selected = np.all(list(catalogues.des_cut(seen.des).values()), axis=0)
    first = {wise: catalogues.removed_by(_cuts(seen, wise)) for wise in ("allwise", "unwise")}
    both = (first["allwise"] == "") & (first["unwise"] == "")
    either = (first["allwise"] == "") | (first["unwise"] == "")
    late = np.isin(first["allwise"], _LATE_CUTS) | np.isin(first["unwise"], _LATE_CUTS)
    kind = pool.objects["kind"].to_numpy(dtype=str)
    quasar = np.isin(kind, list(_QUASARS))
    images = pool.objects["n_images"].to_numpy(dtype=int)
    kept: list[Rows] = []
    for name, (n_survive, n_late, n_never, _) in _QUASARS.items():
        mine = kind == name
        wanted = max(round(n_survive * scale), 2)
        groups: list[tuple[NDArray[np.bool_], int]] = [
            (mine & selected & ~either, max(round(n_late * scale), 1)),
            (mine & ~selected & either, max(round(n_never * scale), 1)),
        ]
        # Of those that the cuts remove, small skies may have fewer than asked for.
        groups = [(group, min(number, int(group.sum()))) for group, number in groups]
        if name == "lensed quasar":
            quad = mine & selected & both & (images == 4)
            quads = min(max(round(_QUADS * scale), 1), int(quad.sum()))
            groups.append((quad, quads))
            groups.append((mine & selected & both & (images == 2), wanted - quads))
        else:
            groups.append((mine & selected & both, wanted))
        for group, number in groups:
            rows = np.flatnonzero(group)
            if len(rows) < number:
                raise DataError(
                    f"{len(rows)} of {number} wanted objects were drawn",
                    where=f"{name} of the synthetic sky",
                    next_step="take another seed",
                )
            kept.append(rng.choice(rows, number, replace=False))
    crowd = ~quasar & selected
    passed = np.flatnonzero(crowd & (either | late))
    # Chance makes some skies richer than wanted; all that got past W1 - W2 shrink alike.
    natural = int((crowd & (first["allwise"] == "")).sum())
    share = min(1.0, _SURVIVOR_SHARE * n_selected / max(natural, 1))
    passed = rng.choice(passed, round(share * len(passed)), replace=False)
    others = np.flatnonzero(crowd & ~(either | late))
    room = max(n_selected - len(passed) - sum(len(k) for k in kept), 0)
    kept += [passed, rng.choice(others, min(room, len(others)), replace=False)]
    kept.append(_choose_rejected(rng, seen, ~quasar & ~selected, int(_REJECTED_SHARE * n_selected)))
    rows = np.concatenate(kept)
    return rng.permutation(rows)


def _choose_rejected(
    rng: np.random.Generator,
    seen: catalogues.Measured,
    rejected: NDArray[np.bool_],
    number: int,
) -> Rows:
    """Rows that the DES cut removes; first such as fail one condition alone, of each a part."""
    conditions = catalogues.des_cut(seen.des)
    fails = ~np.array(list(conditions.values()))
    alone = fails.sum(axis=0) == 1
    kept: list[Rows] = []
    for mine in fails:
        rows = np.flatnonzero(rejected & alone & mine)
        kept.append(rng.choice(rows, min(len(rows), number // 10), replace=False))
    rest = np.setdiff1d(np.flatnonzero(rejected), np.concatenate(kept))
    room = min(max(number - sum(len(k) for k in kept), 0), len(rest))
    kept.append(rng.choice(rest, room, replace=False))
    return np.concatenate(kept)


# --- tables --------------------------------------------------------------------------------


def _assemble(
    rng: np.random.Generator, seed: int, chosen: Population, seen: catalogues.Measured
) -> Sky:
    n = len(chosen)
    ids = np.sort(870_000_000 + rng.choice(830_000_000, n, replace=False)).astype(np.int64)
    allwise = _partner_table(rng, seen, seen.allwise)
    unwise = _partner_table(rng, seen, seen.unwise)
    vhs = _partner_table(rng, seen, seen.vhs)
    allwise.insert(0, "AllWISE", _unique_names(allwise))
    unwise.insert(0, "objID", _unwise_ids(rng, unwise))
    vhs.insert(0, "SrcID", 472_400_000_000 + rng.choice(10**8, len(vhs), replace=False))
    allwise = allwise.sort_values("AllWISE", ignore_index=True)
    unwise = unwise.sort_values("objID", ignore_index=True)
    vhs = vhs.sort_values("SrcID", ignore_index=True)
    des = _des_table(ids, seen)
    truth = _truth(rng, ids, chosen, seen, des, {"allwise": allwise, "unwise": unwise}, vhs)
    milliquas = _milliquas(rng, truth)
    return Sky(
        seed=seed,
        truth=truth,
        components=_components(ids, chosen, seen),
        artefacts=_artefacts(rng, ids, chosen, seen),
        des=des,
        allwise=allwise,
        unwise=unwise,
        vhs=vhs,
        milliquas=milliquas,
    )


def _des_table(ids: Rows, seen: catalogues.Measured) -> pd.DataFrame:
    table = seen.des.copy()
    table.insert(0, "coadd_object_id", ids)
    table.insert(1, "ra", seen.ra_deg.round(6) % 360.0)
    table.insert(2, "dec", seen.dec_deg.round(6))
    names = catalogues.tile_names(table["ra"].to_numpy(), table["dec"].to_numpy())
    table.insert(3, "tilename", names)
    table["ebv_sfd98"] = table["ebv_sfd98"].round(6)
    table["hpix_32"] = _hpix(table["ra"].to_numpy(), table["dec"].to_numpy())
    return table


def _hpix(ra_deg: Floats, dec_deg: Floats) -> Rows:
    return np.asarray(_GRID.lonlat_to_healpix(ra_deg * u.deg, dec_deg * u.deg), dtype=np.int64)


def _partner_table(
    rng: np.random.Generator, seen: catalogues.Measured, rows: pd.DataFrame
) -> pd.DataFrame:
    """A partner catalogue: the objects that it saw, second partners, and unrelated sources."""
    mine = np.flatnonzero(rows["seen"].to_numpy(dtype=bool))
    east, north = rows["east_arcsec"].to_numpy(), rows["north_arcsec"].to_numpy()
    own = catalogues.moved(seen.ra_deg[mine], seen.dec_deg[mine], east[mine], north[mine])
    # Second partners: farther away than the first, some still within the radius.
    second = mine[rng.random(len(mine)) < 0.06]
    first_distance = np.hypot(east[second], north[second])
    distance = np.maximum(0.6, first_distance + 0.2) + rng.exponential(2.0, len(second))
    angle = rng.uniform(0, 2 * np.pi, len(second))
    near = catalogues.moved(
        seen.ra_deg[second],
        seen.dec_deg[second],
        distance * np.cos(angle),
        distance * np.sin(angle),
    )
    # Unrelated sources: where they are nothing else is within 6 arcsec.
    far = _anywhere(rng, len(mine) // 2)
    clear = catalogues.nearest(*far, seen.ra_deg, seen.dec_deg, radius_arcsec=6.0) < 0
    far = far[0][clear], far[1][clear]
    pieces = []
    for source, place in (
        (mine, own),
        (rng.choice(mine, len(second)), near),
        (rng.choice(mine, len(far[0])), far),
    ):
        values = rows.iloc[source].drop(columns=["seen", "east_arcsec", "north_arcsec"])
        values = values.reset_index(drop=True)
        values.insert(0, "RAJ2000", place[0].round(7) % 360.0)
        values.insert(1, "DEJ2000", place[1].round(7))
        pieces.append(values)
    return pd.concat(pieces, ignore_index=True)


def _unique_names(table: pd.DataFrame) -> list[str]:
    names = catalogues.designations(table["RAJ2000"].to_numpy(), table["DEJ2000"].to_numpy())
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        unique.append(name if count == 0 else f"{name}{chr(96 + count)}")
    return unique


def _unwise_ids(rng: np.random.Generator, table: pd.DataFrame) -> list[str]:
    """Ids in the style of unWISE: its tile (RA in 0.1 deg, sign, dec), and a running number."""
    ra = np.floor(table["RAJ2000"].to_numpy() * 10).astype(int)
    dec = np.floor(np.abs(table["DEJ2000"].to_numpy()) * 10).astype(int)
    number = rng.permutation(len(table))
    return [f"{r:04d}m{d:03d}o{k:07d}" for r, d, k in zip(ra, dec, number, strict=True)]


def _truth(
    rng: np.random.Generator,
    ids: Rows,
    chosen: Population,
    seen: catalogues.Measured,
    des: pd.DataFrame,
    wise: dict[str, pd.DataFrame],
    vhs: pd.DataFrame,
) -> pd.DataFrame:
    kind = chosen.objects["kind"].to_numpy(dtype=str)
    table = pd.DataFrame(
        {
            "id": ids,
            "ra_deg": des["ra"],
            "dec_deg": des["dec"],
            "hpix_32": des["hpix_32"],
            "kind": kind,
            "is_quasar": np.isin(kind, list(_QUASARS)),
            "is_lensed": kind == "lensed quasar",
            "known": False,
        }
    )
    properties = (
        "redshift",
        "lens_redshift",
        "n_images",
        "image_separation_arcsec",
        "magnification",
        "spectral_type",
        "extinction_ebv_mag",
        "absolute_mag_1450",
    )
    for name in properties:
        table[name] = chosen.objects[name].to_numpy()
    table["ebv_sfd98"] = des["ebv_sfd98"]
    for k, band in enumerate(BANDS):
        table[f"flux_ujy_{band}"] = seen.flux_total_ujy[:, k]
    conditions = catalogues.des_cut(des)
    first = catalogues.removed_by(conditions)
    table["selected"] = first == ""
    cut = {name: _first_cut(des, rows, vhs) for name, rows in wise.items()}
    for name in ("allwise", "unwise"):
        table[f"survives_{name}"] = table["selected"] & (cut[name] == "")
    table["removed_by"] = np.where(first != "", np.char.add("DES: ", first), cut["allwise"])
    # Half of the ordinary quasars that both searches keep are known; so are half of the rest.
    ordinary = table["is_quasar"] & ~table["is_lensed"]
    survive = table["survives_allwise"] & table["survives_unwise"]
    for group, of_all in ((ordinary & survive, ordinary & survive), (ordinary & ~survive,) * 2):
        candidates = np.flatnonzero(group & (table["kind"] == "quasar"))
        number = min(int(of_all.sum()) // 2, len(candidates))
        table.loc[rng.choice(candidates, number, replace=False), "known"] = True
    return table


def _first_cut(des: pd.DataFrame, wise: pd.DataFrame, vhs: pd.DataFrame) -> NDArray[np.str_]:
    """Name of the first later cut that removes each object, by real matches of the tables."""
    ra, dec = des["ra"].to_numpy(), des["dec"].to_numpy()

    def matched(table: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
        row = catalogues.nearest(ra, dec, table["RAJ2000"].to_numpy(), table["DEJ2000"].to_numpy())
        return table.iloc[np.maximum(row, 0)].reset_index(drop=True), row >= 0

    return catalogues.removed_by(
        catalogues.partner_cuts(
            catalogues.wise_magnitudes(*matched(wise)), catalogues.vhs_magnitudes(*matched(vhs))
        )
    )


def _components(ids: Rows, chosen: Population, seen: catalogues.Measured) -> pd.DataFrame:
    parts = chosen.parts
    owner = parts["object"].to_numpy()
    # Offsets count from the object's origin, the DES position is the detection's centre.
    ra, dec = catalogues.moved(
        seen.ra_deg[owner],
        seen.dec_deg[owner],
        parts["east_arcsec"].to_numpy() - seen.origin_east_arcsec[owner],
        parts["north_arcsec"].to_numpy() - seen.origin_north_arcsec[owner],
    )
    table = pd.DataFrame(
        {
            "object_id": ids[owner],
            "component": parts.groupby("object").cumcount().to_numpy(),
            "role": parts["role"].to_numpy(),
            "ra_deg": ra,
            "dec_deg": dec,
        }
    )
    for k, band in enumerate(BANDS):
        table[f"flux_ujy_{band}"] = seen.part_flux_ujy[:, k]
    for name in ("profile", "r_eff_arcsec", "sersic_n", "axis_ratio", "position_angle_deg"):
        table[name] = parts[name].to_numpy()
    return table


#: Length of the DES aperture [pixel], over which a line's light is spread.
_APERTURE_PX = 1.95 / 0.263


def _artefacts(
    rng: np.random.Generator, ids: Rows, chosen: Population, seen: catalogues.Measured
) -> pd.DataFrame:
    kind = chosen.objects["kind"].to_numpy(dtype=str)
    rows = np.flatnonzero(np.char.startswith(kind, "artefact"))
    names = np.array([k.removeprefix("artefact ") for k in kind[rows]])
    n = len(rows)
    saturated = names == "saturated"
    width = np.where(names == "trail", rng.uniform(2.0, 5.0, n), 1.0)
    level = chosen.objects["artefact_level_ujy"].to_numpy(dtype=float)[rows]
    level = np.where(saturated, level, 0.7 * level / (_APERTURE_PX * width))
    return pd.DataFrame(
        {
            "object_id": ids[rows],
            "ra_deg": seen.ra_deg[rows],
            "dec_deg": seen.dec_deg[rows],
            "kind": names,
            "bands": chosen.objects["artefact_bands"].to_numpy(dtype=str)[rows],
            "angle_deg": np.where(names == "trail", rng.uniform(0, 180, n), 0.0),
            "level_ujy": level,
            "width_px": width,
            "offset_px": np.where(saturated, 0.0, rng.normal(0, 0.8, n)),
        }
    )


def _milliquas(rng: np.random.Generator, truth: pd.DataFrame) -> pd.DataFrame:
    """The known quasars, ones elsewhere on the sky, and ones nearer to us within the tiles."""
    known = truth[truth["known"]]
    n_known = len(known)
    position = catalogues.moved(
        known["ra_deg"].to_numpy(),
        known["dec_deg"].to_numpy(),
        rng.normal(0, 0.15, n_known),
        rng.normal(0, 0.15, n_known),
    )
    redshift = known["redshift"].to_numpy() + rng.normal(0, 0.01, n_known)
    n_sky, n_near, n_high = 400, 300, 6
    sky_ra = rng.uniform(0, 360, n_sky)
    sky_dec = np.rad2deg(np.arcsin(rng.uniform(-1, 1, n_sky)))
    sky_z = np.where(rng.random(n_sky) < 0.3, rng.uniform(5.0, 7.2, n_sky), 0.0)
    sky_z = np.where(sky_z > 0, sky_z, rng.gamma(3.0, 0.55, n_sky))
    near_ra, near_dec = _anywhere(rng, n_near)
    near_z = np.clip(rng.gamma(3.0, 0.55, n_near), 0.05, 5.2)
    # Known ones too faint for this search.
    high_ra, high_dec = _anywhere(rng, n_high)
    table = pd.DataFrame(
        {
            "RAJ2000": np.concatenate([position[0], sky_ra, near_ra, high_ra]).round(6) % 360.0,
            "DEJ2000": np.concatenate([position[1], sky_dec, near_dec, high_dec]).round(6),
            "z": np.concatenate([redshift, sky_z, near_z, rng.uniform(5.6, 6.6, n_high)]).round(3),
        }
    )
    names = catalogues.designations(
        table["RAJ2000"].to_numpy(), table["DEJ2000"].to_numpy(), prefix="DEMO J"
    )
    table.insert(2, "Name", names)
    return table.sort_values("Name", ignore_index=True)


#: Columns of `truth_table`, in order.
_TRUTH_COLUMNS: Sequence[str] = (
    "id",
    "ra_deg",
    "dec_deg",
    "kind",
    "is_quasar",
    "is_lensed",
    "known",
    "redshift",
    "lens_redshift",
    "n_images",
    "image_separation_arcsec",
    "magnification",
    "spectral_type",
    "selected",
    "survives_allwise",
    "survives_unwise",
    "removed_by",
    "hpix_32",
    "extinction_ebv_mag",
    "absolute_mag_1450",
    "ebv_sfd98",
    *(f"flux_ujy_{band}" for band in BANDS),
)


def truth_table(sky: Sky) -> pd.DataFrame:
    """Return what is true of each catalogued object, sorted by ``id``: one row per object.

    Columns: id, ra_deg, dec_deg, kind, is_quasar, is_lensed, known, redshift, lens_redshift,
    n_images, image_separation_arcsec, magnification, spectral_type, selected,
    survives_allwise, survives_unwise, removed_by, then the rest of `Sky.truth`.
    """
    return sky.truth[list(_TRUTH_COLUMNS)].sort_values("id", ignore_index=True)
