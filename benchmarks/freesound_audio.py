"""Freesound: wav → stored 16 kHz samples, and epochs of raw crops and of MFCC, ours against the second write-up's way.

    pip install resampy; python benchmarks/freesound_audio.py [--clips 41] [--rounds 5]

Decode: ``Freesound.read`` and the stored half, against ``librosa.load(sr=16000, res_type="kaiser_fast")``; then the
whole building of a store, on as many cores as there are and on the clock, against the same. Raw epoch:
shuffled windows from the store and the device half, against that write-up's generator, which loads, resamples, crops
and normalises every clip again in every epoch. MFCC epoch: shuffled windows from the store and the batched transform,
against its load, crop and ``librosa.feature.mfcc`` a clip (Z. Khan, "Beginner's Guide to Audio Data", rebuilt). The
ways take turns in one process on one thread, on files that the system holds in memory; the median of CPU seconds (user
and system) counts. Clips are simulated, 0.3 to 30 s, 6 s on average (the competition's train: 18 h, 6.8 s on average).
resampy, which kaiser_fast needs, is a dependency of this file alone: without it only the MFCC are compared.

Decoding is bounded by soxr, about 70 % of it: a resampler of the same fidelity as librosa's default, where kaiser_fast
is a coarser one. From 44.1 to 16 kHz soxr's HQ keeps 7.4 kHz (-0.02 dB) and lets nothing above 8.1 kHz through
(-137 dB); kaiser_fast takes 8 dB off 7 kHz and folds 8.1 kHz back at -64 dB. A lower quality of soxr's would gain
little: MQ 4 % of the resampling, LQ, which takes 13 dB off 7 kHz, 12 %.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
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

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from bench.data.batches import Batches
from bench.data.store import open_or_build
from bench.datasets.base import targets
from bench.datasets.freesound import Freesound
from bench.features.audio import Audio
from bench.features.freesound_mfcc import FreesoundMFCC
from bench.features.freesound_waveform import FreesoundWaveform
from bench.simulators.freesound import simulate

BATCH = 64
MANY = 1024  # clips of the store that is built


def load(path: Path, sample_rate: int) -> np.ndarray:
    import librosa

    return librosa.load(path, sr=sample_rate, res_type="kaiser_fast")[0]


def crop(data: np.ndarray, length: int) -> np.ndarray:
    """A random window, or the clip at a random place among zeros."""
    spare = abs(len(data) - length)
    offset = np.random.randint(spare) if spare else 0  # noqa: NPY002 (as written)
    if len(data) > length:
        return data[offset : offset + length]
    return np.pad(data, (offset, spare - offset), "constant")


def raw_as_written_up(paths: list[Path]) -> np.ndarray:
    """(B, 32000, 1): a batch of the generator."""
    x = np.empty((len(paths), 32_000, 1))
    for i, path in enumerate(paths):
        data = crop(load(path, 16_000), 32_000)
        low, high = np.min(data), np.max(data)
        x[i] = ((data - low) / (high - low + 1e-6) - 0.5)[:, np.newaxis]
    return x


def mfcc_as_written_up(paths: list[Path]) -> np.ndarray:
    """(B, 40, 173, 1)."""
    import librosa

    x = np.empty((len(paths), 40, 173, 1))
    for i, path in enumerate(paths):
        data = crop(load(path, 44_100), 88_200)
        x[i] = np.expand_dims(librosa.feature.mfcc(y=data, sr=44_100, n_mfcc=40), -1)
    return x


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(
    what: str, goal: int, ours: Callable[[], object], theirs: Callable[[], object], rounds: int, n: int
) -> None:
    """Prints clips a second of both and their ratio; ``ours`` goes through ten times as many (its times are short)."""
    ours(), theirs()
    seconds = [[cpu_seconds(ours) / 10, cpu_seconds(theirs)] for _ in range(rounds)]
    mine, written_up = (n / median(column) for column in zip(*seconds, strict=True))
    print(
        f"{what}: ours {mine:.0f} clips/s, write-up {written_up:.1f} clips/s, "
        f"ratio {mine / written_up:.1f}x (goal {goal}x)",
        flush=True,
    )


def build(dataset: Freesound, folder: Path, rounds: int) -> None:
    """Prints how much faster a store is built, processes' start included, than the write-up's way loads its clips."""
    names = [path.name for path in dataset.files("train")]
    copies = -(-MANY // len(names))
    root = folder / "many"
    (root / "audio_train").mkdir(parents=True)
    rows = pd.read_csv(dataset.root / "train.csv")
    many = [rows.assign(fname=f"{i}_" + rows["fname"]) for i in range(copies)]
    for i in range(copies):
        for name in names:
            os.link(dataset.root / "audio_train" / name, root / "audio_train" / f"{i}_{name}")
    pd.concat(many).to_csv(root / "train.csv", index=False)
    workers = os.cpu_count() or 1
    ours, theirs = [], []
    for i in range(rounds):
        start = time.perf_counter()
        open_or_build(Freesound(root), FreesoundWaveform(), "train", folder / f"built{i}", workers)
        ours.append((time.perf_counter() - start) / copies)
        start = time.perf_counter()
        for path in dataset.files("train"):
            load(path, 16_000)
        theirs.append(time.perf_counter() - start)
        shutil.rmtree(folder / f"built{i}")
    mine, written_up = len(names) / median(ours), len(names) / median(theirs)
    print(
        f"building a store of {copies * len(names)} clips in up to {workers} processes, on the clock: "
        f"ours {mine:.0f} clips/s, write-up {written_up:.1f} clips/s, ratio {mine / written_up:.1f}x",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=41)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    n = arguments.clips
    warnings.simplefilter("ignore")  # librosa's load imports modules that Python is about to drop
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder) / "raw", n_train=n, n_test=0, longest=30.0)
        dataset = Freesound(Path(folder) / "raw")
        files = dataset.files("train")
        waveform, mfcc = FreesoundWaveform(), FreesoundMFCC()

        def decode() -> None:
            for _ in range(10):
                for i in range(n):
                    waveform.store(dataset.read("train", i, **waveform.reads))

        def epoch(features: Audio) -> Callable[[], None]:
            opened = open_or_build(dataset, features, "train", Path(folder) / "store", workers=1)
            half = features.device_half()
            target = targets(dataset.table("train"))
            rows, device = np.arange(n), torch.device("cpu")
            batches = Batches(opened, rows, target, None, device, features.window(dataset))

            def run() -> None:
                for number in range(10):
                    for batch in batches.shuffled(BATCH, (0, number)):
                        half(batch.x)

            return run

        def generator(make: Callable[[list[Path]], np.ndarray]) -> Callable[[], None]:
            def run() -> None:
                order = np.random.default_rng(0).permutation(n)
                for start in range(0, n, BATCH):
                    make([files[i] for i in order[start : start + BATCH]])

            return run

        if importlib.util.find_spec("resampy") is None:
            print("decode and raw epoch: left out, because the write-up's way needs resampy (pip install resampy)")
        else:
            compare("decode", 20, decode, lambda: [load(path, 16_000) for path in files], arguments.rounds, n)
            build(dataset, Path(folder), max(1, arguments.rounds // 2))
            compare("raw epoch", 200, epoch(waveform), generator(raw_as_written_up), arguments.rounds, n)
        compare("MFCC epoch", 4, epoch(mfcc), generator(mfcc_as_written_up), arguments.rounds, n)


if __name__ == "__main__":
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if not one_thread.items() <= os.environ.items():  # numpy has read them by now: start again with them
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | one_thread)
    main()
