"""The store: built once, whole or not there, gathered with bounded memory."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bench.atomic import write_json
from bench.data import filling, store
from bench.features.base import Features
from bench.spec import InputSpec, Kind, UserError
from numbers_dataset import Numbers, make


class Doubled(Features):
    kind: ClassVar[Kind] = "sequence"
    stored_dtype = "float32"

    def __init__(self, factor: float = 2.0, pause: float = 0.0) -> None:
        self.factor, self.pause = factor, pause

    def spec(self, dataset: Any) -> InputSpec:
        return InputSpec(2, (8,), dataset.classes)

    def stored_shape(self, dataset: Any) -> tuple[int, ...]:
        return (2, 8)

    def store(self, raw: np.ndarray) -> np.ndarray:
        time.sleep(self.pause)
        return raw * self.factor

    def settings(self) -> dict[str, Any]:
        return {"factor": self.factor}


@pytest.fixture
def numbers(tmp_path: Path) -> Numbers:
    return make(tmp_path / "raw", 70)


def build(numbers: Numbers, root: Path, features: Features | None = None, workers: int = 1) -> store.Store:
    return store.open_or_build(numbers, features or Doubled(), "train", root, workers)


def test_gather_gives_the_stored_half_of_the_rows_asked_for(numbers: Numbers, tmp_path: Path) -> None:
    built = build(numbers, tmp_path / "store")
    rows = np.array([69, 3, 3])
    np.testing.assert_array_equal(built.gather(rows)[:, 1, -1], rows * 2.0)


def test_a_second_run_computes_nothing(numbers: Numbers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(numbers, tmp_path / "store")
    monkeypatch.setattr(Doubled, "store", lambda self, raw: pytest.fail("computed again"))
    assert build(numbers, tmp_path / "store").digest == first.digest


def test_other_settings_or_files_are_another_store(numbers: Numbers, tmp_path: Path) -> None:
    root = tmp_path / "store"
    first = build(numbers, root)
    assert build(numbers, root, Doubled(3.0)).folder != first.folder
    (numbers.root / "0.txt").write_text("17.5")
    assert build(Numbers(numbers.root), root).folder != first.folder


def test_processes_store_what_one_process_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "START_S", 0)  # two always save time, one never does
    numbers = make(tmp_path / "raw", 130)
    one = build(numbers, tmp_path / "one", workers=1)
    two = build(numbers, tmp_path / "two", workers=2)
    assert one.digest == two.digest
    assert (one.folder / "data.bin").read_bytes() == (two.folder / "data.bin").read_bytes()


def test_processes_are_started_only_where_they_save_more_than_their_start_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started(Exception):
        pass

    def pool(*_: object) -> None:
        raise Started

    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", pool)
    numbers = make(tmp_path / "raw", 130)
    build(numbers, tmp_path / "quick", workers=2)
    monkeypatch.setattr(filling, "START_S", 1e-6)
    build(numbers, tmp_path / "alone", workers=1)
    with pytest.raises(Started):
        build(numbers, tmp_path / "slow", workers=2)


def test_all_broken_files_are_named_at_once_and_nothing_is_left(numbers: Numbers, tmp_path: Path) -> None:
    for i in range(5, 25):
        (numbers.root / f"{i}.txt").write_text("broken")
    with pytest.raises(UserError, match=r"20 of 70 train examples .*5\.txt is not a number.*and 10 more$"):
        build(numbers, tmp_path / "store")
    assert not [p for p in (tmp_path / "store").rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_a_full_disk_is_one_sentence(numbers: Numbers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"the store needs .* GB .* set store="):
        build(numbers, tmp_path / "store")


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(numbers: Numbers, tmp_path: Path) -> None:
    root = tmp_path / "store"
    code = (
        "import sys; sys.path.insert(0, sys.argv[3]); from pathlib import Path; import test_store as t; "
        "t.build(t.Numbers(Path(sys.argv[1])), Path(sys.argv[2]), t.Doubled(pause=0.05))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(numbers.root), str(root), str(Path(__file__).parent)])
    while not list(root.rglob("data.bin")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(root.rglob("*.building"))
    built = build(numbers, root)
    np.testing.assert_array_equal(built.gather(np.arange(70))[:, 0, -1], np.arange(70) * 2.0)
    assert not list(root.rglob("*.building"))


def test_builds_side_by_side_share_one(numbers: Numbers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    calls: list[int] = []
    original = Doubled.store

    def counted(self: Doubled, raw: np.ndarray) -> np.ndarray:
        calls.append(1)
        return original(self, raw)

    monkeypatch.setattr(Doubled, "store", counted)
    with ThreadPoolExecutor(3) as pool:
        built = list(pool.map(lambda _: build(numbers, tmp_path / "store", Doubled(pause=0.001)), range(3)))
    assert len(calls) == 70
    assert len({b.folder for b in built}) == 1


def test_equal_content_has_equal_digests_and_flat_content_has_none(numbers: Numbers, tmp_path: Path) -> None:
    (numbers.root / "4.txt").write_text("9")
    digests = build(numbers, tmp_path / "store").digests()
    assert (digests[4] == digests[9]).all()
    assert not digests[0].any()  # all zeros
    assert len(np.unique(digests, axis=0)) == 69


def test_a_part_without_files_is_an_empty_store(numbers: Numbers, tmp_path: Path) -> None:
    assert len(store.open_or_build(numbers, Doubled(), "test", tmp_path, 1)) == 0


def resident() -> int:
    """This process's memory in KB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_a_large_store_is_read_without_becoming_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    rows = 4000  # of 8 kB
    data = np.arange(rows, dtype=np.float32)[:, None, None] + np.zeros((1, 2, 1024), np.float32)
    data.tofile(tmp_path / "data.bin")
    del data
    write_json(tmp_path / "manifest.json", {"rows": rows, "shape": [2, 1024], "dtype": "float32", "digest": ""})
    opened = store.Store(tmp_path)
    before = resident()
    for start in range(0, rows, 50):
        chosen = (np.arange(start, start + 50) * 7) % rows
        batch = opened.gather(chosen)
        assert (batch == chosen[:, None, None]).all()
    assert resident() - before < 4 << 10


