"""Pictures the other way round, sequences backwards."""

from __future__ import annotations

from torch import Tensor

from bench.augment.base import changed, within
from bench.data.batches import Batch


class HorizontalFlip:
    """The last axis in the opposite order, for each example with probability ``p``.

    That is an image's columns, or a sequence's time. It swaps no electrodes: for that there is left_right.
    """

    def __init__(self, p: float = 0.5) -> None:
        within("horizontal_flip", 0, 1, p=p)
        self.p = p

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        return changed(x, self.p, lambda x: x.flip(-1)), batch
