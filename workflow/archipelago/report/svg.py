"""Drawing in SVG: elements, scales and axes. Colours come from the page's style sheet.

Figures are part of the page, not pictures in it: they follow its light and dark
colours, stay sharp in print, and are the same bytes for the same data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

MINUS = "\N{MINUS SIGN}"


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element; text and attribute values are escaped, `Markup` children are not.

    Trailing underscores of attribute names are dropped and inner ones become
    hyphens (``class_``, ``stroke_width``); numbers are rounded to 0.1, and an
    attribute that is None is left out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{escape(_attribute(value))}"')
    inside = "".join(str(escape(child)) for child in children)
    return Markup(f"<{' '.join(words)}>{inside}</{name}>")  # every part was escaped above


def _attribute(value: object) -> str:
    if isinstance(value, float):
        text = f"{value:.1f}".removesuffix(".0")
        return "0" if text == "-0" else text
    return str(value)


def join(parts: Iterable[Markup]) -> Markup:
    """Concatenate elements."""
    return Markup("").join(parts)


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map from data to the drawing.

    Attributes
    ----------
    low, high : ends in data; ``low`` may be the larger one on a linear scale.
    start, end : the same ends in the drawing [px].
    log : logarithmic; then 0 < ``low`` < ``high``.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of ``value``, which may lie outside."""
        low, high = self._units(self.low), self._units(self.high)
        span = high - low or 1.0
        return self.start + (self._units(value) - low) / span * (self.end - self.start)

    def clipped(self, value: float) -> float:
        """Return the place of ``value``, moved to the nearer end if it lies outside."""
        return self(min(max(value, self.low), self.high))

    def ticks(self, number: int = 5) -> list[float]:
        """Return round values inside the scale: 1, 2, 5 x 10^n, or powers of ten on a long log."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            decades = math.log10(self.high / self.low)
            steps = (1,) if decades > 2.5 else (1, 3) if decades > 1.2 else (1, 2, 5)
            ticks = [step * 10.0**power for power in powers for step in steps]
        else:
            low, high = sorted((self.low, self.high))  # magnitudes grow downwards
            step = nice_step((high - low) / max(number, 1))
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            return [k * step for k in range(first, last + 1)]
        return [
            tick
            for tick in ticks
            if self.low <= tick * (1 + 1e-9) and tick <= self.high * (1 + 1e-9)
        ]

    def _units(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value


def nice_step(step: float) -> float:
    """Return the nearest of 1, 2, 5 x 10^n that is not below ``step``."""
    if not math.isfinite(step) or step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next((f * power for f in (1, 2, 5) if f * power >= step * (1 - 1e-9)), 10 * power)


def number_words(value: float, digits: int = 4) -> str:
    """Write a number briefly, with a true minus sign; an en dash where there is none."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        power = math.floor(math.log10(size))
        text = f"{value / 10**power:.{max(digits - 3, 0)}f}e{power}"
    elif size >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{digits}g}"
        if "e" in text:
            text = f"{value:.0f}"
    return text.replace("-", MINUS)


def x_axis(
    scale: Scale,
    y: float,
    ticks: Sequence[float],
    label: str,
    *,
    words: Callable[[float], str] = number_words,
) -> Markup:
    """Draw ticks, their numbers and a label below the height ``y``."""
    parts = []
    for value in ticks:
        x = scale(value)
        parts.append(tag("line", x1=x, x2=x, y1=y, y2=y + 4, class_="tick"))
        parts.append(tag("text", words(value), x=x, y=y + 17, class_="num mid"))
    middle = (scale.start + scale.end) / 2
    return join([*parts, tag("text", label, x=middle, y=y + 34, class_="lab mid")])


def y_axis(
    scale: Scale,
    x: float,
    ticks: Sequence[float],
    label: str,
    *,
    words: Callable[[float], str] = number_words,
    right: bool = False,
    grid_to: float | None = None,
) -> Markup:
    """Draw ticks, numbers and a turned label beside ``x``; ``grid_to`` draws lines across."""
    side = 1 if right else -1
    parts = []
    for value in ticks:
        y = scale(value)
        if grid_to is not None:
            parts.append(tag("line", x1=x, x2=grid_to, y1=y, y2=y, class_="grid"))
        parts.append(tag("line", x1=x, x2=x + side * 4, y1=y, y2=y, class_="tick"))
        anchor = "num" if right else "num end"
        parts.append(tag("text", words(value), x=x + side * 8, y=y + 4, class_=anchor))
    middle = (scale.start + scale.end) / 2
    turned = f"translate({x + side * 46:.0f} {middle:.0f}) rotate(-90)"
    return join([*parts, tag("text", label, transform=turned, class_="lab mid")])


def figure(width: int, height: int, *parts: Markup, label: str, class_: str = "") -> Markup:
    """Return the whole drawing, with a name for those who cannot see it."""
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=label,
        class_=f"fig {class_}".strip(),
    )
