"""What a training minimises: NT-Xent, VICReg, or NT-Xent against a momentum teacher.

All see the same two views of a batch and need no label. Products of the network are
taken in the caller's precision, the losses in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from archipelago.base.errors import ConfigError, InputError, nearest
from archipelago.learning.compat import NTXentLoss, VICRegLoss, update_momentum
from archipelago.learning.network import Network
from archipelago.learning.settings import LearningSettings

#: Weights of the invariance, the variance and the covariance (Bardes, Ponce & LeCun 2022,
#: ICLR, arXiv:2105.04906, section 4.2).
VICREG_WEIGHTS = (25.0, 25.0, 1.0)
#: What ``learning.method`` may be.
METHODS = ("nt_xent", "vicreg", "moco")


@dataclass(frozen=True)
class Outcome:
    """What an objective says of one batch of n images in two views.

    Attributes
    ----------
    loss : scalar, float32, to be minimised.
    features : (2n, d) of the encoder, first all first views, then all second ones.
    one, other : (n, k) float32 projections of the first and of the second views.
    """

    loss: torch.Tensor
    features: torch.Tensor
    one: torch.Tensor
    other: torch.Tensor


class Objective(Protocol):
    """A loss with what it has to remember from batch to batch."""

    def __call__(self, network: Network, views: torch.Tensor) -> Outcome:
        """Return the loss of ``views`` (2n, band, y, x), the two views stacked."""

    def after_step(self, network: Network) -> None:
        """Follow the weights that a step has moved."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that is remembered, for a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned.

        Raises
        ------
        InputError
            If it is the state of another objective.
        """


class ViewLoss:
    """A loss of the two views' projections that remembers nothing.

    Parameters
    ----------
    loss : scalar of two sets of projections (n, k).
    """

    def __init__(self, loss: nn.Module) -> None:
        self._loss = loss

    def __call__(self, network: Network, views: torch.Tensor) -> Outcome:
        """Return the loss of ``views`` (2n, band, y, x), the two views stacked."""
        features, projections = network(views)
        with _full_precision(views):
            one, other = projections.float().chunk(2)
            return Outcome(self._loss(one, other), features, one, other)

    def after_step(self, network: Network) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise `InputError` if ``state`` is another objective's."""
        _check_names(state, set())


class MomentumTeacher:
    """NT-Xent of the network against a slowly moving copy of it and a queue of its keys.

    The two views of an image are brought together, one through the network and one
    through the teacher, and are told from the teacher's projections (keys) of the
    batch's other images and of a queue of earlier ones. The queue is of He et al. (2020,
    CVPR, arXiv:1911.05722); the symmetry in the views and the batch's own keys are of
    Chen, Xie & He (2021, ICCV, arXiv:2104.02057, algorithm 1). A queue begins empty
    and not as random directions: those are so unlike any image that the loss would
    begin near 0, rise as the queue fills, and training would end as one without gain.

    Parameters
    ----------
    network : the teacher begins as its copy, on its device and with its memory layout.
    n_projections : numbers per projection.
    temperature : what cosines are divided by.
    momentum : part of the teacher that stays in each step, from 0 to 1.
    queue_length : most keys in the queue.

    Attributes
    ----------
    teacher : the copy.
    queue : (held, n_projections) directions, the oldest first.
    """

    def __init__(
        self,
        network: Network,
        *,
        n_projections: int,
        temperature: float,
        momentum: float,
        queue_length: int,
    ) -> None:
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.queue = next(network.parameters()).new_zeros(0, n_projections).detach()
        self._temperature = temperature
        self._momentum = momentum
        self._queue_length = queue_length

    def __call__(self, network: Network, views: torch.Tensor) -> Outcome:
        """Return the loss of ``views`` (2n, band, y, x); their keys enter the queue."""
        features, projections = network(views)
        with torch.no_grad():
            _, taught = self.teacher(views)
        with _full_precision(views):
            one, other = projections.float().chunk(2)
            keys = functional.normalize(taught.float(), dim=1)
            first_keys, second_keys = keys.chunk(2)
            loss = 0.5 * (self._told_apart(one, second_keys) + self._told_apart(other, first_keys))
            # Cut from the front: a slice from -0 would keep all.
            queue = torch.cat([self.queue, keys])
            self.queue = queue[max(0, len(queue) - self._queue_length) :].clone()
        return Outcome(loss, features, one, other)

    def _told_apart(self, projections: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Return the cross entropy of finding each one's own key among all and the queue."""
        directions = functional.normalize(projections, dim=1)
        logits = directions @ torch.cat([keys, self.queue]).T / self._temperature
        return functional.cross_entropy(logits, torch.arange(len(keys), device=keys.device))

    def after_step(self, network: Network) -> None:
        """Move the teacher: momentum x its weights + (1 - momentum) x the network's."""
        update_momentum(network, self.teacher, self._momentum)

    def state_dict(self) -> dict[str, Any]:
        """Return the teacher's weights and the queue."""
        return {"teacher": self.teacher.state_dict(), "queue": self.queue}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned.

        Raises
        ------
        InputError
            If it is the state of another objective.
        RuntimeError
            If it is of a network of another shape.
        """
        _check_names(state, {"teacher", "queue"})
        self.teacher.load_state_dict(state["teacher"])
        self.queue = state["queue"].to(self.queue.device)


def make_objective(
    settings: LearningSettings,
    network: Network,
    device: torch.device,
    *,
    n_images: int,
    batch_size: int,
) -> Objective:
    """Return the objective of ``settings.method``.

    Parameters
    ----------
    settings : method, and what belongs to it. VICReg's expander is the head: its widths
        are ``settings.head``.
    network : as it begins, on its device.
    device : where the network is.
    n_images, batch_size : what an epoch has; see `queue_length`.

    Raises
    ------
    ConfigError
        If there is no such method.
    """
    if settings.method == "nt_xent":
        # Of several processes that share a batch, each tells its images from those of all.
        loss = NTXentLoss(temperature=settings.temperature, gather_distributed=True)
        return ViewLoss(loss.to(device))
    if settings.method == "vicreg":
        invariance, variance, covariance = VICREG_WEIGHTS
        loss = VICRegLoss(
            lambda_param=invariance,
            mu_param=variance,
            nu_param=covariance,
            gather_distributed=True,  # of several processes that share a batch
        )
        return ViewLoss(loss.to(device))
    if settings.method == "moco":
        return MomentumTeacher(
            network,
            n_projections=settings.head[-1],
            temperature=settings.temperature,
            momentum=settings.teacher_momentum,
            queue_length=queue_length(settings.queue_size, n_images, batch_size),
        )
    raise ConfigError(
        f"there is no objective {settings.method!r}{nearest(settings.method, METHODS)}",
        where="learning.method",
        next_step=f"use one of {', '.join(METHODS)}",
    )


def queue_length(asked: int, n_images: int, batch_size: int) -> int:
    """Return how many keys a queue may hold so that it rarely has an image's own old key.

    Half the keys of the images outside a batch are a quarter of an epoch. As the order
    is drawn anew each epoch, an image then meets its own key, as one it should be told
    from, in at most 1 of 32 epochs: (1/4)^2 / 2. A set of one batch gets no queue.
    """
    return min(asked, max(0, n_images - batch_size) // 2)


def _full_precision(views: torch.Tensor) -> torch.autocast:
    return torch.autocast(views.device.type, enabled=False)


def _check_names(state: Mapping[str, Any], expected: set[str]) -> None:
    if set(state) != expected:
        raise InputError(
            f"the objective's state has {sorted(state)}, not {sorted(expected)}",
            next_step="train anew: delete the checkpoint",
        )
