"""Brighter or darker, with more or less contrast."""

from __future__ import annotations

import math

from torch import Tensor

from bench.augment.base import beside, changed, spread, uniform, within
from bench.data.batches import Batch


class BrightnessContrast:
    """mean + (x − mean) · (1 ± ``contrast``) ± ``brightness`` · std, for each example with probability ``p``.

    Both are drawn uniformly, for every example; mean and std are its own, over all channels and places. In units of
    the standard deviation the same number serves pictures between 0 and 1 and standardised features, and a few
    outliers (which would decide a range) change nothing. Nothing is clipped. The HMS write-up's ±0.1 of a picture
    from 0 to 1 is 0.3 here, as the standard deviation of its pictures is about a third.
    """

    def __init__(self, brightness: float = 0.3, contrast: float = 0.1, p: float = 0.5) -> None:
        within("brightness_contrast", 0, math.inf, brightness=brightness)
        within("brightness_contrast", 0, 1, contrast=contrast, p=p)
        self.brightness, self.contrast, self.p = brightness, contrast, p

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        return changed(x, self.p, self._drawn), batch

    def _drawn(self, x: Tensor) -> Tensor:
        factor = beside(x, uniform(len(x), 1 - self.contrast, 1 + self.contrast))
        offset = beside(x, uniform(len(x), -self.brightness, self.brightness)) * spread(x)
        mean = x.flatten(1).mean(1).view_as(factor)
        return x * factor + (mean * (1 - factor) + offset)
