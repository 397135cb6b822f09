"""Nothing of a fold's validation side reaches what it trains: other rows there, and the weights are the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import tiny
from bench.runs.run import Run
from conftest import Composed, compose, train_here

LENGTH = 40
Roots = tuple[Path, Path]


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    """Two heartbeat roots that agree in fold 1, and in nothing of fold 0: other signals, far away, other labels."""
    from bench.simulators.heartbeat import simulate

    rng = np.random.default_rng(0)
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    simulate(first, n_train=96, n_test=6, length=LENGTH, seed=1)
    rows = pd.read_csv(first / "train.csv").sort_values("label", kind="stable")  # each class on both sides
    rows = rows.assign(fold=np.arange(96) % 2)
    rows.to_csv(first / "train.csv", index=False)
    other = rows["fold"] == 0
    rows.loc[other, "heartbeat_signals"] = [",".join(map(str, x)) for x in rng.normal(50, 9, (other.sum(), LENGTH))]
    rows.loc[other, "label"] = np.roll(rows.loc[other, "label"], 7)
    rows.to_csv(second / "train.csv", index=False)
    (second / "testA.csv").write_bytes((first / "testA.csv").read_bytes())
    return first, second


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    """The same of Freesound: noise in the place of fold 0's clips."""
    rng = np.random.default_rng(0)
    roots = tuple(tiny.raw_files("freesound", tmp_path_factory.mktemp(name)) for name in ("a", "b"))
    for number, root in enumerate(roots):
        rows = pd.read_csv(root / "train.csv")
        rows = rows.assign(fold=np.arange(len(rows)) % 2)
        rows.to_csv(root / "train.csv", index=False)
        for name in rows["fname"][rows["fold"] == 0] if number else ():
            soundfile.write(root / "audio_train" / name, rng.uniform(-1, 1, 30_000), 44_100)
    return roots  # type: ignore[return-value]


def trained(root: Path, folder: Path, *overrides: str) -> Run:
    where = [f"dataset.root={root}", f"outputs={folder}/{root.name}", f"store={folder}/store"]
    config, names = compose(
        *where,
        "split=predefined",
        "device=cpu",
        "tracking.enabled=false",
        "train.epochs=2",
        "train.batch_size=8",
        *overrides,
    )
    return train_here(config, names)


WAYS: dict[str, list[str]] = {
    "nothing fitted": [],
    "smote": ["synthetic=smote", "synthetic.k_neighbors=2"],
    "gan": ["synthetic=gan", "synthetic.epochs=2"],
    "balanced batches": ["train.balanced=true"],
    "pseudo-labels": ["pseudo=teachers", "pseudo.rows=test", "pseudo.runs=[{teacher}]"],
    "init_from": ["init_from={teacher}"],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_fold_is_the_same_whatever_its_validation_rows_are(parted: Roots, tmp_path: Path, way: str) -> None:
    weights = []
    for root in parted:
        teacher = Path()
        if any("{teacher}" in override for override in WAYS[way]):
            teacher = trained(root, tmp_path, "dataset=heartbeat", "model=mlp").folder
        overrides = [override.format(teacher=teacher) for override in WAYS[way]]
        run = trained(root, tmp_path, "dataset=heartbeat", "model=mlp", "folds.only=[0]", *overrides)
        weights.append(run.fold(0).weights.read_bytes())
        if way in ("smote", "gan"):
            assert np.load(run.fold(0).folder / "synthetic.npz")["x"].max() < 10  # nothing of what lies far away
    assert weights[0] == weights[1]


def test_a_standardiser_is_fitted_to_the_training_side_alone(sounds: Roots, tmp_path: Path) -> None:
    how = ["dataset=freesound", "model=cnn2d", "features=freesound_mfcc", "features.seconds=0.4"]
    how += ["train.keep=last", "train.patience=null"]  # which epoch is kept is the validation side's to choose
    runs = [trained(root, tmp_path, *how, "folds.only=[0]") for root in sounds]
    assert runs[0].fold(0).features.read_bytes() == runs[1].fold(0).features.read_bytes()
    assert runs[0].fold(0).weights.read_bytes() == runs[1].fold(0).weights.read_bytes()


@pytest.mark.parametrize("key", ["init_from={}", "pseudo=teachers pseudo.rows=test pseudo.runs=[{}]"])
def test_a_source_that_saw_what_a_fold_validates_is_refused(small: Callable[..., Composed], key: str) -> None:
    from bench.crossval.plan import make_plan
    from bench.spec import UserError

    source = train_here(*small("split.seed=1")).folder
    with pytest.raises(UserError, match=r"its weights were trained on \d+ rows that fold 0 validates \(first: "):
        make_plan(*small("split.seed=2", *key.format(source).split()))
    plan = make_plan(*small("split.seed=1", *key.format(source).split()))
    assert plan.run.folder != source


def test_labels_of_a_test_row_are_the_same_folds_of_the_teachers(
    small: Callable[..., Composed],
) -> None:
    teachers = [train_here(*small(f"seed={seed}")) for seed in (1, 2)]
    runs = ",".join(str(run.folder) for run in teachers)
    run = train_here(*small("pseudo=teachers", "pseudo.rows=test", f"pseudo.runs=[{runs}]"))
    for k in (0, 1):
        asked = pd.read_parquet(run.fold(k).folder / "pseudo.parquet").set_index("id")
        told = [pd.read_parquet(teacher.fold(k).test).set_index("id") for teacher in teachers]
        pd.testing.assert_frame_equal(asked, (told[0] + told[1]) / 2)
        assert "pseudo-labels for 24 of 24 rows" in run.fold(k).log.read_text(encoding="utf-8")
    assert json.loads((run.folder / "inputs.json").read_text())["teachers"][1]["run"] == str(teachers[1].folder)


@pytest.mark.parametrize("key", ["init_from={}", "pseudo=teachers pseudo.rows=test pseudo.runs=[{}]"])
def test_a_leak_is_told_before_the_test_files_and_the_teachers_features_are_computed(
    small: Callable[..., Composed], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    from bench.crossval.opened import Opened
    from bench.crossval.plan import make_plan
    from bench.spec import UserError

    source, store = train_here(*small("split.seed=1")).folder, Opened.store
    computed: list[object] = []

    def counted(opened: Opened, *given: Any) -> Any:
        computed.append(given[1:])
        return store(opened, *given)

    monkeypatch.setattr(Opened, "store", counted)
    with pytest.raises(UserError, match="its weights were trained on"):
        make_plan(*small("split.seed=2", *key.format(source).split()))
    assert computed == [("train",)]
