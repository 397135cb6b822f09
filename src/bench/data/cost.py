"""What filling a store, or one shard of it, would cost: bytes from the layout, seconds from a few examples."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data import building, filling
from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.spec import Part

MOST = 32  # examples that are measured
LONGEST_S = 5.0


@dataclass(frozen=True)
class Cost:
    """``nbytes`` and ``rows`` are exact; ``each_s`` is what an example took on one core, the mean of ``measured``.

    ``problems``: what is wrong with examples among those.
    """

    rows: int
    nbytes: int
    each_s: float
    measured: int
    problems: tuple[str, ...]

    def seconds(self, workers: int) -> float:
        return self.rows * self.each_s / workers


def measure(
    dataset: Dataset, features: Features, part: Part, its: building.Layout, first: int = 0, last: int | None = None
) -> Cost:
    """Reads and computes examples spread evenly over the rows first..last, and keeps nothing of them."""
    last = its.rows if last is None else last
    rows = last - first
    task = filling.Task(dataset, features, part, Path(os.devnull), its.shape, its.offsets, str(its.dtype))
    positions = np.unique(np.linspace(first, last - 1, min(MOST, rows)).astype(int)).tolist() if rows else []
    problems = dict[str, None]()
    if positions:
        task(positions[0], positions[0] + 1)  # imports libraries
    measured, began = 0, time.perf_counter()
    for row in positions:
        problems |= dict.fromkeys(task(row, row + 1)[3])
        measured += 1
        if time.perf_counter() - began > LONGEST_S:
            break
    each_s = (time.perf_counter() - began) / measured if measured else 0.0
    return Cost(rows, its.begin(last) - its.begin(first), each_s, measured, tuple(problems))
