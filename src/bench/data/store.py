"""The store: the stored half of the features, computed once, in parallel over files, and gathered every epoch.

    <store>/<dataset>/<features>-<part>-<key>/
        data.bin        (rows, *shape) in C order; examples of open length one after the other
        offsets.npy     (rows + 1,) int64, in numbers: where an example of open length begins
        digests.npy     (rows, 16) uint8: one hash an example's content
        flat.npy        (rows,) bool: the example is one number all over
        manifest.json   shape, dtype, settings, digest of the whole

The key is a hash of the settings and of the raw files' names, sizes and times. A folder under its final name is
whole: it is built under another name and renamed, under a lock, so that runs side by side share one build and a
killed build leaves nothing that could be mistaken for one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.atomic import read_json, write_json
from bench.datasets.base import Dataset, several
from bench.features.base import Features
from bench.spec import Part, UserError

FORMAT = 1
CHUNK = 32  # examples a task: small enough for a live progress bar, large enough to hide the hand-over
POOL_FROM = 512  # below this many examples starting processes costs more than it saves
IN_MEMORY = 64 << 20  # bytes of a store that is held rather than read
Progress = Callable[[int, int], None]
Chunk = tuple[int, np.ndarray, np.ndarray, list[str]]


class Store:
    """A finished store, opened for reading. ``gather`` is the whole interface of an epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_json(folder / "manifest.json")
        self.shape = tuple(self.manifest["shape"])
        self.open = self.shape[-1:] == (None,)
        self.offsets = np.load(folder / "offsets.npy", allow_pickle=False) if self.open else None
        self.dtype = np.dtype(self.manifest["dtype"])
        self._file = open(folder / "data.bin", "rb")  # noqa: SIM115 (open as long as the store is)
        weakref.finalize(self, self._file.close)
        small = self.nbytes <= IN_MEMORY
        self._array = np.fromfile(self._file, self.dtype) if small else None
        if self._array is not None and not self.open:
            self._array = self._array.reshape(len(self), *self.shape)

    def __len__(self) -> int:
        return int(self.manifest["rows"])

    @property
    def nbytes(self) -> int:
        return _numbers(self.shape, len(self), self.offsets) * self.dtype.itemsize

    @property
    def lengths(self) -> np.ndarray:
        """(rows,) int64: each example's own length, where it is open."""
        assert self.offsets is not None
        return np.diff(self.offsets) // math.prod(n or 0 for n in self.shape[:-1])

    @property
    def digest(self) -> str:
        """Hash of all stored content: equal digests train equal models."""
        return str(self.manifest["digest"])

    def digests(self) -> np.ndarray:
        """(rows, 16) uint8, one hash an example; flat examples (no content to share) are all zero."""
        digests = np.load(self.folder / "digests.npy", allow_pickle=False)
        digests[self.flat()] = 0
        return digests

    def flat(self) -> np.ndarray:
        """(rows,) bool: examples that are one number all over, such as a recording of zeros."""
        return np.load(self.folder / "flat.npy", allow_pickle=False)

    def gather(self, positions: np.ndarray) -> np.ndarray:
        """Copies the examples at ``positions`` (B,) → (B, *shape) in the stored dtype.

        A store of up to 64 MiB is held in memory. A larger one is read row by row past the process's memory: a
        map of it would count as memory once touched (in pieces of 2 MB, whatever the row's size), and grow with
        the data set. The system's cache keeps the file warm either way.
        """
        assert not self.open
        if self._array is not None:
            return self._array[positions]
        batch = np.empty((len(positions), *self.shape), self.dtype)
        rows = batch.view(np.uint8).reshape(len(positions), -1)
        size = rows.shape[1]
        for row, position in zip(rows, positions.tolist(), strict=True):
            if os.preadv(self._file.fileno(), [row.data], position * size) != size:
                raise UserError(f"{self.folder} is shorter than it says; delete that folder to compute it again")
        return batch

    def windows(self, positions: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
        """(B, *leading, size): of each example of open length its samples from ``starts`` on, zeros outside of it.

        A start below 0 puts an example that far behind the window's beginning.
        """
        assert self.offsets is not None
        lead = self.shape[:-1]
        batch = np.zeros((len(positions), int(math.prod(lead)), size), self.dtype)
        lengths = self.lengths[positions]
        for row, (position, start, length) in enumerate(
            zip(positions.tolist(), starts.tolist(), lengths.tolist(), strict=True)
        ):
            first, last = max(start, 0), min(start + size, length)
            if last <= first:
                continue
            for channel, line in enumerate(batch[row]):
                at = int(self.offsets[position]) + channel * length + first
                into = line[first - start : last - start]
                if self._array is not None:
                    into[:] = self._array[at : at + last - first]
                elif os.preadv(self._file.fileno(), [into.data], at * self.dtype.itemsize) != into.nbytes:
                    raise UserError(f"{self.folder} is shorter than it says; delete that folder to compute it again")
        return batch.reshape(len(positions), *lead, size)


def open_or_build(
    dataset: Dataset, features: Features, part: Part, root: Path, workers: int, progress: Progress | None = None
) -> Store:
    """The part's store below ``root``, built first where it is not there; waits for a build under way elsewhere."""
    from filelock import FileLock

    name = features.stored_as or type(features).__module__.rsplit(".", 1)[-1]
    folder = root / dataset.name / f"{name}-{part}-{_key(dataset, features, part)}"
    if not _whole(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not _whole(folder):
                _build(dataset, features, part, folder, workers, progress or (lambda done, total: None))
    return Store(folder)


def _name(features: Features) -> str:
    """Whose stored half it is: features of one name and equal settings share a store."""
    return features.stored_as or type(features).__qualname__


def _whole(folder: Path) -> bool:
    """Whether the store is there with all its bytes: a person may have deleted or cut some since."""
    try:
        return (folder / "data.bin").stat().st_size == int(read_json(folder / "manifest.json")["bytes"])
    except (OSError, UserError):
        return False


def _key(dataset: Dataset, features: Features, part: Part) -> str:
    files = [(str(f.resolve()), (s := f.stat()).st_size, s.st_mtime_ns) for f in dict.fromkeys(dataset.files(part))]
    ids = [str(i) for i in dataset.table(part)["id"]]
    settings = [FORMAT, dataset.name, _name(features), features.settings(), features.reads, ids, files]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _build(dataset: Dataset, features: Features, part: Part, folder: Path, workers: int, progress: Progress) -> None:
    building = folder.with_name(folder.name + ".building")
    shutil.rmtree(building, ignore_errors=True)  # what a killed build left: the lock says that nobody writes there
    building.mkdir()
    try:
        rows = len(dataset.table(part))
        shape, dtype = features.stored_shape(dataset), np.dtype(features.stored_dtype)
        path = building / "data.bin"
        offsets = None
        if shape[-1:] == (None,):
            lead = math.prod(n or 0 for n in shape[:-1])
            offsets = np.concatenate([[0], np.cumsum(features.stored_lengths(dataset, part) * lead)]).astype(np.int64)
            np.save(building / "offsets.npy", offsets)
        _reserve(path, _numbers(shape, rows, offsets) * dtype.itemsize)
        task = _Task(dataset, features, part, path, shape, offsets, str(dtype))
        digests, flat, problems = _run(task, rows, workers, progress)
        if problems:
            raise several(problems, f"{len(problems)} of {rows} {part} examples can't be used")
        np.save(building / "digests.npy", digests)
        np.save(building / "flat.npy", flat)
        write_json(
            building / "manifest.json",
            {
                "rows": rows,
                "bytes": path.stat().st_size,
                "shape": list(shape),
                "dtype": str(dtype),
                "features": _name(features),
                "settings": features.settings(),
                "digest": hashlib.sha256(digests.tobytes()).hexdigest()[:32],
            },
        )
        shutil.rmtree(folder, ignore_errors=True)  # what was found not to be whole
        os.replace(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _numbers(shape: tuple[int | None, ...], rows: int, offsets: np.ndarray | None) -> int:
    """How many numbers a store holds."""
    return rows * math.prod(n or 0 for n in shape) if offsets is None else int(offsets[-1])


def _reserve(path: Path, size: int) -> None:
    """Takes the space now: a disk that fills up under a memory map would kill the process without a word."""
    with open(path, "wb") as file:
        if size == 0:
            return
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise UserError(
                f"the store needs {size / 1e9:.2f} GB in {path.parent} and there is not that much ({error.strerror}); "
                "free some space or set store=<a folder elsewhere>"
            ) from None


class _Task:
    """What a worker needs to fill a range of rows; picklable."""

    def __init__(
        self,
        dataset: Dataset,
        features: Features,
        part: Part,
        path: Path,
        shape: tuple[int | None, ...],
        offsets: np.ndarray | None,
        dtype: str,
    ) -> None:
        self.dataset, self.features, self.part = dataset, features, part
        self.path, self.shape, self.offsets, self.dtype = path, shape, offsets, dtype

    def __call__(self, start: int, stop: int) -> Chunk:
        """Stores rows start..stop; returns start, their digests (n, 16), which are flat (n,), and what was wrong."""
        empty = self.path.stat().st_size == 0  # which can't be mapped
        numbers: np.ndarray = np.empty(0, self.dtype) if empty else np.memmap(self.path, self.dtype, "r+")
        digests = np.zeros((stop - start, 16), np.uint8)
        flat = np.zeros(stop - start, bool)
        problems = []
        for row in range(start, stop):
            try:
                raw = self.dataset.read(self.part, row, **self.features.reads)
                value = self.features.store(raw)
                if not np.isfinite(value).all():
                    raise ValueError("the features are not finite")
            except UserError as error:
                problems.append(str(error))
                continue
            except ValueError as error:
                problems.append(f"{self._name(row)}: {error}")
                continue
            try:
                stored = numbers[self._place(row, value.shape)]
            except ValueError as error:
                problems.append(f"{self._name(row)}: {error}")
                continue
            stored[:] = value.ravel()
            flat[row - start] = not (value != value.flat[0]).any() if value.size else True
            content = (stored + 0).tobytes()  # −0.0 is 0.0
            digests[row - start] = np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), np.uint8)
        if isinstance(numbers, np.memmap):
            numbers.flush()
        return start, digests, flat, problems

    def _place(self, row: int, shape: tuple[int, ...]) -> slice:
        """Where a row's numbers lie; ValueError where the example is not of the shape that was announced."""
        if self.offsets is None:
            size = math.prod(n or 0 for n in self.shape)
            if shape != self.shape:
                raise ValueError(f"shape {shape}, expected {self.shape}")
            return slice(row * size, (row + 1) * size)
        first, last = int(self.offsets[row]), int(self.offsets[row + 1])
        if int(np.prod(shape, dtype=np.int64)) != last - first:
            raise ValueError(f"{shape[-1]} samples, but its header announced {last - first}")
        return slice(first, last)

    def _name(self, row: int) -> str:
        files = self.dataset.files(self.part)
        name = str(files[row] if len(files) > 1 else files[0])
        return f"{name} (id {self.dataset.table(self.part)['id'].iloc[row]})"


def _run(task: _Task, rows: int, workers: int, progress: Progress) -> tuple[np.ndarray, np.ndarray, list[str]]:
    digests, flat = np.zeros((rows, 16), np.uint8), np.zeros(rows, bool)
    problems: list[str] = []
    ranges = [(start, min(start + CHUNK, rows)) for start in range(0, rows, CHUNK)]
    one_file = len(set(task.dataset.files(task.part))) <= 1
    done = 0

    def take(result: Chunk) -> None:
        nonlocal done
        start, chunk, level, wrong = result
        digests[start : start + len(chunk)] = chunk
        flat[start : start + len(chunk)] = level
        problems.extend(wrong)
        done += len(chunk)
        progress(done, rows)

    if workers <= 1 or rows < POOL_FROM or one_file:  # one file is parsed once, by one process
        for start, stop in ranges:
            take(task(start, stop))
        return digests, flat, problems

    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (task,)) as pool:
        for future in as_completed([pool.submit(_work, start, stop) for start, stop in ranges]):
            take(future.result())
    problems.sort()
    return digests, flat, problems


_task: _Task


def _start_worker(task: _Task) -> None:
    """Keeps the task once a worker, and ends the worker when its parent is gone (a SIGKILL tells nobody)."""
    import threading
    from multiprocessing import connection, parent_process

    global _task
    _task = task
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(start: int, stop: int) -> Chunk:
    return _task(start, stop)
