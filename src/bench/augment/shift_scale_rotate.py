"""Pictures moved, made larger or smaller, and turned."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.augment.base import ExampleChange, uniform


class ShiftScaleRotate(ExampleChange):
    """An image moved by up to ``shift`` of its width and height, scaled by 1 ± ``scale``, turned by ± ``degrees``.

    Each example gets numbers of its own, drawn uniformly, with probability ``p``; all its channels are moved alike.
    It turns about its middle, in pixels, so that angles are kept in images that aren't square; values between pixels
    are bilinear, and what comes in over the edges is ``value`` (0: the mean of standardised features). The defaults
    are albumentations', which the SETI write-up took; there the edges were mirrored.
    """

    def __init__(
        self, shift: float = 0.0625, scale: float = 0.1, degrees: float = 45.0, value: float = 0.0, p: float = 0.5
    ) -> None:
        self.within(0, 1, shift=shift)
        self.within(0, 0.9, scale=scale)
        self.within(0, 180, degrees=degrees)
        self.within(-math.inf, math.inf, value=value)
        super().__init__(p)
        self.shift, self.scale, self.degrees, self.value = shift, scale, degrees, value

    def refuse(self, x: Tensor) -> None:
        self.only_images(x, "time_shift")

    def change(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        angle = uniform(n, -self.degrees, self.degrees).deg2rad()
        zoom = uniform(n, 1 - self.scale, 1 + self.scale)
        right, down = uniform(n, -self.shift, self.shift), uniform(n, -self.shift, self.shift)
        # where each pixel comes from, in halves of the sides about the middle: (x, y) → matrix · (x, y, 1)
        cos, sin = angle.cos() / zoom, angle.sin() / zoom
        ratio = height / width
        matrix = torch.stack(
            [
                torch.stack([cos, sin * ratio, -2 * (cos * right + sin * ratio * down)], 1),
                torch.stack([-sin / ratio, cos, -2 * (-sin / ratio * right + cos * down)], 1),
            ],
            1,
        )
        grid = F.affine_grid(matrix.to(x.device, non_blocking=True), list(x.shape), align_corners=False)
        if self.value == 0:
            return F.grid_sample(x, grid, align_corners=False)
        return F.grid_sample(x - self.value, grid, align_corners=False) + self.value
