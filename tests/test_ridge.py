"""model=linear: the closed form against loops that fit again, its choices on the training side alone, whole runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from bench.crossval.plan import make_plan
from bench.crossval.run import cross_validate
from bench.data.assignment import blocks
from bench.data.batches import Batches
from bench.models import ridge
from bench.models.linear import Linear
from bench.prediction.predictor import Predictor
from bench.runs.frames import predictions
from bench.spec import InputSpec, UserError
from bench.training import checkpoint, parts, solving
from bench.training.loading import trained_fold
from conftest import Composed, train_here
from tiny_fold import CPU, store

pytestmark = pytest.mark.usefixtures("one_thread")
Small = Callable[..., Composed]


def rows(n: int, f: int, k: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features, soft targets and weights."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, f, generator=draw) * torch.arange(1, f + 1) + 5
    target = torch.rand(n, k, generator=draw).softmax(1)
    return x, target, torch.rand(n, generator=draw) + 0.2


def fitted(z: np.ndarray, y: np.ndarray, w: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """A weighted ridge with a free intercept, by its normal equations."""
    with_one = np.concatenate([z, np.ones((len(z), 1))], 1)
    penalty = np.diag([alpha] * z.shape[1] + [0.0])
    solution = np.linalg.solve((with_one * w[:, None]).T @ with_one + penalty, (with_one * w[:, None]).T @ y)
    return solution[:-1], solution[-1]


@pytest.mark.parametrize(("n", "f"), [(14, 30), (40, 6)], ids=["fewer rows", "fewer features"])
@pytest.mark.parametrize("size", [1, 3], ids=["rows alone", "groups"])
def test_what_is_left_out_is_predicted_as_by_a_regression_without_it(n: int, f: int, size: int) -> None:
    x, target, weight = rows(n, f)
    block, alpha = torch.arange(n) // size, 0.7
    found = ridge.Ridge(x, target, weight.double())
    z = ((x - found.mean_f) / found.scale_f).double().numpy()
    y, w = target.double().numpy(), (weight / weight.mean()).double().numpy()
    expected = np.empty_like(y)
    for left in block.unique().numpy():
        kept = block.numpy() != left
        coefficients, level = fitted(z[kept], y[kept], w[kept], alpha)
        expected[~kept] = z[~kept] @ coefficients + level
    np.testing.assert_allclose(found.left_out(alpha, block), expected, atol=1e-6)
    coefficients, level = fitted(z, y, w, alpha)
    np.testing.assert_allclose(found.weights(alpha), coefficients.T, atol=1e-6)
    np.testing.assert_allclose(found.level_k, level, atol=1e-6)


def test_the_penalty_is_that_of_the_smallest_error_on_blocks_left_out() -> None:
    x, target, weight = rows(24, 10)
    block = torch.arange(24) // 4
    errors = {}
    for penalty in ridge.PENALTIES:
        left_out = ridge.Ridge(x, target, weight.double()).left_out(10 * penalty, block)
        errors[penalty] = float((weight * (left_out - target).square().sum(1)).sum())
    assert ridge.solve(x, target, weight, block).penalty == min(errors, key=lambda p: (errors[p], -p))


def test_copies_on_both_sides_would_choose_a_penalty_that_remembers() -> None:
    """Each row of noise four times: alone each is predicted by its copies; as blocks nothing can be learned."""
    x, target, weight = (part.repeat(4, *([1] * (part.ndim - 1))) for part in rows(12, 200))
    alone, tied = (ridge.solve(x, target, weight, b).penalty for b in (torch.arange(48), torch.arange(48) % 12))
    assert alone < 1e-3 < tied


def test_rows_that_were_added_are_learned_from_and_choose_nothing() -> None:
    x, target, weight = rows(20, 8)
    added = torch.randn(15, 8) * 100
    alone = ridge.solve(x, target, weight, torch.arange(20))
    block = torch.cat([torch.arange(20), torch.full((15,), -1)])
    whole = ridge.solve(torch.cat([x, added]), target[[*range(20), *range(15)]], torch.ones(35), block)
    again = ridge.solve(torch.cat([x, -added]), target[[*range(20), *range(15)]], torch.ones(35), block)
    assert (whole.penalty, whole.temperature) == (again.penalty, again.temperature)
    assert whole.penalty == ridge.solve(x, target, torch.ones(20), torch.arange(20)).penalty
    assert not torch.allclose(whole.weight_kf, alone.weight_kf)


def test_the_temperature_is_where_the_cross_entropy_is_smallest() -> None:
    _, target, weight = rows(60, 4)
    answer = (target + 0.1 * torch.randn(target.shape)).double()
    found = ridge.fitted_temperature(answer, target.double(), weight.double())
    smooth = (target * 60 + 1 / 3) / 61

    def loss(a: float) -> float:
        return float(-(weight[:, None] * smooth * (a * answer).log_softmax(1)).sum())

    assert loss(found) <= min(loss(found * factor) for factor in (0.9, 0.99, 1.01, 1.1))
    certain = ridge.fitted_temperature(torch.eye(3).double(), torch.eye(3).double(), torch.ones(3).double())
    assert 1 < certain < 100  # right everywhere, and no more sure than three rows allow


def test_weights_are_relative_and_unit_and_order_do_not_matter() -> None:
    x, target, weight = rows(30, 12)
    first = ridge.solve(x, target, weight, torch.arange(30))
    turned = torch.randperm(30)
    second = ridge.solve(1000 * x[turned] - 7, target[turned], 9 * weight[turned], turned)
    assert first.penalty == second.penalty
    torch.testing.assert_close(first.weight_kf, second.weight_kf, rtol=1e-3, atol=1e-5)
    twice = ridge.Ridge(x[[*range(30), 0]], target[[*range(30), 0]], torch.ones(31).double())
    heavy = torch.ones(30).double().index_fill(0, torch.tensor(0), 2)
    heavier = ridge.Ridge(x, target, heavy)
    torch.testing.assert_close(twice.weights(1.0 * 31), heavier.weights(1.0 * 30), rtol=1e-4, atol=1e-6)


def test_features_that_are_constant_or_mostly_zero_do_no_harm() -> None:
    x = torch.randn(40, 3)
    x[:, 1], x[:, 2] = 7.0, 0.0
    x[3, 2] = 1e-3
    mean, scale = ridge.standardising(x, torch.full((40,), 1 / 40).double())
    assert scale[1] == 1
    assert mean[1] == pytest.approx(7)
    assert scale[2] > 0.9  # not the thousandth of its deviation


@pytest.fixture(scope="module")
def one_group_of_noise() -> pd.DataFrame:
    return pd.DataFrame({"id": range(6), "group": list("aabbcd")})


def test_blocks_are_groups_and_copies(one_group_of_noise: pd.DataFrame) -> None:
    digests = np.arange(6 * 16).reshape(6, 16).astype(np.uint8) + 1
    digests[4] = digests[0]
    found = blocks(one_group_of_noise, digests)
    assert found[0] == found[1] == found[4]
    assert found[2] == found[3]
    assert len({found[0], found[2], found[5]}) == 3


def test_classes_that_are_balanced_count_alike(tmp_path: Path) -> None:
    data = store(tmp_path, 30)
    label = np.r_[np.zeros(24, int), np.ones(6, int)]
    target = np.eye(2, dtype=np.float32)[label]
    for balanced in (False, True):
        side = Batches(data, np.arange(30), target, None, CPU, balanced=balanced)
        model = Linear(InputSpec(1, (12,), ("a", "b")))
        solving.solve(model, parts.bound("features", FEATURES)().device_half(), loss, side, None, 8, (0, 0))
        share = (model.head.bias / model.temperature)[1].item()
        assert share == pytest.approx(0.5 if balanced else 0.2, abs=0.01)


FEATURES = {"_target_": "bench.features.heartbeat_waveform.HeartbeatWaveform"}


def loss(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return -(target * logits.log_softmax(1)).sum(1).mean()


def linear(small: Small, *overrides: str) -> Composed:
    return small("model=linear", "train.epochs=null", *overrides)


@pytest.mark.usefixtures("one_process")
def test_a_run_is_one_epoch_and_its_weights_predict_what_is_out_of_fold(small: Small, beats: Path) -> None:
    outcome = cross_validate(*linear(small))
    run = outcome.run
    assert [len(fold.history()) for fold in run.folds] == [1, 1]
    oof = pd.read_parquet(run.folder / "oof.parquet")
    assert outcome.scores is not None
    assert "ridge: penalty" in run.fold(0).log.read_text()
    predictor = Predictor(run, folds=[0])
    split = pd.read_parquet(run.folder / "splits.parquet")
    validated = split["fold"].to_numpy() == 0
    from bench.datasets.heartbeat import Heartbeat

    raw = [Heartbeat(beats).read("train", i) for i in np.flatnonzero(validated).tolist()]
    found = predictor.predict(raw)
    ids = split["id"][validated]
    np.testing.assert_allclose(found, predictions(oof.set_index("id").loc[ids].reset_index()), atol=1e-5)


def test_a_fold_that_is_taken_up_again_ends_in_the_same_weights(small: Small) -> None:
    run = train_here(*linear(small, "folds.only=[0]"))
    before = checkpoint.read_weights(run.fold(0).weights)
    run.fold(0).done.unlink()
    again = train_here(*linear(small, "folds.only=[0]"))
    assert again.folder == run.folder
    assert all(torch.equal(value, before[name]) for name, value in checkpoint.read_weights(run.fold(0).weights).items())
    run.fold(0).checkpoint.unlink()
    anew = train_here(*linear(small, "folds.only=[0]"))
    assert all(
        torch.equal(value, before[name]) for name, value in checkpoint.read_weights(anew.fold(0).weights).items()
    )
    model, _ = trained_fold(run, 0, CPU)
    assert any(float(model.penalty) == pytest.approx(p) for p in ridge.PENALTIES)  # type: ignore[arg-type]


@pytest.mark.parametrize("useless", ["train.epochs=3", "train.ema=0.9", "augment=[gain]", "init_from=a_run"])
def test_what_asks_for_epochs_is_refused(small: Small, useless: str) -> None:
    with pytest.raises(UserError, match=r"would do nothing: model=linear is solved at once"):
        make_plan(*linear(small, useless))


def test_a_penalty_below_zero_is_refused_and_one_that_is_given_is_taken(small: Small) -> None:
    with pytest.raises(UserError, match="must be above 0"):
        make_plan(*linear(small, "model.penalty=-1"))
    run = train_here(*linear(small, "model.penalty=0.03", "folds.only=[0]"))
    assert float(trained_fold(run, 0, CPU)[0].penalty) == pytest.approx(0.03)  # type: ignore[arg-type]


def test_labels_of_the_validation_side_change_no_weight(small: Small, beats: Path, tmp_path: Path) -> None:
    """Rows of fold 0 get other labels: the fold that validates them learns and chooses the same."""
    table = pd.read_csv(beats / "train.csv")
    table["fold"] = table.groupby("label").cumcount() % 2
    found = []
    for name, shift in (("as they are", 0), ("others", 1)):
        root = tmp_path / name
        root.mkdir()
        label = np.where(table["fold"] == 0, (table["label"] + shift) % 4, table["label"])
        table.assign(label=label).to_csv(root / "train.csv", index=False)
        recipe, names = linear(small, f"dataset.root={root}", "split=predefined", "~split.n_splits", "folds.only=[0]")
        run = train_here(recipe, names)
        found.append(checkpoint.read_weights(run.fold(0).weights))
        assert json.loads((run.folder / "inputs.json").read_text())["n_splits"] == 2
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
