"""Kullback-Leibler divergence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.losses.rows import over_rows


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
