"""Losses against torch's own or a hand-computed value."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from bench import losses

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]])
SOFT = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6]])
HARD = torch.eye(3)[[0, 2]]


def test_kl_is_torchs_batchmean() -> None:
    expected = F.kl_div(torch.log_softmax(LOGITS, -1), SOFT, reduction="batchmean")
    torch.testing.assert_close(losses.kl(LOGITS, SOFT), expected)


def test_kl_of_a_perfect_prediction_is_zero() -> None:
    assert float(losses.kl(SOFT.clamp_min(1e-30).log(), SOFT)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("target", [SOFT, HARD])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ce_is_torchs(target: torch.Tensor, smoothing: float) -> None:
    expected = F.cross_entropy(LOGITS, target, label_smoothing=smoothing)
    torch.testing.assert_close(losses.ce(LOGITS, target, label_smoothing=smoothing), expected)


def test_l1_by_hand() -> None:
    logits = torch.tensor([[math.log(0.7), math.log(0.2), math.log(0.1)]])
    # target 0 clamped to [0.05, 0.9]: |0.7 − 0.9| + |0.2 − 0.05| + |0.1 − 0.05|
    assert float(losses.l1(logits, torch.eye(3)[:1], label_smoothing=0.1)) == pytest.approx(0.4)


@pytest.mark.parametrize("loss", [losses.kl, losses.ce, losses.l1])
def test_weights_choose_rows(loss: Callable[..., torch.Tensor]) -> None:
    one = loss(LOGITS[:1], SOFT[:1])
    torch.testing.assert_close(loss(LOGITS, SOFT, torch.tensor([2.0, 0.0])), one)
    assert float(loss(LOGITS, SOFT, torch.zeros(2))) == 0.0
