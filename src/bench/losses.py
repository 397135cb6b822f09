"""Losses: plain functions (logits (B, K), target (B, K) a distribution, weight (B,) or None) → scalar.

Each sums over classes and is a weighted mean over rows, so that a loss does not depend on the batch's size. Two
options work alike with all of them:

- ``class_weights``, one a class: a row's weight is multiplied by the mean of its classes' weights under its target.
  With hard targets that is torch's ``cross_entropy(weight=…)``.
- ``mask_above``: doubtful rows whose loss is above this share of the batch's largest are left out (``masked``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.spec import UserError


def weighted_mean(loss_b: Tensor, weight_b: Tensor | None) -> Tensor:
    """Mean over rows; rows of weight 0 count for nothing, a batch of only such rows is 0."""
    if weight_b is None:
        return loss_b.mean()
    return (loss_b * weight_b).sum() / weight_b.sum().clamp_min(torch.finfo(loss_b.dtype).tiny)


def kl(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: Sequence[float] | None = None,
    mask_above: float | None = None,
) -> Tensor:
    """Kullback-Leibler divergence of the softmax from the target, in nats; terms with target 0 count 0."""
    loss_b = (torch.xlogy(target, target) - target * torch.log_softmax(logits, dim=-1)).sum(-1)
    return over_rows(loss_b, target, weight, class_weights, mask_above)


def ce(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    mask_above: float | None = None,
) -> Tensor:
    """Cross entropy with hard or soft targets; smoothing mixes in the uniform distribution, as torch's does."""
    loss_b = -(smoothed(target, label_smoothing) * torch.log_softmax(logits, dim=-1)).sum(-1)
    return over_rows(loss_b, target, weight, class_weights, mask_above)


def l1(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    label_smoothing: float = 0.1,
    class_weights: Sequence[float] | None = None,
    mask_above: float | None = None,
) -> Tensor:
    """Sum over classes of |softmax − target|, the target held inside [ls / (K − 1), 1 − ls].

    Source: the heartbeat write-up (168 points), which sums over the batch; with Adam the mean trains alike.
    """
    low, high = smoothing(label_smoothing) / (target.shape[-1] - 1), 1 - label_smoothing
    loss_b = (torch.softmax(logits, dim=-1) - target.clamp(low, high)).abs().sum(-1)
    return over_rows(loss_b, target, weight, class_weights, mask_above)


def bce(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    mask_above: float | None = None,
) -> Tensor:
    """Binary cross entropy, summed over classes: each logit alone, through a sigmoid, against its target.

    For classes that may be present together, or none. A model's probabilities are its softmax everywhere in bench,
    after this loss too: their order is the sigmoids' own (AUC of two classes, MAP, accuracy), but they are sharper
    than what was trained (of two classes, sigmoid(2z) instead of sigmoid(z)): for a calibrated answer choose ce.
    """
    target_ls = smoothed(target, label_smoothing)
    loss_b = F.binary_cross_entropy_with_logits(logits, target_ls, reduction="none").sum(-1)
    return over_rows(loss_b, target, weight, class_weights, mask_above)


def focal(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    gamma: float = 2.0,
    class_weights: Sequence[float] | None = None,
    mask_above: float | None = None,
) -> Tensor:
    """Σ over classes of −target · (1 − p)^gamma · log p, p the softmax: classes already told apart count less.

    ``gamma`` 0 is ce. Source: Lin et al., "Focal loss for dense object detection", 2017 (arXiv 1708.02002), there
    for hard targets. With soft ones the smallest loss is not at p = target (for gamma above 0).
    """
    log_p = torch.log_softmax(logits, dim=-1)
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)  # 0 to a power below 1 has no slope
    return over_rows(-(target * missing.pow(gamma) * log_p).sum(-1), target, weight, class_weights, mask_above)


def smoothing(value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"label_smoothing={value} must lie in 0 ≤ … < 1")
    return value


def smoothed(target: Tensor, label_smoothing: float) -> Tensor:
    label_smoothing = smoothing(label_smoothing)
    return target * (1 - label_smoothing) + label_smoothing / target.shape[-1]


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
            raise UserError(f"loss.class_weights has {len(class_weights)} entries for {target.shape[-1]} classes")
        by_class = target @ on_device(tuple(class_weights), target.device, target.dtype)
        weight_b = by_class if weight_b is None else weight_b * by_class
    if mask_above is not None:
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
    left = weight_b.where(~(doubtful & (loss_b > above * largest)), 0)
    return torch.where(2 * left.sum() >= weight_b.sum(), left, weight_b)


@lru_cache(maxsize=16)
def on_device(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Copied once: a copy in every step would make the device wait."""
    return torch.tensor(values, device=device, dtype=dtype)
