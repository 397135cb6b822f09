"""Shows that a fold's memory does not grow with the data set.

    python benchmarks/fold_memory.py

Trains one epoch of a small MLP on HMS-shaped examples (8 × 2000 float16) in a fold's own process, on a store of
6,250 rows (200 MB) and of 25,000 (800 MB), and prints the process's peak resident memory and the ratio (bound 1.1).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from bench.atomic import read_json, write_json, write_text
from bench.cli import conf
from bench.results.run import Run
from bench.training.folds import ALLOCATOR

SHAPE, CLASSES = (8, 2000), ("seizure", "lpd", "gpd", "lrda", "grda", "other")
CONFIG = {
    "seed": 0,
    "dataset": {"_target_": "bench.datasets.hms.HMS"},
    "model": {"_target_": "bench.models.mlp.MLP", "hidden": [8]},
    "features": {"_target_": "bench.features.hms_waveform.HMSWaveform"},
    "loss": {"_target_": "bench.losses.kl"},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.001},
    "scheduler": {"_target_": "bench.training.schedules.constant"},
}


def make_run(folder: Path, rows: int) -> Run:
    """A run's folder as ``plan`` leaves it, on random examples."""
    store = folder / "store"
    store.mkdir(parents=True)
    rng = np.random.default_rng(0)
    block = rng.normal(size=(250, *SHAPE)).astype(np.float16).tobytes()
    with open(store / "data.bin", "wb") as file:
        for _ in range(rows // 250):
            file.write(block)
    write_json(store / "manifest.json", {"rows": rows, "shape": SHAPE, "dtype": "float16", "digest": ""})
    empty = folder / "empty"
    empty.mkdir()
    (empty / "data.bin").touch()
    write_json(empty / "manifest.json", {"rows": 0, "shape": SHAPE, "dtype": "float16", "digest": ""})
    frame = pd.DataFrame({"id": np.arange(rows), "fold": np.arange(rows) % 5})
    target = np.eye(6, dtype=np.float32)[rng.integers(0, 6, rows)]
    frame[[f"target_{c}" for c in CLASSES]] = target
    frame.to_parquet(folder / "splits.parquet")
    defaults = yaml.safe_load((conf() / "train.yaml").read_text(encoding="utf-8"))["train"]
    write_text(folder / "config.yaml", yaml.safe_dump({**CONFIG, "train": {**defaults, "epochs": 1}}))
    spec = {"channels": 8, "size": [2000], "classes": CLASSES, "sample_rate": 40.0}
    write_json(
        folder / "inputs.json",
        {
            "spec": spec,
            "n_splits": 5,
            "window": None,
            "stores": {"train": str(store), "test": str(empty)},
            "simulated": True,
            "test": "",
        },
    )
    return Run(folder)


def peak(rows: int) -> int:
    """Peak resident MB of fold 0's process, as the fold itself notes it."""
    with tempfile.TemporaryDirectory() as name:
        run = make_run(Path(name) / "run", rows)
        fold = run.fold(0)
        fold.folder.mkdir(parents=True)
        command = [sys.executable, "-m", "bench.fold", str(run.folder), "0", "--device", "cpu"]
        environment = {**os.environ, **ALLOCATOR}
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            if process.wait():  # its standard input stays open meanwhile: a fold ends when that closes
                raise SystemExit(1)
        return int(read_json(fold.done)["peak_memory_mb"])


def main() -> None:
    small, large = 6_250, 25_000
    found = {rows: peak(rows) for rows in (small, large)}
    for rows, megabytes in found.items():
        print(f"{rows} rows ({rows * 32 / 1000:.0f} MB in the store): peak {megabytes} MB")
    print(f"4× the rows: ratio {found[large] / found[small]:.3f} (bound 1.1)")


if __name__ == "__main__":
    main()
