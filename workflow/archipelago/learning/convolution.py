"""A convolution that is quick where little is left of an image, on CPUs in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

#: Pixels of the output up to which the convolution is written as one product of matrices: at
#: 2 x 2 px that is two to two and a half times as fast forward and backward (256 channels to
#: 512, and 64 to 256), at 8 x 8 px it is slower. In float32 nothing is gained.
_MOST_PIXELS = 4


class Convolution(nn.Conv2d):
    """A convolution without padding or stride; the same weights and numbers as `nn.Conv2d`.

    Under autocast to bfloat16 on a CPU a small output is computed as one product of matrices;
    its last digits then differ.

    Parameters
    ----------
    before, after : planes of input and output.
    kernel : side of the kernel [px].
    """

    def __init__(self, before: int, after: int, kernel: int) -> None:
        super().__init__(before, after, kernel)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n, after, y - kernel + 1, x - kernel + 1) of images (n, before, y, x)."""
        kernel = self.kernel_size[0]
        pixels = (images.shape[2] - kernel + 1) * (images.shape[3] - kernel + 1)
        half = (
            images.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") is torch.bfloat16
        )
        if not half or pixels > _MOST_PIXELS or self.bias is None:
            return super().forward(images)
        weight, bias = self.weight.bfloat16(), self.bias.bfloat16()
        return _Unfolded.apply(images.bfloat16(), weight, bias)


class _Unfolded(torch.autograd.Function):
    """The pixels under the kernel side by side, times the weights."""

    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        n, before, height, width = images.shape
        after, _, kernel, _ = weight.shape
        rows, columns = height - kernel + 1, width - kernel + 1
        last = images.permute(0, 2, 3, 1)
        under = images.new_empty(n, rows, columns, kernel, kernel, before)
        for i in range(kernel):
            for j in range(kernel):
                under[:, :, :, i, j] = last[:, i : i + rows, j : j + columns]
        flat = weight.permute(0, 2, 3, 1).reshape(after, -1)
        under = under.view(n * rows * columns, -1)
        ctx.save_for_backward(under, flat)
        ctx.shape = (n, height, width, before, kernel, rows, columns)
        out = torch.addmm(bias, under, flat.T)
        return out.view(n, rows, columns, after).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        under, flat = ctx.saved_tensors
        n, height, width, before, kernel, rows, columns = ctx.shape
        after = len(flat)
        of_output = gradients[0].permute(0, 2, 3, 1).reshape(-1, after)
        of_weight = (of_output.T @ under).view(after, kernel, kernel, before).permute(0, 3, 1, 2)
        of_images = None
        if ctx.needs_input_grad[0]:
            parts = (of_output @ flat).view(n, rows, columns, kernel, kernel, before)
            of_images = parts.new_zeros(n, height, width, before)
            for i in range(kernel):
                for j in range(kernel):
                    of_images[:, i : i + rows, j : j + columns] += parts[:, :, :, i, j]
            of_images = of_images.permute(0, 3, 1, 2)
        return of_images, of_weight, of_output.sum(dim=0)
