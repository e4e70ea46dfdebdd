"""A note that a service has banned us, so that no other job asks it in vain.

Asking a service that has banned its client prolongs the ban. The note lies beside
the cache, which all jobs share, and holds for some hours.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from archipelago.base.errors import ArchipelagoError
from archipelago.base.files import write_text
from archipelago.survey.faults import BannedError

_LOG = logging.getLogger(__name__)

#: How long nobody asks a service after its ban [h]. Services do not say how long
#: theirs lasts; assumed.
BAN_HOURS = 6.0


def note_ban(folder: Path, url: str, words: str, now: Callable[[], float] = time.time) -> None:
    """Write down that the host of ``url`` has banned this client.

    Parameters
    ----------
    folder : folder of the cache.
    url : address that was asked.
    words : what the server said.
    now : seconds since 1970; replaced in tests.
    """
    note = {"banned_at_s": now(), "url": url, "words": words}
    try:
        write_text(ban_path(folder, url), json.dumps(note, indent=1))
    except (OSError, ArchipelagoError) as error:
        _LOG.warning("the ban cannot be written down for other jobs: %s", error)


def refuse_banned(folder: Path, url: str, now: Callable[[], float] = time.time) -> None:
    """Raise `BannedError` if the host of ``url`` has banned this client of late.

    Parameters
    ----------
    folder, url, now : as of `note_ban`.
    """
    path = ban_path(folder, url)
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        since_s, words = float(note["banned_at_s"]), str(note["words"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("the note of a ban, %s, is passed over: %s", path, error)
        return
    until_s = since_s + BAN_HOURS * 3600
    if not since_s <= now() < until_s:
        return
    raise BannedError(
        f"the service has banned this client, which is noted since {_date(since_s)}; "
        f"it is not asked until {_date(until_s)}. It said: {words}",
        url=url,
        reason="banned",
        status=403,
        next_step=f"wait, or delete {path} to try earlier; lower the number of jobs",
    )


def ban_path(folder: Path, url: str) -> Path:
    """Return the file of the note on the host of ``url``."""
    return folder / "banned" / f"{re.sub(r'[^A-Za-z0-9.-]', '_', urlsplit(url).netloc)}.json"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
