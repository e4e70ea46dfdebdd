"""The convolution is torch's own: in float32 to the bit, in bfloat16 to its last digits."""

from __future__ import annotations

import pytest
import torch

from archipelago.learning.convolution import Convolution


def both(side: int) -> tuple[Convolution, torch.nn.Conv2d, torch.Tensor]:
    torch.manual_seed(1)
    ours, theirs = Convolution(6, 7, 3), torch.nn.Conv2d(6, 7, 3)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(5, 6, side, side).contiguous(memory_format=torch.channels_last)
    return ours, theirs, images


def gradients(layer: torch.nn.Module, images: torch.Tensor, half: bool) -> list[torch.Tensor]:
    given = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = layer(given)
    out.float().square().sum().backward()
    found = [out.detach(), given.grad, *(p.grad for p in layer.parameters())]
    return [value for value in found if value is not None]


def test_float32_is_that_of_torch_to_the_bit() -> None:
    ours, theirs, images = both(4)
    for one, other in zip(
        gradients(ours, images, False), gradients(theirs, images, False), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("side", [3, 4, 6])
def test_bfloat16_is_that_of_torch(side: int) -> None:
    ours, theirs, images = both(side)
    found, expected = gradients(ours, images, True), gradients(theirs, images, True)
    assert len(found) == 4
    assert found[0].dtype is torch.bfloat16
    for one, other in zip(found, expected, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(one.float(), other.float(), rtol=0.02, atol=0.02 * scale)


def test_initial_weights_are_those_of_torch() -> None:
    torch.manual_seed(3)
    one = Convolution(2, 3, 3)
    torch.manual_seed(3)
    other = torch.nn.Conv2d(2, 3, 3)
    assert torch.equal(one.weight, other.weight)
