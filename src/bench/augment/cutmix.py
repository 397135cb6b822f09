"""A piece of each row replaced by the same piece of another."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from bench.augment.base import beside, within
from bench.data.batches import Batch
from bench.spec import UserError


class CutMix:
    """A rectangle of an image, or a stretch of a sequence, comes from another row of the batch, with probability ``p``.

    Its share of the whole is drawn for every row from Beta(alpha, alpha), its middle lies anywhere, and what reaches
    over the edges is lost. Targets (and row weights) are mixed by the share that was really kept. ``until`` is the
    share of training after which rows are left alone. A batch of one row mixes with itself. Source: Yun et al. 2019
    (arXiv 1905.04899).
    """

    mixes: ClassVar[bool] = True

    def __init__(self, alpha: float = 1.0, until: float = 1.0, p: float = 0.5) -> None:
        if not 0 < alpha < math.inf:
            raise UserError(f"augment.cutmix.alpha={alpha:g} must be above 0; leave cutmix out for no mixing")
        if not 0 < until <= 1:
            raise UserError(f"augment.cutmix.until={until:g} must lie above 0 and up to 1: a share of the training")
        within("cutmix", 0, 1, p=p)
        self.alpha, self.until, self.p = alpha, until, p

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        if progress >= self.until:
            return x, batch
        n, sides = len(x), x.shape[2:]
        alpha = torch.full((n,), self.alpha)
        cut_b = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()
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
        mixed = torch.where(theirs, x[other], x)
        target = batch.target * kept_b[:, None] + batch.target[other] * (1 - kept_b[:, None])
        weight = batch.weight
        if weight is not None:
            weight = weight * kept_b + weight[other] * (1 - kept_b)
        return mixed, replace(batch, target=target, weight=weight)
