"""Heartbeat: parsing the competition's CSV, ours against the fifth write-up's loop.

    python benchmarks/heartbeat_csv.py [--rows 100000] [--rounds 3]

Ours: ``read_beats`` (checks included); the write-up's way: pandas.read_csv, then a Python loop that splits each row's
text and calls float() on each number, then one array of all of it. They take turns in one process on a file that the
system holds in memory; the median of CPU seconds (user and system, all threads) counts. The 205-sample beats are
simulated with the digits that the competition's file has.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from bench.datasets.heartbeat import read_beats
from bench.simulators.heartbeat import simulate


def as_written_up(path: Path) -> np.ndarray:
    """(N, 205) float64."""
    rows = []  # grown row by row, as written
    for items in pd.read_csv(path).values:
        rows.append([items[0]] + [float(i) for i in items[1].split(",")] + [items[2]])  # noqa: PERF401
    return pd.DataFrame(np.array(rows)).to_numpy()[:, 1:-1]


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), n_train=arguments.rows, n_test=1)
        path = Path(folder) / "train.csv"

        def ours() -> np.ndarray:
            return read_beats(path, labelled=True, length=205).x_nt

        difference = np.abs(ours() - as_written_up(path)).max()
        rounds = [[cpu_seconds(ours), cpu_seconds(lambda: as_written_up(path))] for _ in range(arguments.rounds)]
    mine, written_up = (arguments.rows / median(seconds) for seconds in zip(*rounds, strict=True))
    print(
        f"heartbeat CSV: ours {mine:.0f} rows/s, write-up {written_up:.0f} rows/s, ratio {mine / written_up:.2f}x "
        f"(goal 4x), max difference {difference:.1e} (float32)"
    )


if __name__ == "__main__":
    main()
