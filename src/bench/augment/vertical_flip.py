"""Pictures upside down."""

from __future__ import annotations

from torch import Tensor

from bench.augment.base import ExampleChange


class VerticalFlip(ExampleChange):
    """The rows of an image in the opposite order, for each example with probability ``p``.

    In a spectrogram these are the frequencies, in a SETI cadence that stands (``seti_stacked``) time.
    """

    def refuse(self, x: Tensor) -> None:
        self.only_images(x, "horizontal_flip (which reverses time)")

    def change(self, x: Tensor) -> Tensor:
        return x.flip(-2)
