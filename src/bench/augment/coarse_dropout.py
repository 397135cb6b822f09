"""Holes in pictures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.augment.base import ExampleChange
from bench.spec import UserError


class CoarseDropout(ExampleChange):
    """``holes`` rectangles of ``height`` × ``width`` pixels become ``value``, for each example with probability ``p``.

    They lie anywhere inside the image, may overlap, and go through all channels. Source: DeVries and Taylor 2017
    (arXiv 1708.04552); the defaults are those of the HMS write-up on pictures of 640 × 1920.
    """

    def __init__(self, holes: int = 5, height: int = 64, width: int = 64, value: float = 0.0, p: float = 0.5) -> None:
        self.within(1, math.inf, holes=holes, height=height, width=width)
        self.within(-math.inf, math.inf, value=value)
        super().__init__(p)
        self.holes, self.height, self.width, self.value = holes, height, width, value

    def refuse(self, x: Tensor) -> None:
        self.only_images(x, "specaugment")
        for key, hole, side in (("height", self.height, x.shape[2]), ("width", self.width, x.shape[3])):
            if hole >= side:
                raise UserError(
                    f"augment.coarse_dropout.{key}={hole} would hide all {side} pixels of the images' {key}; choose "
                    f"a smaller one, as {max(1, side // 8)}"
                )

    def change(self, x: Tensor) -> Tensor:
        rows = self._stretches(x, x.shape[2], self.height)
        columns = self._stretches(x, x.shape[3], self.width)
        hidden = torch.bmm(rows.transpose(1, 2), columns)  # (B, H, W): how many holes lie over a pixel
        return x.masked_fill((hidden > 0)[:, None], self.value)

    def _stretches(self, x: Tensor, side: int, size: int) -> Tensor:
        """(B, holes, side): 1 where a hole lies along that side."""
        first = torch.randint(side - size + 1, (len(x), self.holes, 1)).to(x.device, non_blocking=True)
        at = torch.arange(side, device=x.device)
        return ((at >= first) & (at < first + size)).to(x.dtype)
