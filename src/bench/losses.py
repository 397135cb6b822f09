"""Losses: plain functions (logits (B, K), target (B, K) a distribution, weight (B,) or None) → scalar.

Each is a weighted mean over rows, so that a loss does not depend on the batch's size.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_mean(loss_b: Tensor, weight_b: Tensor | None) -> Tensor:
    """Mean over rows; rows of weight 0 count for nothing, a batch of only such rows is 0."""
    if weight_b is None:
        return loss_b.mean()
    return (loss_b * weight_b).sum() / weight_b.sum().clamp_min(torch.finfo(loss_b.dtype).tiny)


def smoothing(value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"label_smoothing={value} must lie in 0 ≤ … < 1")
    return value


def kl(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence of the softmax from the target, in nats; terms with target 0 count 0."""
    log_p = torch.log_softmax(logits, dim=-1)
    return weighted_mean((torch.xlogy(target, target) - target * log_p).sum(-1), weight)


def ce(logits: Tensor, target: Tensor, weight: Tensor | None = None, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy with hard or soft targets; smoothing mixes in the uniform distribution, as torch's does."""
    target = target * (1 - smoothing(label_smoothing)) + label_smoothing / target.shape[-1]
    return weighted_mean(-(target * torch.log_softmax(logits, dim=-1)).sum(-1), weight)


def l1(logits: Tensor, target: Tensor, weight: Tensor | None = None, label_smoothing: float = 0.1) -> Tensor:
    """Sum over classes of |softmax − target|, the target held inside [ls / (K − 1), 1 − ls].

    Source: the heartbeat write-up (168 points), which sums over the batch; with Adam the mean trains alike.
    """
    low, high = smoothing(label_smoothing) / (target.shape[-1] - 1), 1 - label_smoothing
    return weighted_mean((torch.softmax(logits, dim=-1) - target.clamp(low, high)).abs().sum(-1), weight)
