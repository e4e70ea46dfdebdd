"""One object of a search, as a user names it: by identifier or by position."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from archipelago.base.errors import ConfigError

#: Identifiers are stored as int64.
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Target:
    """An object asked for.

    Attributes
    ----------
    id : its identifier; None where it is asked for by position.
    ra_deg, dec_deg : its position, ICRS [deg], right ascension from 0 to below 360; NaN where
        it is asked for by identifier.
    """

    id: int | None
    ra_deg: float = math.nan
    dec_deg: float = math.nan

    @property
    def name(self) -> str:
        """Name for a folder: the identifier, or the position, such as ``10.500000-3.250000``."""
        if self.id is not None:
            return str(self.id)
        return f"{self.ra_deg:.6f}{self.dec_deg:+.6f}"


def parse_target(text: str | int) -> Target:
    """Return the object that ``text`` asks for.

    Parameters
    ----------
    text : an identifier, such as ``870947390``, or right ascension (0 to 360) and declination
        [deg] with a comma or a space between, such as ``150.1163,2.2058``.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    given = str(text).strip()
    if re.fullmatch(r"[-+]?\d+", given):
        number = int(given)
        if not _SMALLEST <= number <= _LARGEST:
            raise _malformed(text, "the number has more than 64 bits")
        return Target(number)
    parts = re.split(r"\s*,\s*|\s+", given)
    if len(parts) != 2:
        raise _malformed(text, "neither an identifier nor two numbers")
    try:
        ra_deg, dec_deg = (float(part) for part in parts)
    except ValueError:
        raise _malformed(text, "not numbers in degrees") from None
    if not 0.0 <= ra_deg <= 360.0:
        raise _malformed(text, f"a right ascension of {ra_deg:g} deg is not within 0 and 360")
    if not -90.0 <= dec_deg <= 90.0:
        raise _malformed(text, f"a declination of {dec_deg:g} deg is not within -90 and 90")
    return Target(None, ra_deg % 360.0, dec_deg)


def _malformed(text: str | int, why: str) -> ConfigError:
    return ConfigError(
        f"{text!r} names no object: {why}",
        where="target",
        next_step='give an identifier, or right ascension and declination [deg], as "150.1,2.2"',
    )
