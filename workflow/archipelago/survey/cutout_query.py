"""What is asked of an image service, and the record of it that the answers carry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from archipelago.base.errors import ConfigError

#: Extension of the image in a survey file; in those of DES, 2 is its mask, 3 its weight.
IMAGE_EXTENSION = 1


@dataclass(frozen=True)
class CutoutQuery:
    """The images that a search wants of every object.

    Parameters
    ----------
    bands : names of the bands, in the order of the stamps.
    size_px : side of a stamp [pixels].
    pixel_scale_arcsec : side of a pixel [arcsec].
    zero_point_ab : zero point of the stamps [AB mag].
    source_zero_point_ab : of images whose header names none [AB mag]; None: that of the stamps.
    bandpass : band: regular expression of its name at the service, where it is not the band's.
    product : regular expression of the wanted files' names; None: neither masks, weights,
        detection images nor images before background subtraction, as their names tell.
    kind : wanted kind of product, where the service tells it; None: any.
    extension : wanted FITS extension, where the address names one; None: any.

    Raises
    ------
    ConfigError
        If a regular expression is none.
    """

    bands: tuple[str, ...]
    size_px: int
    pixel_scale_arcsec: float
    zero_point_ab: float
    source_zero_point_ab: float | None = None
    bandpass: Mapping[str, str] = field(default_factory=dict)
    product: str | None = None
    kind: str | None = "image"
    extension: int | None = IMAGE_EXTENSION

    def __post_init__(self) -> None:
        """Check the regular expressions."""
        object.__setattr__(self, "bands", tuple(self.bands))
        for pattern in (*self.bandpass.values(), *([self.product] if self.product else [])):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"{pattern!r} is no regular expression: {error}",
                    where="images.bandpass or images.product",
                    next_step="correct it; write '.' for any letter and '.*' for any letters",
                ) from error

    def record(self) -> dict[str, Any]:
        """Return what was asked, but for the objects, as plain values by name."""
        return {
            "bands": " ".join(self.bands),
            "size_px": int(self.size_px),
            "pixel_scale_arcsec": float(self.pixel_scale_arcsec),
            "zero_point_ab": float(self.zero_point_ab),
            "source_zero_point_ab": self.source_zero_point_ab,
            "bandpass": dict(sorted(self.bandpass.items())),
            "product": self.product,
            "kind": self.kind,
            "extension": self.extension,
        }
