"""Rows a second of predicting raw HMS EEGs with a finished WaveNet, beside the first write-up's way.

    python benchmarks/predict_rows.py [--eegs 192] [--rounds 3] [--device cpu] [--workers 1]

Ours is ``bench.load(run).predict(folder)`` with one fold: cold computes the stored features first, warm finds them.
The write-up's way is its validation loop: each batch reads its files again with pandas, fills, clips and filters them,
in float64 (C. Deotte, "WaveNet Starter - [LB 0.52]", rebuilt in hms_store.py), and goes through the network, our own,
so that the ratio is of the data's way alone. ``without the network`` is the same with nothing behind the batches. The
ways take turns in one process on one thread (the allocator's settings are a fold's), on files that the system holds in
memory; the median of CPU seconds counts, of the clock's on a GPU, or with several ``--workers`` that fill the store
(bench.predict has one a core). The EEGs are simulated, the run is trained on 16 of them for one epoch.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from bench.allocator import ALLOCATOR
from bench.prediction.predictor import Predictor
from bench.runs.run import Run
from hms_store import batch_as_written_up, read_as_written_up

BATCH = 64


def trained(folder: Path, n_test: int) -> tuple[Run, Path]:
    """A WaveNet of one fold and one epoch, and the folder of its raw files."""
    import subprocess

    from bench.simulators.hms import simulate

    simulate(folder / "raw", n_eegs=16, n_patients=8, n_test=n_test)
    words = [
        "dataset=hms", "model=wavenet", f"dataset.root={folder}/raw", f"outputs={folder}/outputs",
        f"store={folder}/first", "train.epochs=1", "split.n_splits=2", "split.strict=false", "folds.only=[0]",
        "tracking.enabled=false", "device=cpu",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "bench.train", *words], check=True, text=True, stdout=subprocess.PIPE)
    return Run.open(done.stdout.splitlines()[-1].removeprefix("run ")), folder / "raw"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eegs", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # the write-up takes the mean of columns that are all NaN
    torch.set_num_threads(1)
    clock = time.perf_counter if arguments.device == "cuda" or arguments.workers > 1 else time.process_time

    def seconds(work: Callable[[], object]) -> float:
        start = clock()
        work()
        return clock() - start

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, raw = trained(folder, arguments.eegs)
        store = folder / "store"
        predictor = Predictor(run, [0], device=arguments.device, store=store, workers=arguments.workers)
        files = predictor.open(raw).files("test")
        model, device_half = predictor.models(0)

        def ours() -> object:
            return predictor.predict(raw)

        def features_alone() -> object:
            return predictor.store(predictor.open(raw))

        def anew(way: Callable[[], object]) -> float:
            shutil.rmtree(store, ignore_errors=True)
            return seconds(way)

        @torch.inference_mode()
        def written_up(network: bool = True) -> None:
            for start in range(0, len(files), BATCH):
                x_btc = batch_as_written_up([read_as_written_up(path) for path in files[start : start + BATCH]])
                if network:
                    x = torch.from_numpy(x_btc).to(predictor.device).transpose(1, 2).contiguous()
                    model(device_half(x)).double().softmax(-1).cpu().numpy()

        ours()
        rounds = [
            [
                anew(ours), seconds(ours), seconds(written_up), anew(features_alone), seconds(features_alone),
                seconds(lambda: written_up(network=False)),
            ]
            for _ in range(arguments.rounds)
        ]  # fmt: skip
        cold, warm, theirs, bare_cold, bare_warm, bare_theirs = (
            len(files) / median(column) for column in zip(*rounds, strict=True)
        )
        for what, found in (
            (f"predict on {predictor.device}", (cold, warm, theirs)),
            ("without the network", (bare_cold, bare_warm, bare_theirs)),
        ):
            print(
                f"{what}: cold {found[0]:.0f} rows/s, warm {found[1]:.0f} rows/s, write-up {found[2]:.0f} rows/s, "
                f"ratio {found[0] / found[2]:.2f}x cold (goal 5x), {found[1] / found[2]:.2f}x warm"
            )


if __name__ == "__main__":
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | ALLOCATOR
    if not one_thread.items() <= os.environ.items():  # numpy has read them by now: start again with them
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | one_thread)
    main()
