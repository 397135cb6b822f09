"""Changes to a training batch, on the device, batched: (x, batch, progress) → (x, batch).

x is the model's input, (B, C, T) or (B, C, H, W), after the features' device half; ``progress`` is the share of the
training that is done, 0 to 1. Randomness is torch's own, which every epoch seeds: same seed, same batches. Targets stay
distributions. Validation and test rows never come here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from bench.data.batches import Batch
from bench.spec import UserError

Augment = Callable[[Tensor, Batch, float], tuple[Tensor, Batch]]


class InTurn:
    """The parts one after the other, in the order of the command line."""

    def __init__(self, parts: Iterable[Augment]) -> None:
        self.parts = list(parts)

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        for part in self.parts:
            x, batch = part(x, batch, progress)
        return x, batch


class Mixup:
    """Every row becomes λ · itself + (1 − λ) · another of the batch, λ of its own from Beta(alpha, alpha).

    λ is folded to at least ½, so that a row stays mostly itself. ``targets="mix"`` mixes targets (and row weights)
    alike; ``"max"``, for two classes of which the second means that something is there, takes the larger of the
    second's shares: a signal mixed with noise is still a signal. ``until`` is the share of training after which rows
    are left alone. A batch of one row mixes with itself. Source: Zhang et al. 2018 (arXiv 1710.09412); max: the best
    SETI solutions.
    """

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
        alpha = torch.full((n,), self.alpha, device=x.device)
        share_b = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()
        share_b = torch.maximum(share_b, 1 - share_b)
        other = torch.randperm(n, device=x.device)
        share = share_b.view(-1, *[1] * (x.ndim - 1))
        mixed = x * share + x[other] * (1 - share)
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


class SpecAugment:
    """Bands of an image's rows (frequency) and columns (time) become ``value``; a sequence has columns alone.

    Each of ``rows`` and ``columns`` bands is up to ``row_share`` and ``column_share`` of the side wide, its width and
    place drawn for every example and band. With probability ``p`` an example is changed at all. 0 is the mean of
    standardised features. Source: Park et al. 2019 (arXiv 1904.08779), without its warping of time.
    """

    def __init__(
        self,
        rows: int = 1,
        columns: int = 1,
        row_share: float = 0.1,
        column_share: float = 0.1,
        value: float = 0.0,
        p: float = 1.0,
    ) -> None:
        for key, share in (("row_share", row_share), ("column_share", column_share), ("p", p)):
            if not 0 <= share <= 1:
                raise UserError(f"augment.specaugment.{key}={share:g} must lie between 0 and 1")
        for key, count in (("rows", rows), ("columns", columns)):
            if count < 0:
                raise UserError(f"augment.specaugment.{key}={count} must be 0 or more")
        self.rows, self.columns, self.value, self.p = rows, columns, value, p
        self.row_share, self.column_share = row_share, column_share

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        chosen_b = torch.rand(len(x), device=x.device) < self.p
        hidden = self._bands(len(x), x.shape[-1], self.columns, self.column_share, x.device)
        hidden = (hidden & chosen_b[:, None])[:, None]  # (B, 1, T)
        if x.ndim == 4:
            rows = self._bands(len(x), x.shape[-2], self.rows, self.row_share, x.device) & chosen_b[:, None]
            hidden = hidden[:, :, None] | rows[:, None, :, None]
        return x.masked_fill(hidden, self.value), batch

    @staticmethod
    def _bands(n: int, size: int, count: int, share: float, device: torch.device) -> Tensor:
        """(n, size) bool: True inside any of ``count`` bands an example."""
        widest = math.floor(share * size)
        width_nk = torch.randint(0, widest + 1, (n, count, 1), device=device)
        first_nk = (torch.rand(n, count, 1, device=device) * (size - width_nk + 1)).floor()
        at = torch.arange(size, device=device)
        return ((at >= first_nk) & (at < first_nk + width_nk)).any(1)
