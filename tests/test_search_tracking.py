"""A search in MLflow: its name on every trial's run, and its page and table in a small run of its own."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytest

from bench import track
from bench.atomic import write_text
from bench.cli.door import run
from bench.runs.recipe import Sending
from bench.runs.run import Run
from bench.runs.searched import FILES, PAGE, Searched, SearchOutcome
from bench.search import sending
from bench.spec import Direction
from bench.tracking.mirror import Mirror, default_uri
from bench.tracking.searches import SearchMirror
from bench.train import COMMAND
from conftest import small_overrides
from fake_run import recipe, rewrite, write_run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")]

NOWHERE = "http://me:secret@127.0.0.1:9"  # a port where nobody listens: refused at once


def search(outputs: Path, **more: Any) -> Searched:
    """A search's folder, written by hand."""
    folder = outputs / "searches" / "s"
    for name in FILES:
        write_text(folder / name, name)
    known: dict[str, Any] = {
        "name": "s", "dataset": "hms", "metric": "kl", "direction": Direction.MIN, "simulated": False, "complete": 3,
        "dropped": 1, "failed": 0, "best": 0.5, "command": "python -m bench.train", "began": 1.0, "ended": 2.0,
        "space": {"optimizer.lr": "{}"}, **more,
    }  # fmt: skip
    searched = Searched(folder, SearchOutcome(**known))
    searched.write()
    return searched


def found(outputs: Path, query: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(default_uri(outputs))
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()], query))


def artifacts(outputs: Path, one: Any) -> set[str]:
    from mlflow import MlflowClient

    return {file.path for file in MlflowClient(default_uri(outputs)).list_artifacts(one.info.run_id)}


@pytest.mark.usefixtures("one_process", "one_thread")
def test_a_search_and_its_trials_are_in_mlflow_under_its_name(
    beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["train.epochs=1", "train.min_steps=1", "hydra.sweeper.name=by lr", "hydra.sweeper.n_trials=1"]
    words = ["-m", "hydra/sweeper=optuna", *small_overrides(beats, tmp_path), *few, "tracking.enabled=true"]
    assert run(COMMAND, [*words, "optimizer.lr=choice(0.01)"]) == 0
    said, outputs = capsys.readouterr(), tmp_path / "outputs"
    assert f"({PAGE})" in said.err + said.out
    of_search = found(outputs, "tags.sweep = 'by lr'")
    ours = next(one for one in of_search if one.info.run_name == "search by lr")
    trials = [one for one in of_search if one.info.run_id != ours.info.run_id]
    identities = {path.parent.name for path in outputs.glob("heartbeat/mlp/*/scores.json")}
    assert {one.data.tags["identity"] for one in trials if "fold" not in one.data.tags} == identities
    assert sum("fold" in one.data.tags for one in trials) == 2 * len(identities) == 2
    assert artifacts(outputs, ours) == set(FILES)
    assert ours.data.metrics["trials/complete"] == 1
    assert list(ours.data.params) == ["optimizer.lr"]
    folder = outputs / "searches" / "by lr"
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["state"], row["simulated"], row["optimizer.lr"]) == ("complete", "false", "0.01")
    assert ours.data.metrics["best/l1_20k"] == pytest.approx(float(row["l1_20k"]))


def test_a_search_goes_once_and_again_where_it_went_on(tmp_path: Path) -> None:
    uri = default_uri(tmp_path)
    assert SearchMirror(search(tmp_path), uri).sync()
    again = SearchMirror(search(tmp_path), uri)
    assert again.sync()
    assert not again.sent
    assert SearchMirror(search(tmp_path, complete=4, best=0.25, ended=3.0), uri).sync()
    (one,) = found(tmp_path, "tags.sweep = 's'")
    assert (one.data.metrics["best/kl"], one.info.status, one.info.end_time) == (0.25, "FINISHED", 3000)


def test_a_search_on_simulated_data_says_so(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    assert SearchMirror(search(tmp_path, simulated=True), default_uri(tmp_path)).sync()
    (one,) = found(tmp_path, "tags.sweep = 's'")
    assert one.data.tags["simulated"] == "true"
    assert "SIMULATED" in one.data.tags["mlflow.note.content"]
    experiment = MlflowClient(default_uri(tmp_path)).get_experiment(one.info.experiment_id)
    assert experiment.name == "hms (simulated)"


def test_a_server_that_is_down_costs_a_search_a_sentence_and_bench_track_sends_it_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, began = search(tmp_path).folder, time.perf_counter()
    sending.send(folder, Sending(uri=NOWHERE, wait=20.0), tmp_path)
    assert time.perf_counter() - began < 22
    said = "".join(capsys.readouterr())
    assert f"later: python -m bench.track {folder} --uri" in said
    assert "secret" not in said
    assert "secret" not in "".join(path.read_text() for path in folder.glob("*.*"))
    assert run(track.COMMAND, [str(folder), "--uri", default_uri(tmp_path)]) == 0
    assert "4 files" in capsys.readouterr().out
    assert not sending.waits(folder, default_uri(tmp_path))


def test_a_run_that_a_sweep_finds_finished_gets_its_name_and_keeps_it(tmp_path: Path) -> None:
    from bench.runs import recipe as recipes

    one = write_run(tmp_path, folds=1)
    assert Mirror(one, default_uri(tmp_path)).sync()
    assert not found(tmp_path, "tags.sweep = 'grid'")
    one = rewrite(one, "config.yaml", tracking={"sweep": "grid"}, loss={"_target_": "bench.losses.kl.kl"})
    assert Mirror(one, default_uri(tmp_path)).sync()
    assert len(found(tmp_path, "tags.sweep = 'grid'")) == 2
    plain = recipes.composed(recipes.Recipe, recipe(), "bench.train")
    recipes.write(one.folder, plain)
    assert Run(one.folder).made_by.tracking.sweep == "grid", "a plain command does not take it out of its sweep"


@pytest.mark.parametrize(("content", "sentence"), [("{}", "has no name"), ("[]", "no mapping"), ("{", "not whole")])
def test_a_broken_search_is_one_sentence(
    tmp_path: Path, content: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (search(tmp_path).folder / "search.json").write_text(content)
    assert run(track.COMMAND, [str(tmp_path / "searches" / "s")]) == 2
    assert sentence in capsys.readouterr().err


def test_no_file_of_a_sweep_holds_a_password(
    beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-m", "hydra/sweeper=optuna", *small_overrides(beats, tmp_path), "hydra.sweeper.name=s"]
    words += [f"tracking.uri={NOWHERE}", "hydra.sweeper.storage=nowhere://u:secret@h/d", "optimizer.lr=0.1,0.2"]
    assert run(COMMAND, words) == 2
    assert "secret" not in "".join(capsys.readouterr())
    files = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    assert [path for path in files if path.name == "multirun.yaml"]
    assert not [path for path in files if b"secret" in path.read_bytes()]
