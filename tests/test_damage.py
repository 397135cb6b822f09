"""What a damaged file does to a run: it is named, or made again to the same bits; nothing differs silently."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
import torch

import tiny_fold
from bench.atomic import read_json, write_json
from bench.comparison import reading
from bench.crossval import collect, processes
from bench.ensembling import members
from bench.report.judged import judge
from bench.runs import checksums
from bench.runs.run import Fold, Run
from bench.spec import UserError
from bench.training import checkpoint
from conftest import Composed, train_here

Small = Callable[..., Composed]


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def garbage(content: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(len(content))


def emptied(content: bytes, chance: random.Random) -> bytes:
    return b""


DAMAGE = (cut, flipped, garbage, emptied)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_as_good_as_none(tmp_path: Path, damage: Callable[..., bytes]) -> None:
    tiny_fold.fit(tmp_path)
    path, chance = tmp_path / "fold" / "checkpoint.pt", random.Random(0)
    content, keys = path.read_bytes(), {"model", "history"}
    whole = checkpoint.load(path, tiny_fold.CPU, keys, pytest.fail)
    assert whole is not None
    for _ in range(1 if damage is emptied else 60):
        path.write_bytes(damage(content, chance))
        notes: list[str] = []
        state = checkpoint.load(path, tiny_fold.CPU, keys, notes.append)
        if state is None:
            assert len(notes) == 1
            assert str(path) in notes[0]
            assert "begins anew" in notes[0]
        else:  # a bit that nothing reads
            assert not notes
            assert state["history"] == whole["history"]
            assert all(torch.equal(state["model"][name], tensor) for name, tensor in whole["model"].items())


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["last", "loss"])
def test_a_fold_with_damaged_files_ends_with_the_same_bits(tmp_path: Path, keep: Literal["last", "loss"]) -> None:
    settings = replace(tiny_fold.SETTINGS, keep=keep)
    expected, chance = tiny_fold.weights(tiny_fold.fit(tmp_path, settings)), random.Random(1)
    for name in ("checkpoint.pt", "weights.safetensors"):
        path = tmp_path / "fold" / name
        for damage in DAMAGE:
            path.write_bytes(damage(path.read_bytes(), chance))
            again = tiny_fold.weights(tiny_fold.fit(tmp_path, settings))
            assert all(map(torch.equal, again, expected)), (name, damage)


def test_no_flipped_bit_of_weights_is_read_as_others(tmp_path: Path) -> None:
    tiny_fold.fit(tmp_path)
    path, chance = tmp_path / "fold" / "weights.safetensors", random.Random(2)
    content, whole = path.read_bytes(), checkpoint.read_weights(path)
    refused = 0
    for _ in range(200):
        path.write_bytes(flipped(content, chance))
        try:
            tensors = checkpoint.read_weights(path)
        except Exception:
            refused += 1
        else:
            assert all(torch.equal(tensors[name], tensor) for name, tensor in whole.items())
    assert refused > 180


def test_a_damaged_fold_is_named_and_missing_until_it_is_computed_again(
    small: Small, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each file of a fold in turn; then the run is collected without that fold, which is said."""
    recipe, names = small("train.epochs=1")
    run = train_here(recipe, names)
    test, fold = run.inputs.test, run.fold(0)
    assert processes.missing(run, [0, 1], test) == []
    recorded = fold.outcome().checksums
    assert sorted(recorded) == ["history.json", "oof.parquet", "test.parquet", "weights.safetensors"]
    chance = random.Random(3)
    for name in [*recorded, "done.json"]:
        path = fold.folder / name
        content = path.read_bytes()
        for damage in DAMAGE:
            path.write_bytes(damage(content, chance))
            capsys.readouterr()
            assert processes.missing(run, [0, 1], test) == [0], (name, damage)
            assert str(path) in capsys.readouterr().err
        path.write_bytes(content)
    write_json(fold.done, {**read_json(fold.done), "test_rows": 23})
    assert processes.missing(run, [0, 1], test) == [0], "its own content is signed, too"
    assert "done.json is damaged" in capsys.readouterr().err
    write_json(fold.done, {})
    assert processes.missing(run, [0, 1], test) == [0]
    assert "done.json has no test" in capsys.readouterr().err
    from bench.metrics import L1_20K

    scores, notes = collect.collect(run, L1_20K)
    assert scores is not None
    assert scores.fold_numbers == (1,)
    assert "fold 0 is left out" in notes[0]
    before = fold.oof.read_bytes()
    fold.oof.write_bytes(before[:100])
    train_here(recipe, names, [0])
    assert fold.oof.read_bytes() == before
    assert processes.missing(run, [0, 1], test) == []


