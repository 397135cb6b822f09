"""Folds forked from one warm process: the same bits as started afresh, no crash harms another, and nothing is lost."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.allocator import KEEPING
from bench.crossval import forking, processes
from bench.crossval.plan import make_plan
from bench.runs.run import Run
from bench.targets import modules
from conftest import Composed
from screens import Screen

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="folds are forked on Linux alone"),
]

Small = Callable[..., Composed]


@pytest.fixture(autouse=True)
def begins_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("bench.crossval.forking._gone", False)
    yield
    if forking._gone:
        forking.end()


def written(composed: Composed) -> Run:
    """A run that is planned, with all that its folds read."""
    plan = make_plan(*composed)
    plan.run.folder.mkdir(parents=True, exist_ok=True)
    plan.write()
    return plan.run


def results(run: Run, fold: int) -> tuple[bytes, bytes, bytes]:
    here = run.fold(fold)
    return here.weights.read_bytes(), here.oof.read_bytes(), here.test.read_bytes()


def test_a_forked_fold_ends_in_the_bits_of_one_started_afresh(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, fresh = written(small()), written(small(f"outputs={tmp_path / 'fresh'}"))
    processes.train(warm, [0, 1], 2, ["cpu"], False, Screen())
    server = forking._server
    assert server is not None
    threads = [(task / "comm").read_text().strip() for task in Path(f"/proc/{server.process.pid}/task").iterdir()]
    assert len([name for name in threads if not name.startswith("jemalloc")]) == 1, "only Arrow's allocator can fork"
    environment = Path(f"/proc/{server.process.pid}/environ").read_bytes().split(b"\0")
    first = KEEPING.partition(":")[0]  # glibc cuts the variable where it has read it
    assert f"GLIBC_TUNABLES={first}".encode() in [value[: len(first) + 15] for value in environment]
    monkeypatch.setattr("bench.crossval.forking._gone", True)
    processes.train(fresh, [0], 2, ["cpu"], False, Screen())
    assert warm.identity == fresh.identity
    assert results(warm, 0) == results(fresh, 0)
    assert forking._server is server, "it is kept for what comes next"


CRASHING = """
import os, signal
def loss(logits, target, weight, way="exit"):
    if "/folds/1/" in os.readlink("/proc/self/fd/2"):
        print("about to crash", flush=True)
        os._exit(7) if way == "exit" else os.kill(os.getpid(), signal.SIGSEGV)
    return -(target * logits.log_softmax(1)).sum(1).mean()
