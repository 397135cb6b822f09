"""Louder or softer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.augment.base import beside, changed, uniform, within
from bench.data.batches import Batch


class Gain:
    """An example times a factor of −``db`` … +``db`` decibels, drawn uniformly in decibels, with probability ``p``.

    6 dB is twice, −6 dB half. All channels are scaled alike. On a logarithmic picture (log-mel) loudness is an offset
    and not a factor: there choose brightness_contrast.
    """

    def __init__(self, db: float = 6.0, p: float = 0.5) -> None:
        within("gain", 0, math.inf, db=db)
        within("gain", 0, 1, p=p)
        self.db, self.p = db, p

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        return changed(x, self.p, self._scaled), batch

    def _scaled(self, x: Tensor) -> Tensor:
        return x * beside(x, torch.pow(10.0, uniform(len(x), -self.db, self.db) / 20))
