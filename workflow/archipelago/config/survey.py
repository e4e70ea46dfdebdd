"""Sections on what is searched: catalogues, photometry, images."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from archipelago.config.base import ByName, Identifier, Section, key


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return text


#: A regular expression.
Pattern = Annotated[str, Field(min_length=1), AfterValidator(_is_pattern)]
System = Literal["mag_ab", "mag_vega", "flux_ujy", "flux_nmgy_ab", "flux_nmgy_vega"]


class BandColumns(Section):
    """Where a catalogue keeps one band, and in which system."""

    value: str = key("column of the magnitude or flux")
    error: str = key("column of its 1-sigma error, in the same system")
    system: System = key(
        "how the columns are to be read: AB or Vega magnitudes, microjansky, AB or Vega nanomaggies"
    )
    vega_to_ab_mag: float = key(
        "added to a Vega magnitude to make it AB", 0.0, unit="mag", ge=-5, le=10
    )

    @model_validator(mode="after")
    def _offset_where_vega(self) -> BandColumns:
        if self.system.endswith("vega") and self.vega_to_ab_mag == 0:
            raise ValueError("a Vega system needs vega_to_ab_mag, which is not 0 in any band")
        if not self.system.endswith("vega") and self.vega_to_ab_mag != 0:
            raise ValueError("vega_to_ab_mag is only for mag_vega and flux_nmgy_vega")
        return self


class PositionColumns(Section):
    """Where a catalogue keeps identity and position."""

    id: str = key("column of the object's id")
    ra_deg: str = key("column of the right ascension, ICRS", unit="deg")
    dec_deg: str = key("column of the declination, ICRS", unit="deg")


class SurveyColumns(PositionColumns):
    """Where the survey's catalogue keeps identity, position and reddening."""

    ebv_sfd98: str | None = key(
        "column of the Galactic reddening E(B-V) after SFD98; null if there is none",
        None,
        unit="mag",
    )


class Survey(Section):
    """The catalogue query, one per sky tile."""

    name: str = key("name of the survey, for the report")
    query: str = key(
        "file with the ADQL; where the tile goes {hpix_min} and {hpix_max}, or {ra_min}, "
        "{ra_max}, {dec_min} and {dec_max}"
    )
    healpix_order: int = key(
        "HEALPix order of the NESTED index column that the query compares with {hpix_min} and "
        "{hpix_max}; nside is 2 to its power",
        5,
        ge=0,
        le=29,
    )
    columns: SurveyColumns = key("columns of the query's result")
    bands: ByName[BandColumns] = key("band: its columns in the query's result", min_length=1)
    footprint: str = key("MOC (FITS) or JSON file of polygons: the part of the sky to search")
    tile_order: int = key(
        "HEALPix order of the tiles, one chain of jobs each; 3 is 54 square degrees", ge=0, le=5
    )
    max_rows: int = key(
        "rows asked for in one query; a tile that has more is asked for in pieces",
        ge=1,
        le=50_000_000,
    )

    @model_validator(mode="after")
    def _index_divides_tiles(self) -> Survey:
        if self.healpix_order < self.tile_order:
            raise ValueError("healpix_order must not be below tile_order")
        return self


class Partner(Section):
    """One catalogue to cross-match with."""

    name: Identifier = key("short name, used in the names of columns")
    vizier_id: str = key(
        "table at CDS, such as vizier:II/328/allwise", pattern=r"^(vizier:\S+|simbad)$"
    )
    radius_arcsec: float = key(
        "largest separation; the nearest is taken", unit="arcsec", gt=0, le=180
    )
    columns: PositionColumns = key("its columns of id and position")
    bands: ByName[BandColumns] = key("band: its columns", min_length=1)


class Depth(Section):
    """How deep a survey is in one band: so many sigma at this magnitude or flux."""

    sigma: float = key("significance at the stated depth", unit="sigma", gt=0, le=100)
    mag_ab: float | None = key("depth as a magnitude", None, unit="AB mag", ge=10, le=35)
    flux_ujy: float | None = key("depth as a flux", None, unit="uJy", gt=0)

    @model_validator(mode="after")
    def _one_of_two(self) -> Depth:
        if (self.mag_ab is None) == (self.flux_ujy is None):
            raise ValueError("give either mag_ab or flux_ujy")
        return self


class ColourCut(Section):
    """Keep objects whose colour lies in a range; no colour, not kept."""

    name: str = key("line in the cut flow")
    kind: Literal["colour"]
    bands: list[Identifier] = key("two bands: first minus second", min_length=2, max_length=2)
    system: Literal["vega", "ab"] = key("magnitude system of the limits")
    min: float | None = key("smallest colour kept", None, unit="mag")
    max: float | None = key("largest colour kept", None, unit="mag")

    @model_validator(mode="after")
    def _a_range(self) -> ColourCut:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min must be below max")
        return self


class MagnitudeCut(Section):
    """Keep objects whose AB magnitude lies in a range."""

    name: str = key("line in the cut flow")
    kind: Literal["mag_range"]
    band: Identifier = key("the band")
    min: float | None = key("brightest kept", None, unit="AB mag")
    max: float | None = key("faintest kept", None, unit="AB mag")

    @model_validator(mode="after")
    def _a_range(self) -> MagnitudeCut:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min must be below max")
        return self


class BandCut(Section):
    """Keep objects that have a value, an error, or a detection in a band."""

    name: str = key("line in the cut flow")
    kind: Literal["present", "error_present", "detected"]
    band: Identifier = key("the band")


Cut = Annotated[ColourCut | MagnitudeCut | BandCut, Field(discriminator="kind")]


