"""Weights to start from: each fold takes those that never saw what it validates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from bench.atomic import write_json
from bench.crossval import warm_start
from bench.spec import UserError
from fake_run import inputs, recipe

HEARTBEAT = "bench.datasets.heartbeat.Heartbeat"


def run(folder: Path, fold: list[int], weights: str | None = None, **columns: object) -> Path:
    """A finished run of len(fold) rows, each fold's weights a file of its own content."""
    folder.mkdir()
    config = recipe(dataset={"_target_": HEARTBEAT}, init_from=weights)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(folder / "inputs.json", inputs(n_splits=max(fold) + 1))
    rows(fold, **columns).to_parquet(folder / "splits.parquet")
    for k in set(fold):
        (folder / "folds" / str(k)).mkdir(parents=True)
        (folder / "folds" / str(k) / "weights.safetensors").write_bytes(bytes([k]))
        write_json(folder / "folds" / str(k) / "done.json", {"test": "", "test_rows": 0})
    return folder


def rows(fold: list[int], **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"id": np.arange(len(fold)), "fold": fold, **columns})


def test_each_fold_takes_its_own_number_of_a_run_and_all_take_one_file(tmp_path: Path) -> None:
    source = run(tmp_path / "a", [0, 1, 2])
    assert warm_start.file_for(str(source), 2) == source / "folds/2/weights.safetensors"
    assert warm_start.file_for(str(source / "folds/1"), 2) == source / "folds/1/weights.safetensors"
    assert warm_start.file_for("other.pt", 2) == Path("other.pt")


def test_a_run_that_split_alike_leaks_nothing(tmp_path: Path) -> None:
    source = run(tmp_path / "a", [0, 1, 2, 0, 1, 2])
    warm_start.refuse_leak("init_from", str(source), HEARTBEAT, False, rows([0, 1, 2, 0, 1, 2]), [0, 1, 2])


def test_a_run_that_split_otherwise_is_refused_with_the_rows(tmp_path: Path) -> None:
    source = run(tmp_path / "a", [0, 1, 2, 0, 1, 2])
    with pytest.raises(UserError, match=r"trained on 1 rows that fold 0 validates \(first: 1\); use the split that"):
        warm_start.refuse_leak("init_from", str(source), HEARTBEAT, False, rows([0, 0, 2, 0, 1, 2]), [0, 1, 2])


def test_one_folds_file_serves_that_fold_alone(tmp_path: Path) -> None:
    source = run(tmp_path / "a", [0, 1, 2, 0, 1, 2])
    file = str(source / "folds/1")
    warm_start.refuse_leak("init_from", file, HEARTBEAT, False, rows([0, 1, 2, 0, 1, 2]), [1])
    with pytest.raises(UserError, match=r"that fold 0 validates \(first: 0, 3\); train the fold of its number alone"):
        warm_start.refuse_leak("init_from", file, HEARTBEAT, False, rows([0, 1, 2, 0, 1, 2]), [0, 1, 2])


def test_a_patient_under_other_ids_is_a_leak_too(tmp_path: Path) -> None:
    source = run(tmp_path / "a", [0, 0, 1, 1], group=[5, 5, 6, 6])
    here = rows([1, 0], group=[5, 6]).assign(id=["5_0", "6_0"])
    with pytest.raises(UserError, match="rows or their groups that fold 0 validates"):
        warm_start.refuse_leak("init_from", str(source), HEARTBEAT, False, here, [0, 1])


def test_rows_that_were_not_trained_on_leak_nothing(tmp_path: Path) -> None:
    source = run(tmp_path / "a", [0, 1, 1], trained=[True, False, True])
    warm_start.refuse_leak("init_from", str(source), HEARTBEAT, False, rows([0, 0, 1]), [0])


def test_what_the_source_itself_started_from_is_followed(tmp_path: Path) -> None:
    first = run(tmp_path / "a", [1, 0, 1])
    then = run(tmp_path / "b", [0, 1, 1], weights=str(first))
    with pytest.raises(
        UserError, match=rf"init_from={first}: its weights were trained on 1 rows that fold 0 validates"
    ):
        warm_start.refuse_leak("init_from", str(then), HEARTBEAT, False, rows([0, 1, 1]), [0, 1])


def test_a_run_of_fewer_folds_is_refused_before_the_last_one_looks_for_its_file(tmp_path: Path) -> None:
    source = run(tmp_path / "a", [0, 1])
    with pytest.raises(UserError, match="is a run of 2 folds, and has none for fold 2; split alike, or name one"):
        warm_start.refuse_leak("init_from", str(source), "bench.datasets.hms.HMS", False, rows([0, 1, 2]), [0, 1, 2])


