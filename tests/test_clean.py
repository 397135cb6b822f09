"""bench.clean: what it deletes, what it never does, and that a kill in between leaves no half run."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bench.atomic import read_json, write_json
from bench.clean import COMMAND
from bench.cli.door import run as run_command
from bench.crossval.tickets import Ticket
from bench.runs import trash
from bench.runs.facts import CLAIM
from bench.runs.run import Run
from fake_run import recipe, rewrite, write_run

A, B, C, D = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc", "dddddddddddd"


def failed(outputs: Path, identity: str, status: str = "failed", **more: Any) -> Run:
    """A run of two folds that ended so after its first."""
    run = write_run(outputs, identity=identity, finished=2, folds=2, **more)
    rewrite(run, "scores.json", complete=False)
    run.fold(1).done.unlink()
    run.write_state(status=status)
    return Run.open(run.folder)


def finished(outputs: Path, identity: str, oof: float = 0.5, seed: int = 0, **more: Any) -> Run:
    run = write_run(outputs, identity=identity, seed=seed, **more)
    for fold in run.folds:
        shutil.copy(run.folder / "oof.parquet", fold.oof)
    rewrite(run, "scores.json", oof=oof)
    return Run.open(run.folder)


def clean(outputs: Path, *words: str) -> int:
    return run_command(COMMAND, [f"outputs={outputs}", *words])


def left(outputs: Path) -> list[str]:
    return sorted(path.name for path in outputs.glob("hms/wavenet/*"))


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    def both() -> str:
        out, err = capsys.readouterr()
        return f"{out}{err}"

    return both


def test_failed_and_broken_off_runs_go_and_others_stay(tmp_path: Path, said: Any) -> None:
    failed(tmp_path, A)
    failed(tmp_path, B, "killed")
    failed(tmp_path, C, "running")  # nobody holds its lock
    failed(tmp_path, D, "partial")
    finished(tmp_path, "eeeeeeeeeeee")
    assert clean(tmp_path, "yes=true") == 0
    assert left(tmp_path) == [D, "eeeeeeeeeeee"]
    text = said()
    assert "1 of 2" in text
    assert "deleted 3 runs" in text
    assert "MLflow" in text
    assert list((tmp_path / ".trash").iterdir()) == []
    assert clean(tmp_path, "what=partial", "yes=true") == 0
    assert left(tmp_path) == ["eeeeeeeeeeee"]


def test_a_dry_run_changes_nothing(tmp_path: Path, said: Any) -> None:
    failed(tmp_path, A)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    assert clean(tmp_path, "dry_run=true") == 0
    assert A in said()
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_without_a_terminal_it_refuses_and_says_how(tmp_path: Path, said: Any, monkeypatch: Any) -> None:
    failed(tmp_path, A)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert clean(tmp_path) == 2
    assert "yes=true" in said()
    assert left(tmp_path) == [A]


@pytest.mark.parametrize(("answer", "stays"), [("y\n", []), ("\n", [A]), ("n\n", [A]), ("", [A])])
def test_at_a_terminal_it_asks(tmp_path: Path, monkeypatch: Any, answer: str, stays: list[str]) -> None:
    failed(tmp_path, A)
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    assert clean(tmp_path) == 0
    assert left(tmp_path) == stays


def test_what_is_started_from_a_run_while_the_question_stands_is_seen(tmp_path: Path, monkeypatch: Any) -> None:
    source = failed(tmp_path, A)

    def answer() -> str:
        rewrite(finished(tmp_path, B), "config.yaml", init_from=f"{source.folder}/folds/0")
        return "y\n"

    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(terminal, "readline", answer)
    monkeypatch.setattr("sys.stdin", terminal)
    assert clean(tmp_path) == 0
    assert left(tmp_path) == [A, B]


@pytest.mark.parametrize("how", ["init_from", "pseudo", "weights", "teacher", "member"])
def test_never_what_a_run_that_stays_starts_from_learns_from_or_blends(tmp_path: Path, said: Any, how: str) -> None:
    source, other = failed(tmp_path, A), finished(tmp_path, B)
    folder = str(source.folder)
    if how == "init_from":
        rewrite(other, "config.yaml", init_from=f"{folder}/folds/0")
    elif how == "pseudo":
        rewrite(other, "config.yaml", pseudo={"_target_": "x", "runs": [f"elsewhere/hms/wavenet/{A}"]})
    elif how == "weights":
        rewrite(other, "config.yaml", model={"weights": f"{folder}/folds/0/weights.safetensors"})
    elif how == "teacher":
        rewrite(other, "inputs.json", teachers=[{"run": folder, "stores": {}}])
    else:
        rewrite(other, "inputs.json", model="ensemble", members=[{"run": folder, "predictions": "x"}])
    assert clean(tmp_path, "yes=true") == 0
    assert left(tmp_path) == [A, B]
    assert B in said()


def test_a_chain_that_goes_whole_goes_and_one_whose_end_stays_stays(tmp_path: Path) -> None:
    first, second, third = (failed(tmp_path, name) for name in (A, B, C))
    rewrite(second, "config.yaml", init_from=str(first.folder))
    rewrite(third, "config.yaml", init_from=str(second.folder))
    third.write_state(status="partial")
    assert clean(tmp_path, "yes=true") == 0
    assert left(tmp_path) == [A, B, C]
    third.write_state(status="failed")
    assert clean(tmp_path, "yes=true") == 0
    assert left(tmp_path) == []


def test_never_anything_while_a_run_can_not_be_read_that_may_start_from_it(
    tmp_path: Path, said: Any, monkeypatch: Any
) -> None:
    failed(tmp_path, A)
    other = finished(tmp_path, B)
    real = Path.open

    def denied(path: Path, *words: Any, **more: Any) -> Any:
        if path == other.folder / "config.yaml":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *words, **more)

    monkeypatch.setattr(Path, "open", denied)
    assert clean(tmp_path, "yes=true") == 2
    assert f"{B}/config.yaml" in said()
    assert left(tmp_path) == [A, B]


def test_never_a_run_that_a_process_holds(tmp_path: Path, said: Any) -> None:
    run = failed(tmp_path, A, "running")
    for name in (".lock", f"folds/1/{CLAIM}", ".tracking.lock"):
        with FileLock(run.folder / name):
            assert clean(tmp_path, "yes=true") == 0
        assert left(tmp_path) == [A]
        assert A in said()
    assert clean(tmp_path, "yes=true") == 0
    assert left(tmp_path) == []


def test_never_a_run_whose_job_waits_in_a_queue(tmp_path: Path, said: Any, monkeypatch: Any) -> None:
    run = failed(tmp_path, A)
    Ticket(cluster="slurm", id="17", host="x", log="log").write(run.fold(1))
    monkeypatch.setattr("bench.crossval.tickets._in_queue", lambda job: True)
    assert clean(tmp_path, "yes=true") == 0
    assert "queue" in said()
    assert left(tmp_path) == [A]
    monkeypatch.setattr("bench.crossval.tickets._in_queue", lambda job: False)
    assert clean(tmp_path, "yes=true") == 0
    assert left(tmp_path) == []


def test_never_a_run_that_another_machine_may_be_training(tmp_path: Path, said: Any) -> None:
    run = failed(tmp_path, A, "running")
    run.write_state(host="another")
    assert clean(tmp_path, "yes=true") == 0
    assert "another" in said()
    assert left(tmp_path) == [A]
    long_ago = time.time() - 2 * 86_400
    for path in run.folder.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    assert clean(tmp_path, "yes=true") == 0
    assert left(tmp_path) == []


def test_never_an_unfinished_run_while_a_search_goes_on(tmp_path: Path, said: Any) -> None:
    failed(tmp_path, A, "partial")
    (tmp_path / "searches" / "lr").mkdir(parents=True)
    with FileLock(tmp_path / "searches" / "lr" / ".0123456789ab.lock"):
        assert clean(tmp_path, "what=partial", "yes=true") == 0
    assert "search lr" in said()
    assert left(tmp_path) == [A]


def test_never_what_begins_to_be_trained_between_the_table_and_the_deletion(tmp_path: Path, monkeypatch: Any) -> None:
    run = failed(tmp_path, A)
    real = trash.throw_away

    def later(one: Run, *words: Any) -> str | None:
        run.write_state(status="running", pid=1)  # it began, and was killed: nobody holds the lock
        return real(one, *words)

    monkeypatch.setattr(trash, "throw_away", later)
    assert clean(tmp_path, "yes=true") == 2
    assert left(tmp_path) == [A]


def test_never_what_is_exported_or_registered(tmp_path: Path, said: Any) -> None:
    one, two = failed(tmp_path, A), failed(tmp_path, B)
    (one.folder / "exports").mkdir()
    (one.folder / "exports" / "folds-0.onnx").write_bytes(b"x")
    write_json(two.folder / "registered.json", ["models:/mine/1"])
    assert clean(tmp_path, "yes=true") == 0
    assert left(tmp_path) == [A, B]
    assert "exports" in said()


def test_never_a_finished_run_unless_query_and_what_say_so(tmp_path: Path, said: Any) -> None:
    finished(tmp_path, A, 0.1)
    finished(tmp_path, B, 0.2, seed=1)
    for words in (["what=finished"], ["what=all"], ["what=superseded"], ["what=failed,damaged"]):
        assert clean(tmp_path, *words, "yes=true") == 2
        assert "runs=" in said()
    assert clean(tmp_path, "runs=model=wavenet", "yes=true") == 0
    assert clean(tmp_path, f"runs={B}", "yes=true") == 0
    assert "what=finished" in said()
    assert clean(tmp_path, "what=everything", "runs=model=wavenet") == 2
    assert left(tmp_path) == [A, B]
    assert clean(tmp_path, "runs=model=wavenet", "what=finished", "yes=true") == 0
    assert left(tmp_path) == [A]


def test_never_the_best_run_of_a_model_unless_it_is_named(tmp_path: Path, said: Any) -> None:
    finished(tmp_path, A, 0.1)
    finished(tmp_path, B, 0.2, seed=1)
    finished(tmp_path, C, 0.3, seed=2)
    finished(tmp_path, D, 0.9, model="mlp")
    assert clean(tmp_path, "runs=dataset=hms", "what=all", "yes=true") == 0
    assert left(tmp_path) == [A]
    assert "best" in said()
    assert (tmp_path / "hms" / "mlp" / D).is_dir()
    finished(tmp_path, B, 0.2, seed=1)
    assert clean(tmp_path, f"runs=[{A},model=wavenet]", "what=all", "yes=true") == 0
    assert left(tmp_path) == [B], "the next best is kept in turn"


def test_superseded_is_what_its_command_would_not_make_again(tmp_path: Path) -> None:
    old, new = finished(tmp_path, A, 0.5), finished(tmp_path, B, 0.4)
    finished(tmp_path, C, 0.6, seed=1)
    elsewhere = recipe()["dataset"] | {"root": "/other/data"}
    rewrite(finished(tmp_path, D, 0.7), "config.yaml", dataset=elsewhere)
    for run, age in ((old, 100), (new, 10)):
        os.utime(run.folder / "inputs.json", (time.time() - age, time.time() - age))
    assert clean(tmp_path, "runs=model=wavenet", "what=superseded", "yes=true") == 0
    assert left(tmp_path) == [B, C, D]


def test_damaged_runs_go_when_they_are_asked_for(tmp_path: Path) -> None:
    finished(tmp_path, A, 0.1)
    run = finished(tmp_path, B, 0.2)
    run.fold(0).oof.unlink()
    assert clean(tmp_path, "runs=model=wavenet", "what=failed,partial", "yes=true") == 0
    assert left(tmp_path) == [A, B]
    assert clean(tmp_path, "runs=model=wavenet", "what=damaged", "yes=true") == 0
    assert left(tmp_path) == [A]


def test_never_what_is_no_runs_folder(tmp_path: Path, said: Any) -> None:
    outputs, apart = tmp_path / "outputs", tmp_path / "apart"
    outside = failed(apart, A)
    failed(apart, B, model="mlp")
    failed(outputs, C)
    (outputs / "hms" / "wavenet" / A).symlink_to(outside.folder)
    (outputs / "hms" / "mlp").symlink_to(apart / "hms" / "mlp")
    (outputs / "loop").symlink_to(outputs)
    (outputs / "hms" / "wavenet" / "circle").symlink_to("circle")
    (outputs / "hms" / "wavenet" / "file").write_text("x", encoding="utf-8")
    (outputs / "a_file").write_text("x", encoding="utf-8")
    mine = outputs / "hms" / "wavenet" / "my_notes"
    shutil.copytree(outputs / "hms" / "wavenet" / C, mine)
    half = outputs / "hms" / "wavenet" / D
    shutil.copytree(mine, half)
    (half / "config.yaml").unlink()
    (half / "config.yaml").mkdir()
    assert clean(outputs, "yes=true") == 0
    assert left(outputs) == [A, "circle", D, "file", "my_notes"]
    assert left(apart) == [A]
    assert (apart / "hms" / "mlp" / B / "config.yaml").exists()
    text = said()
    assert "my_notes" in text
    assert "config.yaml" in text


def test_links_in_a_run_are_not_followed_and_keep_it(tmp_path: Path, said: Any) -> None:
    outputs, precious = tmp_path / "outputs", tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x", encoding="utf-8")
    run = failed(outputs, A)
    (run.folder / "data").symlink_to(precious)
    (run.folder / "folds" / "0" / "self").symlink_to(run.folder)
    assert clean(outputs, "yes=true") == 0
    assert "link" in said()
    (run.folder / "data").unlink()
    assert clean(outputs, "yes=true") == 0
    assert left(outputs) == []
    (entry := outputs / ".trash" / f"{A}.01234567").mkdir()
    (entry / "data").symlink_to(precious)  # put there meanwhile
    assert clean(outputs, "yes=true") == 0
    assert not entry.exists()
    assert (precious / "file").exists()


def test_a_kill_between_leaves_no_half_run_and_the_next_cleaning_ends_it(
    tmp_path: Path, said: Any, monkeypatch: Any
) -> None:
    from bench.runs.selection import everything

    failed(tmp_path, A)
    real = os.unlink

    def killed(path: Any, *words: Any, **more: Any) -> None:
        if str(path) == "scores.json":
            raise KeyboardInterrupt
        real(path, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        assert clean(tmp_path, "yes=true") == 130
    assert everything(tmp_path) == []
    (rest,) = (tmp_path / ".trash").iterdir()
    assert (rest / "scores.json").exists()
    (tmp_path / ".trash" / "mine").mkdir()
    said()
    assert clean(tmp_path, "dry_run=true") == 0
    assert "1 deleted before" in said()
    assert rest.exists()
    assert clean(tmp_path, "yes=true") == 0
    assert [path.name for path in (tmp_path / ".trash").iterdir()] == ["mine"]


def test_what_can_not_be_deleted_is_named_and_the_others_go(tmp_path: Path, said: Any, monkeypatch: Any) -> None:
    failed(tmp_path, A)
    failed(tmp_path, B)
    real = os.rename

    def denied(source: Any, target: Any) -> None:
        if Path(source).name == A:
            raise PermissionError(13, "Permission denied")
        real(source, target)

    monkeypatch.setattr(os, "rename", denied)
    assert clean(tmp_path, "yes=true") == 2
    assert left(tmp_path) == [A]
    assert "who may write" in said()


def test_a_trash_that_is_none_is_refused(tmp_path: Path, said: Any) -> None:
    failed(tmp_path, A)
    (tmp_path / ".trash").write_text("x", encoding="utf-8")
    assert clean(tmp_path, "yes=true") == 2
    assert ".trash" in said()
    assert left(tmp_path) == [A]


def test_the_leaderboard_and_a_searchs_query_work_on_without_them(tmp_path: Path, said: Any) -> None:
    from bench.leaderboard import COMMAND as LEADERBOARD

    finished(tmp_path, A, 0.1)
    gone = finished(tmp_path, B, 0.2, seed=1)
    names = [str(Run(tmp_path / "hms" / "wavenet" / name).folder) for name in (A, B)]
    write_json(tmp_path / "searches" / "lr" / "runs.json", names)
    assert clean(tmp_path, f"runs={B}", "what=finished", "yes=true") == 0
    assert not gone.folder.exists()
    said()
    for words in ([], ["runs=sweep=lr"]):
        assert run_command(LEADERBOARD, [f"outputs={tmp_path}", *words]) == 0
        assert A in said()
    assert len(read_json(tmp_path / "searches" / "lr" / "runs.json")) == 2


def test_a_searchs_table_counts_the_epochs_of_the_runs_that_are_left(tmp_path: Path) -> None:
    from types import SimpleNamespace

    pytest.importorskip("optuna")
    from bench.search.results import epochs

    here: Any = SimpleNamespace(user_attrs={"run": str(finished(tmp_path, A).folder)})
    gone: Any = SimpleNamespace(user_attrs={"run": str(tmp_path / "hms" / "wavenet" / B)})
    assert epochs([here], [gone]) == epochs([here, gone], []) == epochs([here], [])
    assert epochs([gone], [here]) == (0, 0)
