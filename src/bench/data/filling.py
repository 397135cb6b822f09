"""Fills a store's file: each example read, computed, checked, written to its place and hashed, in processes."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.allocator import WORKER, inherited
from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.spec import Part, UserError

CHUNK = 32  # examples a task: small enough for a live progress bar, large enough to hide the hand-over
START_S = 5.0  # that starting processes takes; they are started where they save more
GLANCE = 256  # numbers that tell most examples from flat ones
Progress = Callable[[int, int], None]
Chunk = tuple[int, np.ndarray, np.ndarray, list[str]]


class Task:
    """What a worker needs to fill a range of rows; picklable.

    path: the store's file, of its full size already, or a shard's, which begins with row ``first``. shape: an
    example's, its last axis None where it is open; then offsets (rows + 1,) say in numbers where each begins.
    """

    def __init__(
        self,
        dataset: Dataset,
        features: Features,
        part: Part,
        path: Path,
        shape: tuple[int | None, ...],
        offsets: np.ndarray | None,
        dtype: str,
        first: int = 0,
    ) -> None:
        self.dataset, self.features, self.part = dataset, features, part
        self.path, self.shape, self.offsets, self.dtype = path, shape, offsets, np.dtype(dtype)
        self.first = first

    def __call__(self, start: int, stop: int) -> Chunk:
        """Stores rows start..stop; returns start, digests (n, 16), a mask of flat rows (n,), and the problems."""
        digests = np.zeros((stop - start, 16), np.uint8)
        flat = np.zeros(stop - start, bool)
        problems = []
        with open(self.path, "r+b", buffering=0) as file:
            for row in range(start, stop):
                try:
                    value = self.features.store(self.dataset.read(self.part, row, **self.features.reads))
                    at = self._place(row, value.shape)
                    x = self._stored(value)
                except UserError as error:
                    problems.append(str(error))
                    continue
                except ValueError as error:
                    problems.append(f"{self.name(row)}: {error}")
                    continue
                if os.pwrite(file.fileno(), x.data, at * self.dtype.itemsize) != x.nbytes:
                    raise OSError(f"{self.path} could not be written whole")
                flat[row - start] = is_flat(x)
                digests[row - start] = digest(x)
        return start, digests, flat, problems

    def _stored(self, value: np.ndarray) -> np.ndarray:
        """(numbers,) in the stored type; ValueError where one is NaN or infinite, or becomes so."""
        with np.errstate(over="ignore", invalid="ignore"):  # found below
            x = np.ascontiguousarray(value, self.dtype).reshape(-1)
        if not is_finite(x if x.dtype.kind == "f" else value):
            raise ValueError("the features are not finite")
        return x

    def _place(self, row: int, shape: tuple[int, ...]) -> int:
        """Where a row's numbers begin; ValueError where the example is not of the shape that was announced."""
        if self.offsets is None:
            if shape != self.shape:
                raise ValueError(f"shape {shape}, expected {self.shape}")
            return (row - self.first) * math.prod(shape)
        first, last = int(self.offsets[row]), int(self.offsets[row + 1])
        if math.prod(shape) != last - first:
            raise ValueError(f"{shape[-1]} samples, but its header announced {last - first}")
        return first - int(self.offsets[self.first])

    def name(self, row: int) -> str:
        """The row's file, and its id."""
        files = self.dataset.files(self.part)
        name = str(files[row] if len(files) > 1 else files[0])
        return f"{name} (id {self.dataset.table(self.part)['id'].iloc[row]})"


def is_finite(x: np.ndarray) -> bool:
    """Whether no number is NaN or infinite, of any shape and type."""
    if x.dtype == np.float16:  # by the bits of the exponent: 25 times as fast as numpy's own
        return not ((x.view(np.uint16) & 0x7C00) == 0x7C00).any()
    return x.dtype.kind != "f" or bool(np.isfinite(x).all())


def is_flat(x: np.ndarray) -> bool:
    """Whether numbers (n,), which are finite, are all equal; true for none."""
    return not any((part != x[:1]).any() for part in (x[:GLANCE], x[GLANCE:]))


def digest(x: np.ndarray) -> np.ndarray:
    """(16,) uint8: a hash of (n,) numbers' bytes, −0.0 taken for 0.0."""
    if x.dtype == np.float16:  # without its arithmetic, which numpy does one by one
        bits = x.view(np.uint16)
        content: np.ndarray = np.where(bits == 0x8000, np.uint16(0), bits)
    else:
        content = x + 0 if x.dtype.kind == "f" else x
    return np.frombuffer(hashlib.blake2b(content.data, digest_size=16).digest(), np.uint8)


def run(task: Task, rows: int, workers: int, progress: Progress) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Fills ``rows`` rows from the task's first on.

    Returns digests (rows, 16), a mask of flat rows (rows,), and the problems in order.
    """
    digests, flat = np.zeros((rows, 16), np.uint8), np.zeros(rows, bool)
    problems: list[str] = []
    end = task.first + rows
    ranges = [(start, min(start + CHUNK, end)) for start in range(task.first, end, CHUNK)]
    # one file is parsed by each process: there must be more to gain
    start_s = START_S if len(set(task.dataset.files(task.part))) > 1 else 3 * START_S
    done = 0

    def take(result: Chunk) -> None:
        nonlocal done
        start, chunk, level, wrong = result
        start -= task.first
        digests[start : start + len(chunk)] = chunk
        flat[start : start + len(chunk)] = level
        problems.extend(wrong)
        done += len(chunk)
        progress(done, rows)

    # Here, until it is known what an example takes: the first ones also import libraries.
    while ranges:
        began = time.perf_counter()
        take(task(*ranges.pop(0)))
        remaining_s = (time.perf_counter() - began) * len(ranges)
        if done > CHUNK and remaining_s * (1 - 1 / max(workers, 1)) > start_s:
            break
    if not ranges:
        return digests, flat, problems

    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    # a worker is started when it is first needed, so all of it is done below the settings
    with inherited(WORKER), ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (task,)) as pool:
        for future in as_completed([pool.submit(_work, start, stop) for start, stop in ranges]):
            take(future.result())
    problems.sort()
    return digests, flat, problems


_task: Task


def _start_worker(task: Task) -> None:
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
