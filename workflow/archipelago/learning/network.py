"""The encoder and the head, after Byrne et al. (2024, arXiv:2403.17903)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from archipelago.base.errors import ConfigError
from archipelago.learning.compat import ProjectionHead
from archipelago.learning.convolution import Convolution
from archipelago.learning.settings import LearningSettings


class Encoder(nn.Sequential):
    """Convolutions without padding, each with a 2 x 2 maximum and an ELU.

    The maximum is taken before the ELU, which rises everywhere: the same numbers
    as the other way round, for a quarter of the ELUs.

    Parameters
    ----------
    n_bands : planes of an image.
    crop_px : side of an image.
    channels : planes after each convolution; the published ones are 128, 256, 512.
    kernels_px : side of each convolution's kernel; published 5, 3, 3.

    Attributes
    ----------
    n_features : numbers per image; 512 for the published network on 24 x 24 px.

    Raises
    ------
    ConfigError
        If nothing is left of an image before the last convolution.
    """

    def __init__(
        self, n_bands: int, crop_px: int, channels: Sequence[int], kernels_px: Sequence[int]
    ) -> None:
        layers: list[nn.Module] = []
        side = crop_px
        before = n_bands
        for after, kernel in zip(channels, kernels_px, strict=True):
            side = (side - kernel + 1) // 2
            if side < 1:
                raise ConfigError(
                    f"images of {crop_px} px are too small for kernels of {list(kernels_px)} px",
                    where="learning.kernels_px",
                    next_step="use smaller or fewer kernels, or a larger learning.crop_px",
                )
            layers += [Convolution(before, after, kernel), nn.MaxPool2d(2), nn.ELU()]
            before = after
        super().__init__(*layers, nn.Flatten())
        self.n_features = channels[-1] * side * side


def make_encoder(settings: LearningSettings, n_bands: int) -> Encoder:
    """Return the encoder of the settings, with random weights."""
    return Encoder(n_bands, settings.crop_px, settings.channels, settings.kernels_px)


def make_head(settings: LearningSettings, n_features: int) -> nn.Module:
    """Return the head that the loss looks through: linear layers with ELUs between.

    For ``head = (256, 128, 128)`` on 512 features it is the published one.
    """
    sizes = (n_features, *settings.head)
    last = len(settings.head) - 1
    return ProjectionHead(
        [
            (sizes[i], sizes[i + 1], None, None if i == last else nn.ELU())
            for i in range(len(settings.head))
        ]
    )


class Network(nn.Module):
    """Encoder and head together.

    Parameters
    ----------
    settings : architecture.
    n_bands : planes of an image.
    """

    def __init__(self, settings: LearningSettings, n_bands: int) -> None:
        super().__init__()
        self.encoder = make_encoder(settings, n_bands)
        self.head = make_head(settings, self.encoder.n_features)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (n, n_features) and projections (n, head[-1])."""
        features = self.encoder(images)
        return features, self.head(features)


def make_network(settings: LearningSettings, n_bands: int, seed: int) -> Network:
    """Return a network whose initial weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(settings, n_bands)


def arrange(network: nn.Module, memory_format: torch.memory_format) -> None:
    """Lay out the convolutions' weights in memory; changes no value.

    Channels last is a quarter faster on CPUs and lets GPUs use their matrix units.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
