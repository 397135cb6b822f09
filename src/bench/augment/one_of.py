"""One of several changes, drawn for every example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bench.augment.base import Augment, within
from bench.data.batches import Batch
from bench.spec import UserError


class OneOf:
    """Each example goes through one of ``parts`` (name → part), each as probable, with probability ``p``.

    It is drawn for every example, so a batch has all of them; a part sees the examples that drew it as a batch of its
    own, and mixup there mixes them with each other. A part's own ``p`` counts besides: leave it at 1.
    """

    def __init__(self, parts: Mapping[str, Augment], p: float = 0.5) -> None:
        within("one_of", 0, 1, p=p)
        if len(parts) < 2:
            raise UserError(f"augment.one_of.parts has {len(parts)} of them; give two or more to choose from")
        for name, part in parts.items():
            if getattr(part, "on_stored", False):
                raise UserError(
                    f"augment.one_of.parts.{name} works on stored examples, before the others could; leave it out "
                    f"there and list it beside: augment=[{name},one_of]"
                )
        self.parts, self.p = dict(parts), p
        self.mixes = any(getattr(part, "mixes", False) for part in parts.values())

    def refuse(self, x: Tensor) -> None:
        """Asks all parts: which of them are drawn must not decide whether a mistake shows."""
        for part in self.parts.values():
            if hasattr(part, "refuse"):
                part.refuse(x)

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        self.refuse(x)
        drawn = torch.where(torch.rand(len(x)) < self.p, torch.randint(len(self.parts), (len(x),)), -1)
        if (drawn < 0).all():
            return x, batch
        out, target, weight = x.clone(), batch.target, batch.weight
        for number, part in enumerate(self.parts.values()):
            rows = (drawn == number).nonzero()[:, 0]
            if len(rows) == 0:
                continue
            rows = rows.to(x.device, non_blocking=True)
            theirs = replace(
                batch, target=batch.target[rows], weight=None if batch.weight is None else batch.weight[rows]
            )
            made, theirs = part(x.index_select(0, rows), theirs, progress)
            out.index_copy_(0, rows, made)
            if getattr(part, "mixes", False):
                target = target.index_copy(0, rows, theirs.target)
                if weight is not None and theirs.weight is not None:
                    weight = weight.index_copy(0, rows, theirs.weight)
        return out, replace(batch, target=target, weight=weight)
