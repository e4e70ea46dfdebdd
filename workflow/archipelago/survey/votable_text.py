"""Small VOTables read as text, twenty times faster than by a reader that knows every type.

A list of images is read for every object of a search, and only some columns of it. What
is not written as plain TABLEDATA is left to `archipelago.survey.votable`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass

from archipelago.survey.faults import BadContentError
from archipelago.survey.votable import Reply, ReplyHead, check_xml, read_reply


@dataclass(frozen=True)
class TextReply(ReplyHead):
    """A VOTable answer whose cells are all text.

    Parameters
    ----------
    rows : an element per row, with an element per cell; empty cells are ''.
    """

    rows: tuple[ElementTree.Element, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        place = self.names.index(name)
        return [(row[place].text or "").strip() for row in self.rows]


def read_list(body: bytes) -> TextReply | Reply:
    """Read a VOTable answer, whatever its status; raises as `read_reply`."""
    check_xml(body)
    try:
        reply = _read(ElementTree.fromstring(body))
    except ElementTree.ParseError:
        reply = None
    return read_reply(body) if reply is None else reply


def _read(root: ElementTree.Element) -> TextReply | None:
    """Return the answer in a document; None where it is not plain."""
    if _tag(root) != "VOTABLE":
        return None
    resources = [one for one in root.iter() if _tag(one) == "RESOURCE"]
    results = [one for one in resources if one.get("type") == "results"] or resources
    # The last status counts: a server may find an overflow only after it sent the rows.
    infos = _children(root, "INFO")
    table = None
    if results:
        infos += _children(results[0], "INFO")
        tables = _children(results[0], "TABLE")
        for one in tables:
            infos += _children(one, "INFO")
        table = tables[0] if tables else None
    status, message = "OK", ""
    for info in infos:
        if (info.get("name") or "").upper() == "QUERY_STATUS":
            status, message = (info.get("value") or "").strip().upper(), (info.text or "").strip()
    if table is None:
        if status == "OK":
            raise BadContentError("no table", "the VOTable says OK but holds no table")
        return TextReply(status, message, (), ())
    fields = _children(table, "FIELD")
    names = tuple(field.get("name") or field.get("ID") or "" for field in fields)
    ucds = tuple(field.get("ucd") or "" for field in fields)
    rows: list[ElementTree.Element] = []
    for data in _children(table, "DATA"):
        kinds = [_tag(one) for one in data]
        if "TABLEDATA" not in kinds:
            return None
        rows += _children(data[kinds.index("TABLEDATA")], "TR")
    if any(len(row) != len(names) for row in rows):
        return None
    return TextReply(status, message, names, ucds, tuple(rows))


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: ElementTree.Element, tag: str) -> list[ElementTree.Element]:
    return list(_iterate(element, tag))


def _iterate(element: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    for child in element:
        if _tag(child) == tag:
            yield child
