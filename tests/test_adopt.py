"""bench.adopt: predictions made elsewhere become a run that blending and comparing take, or are refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.adopt import COMMAND
from bench.cli.door import run
from bench.comparison.reading import read as read_for_comparison
from bench.ensembling import foreign
from bench.ensembling.members import read as read_members
from bench.runs.frames import read_frame
from bench.runs.run import Run
from bench.runs.selection import select
from bench.spec import UserError
from bench.training import parts
from fake_run import write_member
from tiny import node, raw_files


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw_files("heartbeat", tmp_path_factory.mktemp("raw"))


def predictions(root: Path, part: str = "train", seed: int = 0) -> pd.DataFrame:
    """A team mate's file: ids in another order, a column a class, five folds that are counted from 1."""
    table = parts.dataset(node("dataset", "heartbeat"), root).table("train" if part == "train" else "test")
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(4), len(table))
    frame = pd.DataFrame({"id": table["id"], **{f"label_{k}": p[:, k] for k in range(4)}})
    if part == "train":
        frame["fold"] = np.arange(len(frame)) % 5 + 1
    return frame.sample(frac=1, random_state=seed)


def words(root: Path, tmp_path: Path, frame: pd.DataFrame, *more: str) -> list[str]:
    frame.to_csv(tmp_path / "theirs.csv", index=False)
    here = ["dataset=heartbeat", f"dataset.root={root}", f"outputs={tmp_path / 'outputs'}", "tracking.enabled=false"]
    return [f"oof={tmp_path / 'theirs.csv'}", "name=anna", "pictures=false", *here, *more]


def adopted(root: Path, tmp_path: Path, frame: pd.DataFrame, *more: str) -> Run:
    assert run(COMMAND, words(root, tmp_path, frame, *more)) == 0
    return select("latest", tmp_path / "outputs").runs[0]


def test_a_file_becomes_a_finished_run_with_its_predictions(root: Path, tmp_path: Path) -> None:
    theirs, test = predictions(root), predictions(root, "test")
    test.to_csv(tmp_path / "sub.csv", index=False)
    one = adopted(root, tmp_path, theirs, f"test={tmp_path / 'sub.csv'}")
    oof = read_frame(one.folder / "oof.parquet").set_index("id")
    expected = theirs.set_index("id").loc[oof.index]
    for k in range(4):
        assert np.allclose(oof[f"pred_{k}"], expected[f"label_{k}"])
    assert (oof["fold"] == expected["fold"] - 1).all()
    assert len(read_frame(one.folder / "test.parquet")) == len(test)
    assert (one.folder / "submission.csv").exists()
    assert one.inputs.model == "anna"
    again = adopted(root, tmp_path, theirs, f"test={tmp_path / 'sub.csv'}")
    assert again.folder == one.folder, "the same files are the same run"
    other = adopted(root, tmp_path, predictions(root, seed=1))
    assert other.folder != one.folder


def test_folds_are_numbered_as_ours_so_that_both_are_blended_and_compared(root: Path, tmp_path: Path) -> None:
    table = parts.dataset(node("dataset", "heartbeat"), root).table("train")
    target = table.filter(like="target_").to_numpy()
    theirs = predictions(root)
    fold = (theirs.sort_index()["fold"].to_numpy() + 2) % 5
    ours = write_member(tmp_path / "outputs", np.full(target.shape, 0.25), target, fold, dataset="heartbeat",
                        metric="l1_20k")  # fmt: skip
    for name in ("oof.parquet", "splits.parquet"):
        frame = read_frame(ours.folder / name).assign(id=table["id"].to_numpy())
        names = {c: f"{c.split('_')[0]}_{c.rsplit(' ', 1)[-1]}" for c in frame.columns if "class" in c}
        frame.rename(columns=names).to_parquet(ours.folder / name)
    one = adopted(root, tmp_path, theirs)
    mine = read_frame(one.folder / "splits.parquet").set_index("id")["fold"]
    assert mine.loc[table["id"]].tolist() == fold.tolist()
    another = adopted(root, tmp_path, predictions(root, seed=1)[list(theirs.columns)].drop(columns="fold").merge(
        theirs[["id", "fold"]]), "name=bob")  # fmt: skip
    assert len(read_members([one, another], "arithmetic").p_mnk) == 2
    _, p = read_for_comparison([one, another])
    assert [len(each) for each in p] == [len(table)] * 2


