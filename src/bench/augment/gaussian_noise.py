"""Noise on everything."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.augment.base import changed, spread, within
from bench.data.batches import Batch


class GaussianNoise:
    """Normal noise on every value, of ``std`` × the example's own standard deviation, with probability ``p``.

    Measured by the example (over all its channels), the same number serves pictures between 0 and 1, standardised
    features and millivolts; an example that is constant stays so.
    """

    def __init__(self, std: float = 0.1, p: float = 0.5) -> None:
        within("gaussian_noise", 0, math.inf, std=std)
        within("gaussian_noise", 0, 1, p=p)
        self.std, self.p = std, p

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        return changed(x, self.p, lambda x: torch.randn_like(x).mul_(self.std * spread(x)).add_(x)), batch
