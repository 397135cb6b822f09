"""Some channels silent."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.augment.base import Augmentation
from bench.data.batches import Batch
from bench.spec import UserError


class ChannelDrop(Augmentation):
    """Each channel of each example becomes 0 with probability ``p``, but never all of an example's.

    Where all would, one of them at random stays. One channel alone is refused: nothing could be dropped.
    """

    def __init__(self, p: float = 0.1) -> None:
        self.within(0, 1, p=p)
        self.p = p

    def refuse(self, x: Tensor) -> None:
        if x.shape[1] == 1:
            raise UserError(
                "augment=channel_drop would do nothing: the model's input has one channel; choose specaugment or "
                "features with several channels"
            )

    def apply(self, batch: Batch, progress: float) -> Batch:
        x = batch.x
        drawn = torch.rand(x.shape[:2])
        kept = (drawn >= self.p) | (drawn == drawn.amax(1, keepdim=True))
        kept = kept.to(x.device, non_blocking=True).view(*x.shape[:2], *[1] * (x.ndim - 2))
        return batch.with_x(torch.where(kept, x, 0.0))