@pytest.mark.parametrize("name", ["manifest.json", "data.bin"])
def test_a_store_that_is_not_whole_is_built_again(numbers: Numbers, tmp_path: Path, name: str) -> None:
    folder = build(numbers, tmp_path / "store").folder
    (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    np.testing.assert_array_equal(
        build(numbers, tmp_path / "store").gather(np.arange(70))[:, 0, -1], np.arange(70) * 2.0
    )
    (folder / name).unlink()
    assert len(build(numbers, tmp_path / "store")) == 70


def test_minus_zero_is_no_difference(numbers: Numbers, tmp_path: Path) -> None:
    (numbers.root / "3.txt").write_text("-0.0")
    digests = np.load(build(numbers, tmp_path / "store").folder / "digests.npy")
    assert (digests[3] == digests[0]).all()


def test_checks_and_hashes_by_bits_are_those_by_arithmetic() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float16, np.float32, np.int16):
        x = (rng.standard_normal(500) * 300).astype(dtype)
        x[7] = -0.0
        expected = hashlib.blake2b((x + 0).tobytes(), digest_size=16).digest()
        assert filling.digest(x).tobytes() == expected
        assert filling.is_finite(x)
        assert not filling.is_flat(x)
        level = np.full(500, 3, dtype)
        assert filling.is_flat(level)
        level[-1] = 4  # beyond the first glance
        assert not filling.is_flat(level)
    for bad in (np.nan, np.inf, -np.inf):
        for dtype in (np.float16, np.float32):
            assert not filling.is_finite(np.array([[0, bad], [1, 65_000]], dtype))
    assert filling.is_flat(np.array([0.0, -0.0], np.float16))
    assert filling.is_flat(np.zeros(0))


def test_numbers_too_large_for_the_stored_type_are_named(numbers: Numbers, tmp_path: Path) -> None:
    features = Doubled(factor=2e3)
    features.stored_dtype = "float16"  # type: ignore[misc]
    with pytest.raises(UserError, match=r"37 of 70 train .*/33\.txt \(id 33\): the features are not finite"):
        build(numbers, tmp_path / "store", features)


@pytest.mark.parametrize("held", [0, 1 << 20])
def test_one_example_is_what_gather_gives(
    numbers: Numbers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(store, "IN_MEMORY", held)
    opened = build(numbers, tmp_path / "store")
    row = np.empty((2, 8), np.float32)
    for position in (5, 69):
        opened.gather_one(position, row)
        np.testing.assert_array_equal(row, opened.gather(np.array([position]))[0])


def test_a_truncated_store_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    np.zeros(12, np.float32).tofile(tmp_path / "data.bin")
    write_json(tmp_path / "manifest.json", {"rows": 4, "shape": [4], "dtype": "float32", "digest": ""})
    with pytest.raises(UserError, match="is shorter than it says"):
        store.Store(tmp_path).gather(np.array([3]))


def test_a_flipped_bit_in_a_store_is_found_and_its_features_are_computed_again(
    numbers: Numbers, tmp_path: Path
) -> None:
    built = build(numbers, tmp_path / "store")
    built.refuse_damaged()
    for name in ("data.bin", "digests.npy"):
        path = built.folder / name
        content = bytearray(whole := path.read_bytes())
        content[-3] ^= 4
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            store.Store(built.folder).refuse_damaged()
        build(numbers, tmp_path / "store").refuse_damaged()
        assert path.read_bytes() == whole


def test_raw_files_of_other_content_but_equal_size_and_time_are_named(tmp_path: Path) -> None:
    numbers = make(tmp_path / "raw", 40)
    built = build(numbers, tmp_path / "store")
    store.refuse_changed(built, numbers, Doubled(), "train", 1, lambda *_: None)
    path = numbers.files("train")[33]
    content, times = bytearray(path.read_bytes()), path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert build(numbers, tmp_path / "store").folder == built.folder
    with pytest.raises(UserError, match=f"{path.name}.* has other content, but the same size and time") as refused:
        store.refuse_changed(built, numbers, Doubled(), "train", 1, lambda *_: None)
    assert str(built.folder) in str(refused.value)
    assert str(refused.value).count("has other content") == 1


@pytest.mark.parametrize("name", ["digests.npy", "flat.npy"])
def test_an_array_of_a_store_that_says_it_is_huge_is_named(tmp_path: Path, name: str) -> None:
    built = build(make(tmp_path / "raw", 8), tmp_path / "store")
    path = built.folder / name
    content = path.read_bytes().replace(b"(8,", b"(8888888888888,", 1)
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        built.digests()
