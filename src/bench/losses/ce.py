"""Cross entropy, hard or soft."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.losses.rows import over_rows, smoothed


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
