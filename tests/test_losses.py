"""Losses against torch's own or a hand-computed value."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import yaml
from torch.nn import functional as F

from bench import build
from bench.losses.bce import bce
from bench.losses.ce import ce
from bench.losses.focal import focal
from bench.losses.kl import kl
from bench.losses.l1 import l1
from bench.paths import conf
from bench.spec import UserError

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]])
SOFT = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6]])
HARD = torch.eye(3)[[0, 2]]
Loss = Callable[..., torch.Tensor]
LOSSES: list[Loss] = [
    build.locate(yaml.safe_load(p.read_text(encoding="utf-8")), "loss")
    for p in sorted((conf() / "loss").glob("*.yaml"))
]


def test_kl_is_torchs_batchmean() -> None:
    expected = F.kl_div(torch.log_softmax(LOGITS, -1), SOFT, reduction="batchmean")
    torch.testing.assert_close(kl(LOGITS, SOFT), expected)


def test_kl_of_a_perfect_prediction_is_zero() -> None:
    assert float(kl(SOFT.clamp_min(1e-30).log(), SOFT)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("target", [SOFT, HARD])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ce_is_torchs(target: torch.Tensor, smoothing: float) -> None:
    expected = F.cross_entropy(LOGITS, target, label_smoothing=smoothing)
    torch.testing.assert_close(ce(LOGITS, target, label_smoothing=smoothing), expected)


def test_l1_by_hand() -> None:
    logits = torch.tensor([[math.log(0.7), math.log(0.2), math.log(0.1)]])
    # target 0 clamped to [0.05, 0.9]: |0.7 − 0.9| + |0.2 − 0.05| + |0.1 − 0.05|
    assert float(l1(logits, torch.eye(3)[:1], label_smoothing=0.1)) == pytest.approx(0.4)


@pytest.mark.parametrize("target", [SOFT, HARD])
def test_bce_is_torchs_summed_over_classes(target: torch.Tensor) -> None:
    expected = F.binary_cross_entropy_with_logits(LOGITS, target, reduction="none").sum(1).mean()
    torch.testing.assert_close(bce(LOGITS, target), expected)
    p = torch.sigmoid(LOGITS[0, 0])
    by_hand = -(0.7 * 0.8 + 0.2 / 3) * p.log() - (1 - 0.7 * 0.8 - 0.2 / 3) * (1 - p).log()
    one = bce(LOGITS[:1, :1], torch.tensor([[0.7 * 0.8 + 0.2 / 3]]))
    torch.testing.assert_close(one, by_hand)
    smooth = bce(LOGITS, target, label_smoothing=0.2)
    torch.testing.assert_close(smooth, bce(LOGITS, target * 0.8 + 0.2 / 3))


def test_bce_is_least_where_each_sigmoid_is_its_target() -> None:
    best = torch.logit(SOFT.clamp(1e-6, 1 - 1e-6))
    assert bce(best, SOFT) < bce(best + 0.1, SOFT)
    assert bce(best, SOFT) < bce(best - 0.1, SOFT)


def test_focal_by_hand() -> None:
    logits = torch.tensor([[math.log(0.7), math.log(0.2), math.log(0.1)]])
    assert float(focal(logits, torch.eye(3)[:1])) == pytest.approx(-(0.3**2) * math.log(0.7))
    soft = -(0.5 * 0.3 * math.log(0.7) + 0.5 * 0.8 * math.log(0.2))
    assert float(focal(logits, torch.tensor([[0.5, 0.5, 0.0]]), gamma=1.0)) == pytest.approx(soft)
    torch.testing.assert_close(focal(LOGITS, SOFT, gamma=0.0), ce(LOGITS, SOFT))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_every_loss_has_a_slope_where_a_model_is_wholly_sure(loss: Loss, gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0], [-200.0, 0.0, 200.0]], requires_grad=True)
    options = {"gamma": gamma} if loss is focal else {}
    (slope,) = torch.autograd.grad(loss(logits, torch.eye(3)[[0, 0]], **options), logits)
    assert slope.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_choose_rows(loss: Loss) -> None:
    one = loss(LOGITS[:1], SOFT[:1])
    torch.testing.assert_close(loss(LOGITS, SOFT, torch.tensor([2.0, 0.0])), one)
    assert float(loss(LOGITS, SOFT, torch.zeros(2))) == 0.0


@pytest.mark.parametrize("loss", LOSSES)
def test_class_weights_weigh_rows_by_their_classes(loss: Loss) -> None:
    weights = [2.0, 1.0, 4.0]
    by_class = SOFT @ torch.tensor(weights)
    torch.testing.assert_close(loss(LOGITS, SOFT, class_weights=weights), loss(LOGITS, SOFT, by_class))
    own = torch.tensor([0.5, 3.0])
    torch.testing.assert_close(loss(LOGITS, SOFT, own, class_weights=weights), loss(LOGITS, SOFT, own * by_class))
    with pytest.raises(UserError, match="2 entries for 3 classes"):
        loss(LOGITS, SOFT, class_weights=[1.0, 2.0])


def test_class_weights_of_hard_targets_are_torchs() -> None:
    weights = torch.tensor([2.0, 1.0, 4.0])
    expected = F.cross_entropy(LOGITS, HARD.argmax(1), weight=weights)
    torch.testing.assert_close(ce(LOGITS, HARD, class_weights=weights.tolist()), expected)


# five rows of class 0, the first the hardest by far, the second next to it
HARDEST = torch.tensor([[-4.0, 0.0], [-3.8, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
FIRST = torch.eye(2)[[0] * 5]


@pytest.mark.parametrize("loss", LOSSES)
def test_without_weights_rows_near_the_largest_loss_are_masked(loss: Loss) -> None:
    torch.testing.assert_close(loss(HARDEST, FIRST, mask_above=0.8), loss(HARDEST[2:], FIRST[2:]))
    torch.testing.assert_close(loss(HARDEST, FIRST, mask_above=1.0), loss(HARDEST, FIRST))


def test_with_weights_only_rows_below_one_are_masked() -> None:
    weight = torch.tensor([1.0, 0.5, 1.0, 0.5, 1.0])
    kept = torch.tensor([1.0, 0.0, 1.0, 0.5, 1.0])
    ours = ce(HARDEST, FIRST, weight, mask_above=0.8)
    torch.testing.assert_close(ours, ce(HARDEST, FIRST, kept))
    every = ce(HARDEST, FIRST, torch.ones(5), mask_above=0.8)
    torch.testing.assert_close(every, ce(HARDEST, FIRST))


def test_class_weights_make_no_row_doubtful() -> None:
    ours = ce(HARDEST, FIRST, torch.ones(5), class_weights=[0.5, 1.0], mask_above=0.8)
    torch.testing.assert_close(ours, ce(HARDEST, FIRST))


def test_a_row_of_weight_zero_does_not_set_the_largest_loss() -> None:
    weight = torch.tensor([0.0, 0.5, 0.5, 0.5, 0.5])
    ours = ce(HARDEST, FIRST, weight, mask_above=0.8)
    torch.testing.assert_close(ours, ce(HARDEST[2:], FIRST[2:]))


@pytest.mark.parametrize("loss", LOSSES)
def test_alike_losses_are_not_masked_away(loss: Loss) -> None:
    """As at the start of training: every row is near the largest, and a batch without rows would never learn."""
    logits = torch.zeros(5, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(logits, FIRST, mask_above=0.8), logits)
    assert slope.abs().sum() > 0


@pytest.mark.parametrize(
    ("loss", "wrong", "sentence"),
    [
        (ce, {"class_weights": [1.0, 2.0]}, "2 entries for 3 classes; give one number"),
        (ce, {"class_weights": [1.0, -1.0, 1.0]}, "must be numbers from 0 on"),
        (ce, {"class_weights": [0.0, 0.0, 0.0]}, "not all of them 0"),
        (kl, {"class_weights": [1.0, math.nan, 1.0]}, "must be numbers from 0 on"),
        (ce, {"label_smoothing": 1.0}, "label_smoothing=1 must be 0 or more and below 1; choose"),
        (bce, {"label_smoothing": -0.1}, "label_smoothing=-0.1 must be 0 or more"),
        (l1, {"label_smoothing": 0.7}, "no difference between 3 classes; choose"),
        (focal, {"gamma": -1.0}, "gamma=-1 must be 0 or more; choose 2"),
        (ce, {"mask_above": 0.0}, "mask_above=0 must be above 0 and at most 1"),
        (ce, {"mask_above": 1.5}, "mask_above=1.5 must be above 0 and at most 1"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_what_to_choose(
    loss: Loss, wrong: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=rf"^loss\..*{sentence}"):
        loss(LOGITS, SOFT, **wrong)
