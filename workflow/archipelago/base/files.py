"""Files that are either complete or not there."""

from __future__ import annotations

import errno
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from archipelago.base.errors import ArchipelagoError, InputError

#: What to do about a file of an earlier stage that cannot be used.
REMAKE = "delete the file and run the rule that makes it again"

#: What readers raise on a file that is absent, cut short, damaged or of another kind.
_UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, KeyError, TypeError),
    *(zipfile.BadZipFile, zlib.error),
)

_Given = TypeVar("_Given")
_Read = TypeVar("_Read")


@contextmanager
def reading(what: str, path: str | Path, *also: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong in reading a file of an earlier stage into one kind of error.

    Parameters
    ----------
    what : what the file holds, such as ``"the cutouts"``.
    path : the file.
    also : further exceptions that this file's reader raises on damage.

    Raises
    ------
    InputError
        If the block raises an error of a file that is absent or damaged.
    """
    try:
        yield
    except (*_UNREADABLE, *also) as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise InputError(
            f"cannot read {what}: {type(error).__name__}: {reason}",
            where=str(path),
            next_step=REMAKE,
        ) from error


def read_optional(given: _Given | None, read: Callable[[_Given], _Read]) -> _Read | None:
    """Return what ``read`` makes of an input that a rule may lack, or None where it does."""
    return read(given) if given else None


@contextmanager
def naming_full_disk(path: str | Path) -> Iterator[None]:
    """Say which file there was no room for.

    Raises
    ------
    ArchipelagoError
        If the disk becomes full in the block; names the file and the folder to make room in.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArchipelagoError(
                "the disk is full; nothing was left under the final name",
                where=str(path),
                next_step=f"make room on the file system of {Path(path).parent} and run again",
            ) from error
        raise


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that takes the final name only on success.

    The temporary file lies in the folder of ``path``, so that the rename stays
    on one file system, and keeps its suffix, as many writers choose the format
    by it. On any exception it is removed and ``path`` is left as it was.

    Raises
    ------
    ArchipelagoError
        If the disk is full; names the file and the folder to make room in.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}-", suffix="".join(path.suffixes) or ".tmp", dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        with naming_full_disk(path):
            yield temporary
            # mkstemp makes files private; results are to be read by colleagues.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
