"""Pseudo-labels of rows that few people judged: which rows, whose labels, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.crossval.plan import make_plan
from bench.crossval.pseudo_labels import Teachers
from bench.datasets.base import serves
from bench.spec import UserError
from conftest import Composed, compose, train_here

pytestmark = pytest.mark.slow

CLASSES = ("a", "b", "other")


@pytest.fixture(scope="module")
def eegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bench.simulators.hms import simulate

    root = tmp_path_factory.mktemp("eegs")
    simulate(root, n_eegs=24, n_patients=12, n_test=2, seed=0)
    return root


def command(root: Path, folder: Path, *overrides: str) -> Composed:
    return compose(
        "dataset=hms",
        "model=mlp",
        "features.decimate=20",
        "features.cutoff=4",
        "features=hms_waveform",
        f"dataset.root={root}",
        f"outputs={folder}/outputs",
        f"store={folder}/store",
        "split.n_splits=2",
        "split.strict=false",  # so few rows of so many votes may lack a class
        "train.epochs=1",
        "device=cpu",
        "tracking.enabled=false",
        *overrides,
    )


def split_votes(root: Path) -> int:
    """The number of votes that about half of the EEGs reach."""
    from bench.datasets.hms import HMS

    return int(HMS(root).table("train")["votes"].median()) + 1


def test_rows_of_few_votes_are_labelled_by_the_fold_that_does_not_validate_their_patient(
    eegs: Path, tmp_path: Path
) -> None:
    few = split_votes(eegs)
    high = [f"dataset.min_votes={few}", "dataset.keep_rest=true"]
    teacher = train_here(*command(eegs, tmp_path, *high))
    run = train_here(*command(eegs, tmp_path, *high, "pseudo=teachers", f"pseudo.runs=[{teacher.folder}]"))
    rows = pd.read_parquet(run.folder / "splits.parquet").set_index("id")
    assert not serves(rows, "trained").all()
    for k in (0, 1):
        ids = pd.read_parquet(run.fold(k).folder / "pseudo.parquet")["id"]
        assert len(ids)
        assert not rows.loc[ids, "trained"].any()
        assert not set(rows.loc[ids, "group"]) & set(rows["group"][rows["fold"] == k])
        expected = rows[~rows["trained"] & (rows["fold"] != k)].index
        assert set(ids) == set(expected)
    assert sum(len(pd.read_parquet(fold.oof)) for fold in run.folds) == int(rows["validated"].sum())
    ours, theirs = (pd.read_parquet(r.fold(0).oof) for r in (run, teacher))
    assert not ours.equals(theirs)


def test_a_teacher_labels_with_its_own_test_time_augmentation(eegs: Path, tmp_path: Path) -> None:
    """Its labels of the test rows are its own folds' predictions of them, views and all."""
    teacher = train_here(*command(eegs, tmp_path, "tta=flips", "tta.flips=[left_right]"))
    ask = ["pseudo=teachers", "pseudo.rows=test", f"pseudo.runs=[{teacher.folder}]", "folds.only=[0]"]
    run = train_here(*command(eegs, tmp_path, *ask))
    labels = pd.read_parquet(run.fold(0).folder / "pseudo.parquet").set_index("id")
    theirs = pd.read_parquet(teacher.fold(0).test).set_index("id").loc[labels.index]
    np.testing.assert_allclose(labels.to_numpy(), theirs.to_numpy(), atol=1e-7)


def test_a_teacher_that_was_trained_on_what_it_would_label_is_refused_unless_told(eegs: Path, tmp_path: Path) -> None:
    few = split_votes(eegs)
    all_rows = train_here(*command(eegs, tmp_path)).folder
    ask = [f"dataset.min_votes={few}", "dataset.keep_rest=true", "pseudo=teachers", f"pseudo.runs=[{all_rows}]"]
    with pytest.raises(UserError, match=r"was trained on \d+ of the rows that it would label for fold 0 \(first: "):
        make_plan(*command(eegs, tmp_path, *ask))
    make_plan(*command(eegs, tmp_path, *ask, "pseudo.trained_too=true"))


def test_without_rows_to_label_the_sentence_says_how_to_keep_them(eegs: Path, tmp_path: Path) -> None:
    run = train_here(*command(eegs, tmp_path)).folder
    with pytest.raises(UserError, match=r"every row is trained on, so there is none to label; .*keep_rest=true"):
        make_plan(*command(eegs, tmp_path, "pseudo=teachers", f"pseudo.runs=[{run}]"))


def test_thresholds_choose_rows_and_whole_examples() -> None:
    probability = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [0.1, 0.05, 0.85], [0.8, 0.1, 0.1]])
    example = np.array([0, 1, 2, 2])
    keep, target = Teachers(["x"], above=0.5).chosen(probability, CLASSES, example)
    assert keep.tolist() == [True, False, True, True]
    np.testing.assert_allclose(target, probability, rtol=1e-6)
    keep, _ = Teachers(["x"], drop_above={"other": 0.8}).chosen(probability, CLASSES, example)
    assert keep.tolist() == [True, True, False, False]
    _, hard = Teachers(["x"], hard=True).chosen(probability, CLASSES, example)
    assert hard.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"runs": None}, "pseudo.runs names no teacher"),
        ({"above": 2}, "pseudo.above=2 must lie between 0 and 1"),
        ({"weight": 0}, "pseudo.weight=0 must be above 0"),
        ({"rows": "all"}, "pseudo.rows=all is not one of rest, test"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Teachers(**{"runs": ["x"], **options})


def test_a_class_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"pseudo.drop_above.nosuch: no such class; there are a, b, other"):
        Teachers(["x"], drop_above={"nosuch": 0.5}).chosen(np.zeros((0, 3)), CLASSES, np.zeros(0))
