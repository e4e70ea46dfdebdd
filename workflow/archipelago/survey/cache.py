"""Answers of services, kept in a folder beyond a run and shared by many jobs.

Every job appends to files of its own, so that nothing needs a lock, not even on
the file systems of clusters. Below the cache's folder each group of answers has a
folder, with one pack per job that added something: a file of records, one after the
other. A record is a header (`_HEADER`: mark, key of the request, checksum of the
content, time, length, and a checksum of the header itself) and the content. A
content that the group holds already is not written again: the record then says
where to find it by its checksum and has no content of its own.

What a killed job left behind is a record cut short at the end of its pack: it is
passed over. A content that does not match its checksum counts as absent.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import struct
import threading
import time
import uuid
import zlib
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from archipelago.survey.services import CacheSettings

_LOG = logging.getLogger(__name__)

#: Name of a pack ends so.
SUFFIX = ".pack"
#: Least time between two looks at what other jobs have added to a group [s].
REFRESH_S = 5.0
#: Least time between two notes that a pack is in use [s].
TOUCH_S = 3600.0
#: Share of the cache's bound that a job adds between two looks at the bound.
CHECK_SHARE = 0.01

#: Most bytes of a pack; a place is a number of the pack and an offset below this.
LARGEST_PACK = 1 << 40

_CONTENT, _LINK = b"ARC1", b"ARL1"
# Mark, SHA-256 of the key, SHA-256 of the content, seconds since 1970, bytes that
# follow; then the CRC-32 of all that.
_HEADER = struct.Struct(">4s32s32sdQ")
_CRC = struct.Struct(">I")
_HEAD_BYTES = _HEADER.size + _CRC.size
_GROUP = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_MOST_FILES = 64
_RECENT = 256


@dataclass(frozen=True)
class _Record:
    """The head of a record, and where its content begins in its pack."""

    key: bytes
    digest: bytes
    stored_s: float
    length: int
    is_link: bool
    start: int

    @property
    def end(self) -> int:
        """Return where the next record begins."""
        return self.start + (0 if self.is_link else self.length)


class _Places:
    """Where records lie, by the first 8 bytes of a checksum; 16 bytes of memory each."""

    def __init__(self) -> None:
        self._sorted = np.empty((2, 0), dtype=np.uint64)
        self._recent: dict[int, list[int]] = {}
        self._n_recent = 0

    def add(self, digest: bytes, place: int) -> None:
        """Note a place, also if the checksum has others already."""
        self._recent.setdefault(int.from_bytes(digest[:8], "big"), []).append(place)
        self._n_recent += 1
        if self._n_recent >= max(_RECENT, self._sorted.shape[1] // 8):
            self.settle()

    def find(self, digest: bytes) -> list[int]:
        """Return all places noted, in the order in which they were."""
        number = int.from_bytes(digest[:8], "big")
        short = np.uint64(number)
        first = np.searchsorted(self._sorted[0], short, "left")
        end = np.searchsorted(self._sorted[0], short, "right")
        return [int(p) for p in self._sorted[1, first:end]] + self._recent.get(number, [])

    def settle(self) -> None:
        """Put what was noted of late to the rest, where it takes little memory."""
        if not self._n_recent:
            return
        pairs = [(short, place) for short, places in self._recent.items() for place in places]
        both = np.concatenate([self._sorted, np.array(pairs, dtype=np.uint64).T], axis=1)
        self._sorted = both[:, np.argsort(both[0], kind="stable")]
        self._recent.clear()
        self._n_recent = 0


@dataclass
class _Group:
    """What is known of one group's packs."""

    folder: Path
    packs: list[Path] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)  # bytes read of each pack
    keys: _Places = field(default_factory=_Places)
    contents: _Places = field(default_factory=_Places)
    looked_s: float = float("-inf")

    def number(self, path: Path) -> int:
        """Return the number of a pack, a new one if it is new."""
        if path.name not in self.numbers:
            self.numbers[path.name] = len(self.packs)
            self.packs.append(path)
        return self.numbers[path.name]

    def note(self, pack: int, record: _Record) -> None:
        """Remember where a record lies."""
        place = pack * LARGEST_PACK + record.start - _HEAD_BYTES
        self.keys.add(record.key, place)
        if not record.is_link:
            self.contents.add(record.digest, place)


class _OpenFiles:
    """File descriptors that stay open, the longest unused being closed."""

    def __init__(self) -> None:
        self._handles: OrderedDict[tuple[Path, int], int] = OrderedDict()

    def get(self, path: Path, flags: int) -> int:
        """Return a descriptor; raises `OSError`."""
        handle = self._handles.pop((path, flags), None)
        if handle is None:
            handle = os.open(path, flags | os.O_CLOEXEC, 0o666)
            if len(self._handles) >= _MOST_FILES:
                os.close(self._handles.popitem(last=False)[1])
        self._handles[path, flags] = handle
        return handle

    def close(self) -> None:
        """Close all."""
        while self._handles:
            with suppress(OSError):
                os.close(self._handles.popitem()[1])


