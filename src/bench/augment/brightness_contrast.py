"""Brighter or darker, with more or less contrast."""

from __future__ import annotations

import math

from torch import Tensor

from bench.augment.base import ExampleChange, beside, spread, uniform


class BrightnessContrast(ExampleChange):
    """mean + (x − mean) · (1 ± ``contrast``) ± ``brightness`` · std, for each example with probability ``p``.

    Both are drawn uniformly, for every example; mean and std are its own, over all channels and places. In units of
    the standard deviation the same number serves pictures between 0 and 1 and standardised features, and a few
    outliers (which would decide a range) change nothing. Nothing is clipped. The HMS write-up's ±0.1 of a picture
    from 0 to 1 is 0.3 here, as the standard deviation of its pictures is about a third.
    """

    def __init__(self, brightness: float = 0.3, contrast: float = 0.1, p: float = 0.5) -> None:
        self.within(0, math.inf, brightness=brightness)
        self.within(0, 1, contrast=contrast)
        super().__init__(p)
        self.brightness, self.contrast = brightness, contrast

    def change(self, x: Tensor) -> Tensor:
        factor = beside(x, uniform(len(x), 1 - self.contrast, 1 + self.contrast))
        offset = beside(x, uniform(len(x), -self.brightness, self.brightness)) * spread(x)
        mean = x.flatten(1).mean(1).view_as(factor)
        return x * factor + (mean * (1 - factor) + offset)
