"""Pictures upside down."""

from __future__ import annotations

from torch import Tensor

from bench.augment.base import changed, only_images, within
from bench.data.batches import Batch


class VerticalFlip:
    """The rows of an image in the opposite order, for each example with probability ``p``.

    In a spectrogram these are the frequencies, in a SETI cadence that stands (``seti_stacked``) time.
    """

    def __init__(self, p: float = 0.5) -> None:
        within("vertical_flip", 0, 1, p=p)
        self.p = p

    def refuse(self, x: Tensor) -> None:
        only_images("vertical_flip", x, "horizontal_flip (which reverses time)")

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        self.refuse(x)
        return changed(x, self.p, lambda x: x.flip(-2)), batch
