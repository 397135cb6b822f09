"""Each row mixed with another of its batch."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.data.batches import Batch
from bench.spec import UserError


class Mixup:
    """Every row becomes λ · itself + (1 − λ) · another of the batch, λ of its own from Beta(alpha, alpha).

    λ is folded to at least ½, so that a row stays mostly itself. ``targets="mix"`` mixes targets (and row weights)
    alike; ``"max"``, for two classes of which the second means that something is there, takes the larger of the
    second's shares: a signal mixed with noise is still a signal. ``until`` is the share of training after which rows
    are left alone. A batch of one row mixes with itself. Source: Zhang et al. 2018 (arXiv 1710.09412); max: the best
    SETI solutions.
    """

    mixes: ClassVar[bool] = True

    def __init__(self, alpha: float = 0.4, targets: Literal["mix", "max"] = "mix", until: float = 1.0) -> None:
        if not alpha > 0:
            raise UserError(f"augment.mixup.alpha={alpha:g} must be above 0; leave mixup out for no mixing")
        if targets not in ("mix", "max"):
            raise UserError(f"augment.mixup.targets={targets} is not one of mix, max")
        if not 0 < until <= 1:
            raise UserError(f"augment.mixup.until={until:g} must lie above 0 and up to 1: a share of the training")
        self.alpha, self.targets, self.until = alpha, targets, until

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        if progress >= self.until:
            return x, batch
        n = len(x)
        alpha = torch.full((n,), self.alpha)
        share_b = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()
        share_b = torch.maximum(share_b, 1 - share_b).to(x.device, non_blocking=True)
        other = torch.randperm(n).to(x.device, non_blocking=True)
        mixed = torch.lerp(x[other], x, share_b.view(-1, *[1] * (x.ndim - 1)))
        target, theirs = batch.target, batch.target[other]
        if self.targets == "mix":
            target = target * share_b[:, None] + theirs * (1 - share_b[:, None])
        elif target.shape[1] == 2:
            there_b = torch.maximum(target[:, 1], theirs[:, 1])
            target = torch.stack([1 - there_b, there_b], 1)
        else:
            raise UserError(f"augment.mixup.targets=max is for two classes, and there are {target.shape[1]}; use mix")
        weight = batch.weight
        if weight is not None:
            weight = weight * share_b + weight[other] * (1 - share_b)
        return mixed, replace(batch, target=target, weight=weight)