class Photometry(Section):
    """From raw magnitudes and fluxes to microjansky, limits and cuts."""

    bands: list[Identifier] = key("bands of the search, in the order of wavelength", min_length=1)
    detection_sigma: float = key(
        "below this significance an object counts as not detected in a band",
        unit="sigma",
        gt=0,
        le=10,
    )
    depths: ByName[Depth] = key("band: depth, for the error of what is not detected")
    cuts: list[Cut] = key("applied in this order, a line of the cut flow each")


class KnownColumns(Section):
    """Where a table keeps known quasars."""

    name: str = key("column of the name", "name")
    ra_deg: str = key("column of the right ascension, ICRS", "ra_deg", unit="deg")
    dec_deg: str = key("column of the declination, ICRS", "dec_deg", unit="deg")
    redshift: str = key("column of the redshift; rows without one are passed over", "redshift")


class KnownQuasars(Section):
    """Quasars known before the search: they mark islands, and never enter a verdict."""

    source: Literal["service", "file", "catalogue", "none"] = key(
        "service: ask TAPVizieR; file: a table; catalogue: labels in catalogue.file; none"
    )
    file: str | None = key("table of known quasars, where source is file", None)
    columns: KnownColumns = key("its columns, or those of catalogue.file", KnownColumns())
    query: str = key("file with the ADQL, with {min_redshift}, where source is service")
    min_redshift: float = key("only quasars above this redshift", ge=0, le=15)
    max_rows: int = key("rows asked for; more is an error", ge=1, le=50_000_000)
    match_radius_arcsec: float = key(
        "largest separation from an object of the catalogue", unit="arcsec", gt=0, le=10
    )

    @model_validator(mode="after")
    def _file_where_wanted(self) -> KnownQuasars:
        if self.source == "file" and self.file is None:
            raise ValueError("source is file, but no file is named")
        return self


class KnownObjects(Section):
    """Lists of known objects of any kind: candidates among them are marked, and stay."""

    files: list[Annotated[str, Field(min_length=1)]] = key(
        "CSV, VOTable, ECSV, FITS or Parquet with main_id or name, ra, dec (degrees, or "
        "sexagesimal text) and perhaps otype",
        default_factory=list,
    )
    match_radius_arcsec: float = key(
        "largest distance from a candidate", 2.0, unit="arcsec", gt=0, le=60
    )

    @model_validator(mode="after")
    def _differ(self) -> KnownObjects:
        if len(set(self.files)) != len(self.files):
            raise ValueError("a file may be listed once")
        return self


class OwnCatalogue(Section):
    """A catalogue of one's own, in place of query and match."""

    file: str | None = key(
        "CSV, CSV.gz, FITS, VOTable, ECSV or Parquet; null: query the survey", None
    )
    columns: SurveyColumns | None = key("its columns of id and position", None)
    bands: ByName[BandColumns] = key("band: its columns", default_factory=dict)

    @model_validator(mode="after")
    def _mapped(self) -> OwnCatalogue:
        if self.file is not None and (self.columns is None or not self.bands):
            raise ValueError("a catalogue file needs columns and bands that say what is where")
        return self


class Detection(Section):
    """How sources are found in images of one's own."""

    threshold_sigma: float = key("threshold above the background", 5.0, unit="sigma", gt=0, le=100)
    min_area_px: int = key("fewest connected pixels of a source", 5, unit="px", ge=1, le=10_000)
    aperture_diameter_arcsec: float = key(
        "aperture of the photometry", 1.95, unit="arcsec", gt=0, le=60
    )


#: Keys of `Images` that say what is asked of an image service.
ASKED_OF_SERVICE = (
    *("bands", "size_px", "pixel_scale_arcsec", "zero_point_ab", "source_zero_point_ab"),
    *("bandpass", "product", "kind", "extension"),
)


class Images(Section):
    """Image cutouts."""

    source: Literal["service", "file", "fields", "none"] = key(
        "service: ask the image service; file: cutouts of one's own; fields: images of one's own, "
        "in which objects are detected; none: go without images"
    )
    file: str | None = key(
        "npz with images, ids, bands, pixel_scale_arcsec and zero_point_ab, where source is file",
        None,
    )
    bands: list[Identifier] = key("bands of the cutouts, in the order of the array", min_length=1)
    size_px: int = key("side of a cutout", unit="px", ge=8, le=512)
    pixel_scale_arcsec: float = key("side of a pixel", unit="arcsec", gt=0, le=30)
    zero_point_ab: float = key("AB magnitude of one count", unit="mag", ge=0, le=50)
    source_zero_point_ab: float | None = key(
        "zero point of the service's images whose header names none; null: zero_point_ab",
        None,
        unit="AB mag",
        ge=0,
        le=50,
    )
    bandpass: ByName[Pattern] = key(
        "band: regular expression of its name at the service, where that is not the band's",
        default_factory=dict,
    )
    product: Pattern | None = key(
        "regular expression of the wanted files' names; null: no masks, weights, detection "
        "images or images before background subtraction",
        None,
    )
    kind: str | None = key(
        "wanted kind of product (prodtype), where the service tells it; null: any", "image"
    )
    extension: int | None = key(
        "wanted FITS extension, where an address names one; null: any", 1, ge=0, le=1000
    )
    fields: ByName[str] = key(
        "band: FITS image or cube, where source is fields", default_factory=dict
    )
    detect: Detection = key("how sources are found in fields", default_factory=Detection)

    @model_validator(mode="after")
    def _file_where_wanted(self) -> Images:
        if self.source == "file" and self.file is None:
            raise ValueError("source is file, but no file is named")
        return self

    def asked_of_service(self) -> dict[str, Any]:
        """Return what is asked of an image service, as plain values by key."""
        plain = self.plain()
        return {name: plain[name] for name in ASKED_OF_SERVICE}
