"""Focal loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.losses.rows import over_rows
from bench.spec import UserError


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
    if not gamma >= 0:
        raise UserError(f"loss.gamma={gamma:g} must be 0 or more; choose 2, or 0 for ce")
    log_p = torch.log_softmax(logits, dim=-1)
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)  # 0 to a power below 1 has no slope
    return over_rows(-(target * missing.pow(gamma) * log_p).sum(-1), target, weight, class_weights, mask_above)
