"""Ways to blend: what each finds where the answer is known, and that what it finds does not flatter it elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench import build
from bench.ensembling import hardening
from bench.ensembling.ways import Way, arithmetic, geometric, rank_mean, simplex_weights
from bench.metrics import ACCURACY, AUC, KL, L1_20K, MAP3
from bench.paths import conf
from bench.spec import UserError
from tiny import load, options

WAYS = options("ensemble/blend")
FITTED = {"weights", "logits", "hill_climbing", "stack_network", "stack_ridge", "stack_logistic"}


def way(name: str, **keys: Any) -> Way:
    node = load(conf() / "ensemble" / "blend" / f"{name}.yaml")
    return build.build({**node, **keys}, "blend")


def soft(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def drawn(p_nk: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One-hot targets drawn from the rows' distributions."""
    at = (p_nk.cumsum(1) < rng.random(len(p_nk))[:, None]).sum(1)
    return np.eye(p_nk.shape[1])[at]


@pytest.fixture
def noise() -> tuple[np.ndarray, np.ndarray]:
    """Members that know nothing of the targets: (4, 300, 5) and (300, 5)."""
    rng = np.random.default_rng(3)
    return soft(rng.normal(size=(4, 300, 5))), np.eye(5)[rng.integers(0, 5, 300)]


@pytest.mark.parametrize("name", WAYS)
def test_every_way_gives_distributions_for_any_number_of_members_and_classes(name: str) -> None:
    rng = np.random.default_rng(0)
    for members, classes in ((1, 2), (3, 2), (2, 7)):
        p_mnk = soft(2 * rng.normal(size=(members, 60, classes)))
        target = drawn(p_mnk.mean(0), rng)
        for y in (target, soft(rng.normal(size=target.shape))):  # hard and soft targets
            metric = ACCURACY if classes > 2 else AUC
            quick = {"stack_network": {"epochs": 2}, "hill_climbing": {"rounds": 3}}.get(name, {})
            blend = way(name, **quick).fit(p_mnk, y, metric)
            p_nk = blend.apply(p_mnk[:, :40])
            assert p_nk.shape == (40, classes)
            assert p_nk.min() >= 0
            np.testing.assert_allclose(p_nk.sum(1), 1, atol=1e-9)


@pytest.mark.parametrize("name", WAYS)
def test_the_same_rows_give_the_same_bits(name: str, noise: tuple[np.ndarray, np.ndarray]) -> None:
    p_mnk, target = noise
    first, second = (way(name).fit(p_mnk, target, KL).apply(p_mnk) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", WAYS)
def test_a_way_says_whether_targets_matter_to_it(name: str, noise: tuple[np.ndarray, np.ndarray]) -> None:
    p_mnk, target = noise
    one, other = (way(name).fit(p_mnk, y, KL).apply(p_mnk) for y in (target, np.roll(target, 7, 0)))
    assert way(name).fitted == (name in FITTED) == (not np.array_equal(one, other))


def test_means_are_what_their_formulas_say() -> None:
    p_mnk = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.4, 0.6]]])
    np.testing.assert_allclose(arithmetic(p_mnk), [[0.7, 0.3], [0.3, 0.7]])
    raw = np.sqrt(p_mnk[0] * p_mnk[1])
    np.testing.assert_allclose(geometric(p_mnk), raw / raw.sum(1, keepdims=True))
    np.testing.assert_allclose(arithmetic(p_mnk, np.array([1.0, 0.0])), p_mnk[0])
    np.testing.assert_allclose(geometric(p_mnk, np.array([0.0, 1.0])), p_mnk[1])
    assert np.isfinite(geometric(np.array([[[1.0, 0.0]], [[0.0, 1.0]]]))).all()  # certain members that disagree


def test_ranks_ignore_how_confident_a_member_is() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(200, 1)) @ [[-1.0, 1.0]]
    mild, bold = soft(0.01 * z), soft(5 * z)
    np.testing.assert_allclose(rank_mean(np.stack([mild, mild])), rank_mean(np.stack([bold, bold])), atol=1e-12)
    target = drawn(soft(z), rng)
    reversed_ranks = rank_mean(np.stack([mild[:, ::-1], bold, bold]))
    assert AUC.score(target, reversed_ranks) == pytest.approx(AUC.score(target, bold))


def test_planted_weights_are_found() -> None:
    rng = np.random.default_rng(5)
    p_mnk = soft(2 * rng.normal(size=(4, 4000, 3)))
    planted = np.array([0.6, 0.0, 0.3, 0.1])
    target = arithmetic(p_mnk, planted)  # as soft targets: the weights that made them are the optimum itself
    np.testing.assert_allclose(simplex_weights(p_mnk, target), planted, atol=2e-3)
    np.testing.assert_allclose(simplex_weights(p_mnk, drawn(target, rng)), planted, atol=0.06)


