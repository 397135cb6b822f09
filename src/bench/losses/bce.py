"""Binary cross entropy, a sigmoid a class."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from bench.losses.rows import over_rows, smoothed


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
