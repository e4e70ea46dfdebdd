"""Files that are either complete or not there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archipelago.base.errors import ArchipelagoError


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
        yield temporary
        # mkstemp makes files private; results are to be read by colleagues.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArchipelagoError(
                "the disk is full; nothing was left under the final name",
                where=str(path),
                next_step=f"make room on the file system of {path.parent} and run again",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