def test_planted_logit_weights_and_biases_are_found() -> None:
    rng = np.random.default_rng(6)
    p_mnk = soft(rng.normal(size=(2, 3000, 3)))
    target = soft(0.8 * np.log(p_mnk[0]) + 0.4 * np.log(p_mnk[1]) + [0.5, -0.2, -0.3])
    blend = way("logits", decay=1e-9).fit(p_mnk, target, KL)
    assert blend.weights == pytest.approx([0.8, 0.4], abs=1e-3)
    bias = np.asarray(blend.parameters["bias"])
    np.testing.assert_allclose(bias - bias.mean(), [0.5, -0.2, -0.3], atol=1e-3)
    np.testing.assert_allclose(blend.apply(p_mnk), target, atol=1e-3)


@pytest.mark.parametrize("metric", [KL, L1_20K, MAP3], ids=lambda m: m.name)
def test_hill_climbing_picks_the_perfect_member(metric: Any, noise: tuple[np.ndarray, np.ndarray]) -> None:
    p_mnk, target = noise
    p_mnk = np.concatenate([p_mnk[:2], (0.98 * target + 0.004)[None], p_mnk[2:]])
    blend = way("hill_climbing").fit(p_mnk, target, metric)
    assert blend.weights == (0, 0, 1, 0, 0)


def test_hill_climbing_is_never_worse_than_the_best_single_member() -> None:
    rng = np.random.default_rng(8)
    truth = soft(2 * rng.normal(size=(400, 4)))
    target = drawn(truth, rng)
    p_mnk = np.stack([soft(np.log(truth) + rng.normal(size=truth.shape)) for _ in range(5)])
    blend = way("hill_climbing").fit(p_mnk, target, KL)
    best = min(KL.score(target, p) for p in p_mnk)
    assert KL.score(target, blend.apply(p_mnk)) < best
    assert sum(blend.weights or ()) == pytest.approx(1)
    assert len([w for w in blend.weights or () if w > 0]) > 1


@pytest.mark.parametrize("name", ["stack_network", "stack_ridge", "stack_logistic", "weights", "logits"])
def test_what_is_stacked_on_noise_is_no_better_than_chance_where_it_was_not_fitted(
    name: str, noise: tuple[np.ndarray, np.ndarray]
) -> None:
    p_mnk, target = noise
    keys = {"stack_network": {"epochs": 30, "lr": 0.006}, "stack_logistic": {"C": 10.0}}.get(name, {})
    fold = np.arange(300) % 3
    honest = np.empty_like(target)
    for k in range(3):
        blend = way(name, **keys).fit(p_mnk[:, fold != k], target[fold != k], KL)
        honest[fold == k] = blend.apply(p_mnk[:, fold == k])
    inside = way(name, **keys).fit(p_mnk, target, KL).apply(p_mnk)
    assert KL.score(target, honest) > np.log(5) - 0.02  # chance: the uniform distribution's
    assert ACCURACY.score(target, honest) < 0.2 + 3 * np.sqrt(0.16 / 300)
    if name.startswith("stack"):
        assert KL.score(target, inside) < np.log(5) - 0.02
        assert ACCURACY.score(target, inside) > ACCURACY.score(target, honest) + 0.08


def test_stacking_learns_what_a_mean_can_not() -> None:
    """A member that names every class by the next one's name."""
    rng = np.random.default_rng(9)
    truth = soft(3 * rng.normal(size=(1500, 3)))
    target = drawn(truth, rng)
    p_mnk = np.roll(truth, 1, 1)[None]
    for name, keys in (("stack_network", {"epochs": 40}), ("stack_ridge", {}), ("stack_logistic", {"C": 1.0})):
        blend = way(name, **keys).fit(p_mnk[:, :1000], target[:1000], KL)
        score = ACCURACY.score(target[1000:], blend.apply(p_mnk[:, 1000:]))
        assert score > 0.95 * ACCURACY.score(target[1000:], truth[1000:]), name


def test_a_class_that_no_row_teaches_gets_nothing_of_logistic_stacking() -> None:
    rng = np.random.default_rng(2)
    p_mnk = soft(rng.normal(size=(2, 50, 3)))
    target = np.eye(3)[rng.integers(0, 2, 50)]
    assert (way("stack_logistic").fit(p_mnk, target, KL).apply(p_mnk)[:, 2] == 0).all()
    with pytest.raises(UserError, match="all of one class"):
        way("stack_logistic").fit(p_mnk, np.eye(3)[np.zeros(50, int)], KL)


