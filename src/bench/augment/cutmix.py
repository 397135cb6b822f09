"""A piece of each row replaced by the same piece of another."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.augment.base import Mixing, beside, blended
from bench.data.batches import Batch


class CutMix(Mixing):
    """A rectangle of an image, or a stretch of a sequence, comes from another row of the batch, with probability ``p``.

    Its share of the whole is drawn for every row from Beta(alpha, alpha), its middle lies anywhere, and what reaches
    over the edges is lost. Targets (and row weights) are mixed by the share that was really kept. ``until`` is the
    share of training after which rows are left alone. A batch of one row mixes with itself. Source: Yun et al. 2019
    (arXiv 1905.04899).
    """

    def __init__(self, alpha: float = 1.0, until: float = 1.0, p: float = 0.5) -> None:
        super().__init__(alpha, until)
        self.within(0, 1, p=p)
        self.p = p

    def mix(self, batch: Batch) -> Batch:
        x = batch.x
        n, sides = len(x), x.shape[2:]
        cut_b = self.shares(n)
        cut_b = torch.where(torch.rand(n) < self.p, cut_b, 0.0)
        theirs, theirs_b = torch.ones((), dtype=torch.bool, device=x.device), torch.ones(n)
        for axis, side in enumerate(sides):
            size = (cut_b ** (1 / len(sides)) * side).round()
            start = (torch.rand(n) * side - size / 2).round()
            start, stop = start.clamp_min(0), (start + size).clamp_max(side)
            shape = [1, 1, *(side if axis == a else 1 for a in range(len(sides)))]
            at = torch.arange(side, device=x.device).view(shape)
            theirs = theirs & (at >= beside(x, start)) & (at < beside(x, stop))
            theirs_b = theirs_b * (stop - start) / side
        kept_b = (1 - theirs_b).to(x.device, non_blocking=True)
        other = torch.randperm(n).to(x.device, non_blocking=True)
        weight = None if batch.weight is None else blended(batch.weight, other, kept_b)
        return replace(
            batch, x=torch.where(theirs, x[other], x), target=blended(batch.target, other, kept_b), weight=weight
        )
