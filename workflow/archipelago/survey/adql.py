"""Queries from files, with numbers put in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from archipelago.base.errors import InputError
from archipelago.base.placeholders import (
    BOX_PLACEHOLDERS,
    INDEX_PLACEHOLDERS,
    PLACEHOLDER,
    query_text,
    wrong_placeholders,
)
from archipelago.tiles import Tile

#: Finest piece of a tile that is asked for by a box on the sky: 51 arcsec wide.
FINEST_BOX_ORDER = 12


@dataclass(frozen=True)
class TileQuery:
    """A query for a tile of the sky, or for a piece of one.

    Parameters
    ----------
    text : ADQL with the placeholders of one kind.
    index_order : HEALPix order of the table's index that the query names; None: it asks for
        a box on the sky, in which other tiles' rows lie too.
    """

    text: str
    index_order: int | None

    @classmethod
    def read(cls, path: str | Path, index_order: int) -> TileQuery:
        """Read the query of a survey.

        Parameters
        ----------
        path : file with all of {hpix_min} {hpix_max}, or of {ra_min} {ra_max} {dec_min}
            {dec_max}.
        index_order : HEALPix order of the index where the query names one.

        Raises
        ------
        InputError
            If the file cannot be read or holds no query, or has not the placeholders of
            exactly one kind.
        """
        text, kind = _read(path, INDEX_PLACEHOLDERS, BOX_PLACEHOLDERS)
        return cls(text, index_order if kind == INDEX_PLACEHOLDERS else None)

    @property
    def by_index(self) -> bool:
        """Whether the table's index says what lies in a tile."""
        return self.index_order is not None

    @property
    def finest_order(self) -> int:
        """HEALPix order of the smallest pieces that can be asked for."""
        return FINEST_BOX_ORDER if self.index_order is None else self.index_order

    def of(self, piece: Tile) -> list[str]:
        """Return what is to be asked, one after the other, for all of ``piece``."""
        if self.index_order is None:
            return [_fill(self.text, asdict(box)) for box in piece.boxes]
        first, last = piece.index_range(self.index_order)
        return [_fill(self.text, dict(zip(INDEX_PLACEHOLDERS, (first, last), strict=True)))]


def load_query(path: str | Path, **numbers: float) -> str:
    """Read an ADQL query and put ``numbers`` in for its placeholders ``{name}``.

    Lines that begin with ``--`` are comments and are not sent. Only numbers can
    be put in, so that nothing else of the query can change.

    Raises
    ------
    InputError
        If the file cannot be read, holds no query, names an unknown
        placeholder, or lacks one of ``numbers``: every tile would then ask for
        the same.
    """
    return _fill(_read(path, tuple(numbers))[0], numbers)


def _read(path: str | Path, *kinds: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the query without comments, and that of ``kinds`` whose placeholders it has."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the query: {error}", where=str(path), next_step="check the path"
        ) from error
    query = query_text(text)
    if not query:
        raise InputError("the file holds no query", where=str(path), next_step="write one in ADQL")
    if wrong := wrong_placeholders(query, kinds):
        raise InputError(
            wrong,
            where=str(path),
            next_step="write "
            + ", or ".join(" and ".join(f"{{{name}}}" for name in kind) for kind in kinds)
            + " where the numbers belong",
        )
    found = set(PLACEHOLDER.findall(query))
    return query, next(kind for kind in kinds if set(kind) == found)


def _fill(query: str, numbers: dict[str, float]) -> str:
    return PLACEHOLDER.sub(lambda match: _format(numbers[match[1]]), query)


def _format(number: float) -> str:
    return str(number) if isinstance(number, int) else repr(round(float(number), 9))
