"""What the device halves of all features have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn


class DeviceHalf(nn.Module):
    """The gathered stored batch (B, *stored shape), of any type, on the device → the model's float32 input.

    ``narrow``: bfloat16 instead, where it can be drawn so. It is set where the model's first layer would round to that
    anyway, so that nothing changes but the memory that is filled.
    """

    narrow: bool = False

    learns: ClassVar[bool] = False
    """Whether ``fit`` is to be called before training; what is learned is saved with the fold."""

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learns from the gathered batches of a fold's training rows alone: middle windows, in order, one pass.

        What it learns must be in its buffers.
        """
        raise TypeError(f"{type(self).__name__} learns nothing from the training rows")
