"""Each row mixed with another of its batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from bench.augment.base import Mixing, beside, blended
from bench.data.batches import Batch
from bench.spec import UserError


class Mixup(Mixing):
    """Every row becomes λ · itself + (1 − λ) · another of the batch, λ of its own from Beta(alpha, alpha).

    λ is folded to at least ½, so that a row stays mostly itself. ``targets="mix"`` mixes targets (and row weights)
    alike; ``"max"``, for two classes of which the second means that something is there, takes the larger of the
    second's shares: a signal mixed with noise is still a signal. ``until`` is the share of training after which rows
    are left alone. A batch of one row mixes with itself. Source: Zhang et al. 2018 (arXiv 1710.09412); max: the best
    SETI solutions.
    """

    def __init__(self, alpha: float = 0.4, targets: Literal["mix", "max"] = "mix", until: float = 1.0) -> None:
        super().__init__(alpha, until)
        if targets not in ("mix", "max"):
            raise UserError(f"augment.mixup.targets={targets} is not one of mix, max")
        self.targets = targets

    def mix(self, batch: Batch) -> Batch:
        x, target = batch.x, batch.target
        share_b = self.shares(len(x))
        share_b = torch.maximum(share_b, 1 - share_b).to(x.device, non_blocking=True)
        other = torch.randperm(len(x)).to(x.device, non_blocking=True)
        if self.targets == "mix":
            target = blended(target, other, share_b)
        elif target.shape[1] == 2:
            present_b = torch.maximum(target[:, 1], target[other][:, 1])
            target = torch.stack([1 - present_b, present_b], 1)
        else:
            raise UserError(f"augment.mixup.targets=max is for two classes, and there are {target.shape[1]}; use mix")
        weight = None if batch.weight is None else blended(batch.weight, other, share_b)
        return replace(batch, x=torch.lerp(x[other], x, beside(x, share_b)), target=target, weight=weight)
