"""The store: the stored half of the features, computed once, in parallel over files, and gathered every epoch.

    <store>/<dataset>/<features>-<part>-<key>/
        data.bin        (rows, *shape) in C order; examples of open length one after the other
        offsets.npy     (rows + 1,) int64, in numbers: where an example of open length begins
        digests.npy     (rows, 16) uint8: one hash an example's content
        flat.npy        (rows,) bool: the example is one number all over
        manifest.json   shape, dtype, settings, digest of the whole

The key is a hash of the settings and of the raw files' names, sizes and times. A folder under its final name is
whole: it is built under another name and renamed, under a lock, so that runs side by side share one build and a
killed build leaves nothing that could be mistaken for one. ``building`` makes it in one go, ``shards`` in parts.
"""

from __future__ import annotations

import hashlib
import math
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from bench import bounded
from bench.atomic import read_json, remove_leftovers
from bench.data import building, filling, shards
from bench.data.source import Source
from bench.datasets.base import Dataset, several
from bench.features.base import Features
from bench.spec import Part, UserError

IN_MEMORY = 64 << 20  # bytes of a store that is held rather than read


class Store(Source):
    """A finished store, opened for reading. ``gather`` is the whole interface of an epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_json(folder / "manifest.json")
        self.shape = tuple(self.manifest["shape"])
        self.open = self.shape[-1:] == (None,)
        self.offsets = _array(folder / "offsets.npy") if self.open else None
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
        return building.numbers(self.shape, len(self), self.offsets) * self.dtype.itemsize

    @property
    def lengths(self) -> np.ndarray:
        """(rows,) int64: each example's own length, where it is open."""
        assert self.offsets is not None
        values: np.ndarray = np.diff(self.offsets) // math.prod(n or 0 for n in self.shape[:-1])
        return values

    @property
    def digest(self) -> str:
        """Hash of all stored content: equal digests train equal models."""
        return str(self.manifest["digest"])

    def digests(self) -> np.ndarray:
        """(rows, 16) uint8, one hash an example; flat examples (no content to share) are all zero."""
        digests = _array(self.folder / "digests.npy")
        digests[self.flat()] = 0
        return digests

    def flat(self) -> np.ndarray:
        """(rows,) bool: examples that are one number all over, such as a recording of zeros."""
        return _array(self.folder / "flat.npy")

    def refuse_damaged(self) -> None:
        """UserError where the stored numbers are not those that were computed; they are then computed anew next time.

        Reads everything once, some 1 GB a second.
        """
        expected, n = _array(self.folder / "digests.npy"), len(self)
        whole = hashlib.sha256(expected.tobytes()).hexdigest()[:32] == self.digest and len(expected) == n
        size = math.prod(k or 0 for k in self.shape)
        ends = np.arange(n + 1) * size if self.offsets is None else self.offsets
        for row in range(n if whole else 0):
            x = np.empty(int(ends[row + 1] - ends[row]), self.dtype)
            if x.nbytes:
                self._read(x, int(ends[row]) * self.dtype.itemsize)
            if not np.array_equal(filling.digest(x), expected[row]):
                whole = False
                break
        if not whole:
            (self.folder / "manifest.json").unlink(missing_ok=True)  # so it is not taken for whole any more
            raise UserError(
                f"{self.folder} is damaged: its numbers are not those that were computed; the same command again "
                "computes them anew"
            )

    def gather(self, positions: np.ndarray) -> np.ndarray:
        """Copies the examples at ``positions`` (B,) → (B, *shape) in the stored dtype.

        A store of up to 64 MiB is held in memory. A larger one is read row by row past the process's memory: a
        map of it would count as memory once touched (in pieces of 2 MB, whatever the row's size), and grow with
        the data set. The system's cache keeps the file warm either way.
        """
        assert not self.open
        if self._array is not None:
            values: np.ndarray = self._array[positions]
            return values
        batch = np.empty((len(positions), *self.shape), self.dtype)
        rows = batch.view(np.uint8).reshape(len(positions), -1)
        size = rows.shape[1]
        for row, position in zip(rows, positions.tolist(), strict=True):
            self._read(row, position * size)
        return batch

    def gather_one(self, position: int, into: np.ndarray) -> None:
        """Copies one example into a contiguous array of its shape and type."""
        assert not self.open
        if self._array is not None:
            into[...] = self._array[position]
        else:
            self._read(into, position * into.nbytes)

    def _read(self, numbers: np.ndarray, at: int) -> None:
        """Fills contiguous ``numbers`` from the file's byte ``at`` on."""
        if os.preadv(self._file.fileno(), [numbers.data], at) != numbers.nbytes:
            raise UserError(f"{self.folder} is shorter than it says; delete that folder to compute it again")

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
                else:
                    self._read(into, at * self.dtype.itemsize)
        return batch.reshape(len(positions), *lead, size)


def open_or_build(
    dataset: Dataset, features: Features, part: Part, root: Path, workers: int, progress: filling.Progress | None = None
) -> Store:
    """The part's store below ``root``, built first where it is not there; waits for a build under way elsewhere."""
    from filelock import FileLock

    folder = building.folder_of(dataset, features, part, root)
    if not building.whole(folder):
        building.make_folder(folder.parent)
        with FileLock(f"{folder}.lock"):
            if folder.is_dir():
                remove_leftovers(folder)
            if not building.whole(folder) and not shards.join(dataset, features, part, folder):
                building.build(dataset, features, part, folder, workers, progress or (lambda done, total: None))
    return Store(folder)


def is_built(dataset: Dataset, features: Features, part: Part, root: Path) -> bool:
    """Whether the part's store lies below ``root``, so that opening it computes nothing."""
    return building.whole(building.folder_of(dataset, features, part, root))


def _array(path: Path) -> np.ndarray:
    """The array in a store's file, in memory."""
    return np.array(bounded.array(path, f"delete {path.parent} to compute it again"))


def refuse_changed(
    store: Store, dataset: Dataset, features: Features, part: Part, workers: int, progress: filling.Progress
) -> None:
    """UserError where raw files have other content than when the store was filled, under the same size and time.

    Every example is read and computed again, as if to fill the store, and held against its digest.
    """
    task = filling.Task(dataset, features, part, Path(os.devnull), store.shape, store.offsets, str(store.dtype))
    digests, _, problems = filling.run(task, len(store), workers, progress)
    if problems:
        raise several(problems, f"{len(problems)} of {len(store)} {part} examples can't be used any more")
    rows = np.flatnonzero((digests != _array(store.folder / "digests.npy")).any(axis=1)).tolist()
    if rows:
        changed = [f"{task.name(row)} has other content, but the same size and time" for row in rows]
        raise several(changed, f"{store.folder} was computed from other files; delete it to compute it again")
