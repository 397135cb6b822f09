"""Every raw file is looked at before a store is built, and what is odd about it is told by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.cli.door import run
from bench.datasets.inspected import inspect
from bench.prepare import COMMAND
from bench.training import parts
from tiny import node, raw_files


def test_missing_empty_broken_and_unlike_files_are_told_apart(tmp_path: Path) -> None:
    root = raw_files("freesound", tmp_path)
    dataset = parts.dataset(node("dataset", "freesound"), root)
    files = dataset.files("train")
    files[0].unlink()
    files[1].write_bytes(b"")
    files[2].write_bytes(b"RIFF no sound")
    soundfile.write(files[3], np.zeros((10, 2)), 8000)
    (root / "audio_train/extra.wav").write_bytes(files[4].read_bytes())
    odd = inspect(dataset, "train")
    assert (odd.missing, odd.empty) == ([files[0]], [files[1]])
    assert [path for path, _ in odd.unreadable] == [files[2]]
    assert odd.unlike == []  # of nine files, eight are not nearly all
    assert odd.unused == [root / "audio_train/extra.wav"]
    assert len(odd.broken) == 3
    assert odd.files == len(files)


def test_a_file_unlike_nearly_all_others_is_told_with_what_it_holds(tmp_path: Path) -> None:
    root = raw_files("seti", tmp_path)
    dataset = parts.dataset(node("dataset", "seti"), root)
    copies = [dataset.files("train")[0].with_name(f"x{n}.npy") for n in range(10)]
    for path in copies:
        np.save(path, np.zeros((6, 16, 32), np.float16))
    np.save(copies[0], np.zeros((6, 16, 31), np.float16))
    folder = copies[0].parent
    odd = inspect(dataset, "train", copies)
    assert [(path, text) for path, text in odd.unlike if path.parent == folder] == [
        (copies[0], "6 × 16 × 31 float16 where others have 6 × 16 × 32 float16")
    ]


def test_checking_tells_a_table_of_all_files_and_builds_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = raw_files("heartbeat", tmp_path / "raw")
    assert run(COMMAND, ["dataset=heartbeat", f"dataset.root={root}", f"data={tmp_path}/data", "--check"]) == 0
    told = capsys.readouterr().out
    assert "without a row" in told
    assert "to build" in told
    assert not (tmp_path / "data").exists()


def test_a_broken_file_stops_the_building(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = raw_files("freesound", tmp_path / "raw")
    broken = sorted((root / "audio_train").glob("*.wav"))[0]
    broken.write_bytes(b"RIFF no sound")
    assert run(COMMAND, ["dataset=freesound", f"dataset.root={root}", f"data={tmp_path}/data", "workers=1"]) == 2
    assert f"{broken} can't be read" in capsys.readouterr().err
    assert not list((tmp_path / "data").rglob("manifest.json"))
