"""What a blend of twenty runs costs: each way of `python -m bench.ensemble`, on 20,000 rows of 41 classes.

    python benchmarks/blend_time.py [way …]

Five folds and no test rows; seconds of the command's work without Python's start and imports: reading and comparing
the runs, fitting on all rows and on each fold's others, writing the run's folder with scores and pictures. "fit" is the
fitting and predicting alone; "processor" adds up the cores, and says more than the clock where others work there, too.
Bound: 10 s for the means, and for what a search over weights finds; the stacked models have none.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from bench import build
from bench.atomic import write_json, write_text
from bench.crossval import collect
from bench.ensembling import blend, fitting, members
from bench.metrics import MAP3
from bench.paths import conf
from bench.runs import frames
from bench.runs.recipe import NOTHING, EnsembleRecipe, Tracking
from bench.runs.run import Run

TRAIN = {"batch_size": 8, "eval_batch_size": 8, "precision": "float32", "keep": "last"}
RUNS, ROWS, CLASSES, FOLDS = 20, 20_000, 41, 5
BOUND = dict.fromkeys(("mean", "geometric", "rank", "weights", "logits", "hill_climbing"), 10.0)


def write_runs(outputs: Path) -> list[Run]:
    """Runs that know something of the classes, each with its own noise on top of a shared one."""
    rng = np.random.default_rng(0)
    truth = np.eye(CLASSES)[rng.integers(0, CLASSES, ROWS)]
    fold, classes = np.arange(ROWS) % FOLDS, tuple(f"class {k}" for k in range(CLASSES))
    rows = pd.DataFrame({"id": [f"{n:05d}.wav" for n in range(ROWS)], "fold": fold})
    rows = rows.join(pd.DataFrame(truth.astype(np.float32), columns=[f"target_{c}" for c in classes]))
    shared, runs = rng.normal(size=truth.shape), []
    for m in range(RUNS):
        run = Run(outputs / "freesound" / "cnn2d" / f"{m:012x}")
        logits = (2 + m / 10) * truth + shared + rng.normal(size=truth.shape)
        probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        groups = ("model", "features", "loss", "split", "optimizer", "scheduler")
        config = {"dataset": {"_target_": "bench.datasets.freesound.Freesound", "root": "/nowhere"}, "seed": m}
        config |= {group: {} for group in groups} | {"train": TRAIN}
        write_text(run.folder / "config.yaml", yaml.safe_dump(config))
        spec = {"channels": 1, "size": [40, 173], "classes": list(classes), "sample_rate": None}
        inputs = {"dataset": "freesound", "model": "cnn2d", "metric": "map3", "direction": "max", "simulated": True}
        inputs |= {"n_splits": FOLDS, "spec": spec, "test": "", "group": "g", "stores": {}}
        write_json(run.folder / "inputs.json", inputs)
        frames.write_frame(rows, run.folder / "splits.parquet")
        for one in run.folds:
            here = fold == one.number
            frames.write_frame(frames.oof_frame(rows[here], probability[here], None, classes), one.oof)
            write_json(one.done, {"test": "", "test_rows": 0})
        collect.collect(run, MAP3)
        run.write_state(status="finished")
        runs.append(run)
    return runs


def main() -> None:
    for heavy in ("matplotlib.pyplot", "sklearn.linear_model", "torch._dynamo"):  # torch's optimisers import the last
        importlib.import_module(heavy)

    ways = sys.argv[1:] or sorted(path.stem for path in (conf() / "ensemble" / "blend").glob("*.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        runs = write_runs(Path(folder))
        began = time.perf_counter()
        given = members.read(runs, "arithmetic")
        print(
            f"{RUNS} runs, {ROWS} rows, {CLASSES} classes, {FOLDS} folds; reading {time.perf_counter() - began:.1f} s"
        )
        for name in ways:
            node = yaml.safe_load((conf() / "ensemble" / "blend" / f"{name}.yaml").read_text(encoding="utf-8"))
            began = time.perf_counter()
            honest, _, _, _ = fitting.nested(build.build(node, "blend"), None, given)
            fit = time.perf_counter() - began
            folders = [str(run.folder) for run in runs]
            recipe = EnsembleRecipe(
                blend=node, harden=NOTHING, runs=folders, outputs=folder, tracking=Tracking(enabled=False)
            )
            began, processor = time.perf_counter(), time.process_time()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                blend.ensemble(recipe, {"blend": name, "harden": "none"})
            whole, processor = time.perf_counter() - began, time.process_time() - processor
            bound = f"  bound {BOUND[name]:.0f} s" if name in BOUND else ""
            score = MAP3.score(given.target, honest)
            print(f"{name:15} {whole:6.1f} s  processor {processor:6.1f} s  fit {fit:6.1f} s  map3 {score:.4f}{bound}")


if __name__ == "__main__":
    main()
