"""A thousand run folders: a query, the leaderboard, a cleaning, a comparison, a sweep's table; user CPU seconds.

    python benchmarks/thousand_runs.py [--runs 1000]

One small run on simulated heartbeats is trained and its folder copied under other identities. Ours read a few small
files of each; the other way reads every file of every run once, which is what looking for a score costs without them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from bench.atomic import read_json, write_json
from bench.cli import sweep
from bench.crossval.tickets import alive
from bench.runs import cleaning, leaderboard
from bench.runs.selection import everything, matching
from bench.tell import console
from bench.tracking.wording import front


def table(folder: Path) -> None:
    """A sweep's table from its jobs' records, as its end prints it."""
    jobs = [
        job for number in range(len(list(folder.glob("job_*.json")))) if (job := sweep.job_of(folder.parent, number))
    ]
    screen = console()
    with screen.capture():
        screen.print(sweep._table(jobs))


def user_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    taken = []
    for _ in range(repeats):
        before = time.process_time()
        work()
        taken.append(time.process_time() - before)
    return statistics.median(taken)


def command_seconds(*words: str) -> float:
    before = getrusage(RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return getrusage(RUSAGE_CHILDREN).ru_utime - before


def read_all(outputs: Path) -> int:
    return sum(len(path.read_bytes()) for path in outputs.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    n = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(scratch) / "outputs"
        places = [f"outputs={outputs}", f"data={scratch}/data", f"store={scratch}/store", "tracking.enabled=false"]
        command_seconds("bench.train", "dataset=heartbeat", "model=mlp", "train.epochs=1", "device=cpu", *places)
        (first,) = outputs.glob("heartbeat/mlp/*")
        for number in range(n - 1):
            shutil.copytree(first, first.with_name(f"{number:012x}"))
        query = user_seconds(lambda: matching("dataset=heartbeat,model=mlp", outputs))
        board = user_seconds(lambda: leaderboard.places(everything(outputs)))
        reading = user_seconds(lambda: read_all(outputs), 1)
        whole = command_seconds("bench.leaderboard", f"outputs={outputs}")
        clean = user_seconds(lambda: cleaning.plan("dataset=heartbeat", "failed,finished", outputs, alive))
        every = user_seconds(lambda: cleaning.plan("dataset=heartbeat", "all", outputs, alive), 1)
        compared = command_seconds(
            "bench.compare", f"runs=[{0:012x},{1:012x}]", f"outputs={outputs}", "tracking.enabled=false"
        )
        os.environ[sweep.TOKEN] = "benchmark"
        records, scores = sweep.records(Path(scratch)), read_json(first / "scores.json")
        for number in range(n):
            job = {"job": f"seed={number} model=mlp", "code": 0, "run": str(first.with_name(f"{number:012x}"))}
            sweep.write_record(records, number, {**job, "scores": scores, "error": None})
            write_json(first.with_name(f"{number:012x}") / "tracking.json", {"uri": ""}) if number < n - 1 else None
        tabled = user_seconds(lambda: table(records))
        fronted = user_seconds(lambda: front(outputs, 5000))
        print(
            f"a cleaning's plan {clean:.2f} s, with superseded runs {every:.2f} s, "
            f"a comparison of two as a command {compared:.2f} s"
        )
        print(f"a sweep's table {tabled:.2f} s, the address that make ui tells {fronted:.3f} s")
        print(f"{n} runs: a query {query:.2f} s (goal 1 s), leaderboard {board:.2f} s, as a command {whole:.2f} s")
        print(f"reading every file {reading:.2f} s: {reading / query:.1f}x a query")


if __name__ == "__main__":
    main()
