"""Louder or softer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.augment.base import ExampleChange, beside, uniform


class Gain(ExampleChange):
    """An example times a factor of −``db`` … +``db`` decibels, drawn uniformly in decibels, with probability ``p``.

    6 dB is twice, −6 dB half. All channels are scaled alike. On a logarithmic picture (log-mel) loudness is an offset
    and not a factor: there choose brightness_contrast.
    """

    def __init__(self, db: float = 6.0, p: float = 0.5) -> None:
        self.within(0, math.inf, db=db)
        super().__init__(p)
        self.db = db

    def change(self, x: Tensor) -> Tensor:
        return x * beside(x, torch.pow(10.0, uniform(len(x), -self.db, self.db) / 20))
