"""One of several changes, drawn for every example."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.augment.base import Augmentation
from bench.data.batches import Batch
from bench.spec import UserError


class OneOf(Augmentation):
    """Each example goes through one of ``parts`` (name → part), each as probable, with probability ``p``.

    It is drawn for every example, so a batch has all of them; a part sees the examples that drew it as a batch of its
    own, and mixup there mixes them with each other. A part's own ``p`` counts besides: leave it at 1.
    """

    def __init__(self, parts: Mapping[str, Augmentation], p: float = 0.5) -> None:
        self.within(0, 1, p=p)
        if len(parts) < 2:
            raise UserError(f"augment.one_of.parts has {len(parts)} of them; give two or more to choose from")
        for name, part in parts.items():
            if part.on_stored:
                raise UserError(
                    f"augment.one_of.parts.{name} works on stored examples, before the others could; leave it out "
                    f"there and list it beside: augment=[{name},one_of]"
                )
        self.parts, self.p = dict(parts), p
        self.mixes = any(part.mixes for part in parts.values())

    def refuse(self, x: Tensor) -> None:
        """Checks all parts, drawn or not, so that a mistake always shows."""
        for part in self.parts.values():
            part.refuse(x)

    def apply(self, batch: Batch, progress: float) -> Batch:
        drawn = torch.where(torch.rand(len(batch)) < self.p, torch.randint(len(self.parts), (len(batch),)), -1)
        if (drawn < 0).all():
            return batch
        x, target, weight = batch.x.clone(), batch.target, batch.weight
        for number, part in enumerate(self.parts.values()):
            rows = (drawn == number).nonzero()[:, 0]
            if len(rows) == 0:
                continue
            rows = rows.to(x.device, non_blocking=True)
            augmented = part(batch.rows(rows), progress)
            x.index_copy_(0, rows, augmented.x)
            if part.mixes:
                target = target.index_copy(0, rows, augmented.target)
                if weight is not None and augmented.weight is not None:
                    weight = weight.index_copy(0, rows, augmented.weight)
        return Batch(x, target, weight)
