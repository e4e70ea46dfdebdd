"""The whole configuration."""

from __future__ import annotations

from archipelago.config.analysis import (
    Candidates,
    Islands,
    Learning,
    Lephare,
    Posteriors,
    PublishedFit,
    Report,
    Sed,
    Truth,
)
from archipelago.config.base import Section, key
from archipelago.config.services import Services
from archipelago.config.survey import (
    Images,
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
    images: Images = key("image cutouts")
    learning: Learning = key("contrastive learning on the cutouts")
    islands: Islands = key("maps of the features, and islands on them")
    sed: Sed = key("spectral energy distributions")
    candidates: Candidates = key("how evidence is combined into one rank")
    posteriors: Posteriors = key("posteriors of the shortlist")
    lephare: Lephare = key("LePHARE on the whole catalogue")
    published_fit: PublishedFit = key("the published search's own fits, of some objects")
    report: Report = key("the report")
    truth: Truth = key("a table of the truth to measure the ranking against")
    services: Services = key("addresses and manners; they change no result")
