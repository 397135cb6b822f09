"""Noise on everything."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.augment.base import ExampleChange, spread


class GaussianNoise(ExampleChange):
    """Normal noise on every value, of ``std`` × the example's own standard deviation, with probability ``p``.

    Measured by the example (over all its channels), the same number serves pictures between 0 and 1, standardised
    features and millivolts; an example that is constant stays so.
    """

    def __init__(self, std: float = 0.1, p: float = 0.5) -> None:
        self.within(0, math.inf, std=std)
        super().__init__(p)
        self.std = std

    def change(self, x: Tensor) -> Tensor:
        return torch.randn_like(x).mul_(self.std * spread(x)).add_(x)
