"""GPUs are leased: no two folds share one, in whatever commands they are, unless they say that they fit."""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.crossval import leases, processes
from bench.crossval.leases import Leases
from bench.crossval.progress import Lines
from bench.spec import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "leases"))
    monkeypatch.delenv(leases.VISIBLE, raising=False)
    return tmp_path / "leases"


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


def test_two_commands_share_no_gpu() -> None:
    mine, theirs = Leases(["cuda:0", "cuda:1"], 1), Leases(["cuda:0", "cuda:1"], 1)
    first, second = mine.take(["cuda:0", "cuda:1"]), theirs.take(["cuda:0", "cuda:1"])
    assert (first and first.device, second and second.device) == ("cuda:0", "cuda:1")
    assert mine.take(["cuda:0", "cuda:1"]) is None
    assert second
    second.release()
    again = mine.take(["cuda:0", "cuda:1"])
    assert again
    assert again.device == "cuda:1"


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_as_many_share_a_gpu_as_are_said_to_fit(n: int) -> None:
    several = [Leases(["cuda:0"], n).take(["cuda:0"]) for _ in range(n)]
    assert all(several)
    assert Leases(["cuda:0"], n).take(["cuda:0"]) is None
    assert Leases(["cuda:0"], 1).take(["cuda:0"]) is None, "who wants all of it waits for all others"


def test_a_dead_process_has_no_lease(folder: Path) -> None:
    code = (
        "from bench.crossval.leases import Leases; import time\n"
        "lease = Leases(['cuda:0'], 1).take(['cuda:0']); print(lease.device, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline().strip() == "cuda:0"
    mine = Leases(["cuda:0"], 1)
    assert mine.take(["cuda:0"]) is None
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert mine.take(["cuda:0"])


def test_a_gpu_is_known_by_its_number_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Leases(["cuda:0"], 1).take(["cuda:0"])
    monkeypatch.setenv(leases.VISIBLE, "3,0")
    assert Leases(["cuda:0", "cuda:1"], 1).take(["cuda:1"]) is None, "it is the machine's first"
    assert Leases(["cuda:0", "cuda:1"], 1).take(["cuda:0"])
    assert here
    here.release()


def test_waiting_says_for_whom_and_ends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Leases(["cuda:0"], 1).take(["cuda:0"])
    assert lease
    waiting = Leases(["cuda:0"], 1)
    assert waiting.take(["cuda:0"]) is None
    assert waiting.take(["cuda:0"]) is None
    said = capsys.readouterr().err
    assert said.count("wait for a GPU: cuda:0 is used by pid") == 1, "a line a minute"
    after = time.monotonic() + leases.PATIENCE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: after)
    with pytest.raises(UserError, match="no GPU was free for a day: cuda:0 is used by pid"):
        waiting.take(["cuda:0"])


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "file" / "below"))
    with pytest.raises(UserError, match=f"GPUs can't be leased there .*; set {leases.FOLDER}"):
        Leases(["cuda:0"], 1)


@pytest.mark.parametrize("stranger", ["a link", "an owner"])
def test_a_folder_that_somebody_else_has_put_there_is_refused(
    stranger: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody may write in a temporary folder; locks would be made wherever a link leads."""
    if stranger == "a link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        uid = folder.stat().st_uid
        monkeypatch.setattr("os.getuid", lambda: uid + 1)
    with pytest.raises(UserError, match=f"is not yours; set {leases.FOLDER}"):
        Leases(["cuda:0"], 1)
    assert not list((tmp_path / "elsewhere").glob("*")) if stranger == "a link" else True


@pytest.mark.usefixtures("four_gpus")
def test_auto_is_every_gpu_and_a_list_is_those() -> None:
    assert leases.gpus(["auto"]) == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert leases.gpus(["cuda"]) == ["cuda:0"]
    assert leases.gpus(["cuda:3", "cuda:1"]) == ["cuda:3", "cuda:1"]
    assert leases.gpus(["cpu"]) == []


class Clock:
    """Folds that all end as soon as as many run as may."""

    def __init__(self, most: int) -> None:
        self.most, self.running, self.devices = most, list[tuple[Any, Any]](), list[tuple[int, str]]()
        self.at_once = list[list[str]]()

    def start(self, run: Any, group: Any, told: Sequence[str], threads: int, events: queue.Queue[Any]) -> Any:
        device = told[told.index("--device") + 1]
        self.devices.append((group[0], device))
        self.running.append((group, device))
        self.at_once.append([name for _, name in self.running])
        if len(self.running) >= self.most:
            self._end(events)
        return SimpleNamespace(stdin=open("/dev/null", "wb"), wait=lambda *_: 0, terminate=int, kill=int)

    def _end(self, events: queue.Queue[Any]) -> None:
        for group, _ in self.running:
            events.put((group, None))
        self.running.clear()


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(("parallel", "most"), [(None, 4), (8, 8), (2, 2)])
def test_folds_spread_over_the_gpus(parallel: int | None, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(most)
    monkeypatch.setattr(processes, "_start", clock.start)
    run: Any = SimpleNamespace(inputs=SimpleNamespace(n_splits=9, test=""))
    n = 2 * most
    assert processes.train(run, list(range(n)), parallel, ["auto"], False, Lines("kl", 1)) == []
    assert [number for number, _ in clock.devices] == list(range(n))
    shared = max(names.count(name) for names in clock.at_once for name in names)
    assert shared == -(-most // 4)
    assert {name for _, name in clock.devices} == {f"cuda:{k}" for k in range(min(4, most))}
    assert Leases(["cuda:0"], 1).take(["cuda:0"]), "all leases are given back"


@pytest.mark.usefixtures("four_gpus")
def test_a_fold_waits_until_another_command_gives_its_gpu_back(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [Leases([name], 1).take([name]) for name in ("cuda:1", "cuda:2")]
    clock = Clock(1)
    monkeypatch.setattr(processes, "_start", clock.start)
    monkeypatch.setattr(processes, "LOOK_S", 0.01)
    take, looks = Leases.take, list[int]()

    def counted(self: Leases, preferred: Sequence[str]) -> Any:
        looks.append(1)
        if len(looks) == 4 and taken[0]:
            taken[0].release()
        return take(self, preferred)

    monkeypatch.setattr(Leases, "take", counted)
    run: Any = SimpleNamespace(inputs=SimpleNamespace(n_splits=2, test=""))
    assert processes.train(run, [0, 1], None, ["cuda:1", "cuda:2"], False, Lines("kl", 1)) == []
    assert clock.devices == [(0, "cuda:1"), (1, "cuda:1")]
    assert len(looks) >= 4
