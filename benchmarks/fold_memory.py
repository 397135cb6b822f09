"""Shows that a fold's memory does not grow with the data set.

    python benchmarks/fold_memory.py [hms seti freesound]

Trains a small model in a fold's own process, on stores of random examples in two sizes, and prints the process's peak
resident memory and the ratio (bound 1.1). The larger store is four times the smaller, and trained for one epoch instead
of four: as many batches of both, because the heap grows over the first hundreds, whatever they come from.

- hms: WaveNet's inputs, 8 × 2000 float16, an MLP; 200 and 800 MB;
- seti: cadences, 6 × 273 × 256 float16, an MLP on the panels one after the other; 400 MB and 1.6 GB;
- freesound: sounds of 0.3 to 30 s end to end, 6.8 s on average, 16 kHz int16, the write-up's network on windows of
  2 s; 100 and 400 MB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench.allocator import ALLOCATOR
from bench.atomic import read_json, write_json, write_text
from bench.paths import conf
from bench.runs.run import Run

TIMES = 4
BLOCK = 20  # different examples, copied over and over: what is in a file doesn't change what reading it takes
LIMIT = 4_000  # MB that no fold may reach


@dataclass(frozen=True)
class Kind:
    """What a run of one competition is made of; ``rows`` of its smaller store."""

    dataset: str
    features: str
    model: dict[str, Any]
    rows: int
    shape: tuple[int | None, ...]
    dtype: str
    spec: dict[str, Any]
    window: int | None = None

    def example(self, rng: np.random.Generator) -> np.ndarray:
        if self.window is None:
            return rng.standard_normal([n or 0 for n in self.shape], np.float32).astype(self.dtype)
        n = int(16_000 * min(30.0, 0.3 + rng.exponential(7.0)))
        return rng.integers(-3000, 3000, n).astype(self.dtype)


HMS = ("seizure", "lpd", "gpd", "lrda", "grda", "other")
SOUNDS = tuple(f"sound_{i:02}" for i in range(41))
MLP = {"_target_": "bench.models.mlp.MLP", "hidden": [8]}
KINDS = {
    "hms": Kind(
        dataset="hms.HMS",
        features="hms_waveform.HMSWaveform",
        model=MLP,
        rows=6_250,
        shape=(8, 2000),
        dtype="float16",
        spec={"channels": 8, "size": [2000], "classes": HMS, "sample_rate": 40.0},
    ),
    "seti": Kind(
        dataset="seti.Seti",
        features="seti_sequence.SetiSequence",
        model=MLP,
        rows=480,
        shape=(6, 273, 256),
        dtype="float16",
        spec={"channels": 256, "size": [1638], "classes": ("0", "1"), "sample_rate": None},
    ),
    "freesound": Kind(
        dataset="freesound.Freesound",
        features="freesound_waveform.FreesoundWaveform",
        model={"_target_": "bench.models.cnn1d.CNN1D"},
        rows=460,
        shape=(1, None),
        dtype="int16",
        spec={"channels": 1, "size": [32_000], "classes": SOUNDS, "sample_rate": 16_000.0},
        window=32_000,
    ),
}


def make_run(folder: Path, kind: Kind, rows: int, epochs: int) -> tuple[Run, int]:
    """A run's folder as ``plan`` leaves it, and its store's bytes."""
    rng = np.random.default_rng(0)
    stores = {"train": str(folder / "store"), "test": str(folder / "empty")}
    size = make_store(Path(stores["train"]), kind, rows, rng)
    make_store(Path(stores["test"]), kind, 0, rng)
    classes = kind.spec["classes"]
    frame = pd.DataFrame({"id": np.arange(rows), "fold": np.arange(rows) % 5})
    frame[[f"target_{c}" for c in classes]] = np.eye(len(classes), dtype=np.float32)[
        np.arange(rows) // 5 % len(classes)
    ]
    frame.to_parquet(folder / "splits.parquet")
    defaults = yaml.safe_load((conf() / "train.yaml").read_text(encoding="utf-8"))["train"]
    config = {
        "seed": 0,
        "dataset": {"_target_": f"bench.datasets.{kind.dataset}"},
        "model": kind.model,
        "features": {"_target_": f"bench.features.{kind.features}"},
        "loss": {"_target_": "bench.losses.ce.ce"},
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.001},
        "scheduler": {"_target_": "bench.training.schedules.constant"},
        "row_weights": {"_target_": "none"},
        "augment": {},
        "train": {**defaults, "epochs": epochs},
    }
    write_text(folder / "config.yaml", yaml.safe_dump(config))
    inputs = {"spec": kind.spec, "n_splits": 5, "window": kind.window, "stores": stores, "simulated": True, "test": ""}
    write_json(folder / "inputs.json", inputs)
    return Run(folder), size


def make_store(folder: Path, kind: Kind, rows: int, rng: np.random.Generator) -> int:
    """Bytes of a store of ``rows`` examples."""
    folder.mkdir(parents=True)
    examples = [kind.example(rng) for _ in range(BLOCK)]
    block = b"".join(x.tobytes() for x in examples)
    with open(folder / "data.bin", "wb") as file:
        for _ in range(rows // BLOCK):
            file.write(block)
    if kind.window is not None:
        np.save(folder / "offsets.npy", np.cumsum([0, *(x.size for x in examples * (rows // BLOCK))]))
    write_json(folder / "manifest.json", {"rows": rows, "shape": kind.shape, "dtype": kind.dtype, "digest": ""})
    return (folder / "data.bin").stat().st_size


def peak(kind: Kind, rows: int, epochs: int) -> tuple[int, int]:
    """MB of the store, and the peak resident MB of fold 0's process, as the fold itself notes it."""
    with tempfile.TemporaryDirectory() as name:
        run, size = make_run(Path(name) / "run", kind, rows, epochs)
        fold = run.fold(0)
        fold.folder.mkdir(parents=True)
        command = [sys.executable, "-m", "bench.crossval.fold", str(run.folder), "0", "--device", "cpu"]
        environment = {**os.environ, **ALLOCATOR}
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            if process.wait():  # its standard input stays open meanwhile: a fold ends when that closes
                raise SystemExit(1)
        return size // 10**6, int(read_json(fold.done)["peak_memory_mb"])


def main() -> None:
    for name in sys.argv[1:] or KINDS:
        kind = KINDS[name]
        rows = kind.rows // BLOCK * BLOCK
        small, first = peak(kind, rows, TIMES)
        large, second = peak(kind, TIMES * rows, 1)
        print(
            f"{name}: a store of {small} MB: peak {first} MB; of {large} MB: peak {second} MB; "
            f"ratio {second / first:.3f} (bound 1.1), below {LIMIT} MB: {'yes' if second < LIMIT else 'NO'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
