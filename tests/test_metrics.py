from __future__ import annotations

import math

import numpy as np
import pytest

from bench.metrics import ACCURACY, AUC, KL, L1_20K, MAP3, absolute_sum, accuracy, kl_divergence
from bench.spec import Direction, Metric


def distributions(n: int, k: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(k), n)


def test_kl_of_a_case_worked_by_hand() -> None:
    # 0.5 log(0.5/0.25) + 0.5 log(0.5/0.75) = 0.5 log 2 + 0.5 log(2/3) = 0.143841; second row 1 log(1/0.5) = 0.693147
    target = np.array([[0.5, 0.5], [1.0, 0.0]])
    probability = np.array([[0.25, 0.75], [0.5, 0.5]])
    assert kl_divergence(target, probability) == pytest.approx((0.14384104 + 0.69314718) / 2, abs=1e-8)


def test_kl_agrees_with_a_plain_loop() -> None:
    target = distributions(50, 6, 0)
    target[::3, 0] = 0
    target /= target.sum(axis=1, keepdims=True)
    probability = distributions(50, 6, 1)
    probability[::4] = np.eye(6)[1]  # certain, and mostly wrong
    total = 0.0
    for y_row, p_row in zip(target, probability, strict=True):
        for y, p in zip(y_row, p_row, strict=True):
            p = min(max(p, 1e-15), 1 - 1e-15)
            if y > 0:
                total += y * math.log(y / p)
    assert kl_divergence(target, probability) == pytest.approx(total / 50, rel=1e-12)


def test_kl_clips_the_submission_alone_to_1e_15() -> None:
    assert kl_divergence(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])) == pytest.approx(-math.log(1e-15))
    # No renormalisation after clipping: a right, certain row scores −log(1 − 1e-15), not 0.
    assert kl_divergence(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])) == pytest.approx(1e-15, rel=0.2)


def test_kl_takes_what_a_float32_softmax_gives() -> None:
    probability = distributions(1000, 6, 2).astype(np.float32)
    assert kl_divergence(distributions(1000, 6, 3), probability) > 0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([-0.1, 1.1], "row 1 .* outside"),
        ([1.2, -0.2], "row 1 .* outside"),
        ([0.5, 0.4], "row 1 .* sums to 0.9"),
        ([np.nan, 1.0], "row 1 .* NaN"),
    ],
)
def test_kl_refuses_rows_that_are_no_distribution(row: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kl_divergence(np.full((2, 2), 0.5), np.array([[0.5, 0.5], row]))


@pytest.mark.parametrize("score", [kl_divergence, absolute_sum, accuracy, L1_20K.score, MAP3.score, KL.rows])
def test_every_metric_refuses_nan_and_shapes_that_differ(score) -> None:  # type: ignore[no-untyped-def]
    half = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="NaN"):
        score(half, np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="row 0 of the targets"):
        score(np.full((2, 2), np.nan), half)
    with pytest.raises(ValueError, match=r"\(2, 2\) and predictions \(2, 3\)"):
        score(half, np.full((2, 3), 1 / 3))
    with pytest.raises(ValueError, match="not empty"):
        score(half[:0], half[:0])


def test_one_wholly_wrong_hard_row_costs_two() -> None:
    assert absolute_sum(np.array([[1, 0, 0, 0]]), np.array([[0, 0, 1, 0]])) == 2


def test_absolute_sum_agrees_with_a_plain_loop() -> None:
    target, probability = np.eye(4)[[0, 1, 2, 3, 0]], distributions(5, 4, 4)
    expected = sum(abs(y - p) for ys, ps in zip(target, probability, strict=True) for y, p in zip(ys, ps, strict=True))
    assert absolute_sum(target, probability) == pytest.approx(expected)


def test_l1_20k_does_not_depend_on_the_size_of_a_fold() -> None:
    target, probability = np.eye(4)[[0, 1, 2]], distributions(3, 4, 5)
    whole = L1_20K.score(np.tile(target, (7, 1)), np.tile(probability, (7, 1)))
    assert whole == pytest.approx(L1_20K.score(target, probability))
    assert whole == pytest.approx(20_000 / 3 * absolute_sum(target, probability))


def test_l1_20k_is_the_competitions_sum_on_20000_rows() -> None:
    target = np.eye(4)[np.arange(20_000) % 4]
    probability = distributions(20_000, 4, 6)
    assert L1_20K.score(target, probability) == pytest.approx(absolute_sum(target, probability))


def test_accuracy_counts_matching_argmaxes() -> None:
    target = np.array([[0.6, 0.4], [0.1, 0.9], [1, 0]])
    probability = np.array([[0.9, 0.1], [0.8, 0.2], [0.51, 0.49]])
    assert accuracy(target, probability) == pytest.approx(2 / 3)


def test_lower_is_better_for_both_competitions() -> None:
    assert KL.better(0.5, 0.6)
    assert not KL.better(float("nan"), 0.6)
    assert L1_20K.better(168, 259)


@pytest.mark.parametrize("metric", [KL, L1_20K, MAP3, ACCURACY], ids=lambda m: m.name)
@pytest.mark.parametrize("soft", [False, True])
def test_the_rows_of_a_metric_are_what_it_says_of_each_row_and_their_mean_is_the_score(
    metric: Metric, soft: bool
) -> None:
    probability = distributions(60, 5, 0)
    probability[:9] = 0.2  # ties
    target = distributions(60, 5, 3) if soft else np.eye(5)[np.arange(60) % 5]
    rows = metric.rows(target, probability)
    assert rows == pytest.approx([metric.score(target[[i]], probability[[i]]) for i in range(60)])
    assert np.mean(rows) == pytest.approx(metric.score(target, probability), rel=1e-12)


def test_ranks_have_no_rows_and_a_metric_needs_a_function() -> None:
    assert AUC.rows(np.eye(2), np.full((2, 2), 0.5)) is None
    with pytest.raises(ValueError, match="the metric nothing has no function"):
        Metric("nothing", Direction.MIN)
    with pytest.raises(ValueError, match="upwards"):
        Metric("odd", "upwards", absolute_sum)  # type: ignore[arg-type]


def test_a_direction_finds_the_best_and_says_it() -> None:
    values = [math.nan, 3.0, 1.0, math.inf, 1.0, 3.0]
    assert (Direction.MIN.best(values), Direction.MAX.best(values)) == (2, 1)
    assert Direction.MAX.best([math.nan, -math.inf]) is None
    assert (Direction.MIN.sentence, Direction.MAX.sentence) == ("lower is better", "higher is better")
    assert Direction.MAX.better(2, 1)
    assert not Direction.MAX.better(math.nan, 1)
    assert [d.sign * 2 for d in Direction] == [-2, 2]
