"""The settings of the learning stage.

The configuration's schema (`archipelago.config.analysis`) says what each may be;
here is only what the code itself relies on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from archipelago.base.errors import ConfigError, nearest

_SECTION = "learning"


@dataclasses.dataclass(frozen=True)
class LearningSettings:
    """All that shapes the weights and the features, apart from the seed.

    The defaults are those of ``config.yaml``; ``data/presets/paper.yaml`` holds
    those of Byrne et al. (2024, MNRAS, arXiv:2403.17903, Table B2). What each
    means, and its unit, stands in the configuration's schema.
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
    sky_offset_max_sigma: float = 0.3
    blur_fwhm_max_arcsec: float = 0.5
    mask_radius_min_arcsec: float = 2.6
    channels: tuple[int, ...] = (96, 192, 384)
    kernels_px: tuple[int, ...] = (5, 3, 3)
    head: tuple[int, ...] = (128, 128)
    method: str = "nt_xent"
    temperature: float = 0.1
    teacher_momentum: float = 0.99
    queue_size: int = 2048
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
    devices_per_seed: int = 1
    feature_views: int = 8

    def __post_init__(self) -> None:
        """Raise `ConfigError` unless each convolution has its channels and its kernel."""
        if len(self.channels) != len(self.kernels_px):
            raise ConfigError(
                f"{len(self.channels)} channels and {len(self.kernels_px)} kernels: "
                "one each per convolution",
                where=f"{_SECTION}.channels and {_SECTION}.kernels_px",
                next_step="correct the configuration",
            )

    @classmethod
    def from_mapping(cls, section: Mapping[str, Any]) -> LearningSettings:
        """Return the settings that a configuration's section tells.

        Keys that are absent take the default, lists become tuples; ``seeds`` and
        ``model`` are passed over, as they say how often to train, and whether, not how.

        Raises
        ------
        ConfigError
            On an unknown key, with the nearest known one.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        values: dict[str, Any] = {}
        for name, value in section.items():
            if name in ("seeds", "model"):
                continue
            if name not in known:
                raise ConfigError(
                    f"unknown key {_SECTION}.{name}{nearest(name, known)}",
                    next_step="correct it, or remove it",
                )
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values (lists for tuples), as stored in a model's record."""
        return json.loads(json.dumps(dataclasses.asdict(self)))