def test_a_run_whose_predictions_are_not_what_was_scored_is_named_by_every_reader(small: Small) -> None:
    from bench.metrics import L1_20K

    run = train_here(*small("train.epochs=1"))
    collect.collect(run, L1_20K)
    frame = pd.read_parquet(run.folder / "oof.parquet")
    columns = [c for c in frame if c.startswith("pred_")]
    frame[columns] = frame[columns[1:] + columns[:1]].to_numpy()
    frame.to_parquet(run.folder / "oof.parquet", index=False)
    other = Run(run.folder.with_name("0" * 12))
    shutil.copytree(run.folder, other.folder)
    readers: list[Callable[[], object]] = [
        lambda: judge(run),
        lambda: members.read([run], "arithmetic"),
        lambda: reading.read([run, other]),
    ]
    for read in readers:
        with pytest.raises(UserError, match=r"oof\.parquet is damaged"):
            read()
    (run.folder / "test.parquet").unlink()
    with pytest.raises(UserError, match=r"test\.parquet is not there any more"):
        run.checked("test.parquet")


def test_every_file_that_a_run_leaves_is_held_against_its_checksum_where_it_is_read(small: Small) -> None:
    from bench.metrics import L1_20K

    run = train_here(*small("train.epochs=1"))
    collect.collect(run, L1_20K)
    with checksums.writing(run.folder, "submission.csv", "blend.json"):
        (run.folder / "submission.csv").write_text("id,label_0\n1,0.5\n")
        (run.folder / "blend.json").write_text("{}")
    readers: dict[str, Callable[[], object]] = {
        "config.yaml": lambda: Run(run.folder).recipe,
        "inputs.json": lambda: run.inputs,
        "scores.json": run.scores,
        "splits.parquet": lambda: judge(run),
        "test_ids.parquet": lambda: run.checked("test_ids.parquet"),
        "submission.csv": lambda: run.checked("submission.csv"),
        "blend.json": lambda: run.checked("blend.json"),
    }
    assert sorted(readers) == sorted(checksums.recorded(run.folder))
    chance = random.Random(4)
    for name, read in readers.items():
        path = run.folder / name
        content = path.read_bytes()
        for damage in DAMAGE:
            path.write_bytes(damage(content, chance))
            with pytest.raises(UserError, match=f"{name} is damaged.*delete .*checksums.json"):
                read()
        path.write_bytes(content)
        read()
    (run.folder / checksums.FILE).write_bytes(b"[")
    with pytest.raises(UserError, match=r"checksums\.json is not whole"):
        run.scores()
    with checksums.writing(run.folder, "scores.json"):  # as the command that made the run does
        pass
    assert list(checksums.recorded(run.folder)) == ["scores.json"]


def test_a_kill_while_a_file_is_written_leaves_no_wrong_checksum(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with suppress(KeyboardInterrupt), checksums.writing(tmp_path, "config.yaml"):
            (tmp_path / "config.yaml").write_text(content)
            if content == "second":
                raise KeyboardInterrupt
    assert checksums.recorded(tmp_path) == {}
    assert checksums.held(tmp_path / "config.yaml").read_text() == "second"


def test_folds_of_earlier_versions_have_no_checksums_and_are_whole(small: Small) -> None:
    run = train_here(*small("train.epochs=1"), [0])
    fold = Fold(run.folder / "folds" / "0", 0)
    done = read_json(fold.done)
    del done["checksums"], done["checksum"]
    write_json(fold.done, done)
    assert fold.trouble() is None
    fold.oof.write_bytes(fold.oof.read_bytes()[:-20])
    assert "oof.parquet can't be read" in str(fold.trouble())
