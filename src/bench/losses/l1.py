"""The heartbeat write-up's sum of absolute differences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.losses.rows import over_rows, smoothing
from bench.spec import UserError


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
    if low >= high:
        raise UserError(
            f"loss.label_smoothing={label_smoothing:g} leaves l1 no difference between {target.shape[-1]} classes; "
            "choose 0 to 0.2"
        )
    loss_b = (torch.softmax(logits, dim=-1) - target.clamp(low, high)).abs().sum(-1)
    return over_rows(loss_b, target, weight, class_weights, mask_above)
