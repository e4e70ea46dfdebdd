"""Positions as observers write them: sexagesimal, J2000; names after them; the best month."""

from __future__ import annotations

import math

#: Sidereal time at Greenwich at 0 h UT of 1 January 2000 [h], and its gain per day of mean time [h]
#: (Meeus, Astronomical Algorithms, 2nd ed., ch. 12: 280.46062 deg at noon, 360.98564737 deg a day).
_SIDEREAL_START_H = (280.46061837 - 180.492823685) / 15.0
_SIDEREAL_GAIN_H = 0.98564736629 / 15.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = (31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def sexagesimal_ra(ra_deg: float, places: int = 2, separator: str = ":") -> str:
    """Return a right ascension as hours, minutes, seconds, such as ``01:09:35.12``.

    Rounded once, as a whole: what rounds to 60 seconds is the next minute, and to 24 hours 0.

    Parameters
    ----------
    ra_deg : right ascension [deg]; any finite number, taken modulo 360.
    places : decimals of the seconds.
    separator : between the parts.

    Returns
    -------
    str
        '' where ``ra_deg`` is not finite.
    """
    if not math.isfinite(ra_deg):
        return ""
    unit = 10**places
    count = round(ra_deg % 360.0 * 240.0 * unit) % (86_400 * unit)
    return _parts(count, places, separator)


def sexagesimal_dec(dec_deg: float, places: int = 1, separator: str = ":") -> str:
    """Return a declination as degrees, minutes, seconds with its sign, such as ``-00:09:35.1``.

    Parameters
    ----------
    dec_deg : declination [deg], -90 to 90.
    places, separator, rounding : as of `sexagesimal_ra`.

    Returns
    -------
    str
        '' where ``dec_deg`` is not finite, or no declination.
    """
    if not (math.isfinite(dec_deg) and abs(dec_deg) <= 90.0):
        return ""
    count = round(abs(dec_deg) * 3600.0 * 10**places)
    return ("-" if dec_deg < 0 and count else "+") + _parts(count, places, separator)


def iau_name(ra_deg: float, dec_deg: float) -> str:
    """Return a name from the position, such as ``J010913.89-542405.1``; '' without a position.

    The digits are cut off, not rounded, as the IAU's rules on designations have it.
    """
    if not (math.isfinite(ra_deg) and math.isfinite(dec_deg) and abs(dec_deg) <= 90.0):
        return ""
    # What is a whole number but for the last bit of a float counts as one.
    ra = math.floor(ra_deg % 360.0 * 240.0 * 100 + 1e-5) % 8_640_000
    dec = math.floor(abs(dec_deg) * 3600.0 * 10 + 1e-5)
    sign = "-" if dec_deg < 0 else "+"
    return f"J{_parts(ra, 2, '')}{sign}{_parts(dec, 1, '')}"


def best_month(ra_deg: float) -> str:
    """Return the month in which a position crosses the meridian at midnight, such as ``Oct``.

    By mean local time and the mean year: right to a day or two. '' without a position.
    """
    if not math.isfinite(ra_deg):
        return ""
    # The first of January's midnight has the sidereal time of the start; a day later it is later.
    day = ((ra_deg % 360.0) / 15.0 - _SIDEREAL_START_H) % 24.0 / _SIDEREAL_GAIN_H
    for name, length in zip(_MONTHS, _DAYS, strict=True):
        if day < length:
            return name
        day -= length
    return _MONTHS[0]  # the last hours of the year


def _parts(count: int, places: int, separator: str) -> str:
    """Units of the last decimal as three numbers: whole, minutes, seconds."""
    seconds, fraction = divmod(count, 10**places)
    minutes, seconds = divmod(seconds, 60)
    whole, minutes = divmod(minutes, 60)
    text = f"{whole:02d}{separator}{minutes:02d}{separator}{seconds:02d}"
    return f"{text}.{fraction:0{places}d}" if places else text
