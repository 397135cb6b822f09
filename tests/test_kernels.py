"""features=hydra, multirocket and quant: the papers' arithmetic by plain loops, one example at a time, any signal."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench import build
from bench.crossval.plan import make_plan
from bench.crossval.run import cross_validate
from bench.data.store import open_or_build
from bench.datasets.base import Dataset
from bench.datasets.heartbeat import Heartbeat
from bench.features.base import Features
from bench.models import ridge
from bench.prediction.predictor import Predictor
from bench.runs.frames import predictions
from bench.signal import quant
from bench.signal.hydra import Hydra
from bench.signal.multirocket import MultiRocket, dilations
from bench.spec import UserError
from bench.training import parts
from conftest import Composed
from tiny import node, options, raw_files

Small = Callable[..., Composed]
Rng = np.random.Generator
NAMES = ("hydra", "multirocket", "multirocket_hydra", "quant")
BEAT = {"_target_": "bench.features.heartbeat_waveform.HeartbeatWaveform"}


def signal(channels: int = 1, samples: int = 60, seed: int = 0) -> np.ndarray:
    x_ct: np.ndarray = np.random.default_rng(seed).standard_normal((channels, samples)).cumsum(1).astype(np.float32)
    return x_ct


def features(name: str, dataset: type[Dataset] = Heartbeat, **changes: Any) -> Features:
    own = node("features", name) | changes
    return parts.features(parts.with_signal(own, dataset))


def at(x_t: np.ndarray, t: int) -> float:
    """A sample, 0 outside of the signal."""
    return float(x_t[t]) if 0 <= t < len(x_t) else 0.0


def convolved(x_t: np.ndarray, weights: np.ndarray, dilation: int) -> np.ndarray:
    return np.array([sum(w * at(x_t, t + (j - 4) * dilation) for j, w in enumerate(weights)) for t in range(len(x_t))])


# ---------------------------------------------------------------- the papers' arithmetic


def pools(y_t: np.ndarray, b: float) -> list[float]:
    places = [t for t, y in enumerate(y_t) if y > b]
    longest = max((len(run) for run in "".join("+" if y > b else " " for y in y_t).split()), default=0)
    mean = float(np.mean([y_t[t] - b for t in places])) if places else 0.0
    place = float(np.mean(places)) if places else -1.0
    return [len(places) / len(y_t), mean, place / len(y_t), longest / len(y_t)]


@pytest.mark.parametrize("channels", [1, 3])
def test_multirocket_is_what_its_paper_says_by_a_loop(channels: int) -> None:
    x_ct = signal(channels, 30)
    transform = MultiRocket(channels, 30, 3 * 84, seed=5)
    expected: list[float] = []
    levels = [(i * (1 + 5**0.5) / 2) % 1 for i in range(1, 3 * 84 + 1)]
    for of, made_ct in enumerate((x_ct, np.diff(x_ct))):
        used = 0
        for d, (dilation, count) in enumerate(transform.dilations):
            outputs = []
            for k, triple in enumerate(combinations(range(9), 3)):
                weights = np.array([2.0 if j in triple else -1.0 for j in range(9)])
                read = transform.read[of * len(transform.dilations) + d]
                channels_read = [0] if channels == 1 else [c for c in read[k] if c >= 0]
                outputs.append(convolved(made_ct[channels_read].sum(0), weights, dilation))
            scale = float(np.sqrt(np.mean(np.square(outputs))))
            for k, y_t in enumerate(outputs):
                inner = y_t[4 * dilation : len(y_t) - 4 * dilation] if (k + d) % 2 and len(y_t) > 8 * dilation else y_t
                for n in range(count):
                    expected += pools(inner, scale * NormalDist().inv_cdf(levels[used + k * count + n]))
            used += 84 * count
    np.testing.assert_allclose(transform(x_ct), expected, atol=2e-4)
    assert transform.size == len(expected) == 8 * 3 * 84


@pytest.mark.parametrize("channels", [1, 4])
def test_hydra_is_what_its_paper_says_by_a_loop(channels: int) -> None:
    x_ct = signal(channels, 40)
    transform = Hydra(channels, 40, groups=6, kernels=4, seed=1)
    assert transform.dilations == [1, 2, 4]
    np.testing.assert_allclose(transform.weights.sum(-1), 0, atol=1e-6)
    np.testing.assert_allclose(np.abs(transform.weights).sum(-1), 1, atol=1e-6)
    expected = []
    for d, dilation in enumerate(transform.dilations):
        for of, made_ct in enumerate((x_ct, np.diff(x_ct))):
            won, lost = np.zeros((3, 4)), np.zeros((3, 4))
            for g in range(3):
                read = [0] if channels == 1 else transform.read[d, of, g]
                own = [
                    convolved(made_ct[read].sum(0), w, dilation) for w in transform.weights[d, of, 4 * g : 4 * g + 4]
                ]
                for y_k in np.stack(own, 1):
                    won[g, y_k.argmax()] += y_k.max()
                    lost[g, y_k.argmin()] += 1
            expected += [*won.ravel(), *lost.ravel()]
    np.testing.assert_allclose(transform(x_ct), np.sqrt(np.maximum(expected, 0)), atol=1e-3)
    assert transform.size == len(expected)


def test_quant_is_what_its_paper_says_by_numpys_quantiles() -> None:
    x_ct = signal(2, 50)
    transform = quant.Quant(2, 50, None, None)
    assert (transform.depth, transform.divisor) == (6, 4)
    expected = []
    edged = np.pad(np.diff(x_ct), ((0, 0), (2, 2)), "edge")
    smooth = np.stack([edged[:, t : t + 5].mean(1) for t in range(49)], 1)
    for made_ct in (x_ct, smooth, np.diff(np.diff(x_ct)), np.abs(np.fft.rfft(x_ct)) / 50**0.5):
        for z_t in made_ct:
            for first, last in quant.intervals(len(z_t), 6):
                part, many = z_t[first:last], 1 + (last - first - 1) // 4
                found = np.quantile(part, np.linspace(0, 1, many) if many > 1 else [0.5])
                found[1::2] -= part.mean()
                expected += found.tolist()
    np.testing.assert_allclose(transform(x_ct), expected, atol=1e-4)
    whole, halves, shifted = quant.intervals(50, 6)[0], quant.intervals(50, 6)[1:3], quant.intervals(50, 6)[3]
    assert whole.tolist() == [0, 50]
    assert halves.tolist() == [[0, 25], [25, 50]]
    assert shifted.tolist() == [13, 38]


def test_dilations_reach_as_far_as_the_signal_and_share_all_thresholds() -> None:
    for length, per_kernel in ((9, 1), (140, 24), (140, 74), (2000, 74), (32_000, 5)):
        found = dilations(length, per_kernel)
        assert sum(count for _, count in found) == per_kernel
        assert found[0][0] == 1
        assert all(8 * dilation <= length - 1 for dilation, _ in found)


def test_numbers_are_the_same_on_every_machine() -> None:
    """Pinned: kernels come from a seed, and not from a library's or a device's way to draw."""
    x_ct = np.sin(np.arange(64, dtype=np.float32) ** 1.5 / 9)[None]
    pinned: dict[str, tuple[Any, list[float]]] = {
        "hydra": (Hydra(1, 64, 8, 8, 0), PINNED[0]),
        "hydra of another seed": (Hydra(1, 64, 8, 8, 1), PINNED[1]),
        "multirocket": (MultiRocket(1, 64, 168, 0), PINNED[2]),
        "quant": (quant.Quant(1, 64, None, None), PINNED[3]),
    }
    for name, (transform, numbers) in pinned.items():
        assert transform(x_ct)[:: transform.size // 6][:6] == pytest.approx(numbers, abs=2e-3), name


PINNED = [
    [2.472, 1.923, 2.157, 1.151, 1.616, 1.068],
    [1.664, 0.0, 1.598, 1.577, 2.275, 1.391],
    [0.453, 0.906, 0.0, 0.429, 0.889, 0.0],
    [-0.997, 0.735, 0.2, 0.062, -0.784, -1.044],
]


# ---------------------------------------------------------------- one example, its signal alone


@pytest.mark.parametrize("name", NAMES)
def test_labels_order_and_other_rows_are_not_in_sight(name: str, tmp_path: Path, beats: Path) -> None:
    """The same beats with other labels, in another order and without half of the rows have the same numbers."""
    table = pd.read_csv(beats / "train.csv")
    order = np.random.default_rng(0).permutation(len(table))[:80]
    other = tmp_path / "other"
    other.mkdir()
    table.iloc[order].assign(label=np.arange(80) % 4).to_csv(other / "train.csv", index=False)
    (one, two) = (open_or_build(Heartbeat(r), features(name), "train", tmp_path, 1) for r in (beats, other))
    np.testing.assert_array_equal(one.gather(order), two.gather(np.arange(80)))
    assert one.dtype == np.float16


@pytest.mark.parametrize("name", NAMES)
def test_unit_and_offset_count_only_where_they_are_asked_to(name: str) -> None:
    x_ct = signal(1, 140)
    there = features(name).store(x_ct)
    np.testing.assert_allclose(features(name).store(50 * x_ct + 3), there, rtol=2e-3, atol=2e-2)
    raw = features(name, normalise=False)
    assert not np.allclose(raw.store(50 * x_ct), raw.store(x_ct), rtol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_that_is_one_number_all_over_stays_flat(name: str) -> None:
    """Else silent recordings would be taken for copies of each other, and tied to one fold."""
    assert not features(name).store(np.full((1, 140), 0.3, np.float32)).any()


@pytest.mark.parametrize(
    "transform", [MultiRocket(1, 400, 336, 0), Hydra(1, 400, 32, 8, 0), quant.Quant(1, 400, 3, 16)]
)
def test_a_signal_of_another_length_has_comparable_numbers(transform: Any) -> None:
    """Twice as long, of the same kind: nearer to itself than to another kind of the same length."""
    t = np.arange(800)
    slow, fast = ((np.sin(t / period) + 0.1 * signal(1, 800)[0] / 28)[None].astype(np.float32) for period in (5, 3))
    own, longer, other = (transform(x) for x in (slow[:, :400], slow, fast[:, :400]))
    assert len(own) == len(longer) == transform.size
    assert np.abs(longer - own).mean() < 0.5 * np.abs(other - own).mean()


@pytest.mark.parametrize("samples", [1, 2, 5, 9, 12, 17])
@pytest.mark.parametrize("transform", [MultiRocket(2, 100, 168, 0), Hydra(2, 100, 8, 8, 0), quant.Quant(2, 100, 6, 4)])
def test_short_signals_have_numbers_too(transform: Any, samples: int) -> None:
    found = transform(signal(2, samples))
    assert found.shape == (transform.size,)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("transform", [MultiRocket(12, 60, 168, 0), Hydra(12, 60, 16, 8, 0), quant.Quant(12, 60, 6, 4)])
def test_every_channel_is_read(transform: Any) -> None:
    x_ct = signal(12, 60)
    before = transform(x_ct)
    for channel in range(12):
        other = x_ct.copy()
        other[channel] = signal(1, 60, seed=9)[0] * 3
        assert not np.array_equal(transform(other), before)


def test_quant_of_many_channels_has_fewer_intervals_and_quantiles() -> None:
    for channels, length in ((1, 140), (8, 2000), (256, 1638), (1, 32_000)):
        transform = quant.Quant(channels, length, None, None)
        assert transform.size <= quant.MOST
        assert transform.size > quant.MOST / 4 or (transform.depth, transform.divisor) == (6, 4)


# ---------------------------------------------------------------- on every data set


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("raw")

    def of(name: str) -> Path:
        root = folder / name
        if not root.exists():
            root.mkdir()
            raw_files(name, root)
        return root

    return of


@pytest.mark.parametrize("dataset", options("dataset"))
def test_every_data_sets_sequence_is_laid_under_kernels(
    dataset: str, roots: Callable[[str], Path], tmp_path: Path
) -> None:
    root = roots(dataset)
    opened: Dataset = parts.dataset(node("dataset", dataset), root)
    small: dict[str, dict[str, Any]] = {"hydra": {"groups": 4}, "multirocket": {"kernels": 84}, "quant": {}}
    for name, sizes in small.items():
        made = features(name, type(opened), **sizes)
        spec = made.spec(opened)
        assert (spec.channels, spec.kind, spec.classes) == (1, "sequence", opened.classes)
        found = open_or_build(opened, made, "train", tmp_path, 1).gather(np.arange(len(opened.table("train"))))
        assert found.shape[1:] == spec.shape
        assert len(np.unique(found.astype(np.float32), axis=0)) > len(found) / 2


def test_sounds_are_taken_at_their_own_length_up_to_the_window(roots: Callable[[str], Path]) -> None:
    opened: Dataset = parts.dataset(node("dataset", "freesound"), roots("freesound"))
    made = features("hydra", type(opened), groups=4, signal={"_target_": "default", "seconds": 0.5})
    reference = Hydra(1, 8000, 4, 8, 0)
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 20_000)
    for samples, first, last in ((3000, 0, 3000), (20_000, 6000, 14_000)):
        own = np.rint(sound[:samples] * 2**15)[None, first:last]
        z_ct = ((own - own.mean()) / own.std()).astype(np.float32)
        np.testing.assert_allclose(made.store(sound[:samples])[0], reference(z_ct), rtol=1e-2, atol=0.1)


def test_the_signals_options_decide_the_store(roots: Callable[[str], Path], tmp_path: Path) -> None:
    """Those of its device half, too: here they are computed before."""
    opened: Dataset = parts.dataset(node("dataset", "seti"), roots("seti"))
    digests = set()
    for background in ("none", "mean"):
        made = features("hydra", type(opened), groups=4, signal={"_target_": "default", "background": background})
        digests.add(open_or_build(opened, made, "train", tmp_path, 1).digest)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("signal_node", "sentence"),
    [
        ({"_target_": "hydra"}, "gives no signal to lay kernels on"),
        ({"_target_": "heartbeat_scalogram"}, "gives no signal to lay kernels on"),
        ({"_target_": "nothing"}, "features.signal=nothing is no feature of dataset=heartbeat; choose"),
        ({"_target_": "os.system"}, "is refused"),
    ],
)
def test_what_is_no_signal_is_refused(small: Small, signal_node: dict[str, str], sentence: str) -> None:
    recipe, names = small("model=linear", "features=hydra", "train.epochs=null")
    recipe = recipe.__class__(**{**vars(recipe), "features": {**recipe.features, "signal": signal_node}})
    with pytest.raises(UserError, match=sentence):
        make_plan(recipe, names)


@pytest.mark.parametrize("wrong", ["features.groups=1", "features.kernels=1", "features.seed=-1"])
def test_options_that_leave_nothing_are_refused(small: Small, wrong: str) -> None:
    with pytest.raises(UserError, match=r"features\.\w+=-?1 must be \d or more"):
        make_plan(*small("model=linear", "features=hydra", "train.epochs=null", wrong))


# ---------------------------------------------------------------- few rows, whole runs


def bursts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 200) noise with a short wave at a random place, of period 6 or 8."""
    rng = np.random.default_rng(seed)
    x, label = rng.standard_normal((n, 200)) * 0.5, np.arange(n) % 2
    for row, of in zip(x, label, strict=True):
        first = rng.integers(140)
        row[first : first + 60] += np.sin(2 * np.pi * (np.arange(60) + rng.integers(8)) / (8 if of else 6))
    return x.astype(np.float32), label