class Cache:
    """Answers by group and key. Safe with threads, and with any number of jobs at once.

    Parameters
    ----------
    folder : where it lies; made when something is put.
    max_bytes : most that it holds [bytes]. Jobs that write at the same moment can
        exceed it by `CHECK_SHARE` each.
    """

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        self.folder = Path(folder)
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._files = _OpenFiles()
        self._groups: dict[str, _Group] = {}
        self._own: dict[str, Path] = {}
        self._own_bytes = 0
        self._unchecked_bytes: int | None = None
        self._touched_s: dict[Path, float] = {}
        self._bad: set[tuple[Path, int]] = set()
        self._writes = True

    @classmethod
    def from_settings(cls, settings: CacheSettings) -> Cache | None:
        """Build it as the configuration says; None where nothing is to be kept."""
        if settings.folder is None:
            return None
        return cls(Path(settings.folder).expanduser(), int(settings.max_gb * 1e9))

    def get(self, group: str, key: str) -> bytes | None:
        """Return what was put last under a key, or None.

        None also if its checksum does not match, or if it was removed to keep the
        bound. Nothing goes wrong with a cache that cannot be read: it is empty.

        Parameters
        ----------
        group : letters, digits, ``-``, ``_``, ``.``, and ``/`` between parts.
        key : any text.
        """
        digest = hashlib.sha256(key.encode()).digest()
        with self._lock:
            state = self._group(group)
            body = self._newest(state, digest)
            if body is None and self._look(state):
                body = self._newest(state, digest)
        return body

    def put(self, group: str, key: str, body: bytes) -> None:
        """Keep ``body``. What cannot be written is not kept, with one warning.

        Parameters
        ----------
        group, key : as of `get`.
        body : any bytes.
        """
        digest = hashlib.sha256(key.encode()).digest()
        content = hashlib.sha256(body).digest()
        with self._lock:
            state = self._group(group)
            if not self._writes:
                return
            is_link = self._holds(state, content, len(body))
            head = _head(_LINK if is_link else _CONTENT, digest, content, len(body))
            try:
                self._append(group, state, head, b"" if is_link else body)
            except OSError as error:
                self._writes = False
                _LOG.warning(
                    "nothing more is put into the cache %s: %s; the job goes on without",
                    self.folder,
                    error,
                )

    def close(self) -> None:
        """Close all files. The cache can be used again, and then begins new packs."""
        with self._lock:
            self._files.close()
            self._own.clear()
            self._own_bytes = 0

    def _group(self, group: str) -> _Group:
        if group not in self._groups:
            if not _GROUP.fullmatch(group):
                raise ValueError(f"not a name of a group: {group!r}")
            self._groups[group] = _Group(self.folder / group)
            self._look(self._groups[group])
        return self._groups[group]

    def _look(self, state: _Group) -> bool:
        """Read what has been added to a group's packs; tell whether it was time to."""
        now_s = time.monotonic()
        if now_s - state.looked_s < REFRESH_S:
            return False
        state.looked_s = now_s
        try:
            paths = sorted(state.folder.iterdir())
        except OSError:
            return False
        own = set(self._own.values())
        for path in paths:
            if path.suffix == SUFFIX and path not in own:
                with suppress(OSError):
                    self._scan(state, path)
        state.keys.settle()
        state.contents.settle()
        return True

    def _scan(self, state: _Group, path: Path) -> None:
        size = path.stat().st_size
        start = state.seen.get(path.name, 0)
        if size - start < _HEAD_BYTES:
            return
        with path.open("rb") as file:
            while start + _HEAD_BYTES <= size:
                head = os.pread(file.fileno(), _HEAD_BYTES, start)
                record = _read_head(head, start)
                if record is None and any(head):
                    _LOG.warning("the cache's file %s is damaged beyond byte %d", path, start)
                    start = LARGEST_PACK  # never looked at again
                # A record that is not there to its end: its writer was killed, or is at it.
                if record is None or record.end > size:
                    break
                state.note(state.number(path), record)
                start = record.end
        state.seen[path.name] = start

    def _newest(self, state: _Group, digest: bytes) -> bytes | None:
        """Return the content last put under a key, of those that are whole."""
        newest_s, body = float("-inf"), None
        for place in state.keys.find(digest):
            record = self._record(state, place)
            # Of 8 bytes alike the other 24 may differ.
            if record is None or record.key != digest or record.stored_s < newest_s:
                continue
            found = self._content(state, place, record)
            if found is not None:
                newest_s, body = record.stored_s, found
        return body

    def _content(self, state: _Group, place: int, record: _Record) -> bytes | None:
        if not record.is_link:
            return self._read_whole(state, place, record)
        for target in state.contents.find(record.digest):
            found = self._record(state, target)
            if found is not None and found.digest == record.digest:
                body = self._read_whole(state, target, found)
                if body is not None:
                    return body
        return None

    def _record(self, state: _Group, place: int) -> _Record | None:
        path, start = _split(state, place)
        try:
            head = os.pread(self._files.get(path, os.O_RDONLY), _HEAD_BYTES, start)
        except OSError:
            return None  # removed, to keep the bound
        return _read_head(head, start)

    def _read_whole(self, state: _Group, place: int, record: _Record) -> bytes | None:
        path, start = _split(state, place)
        if (path, start) in self._bad:
            return None
        try:
            body = _read(self._files.get(path, os.O_RDONLY), record.length, record.start)
        except OSError as error:
            _LOG.warning("the cache's file %s cannot be read: %s", path, error)
            return None
        if len(body) != record.length or hashlib.sha256(body).digest() != record.digest:
            self._bad.add((path, start))
            _LOG.warning(
                "a record of the cache is damaged, and asked for anew: %s, byte %d", path, start
            )
            return None
        self._touch(path)
        return body

    def _touch(self, path: Path) -> None:
        """Note that a pack is in use: the longest unused go first."""
        now_s = time.monotonic()
        if now_s - self._touched_s.get(path, float("-inf")) >= TOUCH_S:
            self._touched_s[path] = now_s
            with suppress(OSError):  # it may be another user's, or gone
                os.utime(path)

    def _holds(self, state: _Group, content: bytes, length: int) -> bool:
        """Tell whether a group has a content that is not known to be damaged."""
        for place in state.contents.find(content):
            record = self._record(state, place)
            if record is not None and (record.digest, record.length) == (content, length):
                return _split(state, place) not in self._bad
        return False

    def _append(self, group: str, state: _Group, head: bytes, body: bytes) -> None:
        size = len(head) + len(body)
        if self._own_bytes + size > self._max_bytes:
            raise OSError(f"this job alone has filled its {self._max_bytes / 1e9:g} GB")
        self._keep_bound(size)
        path = self._own.get(group)
        if path is None:
            path = state.folder / f"{uuid.uuid4().hex}{SUFFIX}"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._own[group] = path
        number = state.number(path)
        handle = self._files.get(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        start = state.seen.get(path.name, 0)
        try:
            _write(handle, head, body)
        except OSError:
            with suppress(OSError):
                os.ftruncate(handle, start)  # no half record before a later one
            raise
        record = _read_head(head, start)
        if record is not None:
            state.note(number, record)
        state.seen[path.name] = start + size
        self._own_bytes += size

    def _keep_bound(self, coming: int) -> None:
        """Remove the packs of other jobs that are longest unused, beyond the bound."""
        step = int(self._max_bytes * CHECK_SHARE)
        if self._unchecked_bytes is not None and self._unchecked_bytes + coming <= step:
            self._unchecked_bytes += coming
            return
        self._unchecked_bytes = 0
        # What another job has removed is no longer written to.
        self._own = {group: path for group, path in self._own.items() if path.exists()}
        own = set(self._own.values())
        total, others = self._own_bytes + max(coming, step), []
        for path in self.folder.rglob(f"*{SUFFIX}"):
            with suppress(OSError):
                if path not in own:
                    status = path.stat()
                    total += status.st_size
                    others.append((status.st_mtime, status.st_size, path))
        for _, size, path in sorted(others):
            if total <= self._max_bytes:
                break
            with suppress(FileNotFoundError):  # another job was faster
                path.unlink()
                _LOG.info("the cache is full: removed %s", path)
            total -= size


def _head(mark: bytes, key: bytes, content: bytes, length: int) -> bytes:
    head = _HEADER.pack(mark, key, content, time.time(), length)
    return head + _CRC.pack(zlib.crc32(head))


def _read_head(head: bytes, start: int) -> _Record | None:
    """Return the record whose head begins at ``start``, None if that is no head."""
    if len(head) < _HEAD_BYTES or _CRC.unpack(head[_HEADER.size :])[0] != zlib.crc32(
        head[: _HEADER.size]
    ):
        return None
    mark, key, content, stored_s, length = _HEADER.unpack(head[: _HEADER.size])
    if mark not in (_CONTENT, _LINK):
        return None
    return _Record(key, content, stored_s, length, mark == _LINK, start + _HEAD_BYTES)


def _split(state: _Group, place: int) -> tuple[Path, int]:
    return state.packs[place // LARGEST_PACK], place % LARGEST_PACK


def _read(handle: int, length: int, start: int) -> bytes:
    """Read ``length`` bytes, fewer at the end of the file; one call reads 2 GB at most."""
    pieces = []
    while length and (piece := os.pread(handle, min(length, 1 << 30), start)):
        pieces.append(piece)
        start += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write(handle: int, head: bytes, body: bytes) -> None:
    """Append a record; a disk may take a part of it only."""
    written = os.writev(handle, [head, body]) - len(head)
    while written < 0:
        written += os.write(handle, head[written:])
    rest = memoryview(body)
    while written < len(body):
        written += os.write(handle, rest[written:])
