"""How long near-duplicates take, beside a quadratic way: every pair at every shift.

Beats are searched whole, in memory. Of cadences of full size (0.84 MB each) some are described, which grows with the
rows alone; as many vectors as ``--rows`` of them have are then drawn at random and searched: 50 GB need not be there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench.data import near_duplicates
from bench.data.alike import likeness, quick
from bench.data.fingerprints import COLUMNS, PROJECTIONS, fingerprints, read
from bench.data.joined import InMemory
from bench.data.near_duplicates import pairs_of
from bench.data.source import Source
from bench.simulators.heartbeat import beats
from bench.simulators.seti import cadence


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = what()
    return time.perf_counter() - began, result


def ours(source: Source, workers: int) -> set[tuple[int, ...]]:
    pairs, _, _ = pairs_of(source, np.arange(len(source)), workers)
    return {tuple(pair) for pair in pairs.tolist()}


def quadratic_beats(source: InMemory) -> set[tuple[int, ...]]:
    """Every pair at every shift that leaves half of a beat, a row against all later ones at once."""
    x, half = source.array, source.shape[-1] // 2
    pairs: set[tuple[int, ...]] = set()
    for i in range(len(x) - 1):
        later = x[i + 1 :]
        row = np.broadcast_to(x[i], later.shape)
        best = np.max([quick(row, later, shift) for shift in range(-half, half + 1)], axis=0)
        pairs |= {(i, i + 1 + int(j)) for j in np.flatnonzero(best >= 0.999)}
    return pairs


def quadratic_cadences(source: Source) -> set[tuple[int, ...]]:
    half = source.shape[-1] // 2
    pairs: set[tuple[int, ...]] = set()
    for i in range(len(source)):
        for j in range(i + 1, len(source)):
            a, b = read(source, i), read(source, j)
            if any(likeness(a, b, shift).near for shift in range(-half, half + 1)):
                pairs.add((i, j))
    return pairs


def some_beats(n: int) -> InMemory:
    """Beats, of which the last hundredth are others made smaller."""
    _, x = beats(n, 205, np.random.default_rng(0))
    copies = n // 100
    x[n - copies :] = 0.8 * x[:copies]
    return InMemory(x.astype(np.float32)[:, None])


def some_cadences(n: int, width: int = 256) -> InMemory:
    """Cadences, of which the last tenth are others 40 bins further."""
    x = [cadence(False, 273, width + 40, np.random.default_rng(i % (n - n // 10))) for i in range(n)]
    return InMemory(np.stack([c[:, :, 40 * (i >= n - n // 10) :][:, :, :width] for i, c in enumerate(x)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--beats", type=int, default=400, help="rows of the quadratic way")
    parser.add_argument("--cadences", type=int, default=10, help="rows of the quadratic way")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    kinds: tuple[tuple[str, InMemory, Callable[[InMemory], set[tuple[int, ...]]]], ...] = (
        ("beats", some_beats(arguments.beats), quadratic_beats),
        ("cadences", some_cadences(arguments.cadences), quadratic_cadences),
    )
    for name, source, quadratic in kinds:
        fast, found = timed(partial(ours, source, arguments.workers))
        slow, all_pairs = timed(partial(quadratic, source))
        print(
            f"{name}: {len(source)} rows, ours {fast:.2f} s, all pairs {slow:.2f} s: {slow / fast:.0f} times as long; "
            f"{len(found & all_pairs)} of {len(all_pairs)} pairs found, {len(found - all_pairs)} others"
        )
    seconds, found = timed(lambda: ours(some_beats(arguments.rows), arguments.workers))
    print(f"beats: {arguments.rows} rows {seconds:.0f} s (making them included), {len(found)} pairs")

    n = 200
    some = some_cadences(n)
    describing, _ = timed(lambda: fingerprints(some, "columns", arguments.workers))
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((arguments.rows * COLUMNS, PROJECTIONS), np.float32)
    rows = np.arange(arguments.rows).repeat(COLUMNS)
    radius = near_duplicates.RADIUS["columns"]
    searching, _ = timed(lambda: near_duplicates._neighbours(vectors, rows, radius, arguments.workers))
    print(
        f"cadences: {arguments.rows} rows, describing {describing / n * arguments.rows:.0f} s (by {n} rows in memory), "
        f"neighbours {searching:.0f} s"
    )


if __name__ == "__main__":
    main()
