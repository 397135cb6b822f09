"""HMS: raw parquet → stored waveform, and an epoch of batches, ours against the first write-up's way.

    python benchmarks/hms_store.py [--eegs 48] [--rounds 5]

Store: ``HMS.read`` + ``HMSWaveform.store`` in one process on one thread, against pandas.read_parquet of the eight
columns, a NaN fill a column, differences, clip, lfilter in float64 and every 5th sample (C. Deotte, "WaveNet
Starter - [LB 0.52]", rebuilt). Epoch: shuffled batches from the store on the CPU, cast to float32 by the device half,
against that write-up's generator, which filters every example again in every epoch. The ways take turns in one
process on one thread, on files that the system holds in memory; the median of CPU seconds (user and system) counts.
Needs nothing but the package: EEGs are simulated.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from scipy.signal import butter, lfilter

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from bench.data.batches import Batches
from bench.data.store import open_or_build
from bench.datasets.base import targets
from bench.datasets.hms import HMS
from bench.features.hms_waveform import PAIRS, HMSWaveform
from bench.simulators.hms import simulate

COLUMNS = ["Fp1", "T3", "C3", "O1", "Fp2", "C4", "T4", "O2"]
BATCH = 32


def read_as_written_up(path: Path) -> np.ndarray:
    """Middle 10,000 rows of eight columns, (10000, 8) float64, NaN filled column by column."""
    frame = pd.read_parquet(path, columns=COLUMNS)
    offset = (len(frame) - 10_000) // 2
    frame = frame.iloc[offset : offset + 10_000]
    data = np.zeros((10_000, len(COLUMNS)))
    for j, column in enumerate(COLUMNS):
        x = frame[column].values.astype("float32")
        mean = np.nanmean(x)
        if np.isnan(x).mean() < 1:
            x = np.nan_to_num(x, nan=mean)
        else:
            x[:] = 0
        data[:, j] = x
    return data


def filter_as_written_up(data: np.ndarray) -> np.ndarray:
    """(10000, 8) electrodes → (10000, 8) filtered differences, float64."""
    sample = np.zeros((10_000, 8))
    for j, (a, b) in enumerate(PAIRS):
        sample[:, j] = data[:, COLUMNS.index(a)] - data[:, COLUMNS.index(b)]
    sample = np.nan_to_num(np.clip(sample, -1024, 1024), nan=0) / 32.0
    b, a = butter(4, 20 / 100, btype="low", analog=False)
    return lfilter(b, a, sample, axis=0)


def batch_as_written_up(electrodes: list[np.ndarray]) -> np.ndarray:
    """(B, 2000, 8) float32: a batch of the generator, which filters again at every call."""
    x = np.zeros((len(electrodes), 10_000, 8), dtype="float32")
    for j, data in enumerate(electrodes):
        x[j] = filter_as_written_up(data)
    return x[:, ::5, :]


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eegs", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    n = arguments.eegs
    warnings.simplefilter("ignore", RuntimeWarning)  # the write-up takes the mean of columns that are all NaN
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder) / "raw", n_eegs=n, n_patients=n // 2, n_test=0)
        dataset, features = HMS(Path(folder) / "raw"), HMSWaveform()
        files = dataset.files("train")

        def ours(i: int) -> np.ndarray:
            return features.store(dataset.read("train", i, **features.reads))

        def theirs(i: int) -> np.ndarray:
            return filter_as_written_up(read_as_written_up(files[i]))[::5].T

        # All-NaN columns differ by nothing but float16's rounding; it also warms both ways up.
        difference = max(np.abs(ours(i).astype(np.float64) - theirs(i)).max() for i in range(n))

        def over_all(way: Callable[[int], np.ndarray]) -> float:
            return cpu_seconds(lambda: [way(i) for i in range(n)])

        rounds = [[over_all(ours), over_all(theirs)] for _ in range(arguments.rounds)]
        mine, written_up = (n / median(seconds) for seconds in zip(*rounds, strict=True))
        print(
            f"store: ours {mine:.0f} samples/s, write-up {written_up:.0f} samples/s, ratio {mine / written_up:.2f}x "
            f"(goal 3x), max difference {difference:.4f} (float16 of values up to 32)"
        )

        store = open_or_build(dataset, features, "train", Path(folder) / "store", workers=1)
        electrodes = [read_as_written_up(path) for path in files]
        order = np.random.default_rng(0)
        epochs = 200  # an epoch of ours is too short to time alone
        torch.set_num_threads(1)
        cast = features.device_half()
        batches = Batches(store, np.arange(n), targets(dataset.table("train")), None, torch.device("cpu"))

        def gather() -> None:
            for epoch in range(epochs):
                for batch in batches.shuffled(BATCH, (0, epoch)):
                    cast(batch.x)

        def generate() -> None:
            positions = order.permutation(n)
            for start in range(0, n, BATCH):
                batch_as_written_up([electrodes[i] for i in positions[start : start + BATCH]])

        rounds = [[cpu_seconds(gather), cpu_seconds(generate)] for _ in range(arguments.rounds)]
        seconds, theirs_seconds = (median(column) for column in zip(*rounds, strict=True))
        mine, written_up = n * epochs / seconds, n / theirs_seconds
        print(
            f"epoch: ours {mine:.0f} samples/s, write-up {written_up:.0f} samples/s, "
            f"ratio {mine / written_up:.0f}x (goal 150x)"
        )


if __name__ == "__main__":
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if not one_thread.items() <= os.environ.items():  # numpy has read them by now: start again with them
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | one_thread)
    main()
