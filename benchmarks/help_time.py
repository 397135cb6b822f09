"""What `python -m bench.train --help` costs, beside Hydra composing the same command.

    python benchmarks/help_time.py

Prints the median user CPU seconds of the two whole processes, run in turn, and the ratio (bound for help: 0.6 s).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys


def user_seconds(*arguments: str) -> float:
    """User CPU seconds of the process, with all it imports."""
    before = os.times().children_user
    subprocess.run([sys.executable, "-m", "bench.train", *arguments], stdout=subprocess.DEVNULL, check=True)
    return os.times().children_user - before


def main() -> None:
    ours, hydra = [], []
    for _ in range(9):
        ours.append(user_seconds("--help"))
        hydra.append(user_seconds("--cfg", "job"))
    a, b = statistics.median(ours), statistics.median(hydra)
    print(f"--help: {a:.2f} s of user CPU time (bound 0.6), composing with Hydra {b:.2f} s: ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
