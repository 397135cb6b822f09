"""Device halves that bring sounds to a common scale: each by its own extremes, or all by the training side's."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bench.features.device.base import DeviceHalf

ALMOST_CONSTANT = 1e-3
"""A row whose values spread less than this (in decibels or their sums) holds nothing, and is left at its scale."""


class MinMax(DeviceHalf):
    """(B, C, T) of any type → float32 in [−0.5, 0.5]: each example by its own extremes.

    (x − min) / (max − min + 1e-6) − 0.5 as in the Freesound write-up, its zeros around short sounds included;
    silence is −0.5 throughout. ``scale`` is what one unit of the input is worth.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.smallest = 1e-6 / scale

    def forward(self, x_bct: Tensor) -> Tensor:
        x = x_bct.float()
        low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
        return x.sub_(low).mul_(1 / (high - low + self.smallest)).sub_(0.5)


class Standardised(DeviceHalf):
    """(B, 1, T) samples → (B, 1, H, W) float32: what ``front`` makes of (B, T), each row H to mean 0 and spread 1.

    ``fit`` learns a mean and a standard deviation a row, over all examples and frames: over frames, too, because
    where a short sound lies in its window is chance. They are buffers, and saved with the fold.
    """

    learns = True
    mean: Tensor
    std: Tensor

    def __init__(self, front: nn.Module, rows: int) -> None:
        super().__init__()
        self.front = front
        self.register_buffer("mean", torch.zeros(rows, 1))
        self.register_buffer("std", torch.ones(rows, 1))

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = ((self.front(x_bct[:, 0]) - self.mean) / self.std).unsqueeze(1)
        return out

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """One pass over gathered batches (B, 1, T); sums in float64."""
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        squares, count = torch.zeros_like(total), 0
        for x_bct in batches:
            rows_bhw = self.front(x_bct[:, 0]).double()
            total += rows_bhw.sum((0, 2))[:, None]
            squares += rows_bhw.square().sum((0, 2))[:, None]
            count += len(rows_bhw) * rows_bhw.shape[2]
        mean = total / count
        std = (squares / count - mean.square()).clamp_(min=0).sqrt_()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > ALMOST_CONSTANT, std, torch.ones_like(std)))
