"""A store's folder: its name, whether it is whole, and how it comes to be, in one go or from the rows of shards."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.atomic import read_json, write_json
from bench.data import filling
from bench.datasets.base import Dataset, several
from bench.features.base import Features
from bench.spec import Part, UserError

FORMAT = 1


@dataclass(frozen=True)
class Layout:
    """What a store's file holds: ``rows`` of ``shape``; ``offsets`` (rows + 1,) where its last axis is open."""

    rows: int
    shape: tuple[int | None, ...]
    dtype: np.dtype
    offsets: np.ndarray | None

    def begin(self, row: int) -> int:
        """Where a row begins, in bytes; the last row's end by their number."""
        numbers = row * math.prod(n or 0 for n in self.shape) if self.offsets is None else int(self.offsets[row])
        return numbers * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.begin(self.rows)


def layout(dataset: Dataset, features: Features, part: Part) -> Layout:
    """From the tables, and from every file's header where examples are of open length."""
    rows, shape = len(dataset.table(part)), features.stored_shape(dataset)
    offsets = None
    if shape[-1:] == (None,):
        lead = math.prod(n or 0 for n in shape[:-1])
        offsets = np.concatenate([[0], np.cumsum(features.stored_lengths(dataset, part) * lead)]).astype(np.int64)
    return Layout(rows, shape, np.dtype(features.stored_dtype), offsets)


def folder_of(dataset: Dataset, features: Features, part: Part, root: Path) -> Path:
    """Where the part's store is, or would be: its name ends in a hash of the settings and of the raw files."""
    name = features.stored_as or type(features).__module__.rsplit(".", 1)[-1]
    return root / dataset.name / f"{name}-{part}-{_key(dataset, features, part)}"


def whole(folder: Path) -> bool:
    """Whether the store is there with all its bytes: a person may have deleted or cut some since."""
    try:
        return (folder / "data.bin").stat().st_size == int(read_json(folder / "manifest.json")["bytes"])
    except (OSError, UserError):
        return False


def build(
    dataset: Dataset, features: Features, part: Part, folder: Path, workers: int, progress: filling.Progress
) -> None:
    """Fills the store in one go; the caller holds its lock."""
    its = layout(dataset, features, part)
    with whole_or_absent(folder) as building:
        reserve(building / "data.bin", its.nbytes)
        task = filling.Task(dataset, features, part, building / "data.bin", its.shape, its.offsets, str(its.dtype))
        digests, flat, problems = filling.run(task, its.rows, workers, progress)
        if problems:
            raise several(problems, f"{len(problems)} of {its.rows} {part} examples can't be used")
        complete(building, its, features, digests, flat)


@contextmanager
def whole_or_absent(folder: Path) -> Iterator[Path]:
    """An empty folder that takes ``folder``'s place when the block ends well; the caller holds a lock."""
    building = folder.with_name(folder.name + ".building")
    shutil.rmtree(building, ignore_errors=True)  # what a killed build left: the lock says that nobody writes there
    make_folder(building)
    try:
        yield building
        shutil.rmtree(folder, ignore_errors=True)  # what was found not to be whole
        os.replace(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def complete(folder: Path, its: Layout, features: Features, digests: np.ndarray, flat: np.ndarray) -> None:
    """Writes what belongs to a filled ``data.bin``: digests (rows, 16), flat rows (rows,), offsets, the manifest."""
    if its.offsets is not None:
        np.save(folder / "offsets.npy", its.offsets)
    np.save(folder / "digests.npy", digests)
    np.save(folder / "flat.npy", flat)
    write_json(
        folder / "manifest.json",
        {
            "rows": its.rows,
            "bytes": its.nbytes,
            "shape": list(its.shape),
            "dtype": str(its.dtype),
            "features": _name(features),
            "settings": features.settings(),
            "digest": hashlib.sha256(digests.tobytes()).hexdigest()[:32],
        },
    )


def make_folder(folder: Path) -> None:
    """UserError where it can't be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} can't be made ({error.strerror}); set store=<a folder that you may write to>"
        ) from None


def numbers(shape: tuple[int | None, ...], rows: int, offsets: np.ndarray | None) -> int:
    """How many numbers a store holds."""
    return rows * math.prod(n or 0 for n in shape) if offsets is None else int(offsets[-1])


def reserve(path: Path, size: int) -> None:
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


def _name(features: Features) -> str:
    """Whose stored half it is: features of one name and equal settings share a store."""
    return features.stored_as or type(features).__qualname__


def _key(dataset: Dataset, features: Features, part: Part) -> str:
    also: Any = dataset.also_read(part, **features.reads)
    paths = dict.fromkeys([*dataset.files(part), *(p for p in also if isinstance(p, Path))])
    files = [(str(f.resolve()), (s := f.stat()).st_size, s.st_mtime_ns) for f in paths]
    ids = [*(str(i) for i in dataset.table(part)["id"]), *(text for text in also if isinstance(text, str))]
    settings = [FORMAT, dataset.name, _name(features), features.settings(), features.reads, ids, files]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
