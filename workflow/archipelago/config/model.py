"""The whole configuration."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from archipelago.base.errors import ConfigError
from archipelago.base.targets import parse_target
from archipelago.config.analysis import (
    Candidates,
    Exports,
    Injections,
    Islands,
    Learning,
    Lensing,
    Lephare,
    Posteriors,
    PublishedFit,
    Recognise,
    Report,
    Sed,
    Similar,
    Truth,
)
from archipelago.config.base import Section, key
from archipelago.config.services import Services
from archipelago.config.survey import (
    Images,
    KnownObjects,
    KnownQuasars,
    OwnCatalogue,
    Partner,
    Photometry,
    Survey,
)


class Config(Section):
    """A search: what `config.yaml` and its overlays say, checked."""

    run: str = key(
        "folder of this search under results/", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
    )
    survey: Survey = key("the catalogue query")
    match: list[Partner] = key("catalogues to cross-match with, in this order")
    photometry: Photometry = key("fluxes, limits and cuts")
    catalogue: OwnCatalogue = key("a catalogue of one's own, in place of query and match")
    known_quasars: KnownQuasars = key("quasars known before the search")
    known_objects: KnownObjects = key(
        "lists of known objects, in which candidates are marked", default_factory=KnownObjects
    )
    images: Images = key("image cutouts")
    learning: Learning = key("contrastive learning on the cutouts")
    islands: Islands = key("maps of the features, and islands on them")
    recognise: Recognise = key("simulated quasars that images are compared with")
    lensing: Lensing = key(
        "shapes that tell lensed quasars from single ones", default_factory=Lensing
    )
    sed: Sed = key("spectral energy distributions")
    candidates: Candidates = key("how evidence is combined into one rank")
    posteriors: Posteriors = key("posteriors of the shortlist")
    lephare: Lephare = key("LePHARE on the whole catalogue")
    published_fit: PublishedFit = key("the published search's own fits, of some objects")
    injections: Injections = key("quasars injected, and which of them are found")
    report: Report = key("the report")
    exports: Exports = key("files of the candidates for other programs", default_factory=Exports)
    truth: Truth = key("a table of the truth to measure the ranking against")
    similar: Similar = key("the objects most like one")
    target: int | str | None = key(
        "object that `snakemake similar` starts from: identifier, or right ascension and "
        "declination [deg] with a comma between; null: none",
        None,
    )
    services: Services = key("addresses and manners; they change no result")

    @field_validator("target", mode="before")
    @classmethod
    def _one_object(cls, target: Any) -> Any:
        if target is not None:
            try:
                parse_target(str(target))
            except ConfigError as error:
                raise ValueError(f"{error.what}; {error.next_step}") from None
        return target