def test_without_folds_all_rows_are_one_and_comparing_says_what_to_do(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = adopted(root, tmp_path, predictions(root).drop(columns="fold"))
    assert "all rows are one fold" in capsys.readouterr().err
    scores = one.scores()
    assert scores is not None
    assert scores.complete
    assert np.isfinite(scores.baseline)
    with pytest.raises(UserError, match="adopted without folds"):
        read_for_comparison([one, one])


def test_its_model_is_not_here_and_predicting_says_so(root: Path, tmp_path: Path) -> None:
    from bench.prediction.predictor import Predictor

    one = adopted(root, tmp_path, predictions(root))
    with pytest.raises(UserError, match="its predictions are here, its model is not"):
        Predictor(one)


@pytest.mark.parametrize(
    ("change", "more", "sentence"),
    [
        (lambda f: f.assign(label_1=0.9), [], "the probabilities of id .* sum to"),
        (lambda f: f.assign(label_1=np.nan), [], "label_1 of id .* is nan, which is no probability"),
        (lambda f: f.assign(label_1=-0.1), [], "label_1 of id .* is -0.1"),
        (lambda f: f.iloc[:-2], [], "the file lacks id .* and 1 other rows"),
        (lambda f: pd.concat([f, f.iloc[:1]]), [], "comes 2 times; which row counts?"),
        (lambda f: f.rename(columns={"label_3": "x"}), [], "no column for class 3"),
        (lambda f: f.rename(columns={"id": "row"}), ["id=nothing"], "id=nothing is no column"),
        (lambda f: f, ["columns=[a,b]"], "columns has 2 names, and there are 4 classes"),
        (lambda f: f, ["columns=[a,b,c,d]"], "has no column a"),
        (lambda f: f.assign(fold=0), [], "trains on no row"),
        (lambda f: f, ["name=../x"], r"name=\.\./x can't name a run"),
        (lambda f: f, ["folds=predefined"], "has no column fold"),
        (lambda f: f, ["test=/nowhere.csv"], "test=/nowhere.csv is not a file"),
    ],
)
def test_what_can_not_be_taken_is_one_sentence_and_leaves_nothing(
    change: object, more: list[str], sentence: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = change(predictions(root))  # type: ignore[operator]
    assert run(COMMAND, words(root, tmp_path, frame, *more)) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert not list((tmp_path / "outputs").glob("heartbeat/*/*"))


def test_folds_that_part_a_group_are_refused() -> None:
    from bench.ensembling.adopting import _checked
    from bench.runs.recipe import AdoptedRecipe

    rows = pd.DataFrame({"id": range(8), "group": [0, 0, 1, 1, 2, 2, 3, 3], "target_a": [1.0, 0] * 4})
    rows["target_b"] = 1 - rows["target_a"]
    strict = AdoptedRecipe(dataset={}, strict=True)
    with pytest.raises(UserError, match=r"oof: .*group"):
        _checked(rows, np.arange(8) % 2, strict, ())
    _, _, notes = _checked(rows, np.arange(8) % 2, AdoptedRecipe(dataset={}, strict=False), ())
    assert "group" in notes[0]


def test_columns_are_told_apart_by_the_classes_names() -> None:
    frame = pd.DataFrame(columns=["eeg_id", "Seizure_vote", "lpd_vote", "gpd_vote"])
    assert foreign.class_columns(frame, ["seizure", "lpd"], None, "oof") == ["Seizure_vote", "lpd_vote"]
    assert foreign.class_columns(frame, ["lpd", "gpd"], {"lpd": "gpd_vote", "gpd": "lpd_vote"}, "oof")[0] == "gpd_vote"
    both = pd.DataFrame(columns=["id", "a", "pred_a", "b"])
    with pytest.raises(UserError, match=r"several columns \(a, pred_a\) for class a"):
        foreign.class_columns(both, ["a", "b"], None, "oof")
    assert foreign.class_columns(pd.DataFrame(columns=["id", "target"]), ["no", "yes"], None, "oof") == ["target"]


def test_a_row_an_example_counts_for_each_of_its_rows() -> None:
    rows = pd.DataFrame({"id": ["a0", "a1", "b0"], "example": ["7", "7", "9"]})
    at, told = foreign.places(foreign.texts(pd.Series([9.0, 7.0])), rows, "oof")
    assert at.tolist() == [1, 1, 0]
    assert told is not None
    assert "a row an example" in told