"""


def test_a_fold_that_crashes_harms_no_other_and_is_named(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_EXTENSIONS", "crashing")
    servers = set[int]()
    for way, why in (("exit", "ended with exit code 7"), ("segv", f"was ended by signal {int(signal.SIGSEGV)}")):
        recipe, names = small("split.n_splits=3", f"outputs={tmp_path / way}")
        loss = {"_target_": "crashing.loss", "way": way}
        run = written((recipe.__class__(**{**vars(recipe), "loss": loss}), names))
        screen = Screen()
        assert processes.train(run, [0, 1, 2], 2, ["cpu"], False, screen) == [1]
        assert (screen.failed, sorted(screen.finished)) == ({1: why}, [0, 2])
        assert run.fold(1).log.read_text(encoding="utf-8").splitlines()[-1] == "about to crash"
        assert forking._server is not None
        servers.add(forking._server.process.pid)
        assert forking._server.process.poll() is None
    assert len(servers) == 1, "one serves all runs of a command"


def test_folds_survive_the_fork_servers_death(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("train.epochs=30", "split.n_splits=2")
    whole, run = written(small(*more)), written(small(*more, f"outputs={tmp_path / 'other'}"))
    processes.train(whole, [0, 1], 2, ["cpu"], False, Screen())
    started: dict[int, forking.Process] = {}
    start = processes._start

    def noted(run: Run, group: tuple[int, ...], *rest: Any) -> forking.Process:
        started[group[0]] = start(run, group, *rest)
        return started[group[0]]

    def kill(fold: int, event: dict[str, Any]) -> None:
        """The server when the first fold has trained an epoch, and the second with it."""
        if fold == 1 and event["kind"] == "epoch" and forking._server is not None:
            forking._server.process.kill()
            started[1].kill()

    monkeypatch.setattr("bench.crossval.processes._start", noted)
    screen = Screen(kill)
    assert processes.train(run, [0, 1], 2, ["cpu"], False, screen) == []
    assert (screen.started, sorted(screen.finished), screen.failed) == ([0, 1], [0, 1], {})
    assert [type(started[k]) is forking.Forked for k in range(2)] == [True, False]
    assert [results(run, k) for k in range(2)] == [results(whole, k) for k in range(2)]
    said = capfd.readouterr().err
    assert said.count("has ended (exit code -9)") == 1
    assert "started afresh" in said


def test_a_server_that_cannot_be_started_means_fresh_processes(
    small: Small, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    forking.end()
    fresh = object()
    monkeypatch.setattr("bench.crossval.forking.subprocess.Popen", lambda *_, **__: fresh)
    monkeypatch.setattr("bench.crossval.forking.sys.platform", "darwin")
    with open(os.devnull, "wb") as log:
        assert forking.start(["run", "0"], [], 1, log) is fresh
    assert capfd.readouterr().err == "", "nothing has failed where forking was never possible"


def test_what_folds_are_forked_from_imports_while_a_new_run_is_planned(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    forking.end()
    monkeypatch.setattr(processes, "GPU", Path("/nowhere"))
    recipe, names = small()
    processes.expect(recipe)
    server = forking._server
    assert server is not None
    run = written((recipe, names))
    assert processes.train(run, [0], recipe.folds.parallel, ["cpu"], False, Screen()) == []
    assert forking._server is server, "it is what the folds are forked from"
    forking.end()
    processes.expect(recipe)
    assert forking._server is None, "what has been planned before may be finished"


def test_an_unneeded_fork_server_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    forking.end()
    forking.expect(1)
    server = forking._server
    assert server is not None
    started = time.monotonic()
    forking.end()
    assert (server.process.returncode, time.monotonic() - started < 1) == (-signal.SIGKILL, True)


def test_other_settings_of_the_environment_are_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    forking.end()
    started, closed, ended = list[dict[str, str]](), list[int](), dict[int, int]()

    class Stub:
        def __init__(self, settings: dict[str, str]) -> None:
            self.settings = settings
            self.number = len(started)
            self.process = SimpleNamespace(poll=lambda: ended.get(self.number))

        def close(self) -> None:
            closed.append(len(started))

    def start(environment: dict[str, str], settings: dict[str, str]) -> Stub:
        started.append(settings)
        return Stub(settings)

    monkeypatch.setattr("bench.crossval.forking._started", start)
    for environment in (
        {"OMP_NUM_THREADS": "1", "HOME": "a"},
        {"OMP_NUM_THREADS": "1", "HOME": "b"},  # each fold is told that one
        {"OMP_NUM_THREADS": "2", "HOME": "b"},
    ):
        forking._serving(environment)
    ended[len(started)] = -9  # between two runs
    forking._serving(environment)
    forking.end()
    assert [settings["OMP_NUM_THREADS"] for settings in started] == ["1", "2", "2"]
    assert closed == [1, 2, 3]


def test_the_server_imports_the_parts_that_bench_holds_alone() -> None:
    config = {
        "model": {"_target_": "bench.models.mlp.MLP"},
        "optimizer": {"_target_": "torch.optim.Adam"},
        "loss": {"_target_": "own_package.losses.mine"},
        "augment": {"a": {"_target_": "bench.augment.one_of.OneOf", "parts": {"b": {"_target_": "os.system"}}}},
        "split": {"_target_": "none"},
    }
    assert modules(config) == ["bench.augment.one_of", "bench.models.mlp", "torch.optim"]
