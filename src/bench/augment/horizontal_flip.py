"""Pictures the other way round, sequences backwards."""

from __future__ import annotations

from torch import Tensor

from bench.augment.base import ExampleChange


class HorizontalFlip(ExampleChange):
    """The last axis in the opposite order, for each example with probability ``p``.

    That is an image's columns, or a sequence's time. It swaps no electrodes: for that there is left_right.
    """

    def change(self, x: Tensor) -> Tensor:
        return x.flip(-1)
