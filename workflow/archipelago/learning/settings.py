"""The settings of the learning stage, checked."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from typing import Any

from archipelago.base.errors import ConfigError

_SECTION = "learning"


@dataclasses.dataclass(frozen=True)
class LearningSettings:
    """All that shapes the weights and the features, apart from the seed.

    The defaults are the project's own; `PAPER` holds those of Byrne et al.
    (2024, MNRAS, arXiv:2403.17903, Table B2). The class attributes `CHOICES`
    and `RANGES` say what each may be.
    """

    normalisation: str = "asinh_noise"
    softening_sigma: float = 10.0
    scale: str = "image"
    sky: str = "border_median"
    aperture_arcsec: float = 2.1
    augmentation: str = "physics"
    crop_px: int = 24
    shift_max_px: float = 2.0
    noise_max_sigma: float = 1.0
    blur_fwhm_max_arcsec: float = 0.5
    channels: tuple[int, ...] = (32, 64, 256)
    kernels_px: tuple[int, ...] = (5, 3, 3)
    head: tuple[int, ...] = (128, 128)
    temperature: float = 0.1
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup_epochs: int = 5
    batch_size: int = 256
    epochs_max: int = 60
    patience: int = 15
    min_delta: float = 0.01
    precision: str = "auto"
    feature_views: int = 8

    CHOICES = {
        "normalisation": ("asinh_noise", "brightest_pixel"),
        "scale": ("image", "set"),
        "sky": ("border_median", "none"),
        "augmentation": ("physics", "paper"),
        "optimiser": ("adamw", "sgd"),
        "schedule": ("cosine", "constant"),
        "precision": ("auto", "float32", "bfloat16"),
        "feature_views": (1, 8),
    }
    #: Smallest and largest allowed value, both included.
    RANGES = {
        "softening_sigma": (0.01, 1e4),
        "aperture_arcsec": (0.0, 100.0),
        "crop_px": (8, 512),
        "shift_max_px": (0.0, 16.0),
        "noise_max_sigma": (0.0, 10.0),
        "blur_fwhm_max_arcsec": (0.0, 5.0),
        "temperature": (1e-3, 10.0),
        "learning_rate": (1e-8, 10.0),
        "momentum": (0.0, 0.9999),
        "weight_decay": (0.0, 1.0),
        "warmup_epochs": (0, 1000),
        "batch_size": (2, 65536),
        "epochs_max": (0, 10000),
        "patience": (1, 10000),
        "min_delta": (0.0, 10.0),
    }

    def __post_init__(self) -> None:
        """Raise `ConfigError` that lists every value that is not allowed."""
        problems = [
            f"{_SECTION}.{name} is {getattr(self, name)!r}, "
            f"allowed: {', '.join(map(repr, allowed))}"
            for name, allowed in self.CHOICES.items()
            if getattr(self, name) not in allowed
        ]
        problems += [
            f"{_SECTION}.{name} is {getattr(self, name)!r}, allowed: {low:g} to {high:g}"
            for name, (low, high) in self.RANGES.items()
            if not low <= getattr(self, name) <= high
        ]
        for name in ("channels", "kernels_px", "head"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                problems.append(
                    f"{_SECTION}.{name} is {list(values)}, allowed: numbers of 1 or more"
                )
        if len(self.channels) != len(self.kernels_px):
            problems.append(
                f"{_SECTION}.channels has {len(self.channels)} entries and {_SECTION}.kernels_px "
                f"{len(self.kernels_px)}: one each per convolution"
            )
        if problems:
            raise ConfigError("; ".join(problems), next_step="correct the configuration")

    @classmethod
    def from_mapping(cls, section: Mapping[str, Any]) -> LearningSettings:
        """Return the settings that a configuration's section tells.

        Keys that are absent take the default; ``seeds`` is passed over, as it
        says how often to train, not how.

        Raises
        ------
        ConfigError
            On an unknown key (with the nearest known one) or a value that is
            not allowed.
        """
        known = {field.name: field.default for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, value in section.items():
            if name == "seeds":
                continue
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ConfigError(
                    f"unknown key {_SECTION}.{name}",
                    next_step=f"did you mean {near[0]}?" if near else "remove it",
                )
            values[name] = _like(known[name], value, f"{_SECTION}.{name}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values (lists for tuples), as stored in a model's record."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def _like(default: Any, value: Any, where: str) -> Any:
    """Return ``value`` as the type of ``default``, or raise `ConfigError`."""
    try:
        if isinstance(default, tuple):
            return tuple(int(item) for item in value)
        if isinstance(value, bool) or (isinstance(default, str) != isinstance(value, str)):
            raise TypeError(f"{type(value).__name__} given")
        if isinstance(default, int) and int(value) != value:
            raise ValueError("not a whole number")
        return type(default)(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where} is {value!r}: {error}",
            next_step=f"give a value like {default!r}",
        ) from error


#: The published choices (arXiv:2403.17903, Table B2). Optimiser, early stop,
#: batch and network to the letter.
PAPER = LearningSettings(
    normalisation="brightest_pixel",
    sky="none",
    aperture_arcsec=0.0,
    augmentation="paper",
    crop_px=24,
    shift_max_px=2.0,
    noise_max_sigma=0.0,
    blur_fwhm_max_arcsec=0.0,
    channels=(128, 256, 512),
    kernels_px=(5, 3, 3),
    head=(256, 128, 128),
    temperature=0.1,
    optimiser="sgd",
    learning_rate=3e-4,
    momentum=1e-5,
    weight_decay=0.0,
    schedule="constant",
    warmup_epochs=0,
    batch_size=128,
    epochs_max=1000,
    patience=5,
    min_delta=0.01,
    feature_views=1,
)
