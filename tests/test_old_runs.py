"""Runs of version 0.1.0 predict, compare, blend, report and train again as that version did."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench import build, compare, ensemble, predict, targets, train
from bench.atomic import read_json
from bench.cli.door import run as run_command
from bench.report.draw import draw
from bench.runs.recipe import Recipe
from bench.runs.records import plain
from bench.runs.run import Run
from bench.training import parts

KEPT = Path(__file__).parent / "data" / "runs_0_1_0"
EXPECTED = pd.read_csv(KEPT / "expected_predictions.csv", dtype={"run": str, "id": str})
PLAIN, SECOND, THIRD = "54b903e37deb", "54eb9ca5d432", "5dcd3d8a98e0"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: what is made of a run goes into its folder."""
    folder = tmp_path_factory.mktemp("old") / "outputs"
    for dataset in ("heartbeat", "freesound"):
        shutil.copytree(KEPT / dataset, folder / dataset)
    return folder


def folder_of(outputs: Path, identity: str) -> Path:
    return next(outputs.glob(f"*/*/{identity}"))


def called(command: Any, capsys: pytest.CaptureFixture[str], *words: str) -> Path:
    """The folder that the command's last line names."""
    code = run_command(command, words)
    out, err = capsys.readouterr()
    assert code == 0, err
    return Path(out.splitlines()[-1].partition(" ")[2])


def close(ours: Any, theirs: Any) -> bool:
    """Equal but for the last digits, where folders lie, and what is new."""
    if isinstance(theirs, dict):
        return all(key in ours and close(ours[key], value) for key, value in theirs.items() if key != "folder")
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(close, ours, theirs))
    return math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=1e-6) if isinstance(theirs, float) else bool(ours == theirs)


@pytest.mark.parametrize("identity", sorted(set(EXPECTED["run"])))
def test_an_old_run_predicts_what_it_did(
    outputs: Path, identity: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder_of(outputs, identity)
    source = KEPT / f"input_{run.parents[1].name}"
    words = [f"run={run}", f"input={source}", f"store={tmp_path}/store", "device=cpu", "workers=1"]
    made = called(predict.COMMAND, capsys, *words, f"output={tmp_path}/new", f"outputs={outputs}")
    ours = (
        pd.read_parquet(made / "test.parquet")
        .astype({"id": str})
        .melt("id", var_name="column")
        .set_index(["id", "column"])
    )
    wanted = EXPECTED[EXPECTED["run"] == identity].set_index(["id", "column"])["probability"]
    np.testing.assert_allclose(ours.loc[wanted.index, "value"], wanted, atol=1e-6)
    assert len(ours) == len(wanted)


@pytest.mark.parametrize(("file", "others"), [("comparison", []), ("comparison_of_three", ["21c37544af64"])])
def test_old_runs_compare_as_they_did(
    outputs: Path, file: str, others: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ",".join(str(folder_of(outputs, identity)) for identity in (PLAIN, SECOND, *others))
    made = called(compare.COMMAND, capsys, f"runs=[{runs}]", f"outputs={outputs}", "tracking.enabled=false")
    assert close(read_json(made / "comparison.json"), read_json(KEPT / f"expected_{file}.json"))


def test_old_runs_blend_as_they_did(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ",".join(str(folder_of(outputs, identity)) for identity in (PLAIN, SECOND, THIRD))
    words = [f"runs=[{runs}]", "blend=weights", f"outputs={outputs}", "tracking.enabled=false"]
    made = Run(called(ensemble.COMMAND, capsys, *words))
    wanted = read_json(KEPT / "expected_blend_weights.json")
    ours = read_json(made.folder / "blend.json")
    assert ours["honest"] == pytest.approx(wanted["honest"], rel=1e-4)
    weights = {member["run"].rpartition("/")[2]: member["weight"] for member in wanted["members"]}
    assert {Path(m["run"]).name: m["weight"] for m in ours["members"]} == pytest.approx(weights, abs=1e-4)
    scores = made.scores()
    assert scores is not None
    assert scores.folds == pytest.approx(wanted["scores"]["folds"], rel=1e-4)


@pytest.mark.parametrize("identity", [THIRD, "baf102ab9ed4", "0db16c97bbf0"])
def test_an_old_run_gets_its_report(outputs: Path, identity: str) -> None:
    run = Run.open(folder_of(outputs, identity))
    draw(run, parts.metric(run.made_by.dataset))
    assert identity in (run.folder / "report.html").read_text(encoding="utf-8")
    assert any((run.folder / "plots").iterdir())


def test_everything_that_old_runs_name_is_found_today(outputs: Path) -> None:
    moved = 0
    for path in outputs.glob("*/*/*/config.yaml"):
        text, config = path.read_text(encoding="utf-8"), Run(path.parent).config
        moved += sum(name in text for name in ("bench.pseudo.", "bench.results."))
        for group, node in config.items():
            if isinstance(node, dict) and node.get("_target_") not in (None, *targets.PLACEHOLDERS):
                build.locate(node, group)
    assert moved > 0, "or this tests nothing"


def test_an_old_run_is_trained_again_from_its_own_config(
    outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder_of(outputs, THIRD)
    again: list[Recipe] = []
    monkeypatch.setattr("bench.crossval.stages.train", lambda recipe, *_: again.append(recipe))
    words, old = (
        ["--config-path", str(run), "--config-name", "config"],
        yaml.safe_load((run / "config.yaml").read_text()),
    )
    teacher = "/somewhere/outputs/heartbeat/mlp/54b903e37deb"
    for word in ("dataset.root=raw/heartbeat", f"init_from={teacher}", f"pseudo.runs=[{teacher}]"):
        assert run_command(train.COMMAND, words) == 2
        assert f"where you trust it, add {word}" in capsys.readouterr().err
        words.append(word)
    assert run_command(train.COMMAND, words) == 0, capsys.readouterr()
    made = plain(again[0])
    for key in ("model", "augment", "split", "synthetic", "seed", "init_from"):
        assert made[key] == old[key]
    assert {key: made["train"][key] for key in old["train"]} == old["train"]
    assert made["pseudo"]["_target_"] == "bench.crossval.pseudo_labels.Teachers"
