"""Pictures smeared along a line."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.augment.base import ExampleChange, uniform
from bench.augment.kernels import filtered
from bench.spec import UserError


class MotionBlur(ExampleChange):
    """Every pixel becomes the mean of a line through it, for each example with probability ``p``.

    The line's direction is any, its length 3, 5, … up to ``size`` pixels, both drawn for every example; pixels that a
    slanted line only grazes count in part. Beyond the edges lies the edge's own value. The default size is
    albumentations', which the SETI write-up took.
    """

    def __init__(self, size: int = 7, p: float = 0.5) -> None:
        if size < 3 or size % 2 == 0:
            raise UserError(f"augment.motion_blur.size={size} must be an odd number of pixels from 3 on; choose 7")
        super().__init__(p)
        self.size = size

    def refuse(self, x: Tensor) -> None:
        self.only_images(x, "gaussian_blur")

    def change(self, x: Tensor) -> Tensor:
        return filtered(x, self._lines(len(x)))

    def _lines(self, n: int) -> Tensor:
        """(n, size, size), each of sum 1."""
        angle = uniform(n, 0, math.pi)[:, None, None]
        reach = torch.randint(1, self.size // 2 + 1, (n, 1, 1))  # pixels to either side
        at = torch.arange(self.size) - self.size // 2
        along = angle.cos() * at + angle.sin() * at[:, None]
        across = angle.cos() * at[:, None] - angle.sin() * at
        line = (1 - across.abs()).clamp_min(0) * (reach + 1 - along.abs()).clamp(0, 1)
        return line / line.sum((1, 2), keepdim=True)
