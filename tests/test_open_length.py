"""Examples of open length: stored end to end, taken in windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data import filling, store
from bench.data.batches import Batches
from bench.spec import UserError
from numbers_dataset import Growing, make


@pytest.fixture(params=[0, 1 << 20], ids=["read", "held"])
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> store.Store:
    monkeypatch.setattr(store, "IN_MEMORY", request.param)
    return store.open_or_build(make(tmp_path / "raw", 40), Growing(), "train", tmp_path / "store", 1)


def test_windows_are_the_samples_asked_for(opened: store.Store) -> None:
    x = opened.windows(np.array([30, 2]), np.array([4, -1]), 8)
    np.testing.assert_array_equal(x[0, 0], 3004 + np.arange(8))
    np.testing.assert_array_equal(x[0, 1], -3004 - np.arange(8))
    np.testing.assert_array_equal(x[1, 0], [0, 200, 201, 202, 203, 204, 0, 0])


def test_an_evaluation_takes_the_middle_and_is_the_same_each_time(opened: store.Store) -> None:
    side = batches(opened, np.array([38, 1]))
    first, second = (next(side.in_order(2)).x for _ in range(2))
    assert torch.equal(first, second)
    assert first[0, 0, 0] == 3800 + (41 - 8 + 1) // 2
    assert first[1, 0].tolist() == [0, 0, 100, 101, 102, 103, 0, 0]


def test_training_windows_move_and_the_seed_decides_them(opened: store.Store) -> None:
    side = batches(opened, np.arange(40))
    a, b, c = (next(iter(side.shuffled(40, seed))).x for seed in ((0, 1), (0, 1), (0, 2)))
    assert torch.equal(a, b)
    assert not torch.equal(a.sort(0).values, c.sort(0).values)


def test_an_epoch_that_is_iterated_again_takes_the_same_windows(opened: store.Store) -> None:
    epoch = batches(opened, np.arange(40)).shuffled(8, (0, 1))
    first, second = ([batch.x for batch in epoch] for _ in range(2))
    assert len(epoch) == len(first) == 5
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_every_place_of_a_window_is_drawn(opened: store.Store) -> None:
    side = batches(opened, np.full(400, 10))  # 13 samples: windows of 8 begin at 0 … 5
    x = next(iter(side.shuffled(400, (3,)))).x
    assert set((x[:, 0, 0] - 1000).tolist()) == set(range(6))
    short = next(iter(batches(opened, np.full(400, 2)).shuffled(400, (3,)))).x  # 5 samples in 8
    assert {int((row[0] == 0).nonzero()[0]) if row[0, 0] == 0 else -1 for row in short} == {-1, 0}
    assert {int((row[0] != 0).nonzero()[0]) for row in short} == set(range(4))
    assert all((row[0] != 0).sum() == 5 for row in short)


def test_processes_store_what_one_process_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "START_S", 0)  # two always save time, one never does
    numbers = make(tmp_path / "raw", 130)
    one, two = (store.open_or_build(numbers, Growing(), "train", tmp_path / str(w), w) for w in (1, 2))
    assert one.digest == two.digest
    assert (one.folder / "data.bin").read_bytes() == (two.folder / "data.bin").read_bytes()


def test_an_example_that_is_not_as_long_as_its_header_said_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"7\.txt \(id 7\): 11 samples, but its header announced"):
        store.open_or_build(make(tmp_path / "raw", 20), Growing(lie=True), "train", tmp_path / "store", 1)


def batches(opened: store.Store, rows: np.ndarray) -> Batches:
    return Batches(opened, rows, np.zeros((len(rows), 1), np.float32), None, torch.device("cpu"), window=8)