def test_the_published_threshold_hardens_above_049_and_asks_class_0_last() -> None:
    p_nk = np.array([[0.495, 0.495, 0.01, 0.0], [0.48, 0.48, 0.04, 0.0], [0.2, 0.0, 0.3, 0.5], [0.6, 0.4, 0, 0]])
    hard = hardening.threshold(p_nk, 0.49)
    np.testing.assert_array_equal(hard, [[0, 1, 0, 0], p_nk[1], [0, 0, 0, 1], [1, 0, 0, 0]])
    np.testing.assert_array_equal(hardening.threshold(p_nk, 0.49, [0, 1, 2, 3])[0], [1, 0, 0, 0])
    with pytest.raises(UserError, match=r"harden.order=\[1, 2\] must name each of the 4 classes once"):
        hardening.threshold(p_nk, 0.49, [1, 2])


def test_every_class_may_have_a_threshold_of_its_own() -> None:
    p_nk = np.array([[0.6, 0.4, 0.0, 0.0], [0.55, 0.0, 0.45, 0.0], [0.0, 0.0, 0.0, 1.0]])
    hard, fitted = hardening.Threshold(above=[0.58, 0.5, 0.4, 0.9]).fit(p_nk, np.eye(4)[:3], L1_20K)
    np.testing.assert_array_equal(hard(p_nk), [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert fitted == {"above_0": 0.58, "above_1": 0.5, "above_2": 0.4, "above_3": 0.9}
    np.testing.assert_array_equal(hardening.threshold(p_nk, [0.49] * 4), hardening.threshold(p_nk, 0.49))
    with pytest.raises(UserError, match=r"harden.above=\[0.5, 0.5\] must be one number, or one for each of 4 classes"):
        hardening.threshold(p_nk, [0.5, 0.5])


def test_a_stack_may_read_the_sum_of_its_members() -> None:
    rng = np.random.default_rng(0)
    p_mnk = soft(rng.normal(size=(3, 80, 4)))
    network = build.build(
        {"_target_": "bench.ensembling.stacking.Network", "hidden": [4], "epochs": 1, "reads": "sum"}, "blend"
    )
    blend = network.fit(p_mnk, drawn(p_mnk[0], rng), KL)
    np.testing.assert_array_equal(blend.apply(p_mnk), blend.apply(p_mnk[[2, 0, 1]]))  # a sum knows no order
    alike = np.stack([p_mnk.mean(0)] * 3)
    np.testing.assert_allclose(blend.apply(alike), blend.apply(p_mnk), atol=1e-6)


def test_the_published_margin_hardens_a_clear_lead_and_leaves_two_classes_else() -> None:
    p_nk = np.array([[0.51, 0.49, 0, 0], [0.44, 0.40, 0.1, 0.06], [0.42, 0.40, 0.1, 0.08]])
    hard = hardening.margin(p_nk, 0.5, 0.0399999)
    np.testing.assert_allclose(hard, np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0.42 / 0.82, 0.40 / 0.82, 0, 0]]))


def test_a_threshold_is_found_that_no_other_beats() -> None:
    rng = np.random.default_rng(4)
    truth = soft(2 * rng.normal(size=(500, 4)))
    target = drawn(truth, rng)
    hard, found = hardening.Threshold(above=None).fit(truth, target, L1_20K)
    best = L1_20K.score(target, hard(truth))
    assert best == min(L1_20K.score(target, hardening.threshold(truth, t)) for t in hardening.GRID)
    assert best < L1_20K.score(target, truth)
    assert hardening.Threshold(above=None).fit(truth, target, KL)[1]["above"] > 0.9  # certainty ruins that score
    assert 0.3 <= found["above"] < 0.9


@pytest.mark.parametrize(
    ("group", "name", "keys", "sentence"),
    [
        ("blend", "hill_climbing", {"rounds": 0}, "blend.rounds=0 must be 1 or more"),
        ("blend", "logits", {"decay": -1.0}, "blend.decay=-1 must be 0 or more"),
        ("blend", "stack_network", {"batch_size": 1}, "blend.batch_size must be 2 or more"),
        ("blend", "stack_network", {"hidden": [0]}, "blend.hidden must be 1 or more"),
        ("blend", "stack_ridge", {"alpha": 0.0}, "blend.alpha=0 must be above 0"),
        ("blend", "stack_logistic", {"C": 0.0}, "blend.C=0 must be above 0"),
        ("blend", "mean", {"power": 2}, "blend.power is not an option of Mean"),
        ("harden", "threshold", {"above": 1.5}, "harden.above=1.5 must be above 0"),
        ("harden", "margin", {"lead": 2.0}, "harden.lead=2 in"),
    ],
)
def test_options_that_make_no_sense_are_refused(group: str, name: str, keys: dict[str, Any], sentence: str) -> None:
    node = load(conf() / "ensemble" / group / f"{name}.yaml")
    with pytest.raises(UserError, match=sentence):
        build.build({**node, **keys}, group)