@pytest.mark.parametrize("rows", [20, 60, 100])
@pytest.mark.parametrize("name", ["hydra", "multirocket"])
def test_few_rows_are_enough(name: str, rows: int) -> None:
    made = features(name)
    sides = []
    for n, seed in ((rows, 0), (200, 1)):
        x, label = bursts(n, seed)
        sides.append((torch.from_numpy(np.concatenate([made.store(row[None]) for row in x])), label))
    (train, label), (test, expected) = sides
    target = torch.nn.functional.one_hot(torch.from_numpy(label)).float()
    found = ridge.solve(train, target, torch.ones(rows), torch.arange(rows))
    answer = ((test - found.mean_f) / found.scale_f).double() @ found.weight_kf.T + found.bias_k
    assert (answer.argmax(1).numpy() == expected).mean() >= 0.95


def test_numbers_without_order_are_for_models_that_flatten(small: Small) -> None:
    with pytest.raises(UserError, match="model=resnet1d looks for patterns along time, and features=quant gives"):
        make_plan(*small("model=resnet1d", "features=quant"))
    assert make_plan(*small("model=mlp", "features=quant")).inputs.spec.channels == 1


@pytest.mark.usefixtures("one_process", "one_thread")
def test_a_run_predicts_raw_signals_as_it_predicted_out_of_fold(small: Small, beats: Path) -> None:
    words = ("features=hydra", "features.groups=8", "model=linear", "train.epochs=null")
    run = cross_validate(*small(*words)).run
    split, oof = pd.read_parquet(run.folder / "splits.parquet"), pd.read_parquet(run.folder / "oof.parquet")
    validated = np.flatnonzero(split["fold"].to_numpy() == 1)
    raw = [Heartbeat(beats).read("train", i) for i in validated.tolist()]
    ids = split["id"].to_numpy()[validated]
    expected = predictions(oof.set_index("id").loc[ids].reset_index())
    np.testing.assert_allclose(Predictor(run, folds=[1]).predict(raw), expected, atol=1e-5)


def test_a_folders_config_names_the_signal_in_full(small: Small) -> None:
    plan = make_plan(*small("features=quant", "model=linear", "train.epochs=null"))
    assert plan.recipe.features["signal"] == BEAT
    assert build.build(plan.recipe.features, "features").settings()["signal"] == BEAT
