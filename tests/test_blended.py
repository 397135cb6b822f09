"""An ensemble predicts new files and raw examples: its members do, then its blend, as it did in the first place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench.atomic import read_json, write_json
from bench.build import locate
from bench.crossval import collect
from bench.ensembling import blend
from bench.ensembling.ways import geometric
from bench.prediction.blended import Sources
from bench.prediction.command import predict
from bench.runs.frames import predictions, write_frame
from bench.runs.run import Run
from bench.spec import UserError
from commands import blended, command, made, write_sample
from conftest import compose, small_overrides, train_here

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

WAYS = {
    "weights": ["blend=weights"],
    "rank": ["blend=rank"],
    "logits": ["blend=logits"],
    "hill_climbing": ["blend=hill_climbing"],
    "network": ["blend=stack_network", "blend.epochs=3"],
    "ridge": ["blend=stack_ridge"],
    "logistic": ["blend=stack_logistic"],
    "hardened": ["blend=mean", "harden=margin", "harden.above=0.26"],
    "ten folds": ["blend=geometric", "folds=geometric"],
}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take a second each."""
    monkeypatch.setattr(blend, "draw", lambda run, metric: None)


@pytest.fixture(scope="module")
def trained(beats: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with outputs and a store: three seeds of heartbeat × mlp."""
    folder = tmp_path_factory.mktemp("trained")
    for change in ("seed=1", "seed=2", "seed=3"):
        run = train_here(*compose(*small_overrides(beats, folder), "train.epochs=1", change))
        collect.collect(run, locate(run.made_by.dataset, "dataset").metric)  # type: ignore[attr-defined]
        run.write_state(status="finished")
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Path:
    """The outputs of a copy that a test may change."""
    shutil.copytree(trained / "outputs", tmp_path / "outputs")
    return tmp_path / "outputs"


def members(outputs: Path) -> list[Path]:
    return sorted((outputs / "heartbeat" / "mlp").iterdir())


def two(outputs: Path, *overrides: str) -> Run:
    """A blend of the first two runs."""
    return blended(outputs, "runs=" + ",".join(map(str, members(outputs)[:2])), *overrides)


@pytest.mark.parametrize("way", WAYS)
def test_the_ensembles_own_test_rows_come_out_again(
    here: Path, trained: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = two(here, *WAYS[way])
    predict(command(here.parent, f"run={run.folder}", f"store={trained / 'store'}"))
    folder = made(capsys)
    assert folder.parent == run.folder / "predictions"
    ours, theirs = (pd.read_parquet(f / "test.parquet") for f in (folder, run.folder))
    assert ours["id"].tolist() == theirs["id"].tolist()
    np.testing.assert_allclose(predictions(ours), predictions(theirs), rtol=0, atol=1e-9)
    a, b = (pd.read_csv(f / "submission.csv").to_numpy() for f in (folder, run.folder))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_the_folds_are_averaged_as_the_ensemble_was_made(here: Path) -> None:
    folder = members(here)[0]
    ids = pd.read_parquet(folder / "test.parquet")["id"]
    run = two(here, "blend=mean", "folds=geometric")
    first = bench.load(run.folder, device="cpu").members[0]
    beats = first.run.recipe.dataset["root"]
    found = predictions(first.predict(beats))
    each = np.stack([predictions(pd.read_parquet(fold.test)) for fold in first.run.folds])
    np.testing.assert_allclose(found, geometric(each), atol=1e-12)
    assert np.abs(found - each.mean(0)).max() > 1e-9
    assert len(found) == len(ids)


def test_an_ensemble_of_an_ensemble_predicts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inner = two(here, "blend=weights")
    outer = blended(here, f"runs={inner.folder},{members(here)[2]}", "blend=stack_ridge", "folds=geometric")
    predict(command(here.parent, f"run={outer.folder}"))
    said = capsys.readouterr()
    found = pd.read_parquet(Path(said.out.splitlines()[-1].removeprefix("predictions ")) / "test.parquet")
    np.testing.assert_allclose(
        predictions(found), predictions(pd.read_parquet(outer.folder / "test.parquet")), rtol=0, atol=1e-9
    )
    assert {line.split()[1] for line in said.err.splitlines() if line.startswith("member ")} == {
        str(inner.folder), str(members(here)[2])
    }  # fmt: skip


def test_chosen_folds_are_those_of_every_member(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = two(here, "blend=mean")
    predict(command(here.parent, f"run={run.folder}", "folds=[1]"))
    found = predictions(pd.read_parquet(made(capsys) / "test.parquet"))
    each = [predictions(pd.read_parquet(Run(m).fold(1).test)) for m in members(here)[:2]]
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-9)
    with pytest.raises(UserError, match=r"mlp/\w+, a member: folds=\[0, 7\] must name folds from 0 to 1"):
        predict(command(here.parent, f"run={run.folder}", "folds=[0,7]"))


def test_views_are_handed_on_to_the_members(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = two(here, "blend=mean")
    predict(command(here.parent, f"run={run.folder}"))
    plain = made(capsys)
    predict(command(here.parent, f"run={run.folder}", "tta=none"))
    assert made(capsys) == plain, "which are their own views, too"
    predict(command(here.parent, f"run={run.folder}", "tta=flips"))
    flipped = made(capsys)
    assert not pd.read_parquet(flipped / "test.parquet").equals(pd.read_parquet(plain / "test.parquet"))
    assert read_json(flipped / "inputs.json")["tta"] != read_json(plain / "inputs.json")["tta"]


def test_a_member_that_was_moved_is_found_by_its_identity(here: Path, tmp_path: Path) -> None:
    run = two(here, "blend=weights")
    wanted = predictions(pd.read_parquet(run.folder / "test.parquet"))
    raw = str(Run(members(here)[0]).recipe.dataset["root"])

    def found(folder: Path, outputs: Path) -> np.ndarray:
        model = bench.load(folder, device="cpu", outputs=outputs, store=tmp_path / "store")
        assert {m.run.folder.parents[2] for m in model.members} != {here}
        return predictions(model.predict(raw))

    there = Path(shutil.move(here, tmp_path / "there"))
    folder = there / run.folder.relative_to(here)
    np.testing.assert_allclose(found(folder, tmp_path / "no"), wanted, atol=1e-9)  # all of them, side by side
    alone = Path(shutil.move(folder, tmp_path / "alone/x/y"))
    np.testing.assert_allclose(found(alone, there), wanted, atol=1e-9)
    gone = members(there)[0].name
    shutil.rmtree(members(there)[0])
    with pytest.raises(UserError, match=rf"mlp/{gone}, which is not there any more, .*; put that run's folder back"):
        bench.load(alone, device="cpu", outputs=there)


def test_a_member_that_predicts_otherwise_by_now_is_named(here: Path) -> None:
    run = two(here, "blend=weights")
    changed = members(here)[1]
    frame = pd.read_parquet(changed / "oof.parquet")
    frame.loc[3, ["pred_0", "pred_1", "pred_2", "pred_3"]] = 0.25
    write_frame(frame, changed / "oof.parquet")
    with pytest.raises(UserError, match=r"oof\.parquet is damaged"):
        bench.load(run.folder, device="cpu")
    (changed / "checksums.json").unlink()
    write_json(changed / "scores.json", {**read_json(changed / "scores.json"), "checksums": {}})
    with pytest.raises(UserError, match=f"^{changed} no longer predicts what was blended in {run.folder}"):
        bench.load(run.folder, device="cpu")


def test_an_ensemble_is_not_exported(here: Path) -> None:
    pytest.importorskip("onnx")
    run = two(here)
    with pytest.raises(UserError, match="is an ensemble, which has no weights of its own; export its members"):
        predict(command(here.parent, f"run={run.folder}", "export=torch"))


def test_raw_examples_are_predicted_as_files_are(here: Path, tmp_path: Path) -> None:
    run = two(here, "blend=weights")
    model = bench.load(run.folder, device="cpu", store=tmp_path / "store")
    dataset = model.open(Path(model.members[0].run.recipe.dataset["root"]))
    raw = [dataset.read("test", i, **model.reads) for i in range(24)]
    found = model.predict(raw)
    np.testing.assert_allclose(found, predictions(pd.read_parquet(run.folder / "test.parquet")), atol=1e-9)
    np.testing.assert_allclose(model.predict(raw[5]), found[5:6], atol=1e-6)
    assert model.predict([]).shape == (0, 4)
    with pytest.raises(UserError, match=r"mlp/\w+, a member: raw example 1 can't be used"):
        model.predict([raw[0], raw[0][:, 1:]])


def test_members_that_read_other_parts_of_a_raw_example_are_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bench.load(two(here).folder, device="cpu")
    monkeypatch.setattr(model.members[1].features, "reads", {"columns": ["C3"]})
    with pytest.raises(UserError, match=r"read other parts of a raw example \(\{\} and .*'C3'.*; predict a folder"):
        model.predict([np.zeros((1, 64))])


def test_one_row_alone_has_no_rank(here: Path) -> None:
    run = two(here, "blend=rank")
    with pytest.raises(UserError, match=f"{run.folder} is a blend of ranks among the rows that are predicted together"):
        bench.load(run.folder, device="cpu").predict(np.zeros((1, 64)))


def test_members_may_keep_the_rows_in_another_order(here: Path) -> None:
    model = bench.load(two(here, "blend=mean").folder, device="cpu")
    raw, places = list(np.random.default_rng(0).normal(size=(5, 1, 64))), np.array([2, 0, 4, 1, 3])
    shuffled = [raw[row] for row in np.argsort(places)]  # row r stands at places[r]
    first, second = (m.stored(x) for m, x in zip(model.members, (raw, shuffled), strict=True))
    found = model.probabilities(Sources([first, second], [np.arange(5), places]), list("abcde"))
    np.testing.assert_allclose(found, model.predict(raw), atol=1e-12)
    broken = model.members[1].models(0)[0]
    weight = next(broken.parameters())
    with torch.no_grad():
        weight.fill_(torch.nan)
    with pytest.raises(UserError, match=f"{model.members[1].run.folder}, a member: 5 of 5 .* the first for id b;"):
        model.probabilities(Sources([first, second], [np.arange(5), places]), list("abcde"))


def test_members_that_find_other_rows_in_a_folder_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bench.load(two(here).folder, device="cpu")
    raw = Path(model.members[0].run.recipe.dataset["root"])
    fewer = model.members[1].open(raw)
    fewer.__dict__["_test"] = fewer.table("test").iloc[1:]
    monkeypatch.setattr(model.members[1], "open", lambda folder: fewer)
    with pytest.raises(UserError, match=r"find other test rows in .* \(24 and 23\), so there is nothing to blend"):
        model.open(raw)


def test_a_sample_of_other_ids_costs_the_submission_alone_and_the_same_command_writes_it_later(
    here: Path, beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(beats, tmp_path / "raw"))
    ids = pd.read_csv(root / "testA.csv")["id"].tolist()
    write_sample(root, [*ids, 7])
    run = two(here, f"root={root}")
    assert (run.folder / "test.parquet").exists()
    assert not (run.folder / "submission.csv").exists()
    assert re.search(r"submission.csv is not written: .* asks for id 7 \(line 26\)", capsys.readouterr().err)
    write_sample(root, ids[::-1])
    monkeypatch.setattr("bench.ensembling.fitting.nested", None)  # nothing is fitted again
    two(here, f"root={root}")
    assert pd.read_csv(run.folder / "submission.csv")["id"].tolist() == ids[::-1]
