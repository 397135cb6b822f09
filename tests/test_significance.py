"""More than chance: formulas against others' computations, planted differences found, and few false alarms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import metrics
from bench.comparison import comparison, significance
from bench.comparison.reading import Rows
from bench.runs.run import Run
from bench.spec import Direction, Metric
from fake_predictions import compared, predicted, some_rows


def test_the_corrected_t_test_is_nadeau_and_bengios() -> None:
    from scipy import stats

    d = np.array([0.031, 0.012, 0.025, 0.018, 0.022])
    found = significance.corrected_t_test(d, 0.25)
    # Their equation 14's variance by hand: (1/5 + 1/4) times the sample variance; p from Student's density, summed up.
    variance = sum((x - 0.0216) ** 2 for x in d) / 4
    t = 0.0216 / (0.45 * variance) ** 0.5
    assert found.t == pytest.approx(t)
    grid = np.linspace(t, 4000, 4_000_001)
    density = 3 / 8 / (1 + grid**2 / 4) ** 2.5
    assert found.p == pytest.approx(2 * np.trapezoid(density, grid), rel=1e-4)
    assert (found.high - found.mean) / found.error == pytest.approx(2.776445, rel=1e-6)  # a table's t for 4 degrees
    plain = stats.ttest_1samp(d, 0)
    assert significance.corrected_t_test(d, 0.0).p == pytest.approx(plain.pvalue)
    assert found.p > plain.pvalue


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_folds_that_all_differ_by_the_same_have_a_p_value(value: float, p: float) -> None:
    assert significance.corrected_t_test(np.full(4, value), 1 / 3).p == p


def test_holm_raises_p_values_step_by_step() -> None:
    assert significance.holm([0.01, 0.04, 0.03, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.2])
    assert significance.holm([0.6, 0.7]) == [1.0, 1.0]


def test_the_fast_auc_is_the_metric_on_the_rows_that_were_drawn() -> None:
    rng = np.random.default_rng(0)
    target = np.eye(2)[rng.integers(0, 2, 300)]
    for score in (rng.integers(0, 40, 300) / 40, rng.random(300)):  # with and without ties
        probability = np.stack([1 - score, score], axis=1)
        weight = rng.integers(0, 3, (7, 300))
        drawn = [np.repeat(np.arange(300), w) for w in weight]
        expected = [metrics.area_under_curve(target[r], probability[r]) for r in drawn]
        area = metrics.weighted_area(target, probability)
        assert area(weight) == pytest.approx(expected)
        assert np.isnan(area(weight * target[:, 1].astype(int))).all(), "one class alone"


def test_resampled_means_are_the_metric_on_whole_groups_drawn() -> None:
    rows = some_rows(90, groups=12)
    probability = predicted(rows, 1.0, 0)
    unit, kind = significance.units(rows.table)
    assert kind == "group"
    losses = metrics.KL.rows(rows.target, probability)
    assert losses is not None
    means = significance.resampled_means(losses[:, None], unit, 20, 5)
    slow = Metric("kl", Direction.MIN, metrics.kl_divergence)  # drawn row by row
    assert means == pytest.approx(significance.resampled_scores(slow, rows.target, [probability], unit, 20, 5))


@pytest.mark.parametrize("soft", [False, True])
def test_resampled_classes_are_means_over_the_rows_drawn_by_their_share(soft: bool) -> None:
    rows = some_rows(60, groups=9)
    target = np.random.default_rng(3).dirichlet(np.ones(3), 60) if soft else rows.target
    losses, (unit, _) = np.random.default_rng(1).random((60, 2)), significance.units(rows.table)
    found = significance.resampled_by_class(losses, target, unit, 20, 5)
    assert found.shape == (20, 2, 3)
    for drawn, scores in zip(np.concatenate(list(significance.draws(9, 20, 5))), found, strict=True):
        weight = drawn[unit][:, None] * target
        assert scores == pytest.approx(losses.T @ weight / weight.sum(0), rel=1e-6)


def test_fewer_draws_are_the_first_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.concatenate(list(significance.draws(50, 30, 1)))
    monkeypatch.setattr(significance, "CELLS", 200)  # four at a time
    few = np.concatenate(list(significance.draws(50, 10, 1)))
    assert (few == many[:10]).all()
    assert (many.sum(1) == 50).all()


def test_rows_of_a_group_or_an_example_are_drawn_together() -> None:
    table = pd.DataFrame({"id": range(6), "group": ["a", "a", "b", "c", None, None], "example": [1, 1, 2, 2, 3, 4]})
    unit, kind = significance.units(table)
    assert kind == "group"
    assert unit[0] == unit[1]
    assert unit[2] == unit[3], "their groups share an example"
    assert len(set(unit)) == 4
    assert significance.units(table[["id", "example"]])[1] == "example"
    assert significance.units(table[["id"]])[1] == "row"


def test_rows_that_are_alike_within_a_group_make_the_interval_wider() -> None:
    rng = np.random.default_rng(0)
    n, each = 30, 20
    rows = some_rows(n * each)
    shift = np.repeat(rng.normal(0, 1, n), each)  # what one model has over the other, by patient
    logits = np.where(rows.target > 0, 1.0 + shift[:, None], 0.0)
    better = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    runs, given = [Run(Path("/nowhere/0")), Run(Path("/nowhere/1"))], [better, np.full_like(better, 1 / 3)]
    grouped = Rows(rows.table.assign(group=np.repeat(np.arange(n), each)), rows.target, rows.classes, 0.25, False)
    alone = comparison.compare(runs, rows, given, metrics.KL, 1000).pairs[0]
    whole = comparison.compare(runs, grouped, given, metrics.KL, 1000).pairs[0]
    assert whole.high - whole.low > 2.5 * (alone.high - alone.low)


@pytest.mark.parametrize("metric", [metrics.KL, metrics.MAP3, metrics.AUC], ids=lambda m: m.name)
@pytest.mark.parametrize("best_first", [True, False])
def test_a_planted_difference_is_found_whichever_way_the_metric_points(metric: Metric, best_first: bool) -> None:
    rows = some_rows(600, 2 if metric is metrics.AUC else 5)
    found = compared(rows, (3.0, 1.5) if best_first else (1.5, 3.0), metric)
    pair = found.pairs[0]
    assert found.runs[0].identity == ("0" if best_first else "1")
    assert pair.verdict == "better"
    assert 0 < pair.low < pair.gain < pair.high
    assert (pair.gains > 0).all()


def test_equal_models_are_not_told_apart_more_often_than_one_in_twenty() -> None:
    found = [compared(some_rows(200, seed=s), (1.5, 1.5), seed=s).pairs[0] for s in range(100)]
    assert sum(pair.verdict == "better" for pair in found) <= 5
    # 5 of 100 are expected of each test alone; 12 or more would come by chance once in 200 times
    assert 1 <= sum(pair.p_rows < 0.05 for pair in found) <= 11
    assert sum(pair.p_folds < 0.05 for pair in found) <= 11


def test_of_many_equal_models_the_best_is_not_found_better() -> None:
    found = [compared(some_rows(150, seed=s), (1.5,) * 5, seed=s).pairs for s in range(60)]
    assert sum(any(pair.p_rows < 0.05 for pair in pairs) for pairs in found) <= 8
    assert sum(any(pair.verdict == "better" for pair in pairs) for pairs in found) <= 3


def test_every_run_is_held_against_the_best_with_all_pairs_corrected_for() -> None:
    found = compared(some_rows(300), (1.0, 4.0, 1.4))
    assert [run.identity for run in found.runs] == ["1", "2", "0"]
    assert [(p.best, p.other) for p in found.pairs] == [(0, 1), (0, 2)]
    raw = [significance.corrected_t_test(found.folds[b] - found.folds[a], 0.25).p for a, b in [(0, 1), (0, 2), (1, 2)]]
    assert [p.p_folds for p in found.pairs] == pytest.approx(significance.holm(raw)[:2])
