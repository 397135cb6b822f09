"""bench.prepare: files checked, costs told, stores built in one go or in shards, which join to the same bits."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import prepare, train
from bench.cli.door import run
from bench.data import building, shards, store
from bench.features.base import Features
from bench.spec import UserError
from conftest import small_overrides
from numbers_dataset import Growing, Numbers, make
from tiny import raw_files

WORKERS = 1


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fill(numbers: Numbers, root: Path, count: int, index: int, features: Features | None = None) -> bool:
    return shards.fill(numbers, features or Growing(), "train", root, count, index, WORKERS, lambda done, total: None)


def place(numbers: Numbers, root: Path) -> Path:
    return building.folder_of(numbers, Growing(), "train", root)


class Pairs(Growing):
    """Examples of one shape."""

    stored_dtype = "float32"

    def stored_shape(self, dataset: object) -> tuple[int | None, ...]:
        return (2, 8)

    def store(self, raw: np.ndarray) -> np.ndarray:
        return raw * 0.3

    def settings(self) -> dict[str, object]:
        return {"pairs": 1}


@pytest.mark.parametrize("features", [Growing(), Pairs()], ids=["open", "fixed"])
@pytest.mark.parametrize("count", [2, 3, 9], ids=str)
def test_joined_shards_are_the_store_filled_in_one_go_to_the_bit(
    tmp_path: Path, count: int, features: Features
) -> None:
    numbers = make(tmp_path / "raw", 8)
    whole = store.open_or_build(numbers, features, "train", tmp_path / "whole", WORKERS)
    order = [*range(1, count), 0]
    assert [fill(numbers, tmp_path / "parts", count, i, features) for i in order] == [False] * (count - 1) + [True]
    joined = building.folder_of(numbers, features, "train", tmp_path / "parts")
    assert contents(joined) == contents(whole.folder)
    assert not shards.folder_of(joined).exists()
    assert fill(numbers, tmp_path / "parts", count, 0, features), "what stands is not done again"


def test_shards_are_joined_where_the_file_system_copies_nothing_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    numbers = make(tmp_path / "raw", 8)
    whole = store.open_or_build(numbers, Growing(), "train", tmp_path / "whole", WORKERS)
    monkeypatch.setattr(os, "copy_file_range", refused)
    assert [fill(numbers, tmp_path / "parts", 2, i) for i in range(2)] == [False, True]
    assert contents(place(numbers, tmp_path / "parts")) == contents(whole.folder)


def test_a_shard_that_stands_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = make(tmp_path / "raw", 10)
    fill(numbers, tmp_path, 2, 0)
    monkeypatch.setattr(Growing, "store", lambda self, raw: pytest.fail("computed again"))
    assert not fill(numbers, tmp_path, 2, 0)


def test_shards_side_by_side_join_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, joins, real = make(tmp_path / "raw", 30), list[Path](), building.complete

    def counted(folder: Path, *others: Any) -> None:
        joins.append(folder)
        real(folder, *others)

    monkeypatch.setattr(building, "complete", counted)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda i: fill(numbers, tmp_path, 4, i), range(4)))
    assert any(done)
    assert len(joins) == 1
    assert building.whole(place(numbers, tmp_path))


def test_training_joins_shards_whose_last_process_was_killed_before_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = make(tmp_path / "raw", 10)
    monkeypatch.setattr(shards, "join", lambda *_: False)
    assert [fill(numbers, tmp_path, 2, i) for i in range(2)] == [False, False]
    monkeypatch.undo()
    monkeypatch.setattr(Growing, "store", lambda self, raw: pytest.fail("computed again"))
    assert len(store.open_or_build(numbers, Growing(), "train", tmp_path, WORKERS)) == 10


def test_a_shard_of_another_recipe_or_of_another_count_is_refused(tmp_path: Path) -> None:
    numbers, others = make(tmp_path / "raw", 10), make(tmp_path / "others", 10)
    fill(numbers, tmp_path / "a", 2, 0)
    fill(others, tmp_path / "b", 2, 0)
    ours, theirs = (shards.folder_of(place(n, tmp_path / f)) / "0" for n, f in ((numbers, "a"), (others, "b")))
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    with pytest.raises(UserError, match=r"0 is a shard of another recipe or of other files; delete"):
        fill(numbers, tmp_path / "a", 2, 1)
    with pytest.raises(UserError, match=r"in 2 shards, and this is one of 3; set shard.count=2"):
        fill(numbers, tmp_path / "a", 3, 1)


def test_a_broken_file_of_a_shard_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    numbers = make(tmp_path / "raw", 10)
    (numbers.root / "7.txt").write_text("broken")
    assert not fill(numbers, tmp_path, 2, 0)
    with pytest.raises(UserError, match=r"1 of 5 train examples of this shard .*7\.txt is not a number"):
        fill(numbers, tmp_path, 2, 1)
    assert shards.missing(place(numbers, tmp_path), 2) == [1]
    assert not list(tmp_path.rglob("*.building"))


@pytest.mark.slow
def test_a_killed_shard_leaves_nothing_that_is_taken_for_one(tmp_path: Path) -> None:
    numbers = make(tmp_path / "raw", 40)
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[3]); from pathlib import Path; import test_prepare as t; "
        "real = t.Growing.store; t.Growing.store = lambda self, raw: (time.sleep(0.05), real(self, raw))[1]; "
        "t.fill(t.Numbers(Path(sys.argv[1])), Path(sys.argv[2]), 2, 0)"
    )
    command = [sys.executable, "-c", code, str(numbers.root), str(tmp_path / "store"), str(Path(__file__).parent)]
    process = subprocess.Popen(command)
    while not list((tmp_path / "store").rglob("data.bin")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((tmp_path / "store").rglob("*.building"))
    assert [fill(numbers, tmp_path / "store", 2, i) for i in range(2)] == [False, True]
    whole = store.open_or_build(numbers, Growing(), "train", tmp_path / "whole", WORKERS)
    assert contents(place(numbers, tmp_path / "store")) == contents(whole.folder)


@pytest.fixture
def seti(tmp_path: Path) -> list[str]:
    """Words on a few simulated cadences, that a person has put somewhere."""
    raw_files("seti", tmp_path / "raw")
    return ["dataset=seti", f"dataset.root={tmp_path / 'raw'}", f"store={tmp_path / 'store'}", "workers=1"]


def test_the_check_tells_rows_and_bytes_and_builds_nothing(
    seti: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(prepare.COMMAND, [*seti, "check=true"]) == 0
    said = capsys.readouterr().out
    row = next(line.split() for line in said.splitlines() if " train " in line and "seti_stacked" in line)
    assert row[:3] == ["seti_stacked", "train", "8"]
    assert row[row.index("float16") + 1 : row.index("float16") + 3] == ["0.0", "MB"]
    assert said.count("to build") == 2, "image and sequence share their stored half"
    assert not (tmp_path / "store").exists()
    assert run(prepare.COMMAND, seti) == 0
    assert "8 train examples" in capsys.readouterr().err
    assert run(prepare.COMMAND, [*seti, "model=cnn2d", "check=true"]) == 0
    assert capsys.readouterr().out.count("stands") == 2


def test_broken_files_are_named_before_anything_is_built(
    seti: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = next((tmp_path / "raw" / "train").rglob("*.npy"))
    broken.write_bytes(broken.read_bytes()[:-4])
    assert run(prepare.COMMAND, [*seti, "check=true"]) == 2
    assert f"{broken} can't be read" in capsys.readouterr().err
    broken.unlink()
    (tmp_path / "raw" / "test" / "0").mkdir(exist_ok=True)
    (tmp_path / "raw" / "test" / "0" / "0000.npy").touch()
    assert run(prepare.COMMAND, [*seti, "check=true"]) == 2
    said = capsys.readouterr().err
    assert f"{broken.name} is not there" in said
    assert "0000.npy has no row" in said, "both parts' mistakes at once"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shard.count=0"], "shard.count=0: a store has at least one part"),
        (["shard.count=2", "shard.index=2"], "shard.index=2 is not one of 2 shards"),
        (["shard.index=-1"], "shard.index=-1 is not one of 1 shards"),
        (["features=heartbeat_waveform"], "features=heartbeat_waveform reads heartbeat, not seti"),
        (["shard.size=2"], "there is no key shard.size here"),
        (["store=/dev/null/store", "shard.count=2"], "can't be made (Not a directory); set store="),
        (["store=/dev/null/store"], "can't be made (Not a directory); set store="),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(
    seti: list[str], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(prepare.COMMAND, [*seti, *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench: ")]
    assert len(lines) == 1
    assert said in lines[0]


def test_a_disk_that_is_too_small_is_told_before_anything_is_built(
    seti: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage("/"))(1, 1, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert run(prepare.COMMAND, seti) == 2
    assert "0.0 MB left; free some space" in capsys.readouterr().err


def test_the_whole_in_one_go_beside_shards_is_refused(seti: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(prepare.COMMAND, [*seti, "shard.count=2"]) == 0
    assert "1 are missing" in capsys.readouterr().err
    assert run(prepare.COMMAND, seti) == 2
    assert "in 2 shards, and this is the whole; set shard.count=2" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_of_shards_makes_the_store_that_training_finds(
    beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = ["dataset=heartbeat", f"dataset.root={beats}", f"store={tmp_path / 'store'}", "outputs=outputs"]
    words = [*here, "hydra/launcher=joblib", "model=mlp", "shard.count=3", "shard.index=range(0,3)"]
    assert run(prepare.COMMAND, ["-m", *words]) == 0
    assert "3 of 3 jobs finished" in capsys.readouterr().out
    (folder,) = (tmp_path / "store" / "heartbeat").glob("*-train-*[!k]")
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert json.loads((folder / "manifest.json").read_text())["rows"] == 160
    assert run(train.COMMAND, [*small_overrides(beats, tmp_path), "train.epochs=1", "folds.only=[0]"]) == 0
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    assert len(list((tmp_path / "store" / "heartbeat").glob("*-train-*[!k]"))) == 1, "it was this one"