@pytest.mark.parametrize("what", [".", "folds/1/weights.safetensors"])
def test_a_fold_that_is_not_done_is_no_source(tmp_path: Path, what: str) -> None:
    source = run(tmp_path / "a", [0, 1])
    (source / "folds/1/done.json").unlink()
    with pytest.raises(UserError, match=r"folds/1/done.json is not a file"):
        warm_start.digest("init_from", str(source / what))


@pytest.mark.parametrize("elsewhere", ["simulated", "another data set", "a file of no run"])
def test_what_has_no_rows_in_common_is_not_asked(tmp_path: Path, elsewhere: str) -> None:
    source = run(tmp_path / "a", [0, 1])
    if elsewhere == "simulated":
        warm_start.refuse_leak("init_from", str(source), HEARTBEAT, True, rows([1, 0]), [0, 1])
    elif elsewhere == "another data set":
        warm_start.refuse_leak("init_from", str(source), "bench.datasets.hms.HMS", False, rows([1, 0]), [0, 1])
    else:
        (tmp_path / "timm.safetensors").touch()
        warm_start.refuse_leak("init_from", str(tmp_path / "timm.safetensors"), HEARTBEAT, False, rows([1, 0]), [0, 1])


def test_the_digest_is_the_contents_and_not_the_paths(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a", [0, 1]), run(tmp_path / "b", [0, 1])
    assert warm_start.digest("init_from", str(one)) == warm_start.digest("init_from", str(other))
    (other / "folds/1/weights.safetensors").write_bytes(b"trained on")
    assert warm_start.digest("init_from", str(one)) != warm_start.digest("init_from", str(other))


def test_a_run_that_lacks_a_folds_weights_is_named(tmp_path: Path) -> None:
    source = run(tmp_path / "a", [0, 1])
    (source / "folds/1/weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"folds/1/weights.safetensors is not a file; .* whose folds are all trained"):
        warm_start.digest("init_from", str(source))


class Net(nn.Sequential):
    def __init__(self, classes: int, width: int = 4) -> None:
        super().__init__(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, classes))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_load_whole_and_a_head_of_other_classes_starts_anew(tmp_path: Path, suffix: str) -> None:
    first, file = Net(2), tmp_path / f"weights{suffix}"
    save_file(first.state_dict(), file) if suffix == ".safetensors" else torch.save(first.state_dict(), file)
    same = Net(2)
    assert warm_start.load(same, file, 2) == []
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    other = Net(5)
    head = other.get_parameter("2.weight").clone()
    assert warm_start.load(other, file, 5) == ["2.weight", "2.bias"]
    assert torch.equal(other.get_parameter("0.weight"), first.get_parameter("0.weight"))
    assert torch.equal(other.get_parameter("2.weight"), head)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_weights_of_another_model_are_refused_before_anything_trains(tmp_path: Path, device: str) -> None:
    save_file(Net(2).state_dict(), tmp_path / "a.safetensors")
    save_file(Net(2)[0].state_dict(), tmp_path / "b.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"none")
    with torch.device(device):
        with pytest.raises(UserError, match=r"0.weight is \(4, 3\) in .* more than another number of classes"):
            warm_start.load(Net(2, width=5), tmp_path / "a.safetensors", 2)
        with pytest.raises(UserError, match="holds the weights of another model: 11 tensors are missing or too many"):
            warm_start.load(Net(2), tmp_path / "b.safetensors", 2)
        with pytest.raises(UserError, match="can't be read as a state dict"):
            warm_start.load(Net(2), tmp_path / "c.safetensors", 2)


def test_a_held_out_pre_training_on_other_rows_serves_all_folds_where_it_is_named(tmp_path: Path) -> None:
    source = run(tmp_path / "a", [0, 1, 0])
    here = rows([0, 1, 2]).assign(id=["x", "y", "z"])
    warm_start.refuse_leak("init_from", str(source / "folds/0"), HEARTBEAT, False, here, [0, 1, 2])
    with pytest.raises(UserError, match="has none for fold 2"):
        warm_start.refuse_leak("init_from", str(source), HEARTBEAT, False, here, [0, 1, 2])


def test_one_fold_of_a_source_that_started_from_a_run_started_from_that_runs_own_fold(tmp_path: Path) -> None:
    first = run(tmp_path / "a", [1, 1, 0])
    then = run(tmp_path / "b", [0, 1, 1], weights=str(first))
    warm_start.refuse_leak("init_from", str(then / "folds/0"), HEARTBEAT, False, rows([0, 5, 5]).iloc[1:], [0])
    with pytest.raises(UserError, match=r"a/folds/0: its weights were trained on 1 rows that fold 0 validates"):
        warm_start.refuse_leak("init_from", str(then / "folds/0"), HEARTBEAT, False, rows([0, 5, 5]), [0])
