"""What `python -m bench.compare` costs for two runs of 100,000 rows: a mean over rows, ranks, many classes.

    python benchmarks/compare_time.py [rows]

Each comparison is the command in a process of its own, page and pictures included. Prints its seconds on the clock
(bound 15), its CPU seconds, its largest memory (bound 400 MB) and the size of its page (bound 1 MB).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench.atomic import write_json, write_text
from bench.crossval import collect
from bench.datasets.base import Dataset
from bench.datasets.freesound import Freesound
from bench.datasets.hms import HMS
from bench.datasets.seti import Seti
from bench.runs import frames
from bench.runs.run import Run

RECIPE = """
dataset: {{_target_: {dataset}}}
model: {{}}
features: {{}}
loss: {{}}
split: {{}}
optimizer: {{}}
scheduler: {{}}
seed: {seed}
train: {{batch_size: 8, eval_batch_size: 8, precision: float32, keep: last}}
"""
COMMAND = """
import sys, time
from bench import compare
assert compare.run(compare.COMMAND, sys.argv[1:]) == 0
print(time.process_time())
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""The command, and what it has taken: the kernel's own peak for a child has that of the process that started it."""


def write_run(folder: Path, dataset: type[Dataset], rows: int, classes: int, skill: float, groups: bool) -> Run:
    """A finished run of made-up predictions in five folds, with a history of twenty epochs."""
    rng, names = np.random.default_rng(0), tuple(f"class_{k}" for k in range(classes))
    target = f"{dataset.__module__}.{dataset.__name__}"
    write_text(folder / "config.yaml", RECIPE.format(dataset=target, seed=int(100 * skill)))
    spec = {"channels": 8, "size": [2000], "classes": list(names), "sample_rate": 40.0}
    metric = dataset.metric
    inputs = {"dataset": dataset.name, "model": "wavenet", "metric": metric.name, "direction": metric.direction}
    more = {"simulated": True, "n_splits": 5, "spec": spec, "stores": {}, "test": "", "group": "", "names": {}}
    write_json(folder / "inputs.json", inputs | more)
    truth = np.eye(classes, dtype=np.float32)[rng.integers(classes, size=rows)]
    logits = skill * truth + np.random.default_rng([1, int(100 * skill)]).normal(size=truth.shape).astype(np.float32)
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = pd.DataFrame({"id": [f"{n:08x}" for n in range(rows)], "fold": np.arange(rows) // 4 % 5})
    if groups:
        table["group"] = np.arange(rows) // 4
    table = table.join(pd.DataFrame(truth, columns=[f"target_{c}" for c in names]))
    frames.write_frame(table, folder / "splits.parquet")
    frames.write_frame(table[["id"]][:0], folder / "test_ids.parquet")
    run = Run(folder)
    for fold in run.folds:
        here = (table["fold"] == fold.number).to_numpy()
        frames.write_frame(frames.oof_frame(table[here], probability[here], None, names), fold.oof)
        keys = ("train/loss", "valid/loss", f"valid/{metric.name}")
        fold.write_history([{"epoch": e, **{key: 1 / e + rng.random() for key in keys}} for e in range(1, 21)])
        write_json(fold.done, {"test": "", "test_rows": 0})
    collect.collect(run, metric)
    run.write_state(status="finished")
    return run


def compared(runs: list[Run], outputs: Path) -> tuple[float, float, float, Path]:
    """Seconds on the clock and of the CPU, MB at most, and the folder of the comparison."""
    words = [f"runs=[{','.join(str(run.folder) for run in runs)}]", f"outputs={outputs}"]
    began = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, text=True, check=True).stdout
    clock, (told, cpu, memory) = time.perf_counter() - began, said.splitlines()[-3:]
    return clock, float(cpu), float(memory) / 1024, Path(told.removeprefix("comparison "))


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    cases: tuple[tuple[type[Dataset], int, int, bool], ...] = (
        (HMS, rows, 6, False),
        (HMS, rows, 6, True),
        (Seti, rows, 2, False),
        (Freesound, rows, 41, False),
        (Freesound, rows // 5, 41, False),
    )
    for dataset, n, classes, groups in cases:
        with tempfile.TemporaryDirectory() as scratch:
            outputs = Path(scratch)
            runs = [
                write_run(outputs / dataset.name / "wavenet" / (f"{i}" * 12), dataset, n, classes, skill, groups)
                for i, skill in enumerate((2.0, 2.02))
            ]
            clock, cpu, memory, folder = compared(runs, outputs)
            size = (folder / "report.html").stat().st_size / 1e6
        unit = f"in {n // 4:,} groups" if groups else "drawn one by one"
        print(
            f"{dataset.metric.name}, {n:,} rows × {classes} classes {unit}: {clock:.1f} s (bound 15), CPU {cpu:.1f} s, "
            f"{memory:.0f} MB (bound 400), page {size:.2f} MB (bound 1)",
            flush=True,
        )


if __name__ == "__main__":
    main()
