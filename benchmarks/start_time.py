"""What starting costs: runs of five folds, one epoch each, with folds forked from a warm process or started afresh.

    python benchmarks/start_time.py [folder of heartbeat files, such as ECG5000]

Prints the median user CPU seconds of whole commands and of all processes that they start, warm and fresh in turn:
a first run from raw files to its report (bound 8 s), the finished command again (bound 1.5 s), each further job of a
sweep (bound 3 s). Without a folder the files are simulated, of ECG5000's size.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from bench.simulators.heartbeat import simulate

REPEATS = 3
JOBS = 4
COMMAND = """
import sys
from bench.cli.door import run
from bench.crossval import forking
from bench.train import COMMAND
forking._gone = {fresh}
sys.exit(run(COMMAND))
"""


def user_seconds(fresh: bool, root: Path, folder: Path, *words: str) -> float:
    """User CPU seconds of a command with all its processes."""
    code = COMMAND.format(fresh=fresh)
    fixed = ["dataset=heartbeat", "model=mlp", "train.epochs=1", "device=cpu", "tracking.enabled=false"]
    places = [f"dataset.root={root}", f"outputs={folder / 'outputs'}", f"store={folder / 'store'}"]
    before = getrusage(RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-c", code, *words, *fixed, *places]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return getrusage(RUSAGE_CHILDREN).ru_utime - before


def measured(fresh: bool, root: Path) -> tuple[float, float, float]:
    """Seconds of a first run, of the same command again, and of each further job of a sweep."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first = user_seconds(fresh, root, folder)
        again = user_seconds(fresh, root, folder)
        one = user_seconds(fresh, root, folder, "-m", "seed=1")
        seeds = ",".join(str(seed) for seed in range(2, 2 + JOBS))
        more = (user_seconds(fresh, root, folder, "-m", f"seed={seeds}") - one) / (JOBS - 1)
    return first, again, more


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        if len(sys.argv) < 2:
            simulate(root, n_train=500, n_test=4_499, length=140, seed=0)
        figures: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
        for _ in range(REPEATS):
            for fresh, rows in figures.items():
                rows.append(measured(fresh, root))
    warm, afresh = ([statistics.median(column) for column in zip(*rows, strict=True)] for rows in figures.values())
    names = ("five folds, one epoch", "the finished command again", "each further job of a sweep")
    for name, bound, a, b in zip(names, (8, 1.5, 3), warm, afresh, strict=True):
        print(f"{name}: {a:.2f} s of user CPU time warm (bound {bound}), {b:.2f} s afresh: ratio {b / a:.1f}")


if __name__ == "__main__":
    main()
