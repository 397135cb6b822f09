"""What preparing SETI costs: seconds and bytes a cadence on one core, filled in one go and in shards that are joined.

    python benchmarks/prepare.py [--rows 400] [--shards 4]

Simulated cadences of the competition's size, read from a warm cache; the ways run in turn, and figures are medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.data import building, cost, shards, store
from bench.datasets.seti import Seti
from bench.features.seti_stacked import SetiStacked
from bench.simulators.seti import simulate


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_shards(dataset: Seti, root: Path, count: int) -> None:
    for index in range(count):
        shards.fill(dataset, SetiStacked(), "train", root, count, index, 1, lambda done, total: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--shards", type=int, default=4)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / "raw"
        raw.mkdir()
        simulate(raw, n_train=words.rows, n_test=1, n_old=0, height=273, width=256, seed=0)
        dataset, features = Seti(raw), SetiStacked()
        foretold = cost.measure(dataset, features, "train", building.layout(dataset, features, "train"))
        one, parts = [], []
        for turn in range(3):
            root = Path(scratch) / str(turn)
            one.append(seconds(lambda: store.open_or_build(dataset, features, "train", root / "one", 1)))  # noqa: B023
            parts.append(seconds(lambda: in_shards(dataset, root / "parts", words.shards)))  # noqa: B023
        a, b = (1e3 * statistics.median(times) / words.rows for times in (one, parts))
        print(f"a cadence, one core: {a:.2f} ms, {foretold.nbytes / words.rows / 1e6:.3f} MB stored")
        print(f"foretold from {foretold.measured} cadences: {1e3 * foretold.each_s:.2f} ms")
        print(f"in {words.shards} shards one after the other, joining included: {b:.2f} ms, {b / a:.2f}x")


if __name__ == "__main__":
    main()
