"""Rows of several sources end to end: whoever gathers from them can't tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.atomic import write_json
from bench.data import store
from bench.data.batches import Batches
from bench.data.joined import InMemory, Joined
from bench.data.source import Source
from bench.spec import UserError
from numbers_dataset import Growing, make

CPU = torch.device("cpu")


def written(folder: Path, x: np.ndarray) -> store.Store:
    """A store of the rows of x."""
    folder.mkdir()
    x.tofile(folder / "data.bin")
    write_json(
        folder / "manifest.json", {"rows": len(x), "shape": list(x.shape[1:]), "dtype": str(x.dtype), "digest": ""}
    )
    return store.Store(folder)


def numbers(n: int, start: int = 0, dtype: str = "float32") -> np.ndarray:
    """(n, 2, 3): rows that are their own number all over."""
    return np.broadcast_to(np.arange(start, start + n)[:, None, None], (n, 2, 3)).astype(dtype)


@pytest.fixture(params=[0, 1 << 20], ids=["read", "held"])
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[Source]:
    """Rows 0–4 and 5–11 of stores, 12–14 of an array."""
    monkeypatch.setattr(store, "IN_MEMORY", request.param)
    sources = [written(tmp_path / "a", numbers(5)), written(tmp_path / "b", numbers(7, 5)), InMemory(numbers(3, 12))]
    return sources


def test_positions_run_over_one_source_after_the_other(three: list[Source]) -> None:
    joined = Joined(three)
    assert (len(joined), joined.shape, joined.dtype, joined.open) == (15, (2, 3), np.float32, False)
    assert joined.nbytes == 15 * 6 * 4
    positions = np.array([14, 0, 5, 4, 11, 12, 5])
    np.testing.assert_array_equal(joined.gather(positions), numbers(15)[positions])
    row = np.zeros((2, 3), np.float32)
    joined.gather_one(12, row)
    assert (row == 12).all()
    assert joined.gather(np.zeros(0, np.int64)).shape == (0, 2, 3)


@pytest.mark.parametrize("position", [-1, 15])
def test_a_row_that_no_source_has_is_not_another_ones(three: list[Source], position: int) -> None:
    with pytest.raises(IndexError):
        Joined(three).gather(np.array([position]))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_one_store_joined_gives_the_bits_that_it_gives_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr("bench.data.batches.WIDE", 8)  # float16 rows are cast one by one
    alone = written(tmp_path / "a", np.random.default_rng(0).integers(0, 99, (40, 2, 3)).astype(dtype))
    target = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    sides = [Batches(s, np.arange(40), target, None, CPU) for s in (alone, Joined([alone]))]
    for how in (lambda side: side.shuffled(8, (1, 2)), lambda side: side.in_order(8)):
        for a, b in zip(*map(how, sides), strict=True):
            assert a.x.dtype == b.x.dtype
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.target, b.target)


def test_examples_of_open_length_are_joined_in_windows(tmp_path: Path) -> None:
    first, second = (
        store.open_or_build(make(tmp_path / f"raw{n}", n), Growing(), "train", tmp_path / "store", 1) for n in (40, 12)
    )
    joined = Joined([first, second])
    assert joined.open
    np.testing.assert_array_equal(joined.lengths, [*np.arange(40) + 3, *np.arange(12) + 3])
    positions, starts = np.array([50, 2, 38, 49]), np.array([1, -1, 4, 0])
    for source, of in ((first, positions < 40), (second, positions >= 40)):
        own = source.windows(positions[of] % 40, starts[of], 8)
        np.testing.assert_array_equal(joined.windows(positions, starts, 8)[of], own)
    rows, target = np.arange(52), np.zeros((52, 1), np.float32)
    seen = next(Batches(joined, rows, target, None, CPU, window=8).in_order(52)).x
    alone = [
        next(Batches(s, np.arange(len(s)), target[: len(s)], None, CPU, window=8).in_order(52)).x
        for s in (first, second)
    ]
    assert torch.equal(seen, torch.cat(alone))


@pytest.mark.parametrize(
    ("other", "says"),
    [(numbers(2)[:, :, :2], r"\(2, 2\) \(float32\).*\(2, 3\) \(float32\)"), (numbers(2, dtype="float16"), "float16")],
    ids=["shape", "dtype"],
)
def test_sources_that_are_not_stored_alike_are_refused(tmp_path: Path, other: np.ndarray, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Joined([written(tmp_path / "a", numbers(5)), InMemory(other)])
