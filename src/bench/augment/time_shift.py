"""Earlier or later."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.augment.base import ExampleChange, beside, uniform


class TimeShift(ExampleChange):
    """The last axis (a sequence's time, an image's columns) moved by up to ``share`` of its length either way.

    By how many places is drawn for every example, uniformly, with probability ``p`` that it is moved at all. What
    leaves at one end comes in at the other with ``roll``; else zeros come in.
    """

    def __init__(self, share: float = 0.1, roll: bool = True, p: float = 0.5) -> None:
        self.within(0, 1, share=share)
        super().__init__(p)
        self.share, self.roll = share, roll

    def change(self, x: Tensor) -> Tensor:
        size = x.shape[-1]
        furthest = int(self.share * size)
        later = uniform(len(x), -furthest - 0.5, furthest + 0.5).round().long().clamp(-furthest, furthest)
        source = torch.arange(size, device=x.device) - beside(x, later)
        moved = x.gather(-1, (source % size).expand_as(x))
        return moved if self.roll else moved.masked_fill((source < 0) | (source >= size), 0.0)
