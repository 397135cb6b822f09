"""What every loss shares: how rows become one number, under the options that work alike with all losses.

- ``class_weights``, one a class: a row's weight is multiplied by the mean of its classes' weights under its target.
  With hard targets that is torch's ``cross_entropy(weight=…)``.
- ``mask_above``: doubtful rows whose loss is above this share of the batch's largest are left out (``masked``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from bench.spec import UserError


def over_rows(
    loss_b: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weights: Sequence[float] | None,
    mask_above: float | None,
) -> Tensor:
    """The scalar of a batch's rows, under the two options of the module's docstring."""
    weight_b = weight
    if class_weights is not None:
        if len(class_weights) != target.shape[-1]:
            raise UserError(
                f"loss.class_weights has {len(class_weights)} entries for {target.shape[-1]} classes; give one number "
                "a class, in the order of the target columns, or null"
            )
        by_class = target @ on_device(tuple(class_weights), target.device, target.dtype)
        weight_b = by_class if weight_b is None else weight_b * by_class
    if mask_above is not None:
        if not 0 < mask_above <= 1:
            raise UserError(
                f"loss.mask_above={mask_above:g} must be above 0 and at most 1, a share of the largest loss; choose "
                "0.8, or null to leave no row out"
            )
        weight_b = masked(loss_b, weight, torch.ones_like(loss_b) if weight_b is None else weight_b, mask_above)
    return weighted_mean(loss_b, weight_b)


def masked(loss_b: Tensor, weight: Tensor | None, weight_b: Tensor, above: float) -> Tensor:
    """``weight_b`` with 0 for doubtful rows whose loss is above ``above`` × the largest that counts.

    Doubtful are rows whose own ``weight`` is below 1 (as of clips that nobody verified); without weights every row
    may be. Where that would leave less than half of the batch's weight nothing is masked: at the start all losses
    are alike, and without the rows near the largest no step would ever be made.

    Source: the best Freesound solutions, 0.8 × the largest.
    """
    loss_b = loss_b.detach()
    largest = loss_b.where(weight_b > 0, 0).max()
    doubtful = torch.ones_like(loss_b, dtype=torch.bool) if weight is None else weight < 1
    kept_b = weight_b.where(~(doubtful & (loss_b > above * largest)), 0)
    return torch.where(2 * kept_b.sum() >= weight_b.sum(), kept_b, weight_b)


def weighted_mean(loss_b: Tensor, weight_b: Tensor | None) -> Tensor:
    """Mean over rows; rows of weight 0 count for nothing, a batch of only such rows is 0."""
    if weight_b is None:
        return loss_b.mean()
    return (loss_b * weight_b).sum() / weight_b.sum().clamp_min(torch.finfo(loss_b.dtype).tiny)


def smoothed(target: Tensor, label_smoothing: float) -> Tensor:
    label_smoothing = smoothing(label_smoothing)
    return target * (1 - label_smoothing) + label_smoothing / target.shape[-1]


def smoothing(value: float) -> float:
    if not 0 <= value < 1:
        raise UserError(f"loss.label_smoothing={value:g} must be 0 or more and below 1; choose 0 to 0.2")
    return value


@lru_cache(maxsize=16)
def on_device(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Class weights, checked and copied once: a copy in every step would make the device wait."""
    if not all(0 <= value < float("inf") for value in values) or not any(values):
        raise UserError(
            f"loss.class_weights={list(values)} must be numbers from 0 on, not all of them 0; give larger ones to "
            "classes that should count more"
        )
    return torch.tensor(values, device=device, dtype=dtype)
