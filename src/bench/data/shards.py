"""A store in shards: equal ranges of its rows, each filled by a process of its own, joined by whoever ends last.

    <store>/<dataset>/<features>-<part>-<key>.shards/
        count.json      of how many shards
        <i>/            data.bin, digests.npy, flat.npy, shard.json: whole or not there, like a store

The joined store is the one that is filled in one go, to the bit. While shards are joined both take their space.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench import bounded
from bench.atomic import read_json, write_json
from bench.data import building, filling
from bench.datasets.base import Dataset, several
from bench.features.base import Features
from bench.spec import Part, UserError


def folder_of(store: Path) -> Path:
    """Where the shards of a store are, until they are joined."""
    return store.with_name(store.name + ".shards")


def refuse_others(store: Path, count: int) -> None:
    """UserError where the store is under way in another number of shards, or in shards at all where count is 1."""
    shards = folder_of(store)
    if (shards / "count.json").exists() and (others := _count(shards)) != count:
        this = f"this is one of {count}" if count > 1 else "this is the whole"
        raise UserError(
            f"{shards} holds parts of a store in {others} shards, and {this}; set shard.count={others}, or delete that "
            "folder"
        )


def rows_of(rows: int, count: int, index: int) -> tuple[int, int]:
    """The first row of a shard, and the one after its last."""
    return rows * index // count, rows * (index + 1) // count


def fill(
    dataset: Dataset,
    features: Features,
    part: Part,
    root: Path,
    count: int,
    index: int,
    workers: int,
    progress: filling.Progress,
) -> bool:
    """Fills one shard, unless it or the whole store stands; then joins all where this was the last one missing.

    Returns whether the whole store is there now. Raises UserError for a folder that holds another number of shards,
    or a shard of another recipe or of other files.
    """
    from filelock import FileLock

    store = building.folder_of(dataset, features, part, root)
    if building.whole(store):
        return True
    shards = folder_of(store)
    building.make_folder(shards.parent)
    with FileLock(f"{store}.lock"):
        if building.whole(store):
            return True
        _agree(shards, count)
    its = building.layout(dataset, features, part)
    with FileLock(shards / f"{index}.lock"):
        if not _whole(shards / str(index)) and not building.whole(store):
            _fill(dataset, features, part, store, its, (count, index), workers, progress)
    with FileLock(f"{store}.lock"):
        return building.whole(store) or join(dataset, features, part, store)


def join(dataset: Dataset, features: Features, part: Part, store: Path) -> bool:
    """Joins a store's shards where all are there; the caller holds the store's lock. Returns whether it did."""
    shards = folder_of(store)
    if not (shards / "count.json").exists():
        return False
    count = _count(shards)
    folders = [shards / str(index) for index in range(count)]
    if not all(map(_whole, folders)):
        return False
    its = building.layout(dataset, features, part)
    for index, folder in enumerate(folders):
        _refuse_other(folder, _expected(store, its, count, index))
    with building.whole_or_absent(store) as whole:
        building.reserve(whole / "data.bin", its.nbytes)
        with open(whole / "data.bin", "r+b", buffering=0) as file:
            for folder in folders:
                _append(folder / "data.bin", file)
        digests, flat = (
            np.concatenate([bounded.array(folder / name, _again(folder)) for folder in folders])
            for name in ("digests.npy", "flat.npy")
        )
        building.complete(whole, its, features, digests, flat)
    shutil.rmtree(shards, ignore_errors=True)
    return True


def missing(store: Path, count: int) -> list[int]:
    """The shards that are not there yet."""
    return [index for index in range(count) if not _whole(folder_of(store) / str(index))]


def _fill(
    dataset: Dataset,
    features: Features,
    part: Part,
    store: Path,
    its: building.Layout,
    which: tuple[int, int],
    workers: int,
    progress: filling.Progress,
) -> None:
    """One shard under its final name; the caller holds its lock."""
    first, last = rows_of(its.rows, *which)
    with building.whole_or_absent(folder_of(store) / str(which[1])) as folder:
        building.reserve(folder / "data.bin", its.begin(last) - its.begin(first))
        task = filling.Task(
            dataset, features, part, folder / "data.bin", its.shape, its.offsets, str(its.dtype), first=first
        )
        digests, flat, problems = filling.run(task, last - first, workers, progress)
        if problems:
            raise several(problems, f"{len(problems)} of {last - first} {part} examples of this shard can't be used")
        np.save(folder / "digests.npy", digests)
        np.save(folder / "flat.npy", flat)
        write_json(folder / "shard.json", _expected(store, its, *which))


def _append(path: Path, file: BinaryIO) -> None:
    """Copies a file to where another one stands; by the system, three times as fast, where its file system can."""
    with open(path, "rb", buffering=0) as rows:
        try:
            while os.copy_file_range(rows.fileno(), file.fileno(), 1 << 30):
                pass
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            shutil.copyfileobj(rows, file, 1 << 24)  # both stand where the system got to


def _expected(store: Path, its: building.Layout, count: int, index: int) -> dict[str, Any]:
    """What a shard says of itself; ``store`` is named by a hash of the recipe and the raw files."""
    first, last = rows_of(its.rows, count, index)
    size = its.begin(last) - its.begin(first)
    return {"store": store.name, "count": count, "index": index, "rows": [first, last], "bytes": size}


def _whole(folder: Path) -> bool:
    try:
        return (folder / "data.bin").stat().st_size == int(read_json(folder / "shard.json")["bytes"])
    except (OSError, UserError):
        return False


def _refuse_other(folder: Path, expected: dict[str, Any]) -> None:
    if read_json(folder / "shard.json") != expected:
        raise UserError(f"{folder} is a shard of another recipe or of other files; {_again(folder)}")


def _again(folder: Path) -> str:
    return f"delete {folder} and run its shard again"


def _agree(shards: Path, count: int) -> None:
    """Notes of how many shards the folder is; UserError where it is another number."""
    refuse_others(shards.with_name(shards.name.removesuffix(".shards")), count)
    building.make_folder(shards)
    if not (shards / "count.json").exists():
        write_json(shards / "count.json", {"count": count})


def _count(shards: Path) -> int:
    count = read_json(shards / "count.json").get("count")
    if not isinstance(count, int) or count < 1:
        raise UserError(f"{shards / 'count.json'} names no number of shards; delete {shards}")
    return count
