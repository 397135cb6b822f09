"""HMS: raw EEG → the image that a reviewer sees, ours against the third write-up's way.

    python benchmarks/hms_image.py [--eegs 6] [--rounds 7]

The write-up (M. Kotyushev, HMS 16th place, rebuilt) makes every picture again in every epoch: a trace at a time, two
``lfilter`` in float64, then a polyline of 4,000 points by a general drawing routine into a slot of a picture of four
channels; the competition's spectrogram scaled and both spectrograms resized; its EEG spectrogram comes from a file.

Traces: 20 raw traces in memory → their picture: ``HMSImage.lines`` and the device half, against its filters and lines.
Picture: raw EEG and spectrogram → the whole picture: ``HMSImage.store`` and the device half, against its way with
librosa's EEG spectrogram. Epoch: stored vectors → float32 pictures, a batch of 32, in a process with the allocator
settings that a fold's process has, against its way of the whole picture without the EEG spectrogram; beside it, what
filling as many float32 with a constant takes, which no way of drawing goes below; *in bf16* as with
``train.precision=bf16``, where a network's first convolution takes them so.

The ways take turns on one thread, and the median of CPU seconds counts. The write-up draws with the package
justpyplot, which is no dependency: where it can be imported it draws here, else a rebuild in numpy that samples every
segment as often as the longest needs, as that package does; the output says which. The EEG is simulated.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.signal import butter, lfilter

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from bench.allocator import ALLOCATOR
from bench.features.hms_eeg_spectrogram import LINKS
from bench.features.hms_image import TRACES, HMSImage, central
from bench.simulators.hms import simulate

CENTRAL = central(10_000)
COLUMNS = HMSImage.reads["columns"]
BATCH = 32
Draw = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def drawing_routine() -> tuple[str, Draw]:
    """Its name, and what draws a polyline through (x, y) pixels into a picture (H, W, 4)."""
    try:
        from justpyplot import justpyplot
    except ImportError:
        return "a rebuild in numpy", sampled_lines

    def draw(x: np.ndarray, y: np.ndarray, picture: np.ndarray) -> None:
        white = (255, 255, 255, 255)
        justpyplot.vectorized_lines_with_thickness(y[:-1], x[:-1], y[1:], x[1:], picture, clr=white, thickness=1)

    return "justpyplot", draw


def sampled_lines(x: np.ndarray, y: np.ndarray, picture: np.ndarray) -> None:
    """Every segment at as many points as the longest has pixels, in integers, two pixels thick."""
    dx, dy = np.diff(x), np.diff(y)
    way = np.linspace(0, 1, max(np.abs(dx).max(), np.abs(dy).max()) + 1)[:, None]
    columns, rows = (x[:-1] + way * dx).astype(int), (y[:-1] + way * dy).astype(int)
    for step in (-1, 0):
        at = (rows + step * np.sign(dy)).clip(0, picture.shape[0] - 1)
        picture[at, (columns + step * np.sign(dx)).clip(0, picture.shape[1] - 1)] = 255


def traces_as_written_up(eeg: np.ndarray, draw: Draw) -> np.ndarray:
    """(10000, 20) µV → (640, 1600) float32."""
    picture = np.zeros((640, 1600, 4), np.uint16)
    x = (np.arange(4000) / 4000 * 1600).astype(int)
    subset = eeg[CENTRAL].T
    for i, (a, b, scale) in enumerate(TRACES):
        y = subset[COLUMNS.index(a)] if b is None else subset[COLUMNS.index(a)] - subset[COLUMNS.index(b)]
        y = np.where(np.isnan(y), 0, y)
        y = lfilter(*butter(5, (59, 61), btype="bandstop", fs=200), y)
        y = lfilter(*butter(5, (1, 70), btype="bandpass", fs=200), y)
        y = (np.clip(y, -2 * scale, 2 * scale) + 2 * scale) / (4 * scale)
        slot = picture[max(0, 32 * i - 16) : 32 * i + 48]
        draw(x, ((1 - y) * len(slot)).astype(int).clip(0, len(slot) - 1), slot)
    return (picture[..., 3] / 255).astype(np.float32)


def picture_as_written_up(eeg: np.ndarray, power: np.ndarray, regions: np.ndarray, draw: Draw) -> np.ndarray:
    """EEG, 10-minute spectrogram (300, 400) and EEG spectrogram (4, 128, 226) uint8 → (640, 1920) float32."""
    picture = np.zeros((640, 1920), np.float32)
    picture[:, 320:] = traces_as_written_up(eeg, draw)
    x = np.log10(np.where(np.isnan(power), 0, power) + 1e-6)
    low, high = np.quantile(x, 0.01), np.quantile(x, 0.99)
    x = (np.clip(x, low, high) - low) / (high - low)
    for top, image in ((0, x.T), (320, regions.reshape(512, 226) / np.float32(255))):
        small = torch.nn.functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(image))[None, None], (320, 320), mode="bilinear"
        )
        picture[top : top + 320, :320] = small[0, 0]
    return picture


def eeg_spectrogram_as_written_up(eeg: np.ndarray) -> np.ndarray:
    """(10000, 20) µV → (4, 128, 226) uint8."""
    import librosa

    regions = np.zeros((4, 128, 226), np.float32)
    for region, links in zip(regions, LINKS.values(), strict=True):
        for a, b in links:
            x = eeg[:, COLUMNS.index(a)] - eeg[:, COLUMNS.index(b)]
            x = np.nan_to_num(x, nan=np.nanmean(x)) if not np.isnan(x).all() else np.zeros_like(x)
            mel = librosa.feature.melspectrogram(
                y=x, sr=200, n_fft=1000, hop_length=40, n_mels=128, fmin=0, fmax=20, center=False
            )
            region += (librosa.power_to_db(mel, ref=np.max) + 40) / 40
    return ((regions / 4 + 1) / 2 * 255).clip(0, 255).astype(np.uint8)


def read(root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(10000, 20) and (300, 400) of each simulated EEG; EEG and spectrogram lie in the same order."""
    made = []
    for path in sorted(root.glob("train_eegs/*"), key=lambda p: int(p.stem)):
        table = pq.read_table(path, columns=COLUMNS)
        eeg = np.stack([column.to_numpy().astype(np.float32) for column in table.columns]).T[:10_000]
        spectrogram = pq.read_table(root / "train_spectrograms" / f"{int(path.stem) // 3}.parquet")
        power = np.stack([column.to_numpy().astype(np.float32) for column in spectrogram.columns[1:]]).T[:300]
        made.append((eeg, power))
    return made


class Fold:
    """A process with a fold's allocator that makes epochs of stored vectors into pictures when asked."""

    def __init__(self, vectors: Path) -> None:
        command = [sys.executable, __file__, "--fold", str(vectors)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=os.environ | ALLOCATOR, stdin=pipe, stdout=pipe, text=True)

    def seconds(self, what: str) -> float:
        """An image's CPU seconds, of "pictures", of "narrow" ones or, of memory that is only filled, "fill"."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate()

    @staticmethod
    def serve(vectors: Path) -> None:
        stored = np.load(vectors)
        batch, half = torch.from_numpy(stored[np.arange(BATCH) % len(stored)]), HMSImage().device_half()
        narrow = HMSImage().device_half()
        narrow.narrow = True
        ways = {
            "pictures": lambda: half(batch),
            "narrow": lambda: narrow(batch),
            "fill": lambda: torch.empty(BATCH, 1, 640, 1920).fill_(1),
        }
        for line in sys.stdin:
            way = ways[line.strip()]
            way()
            print(timed(lambda: [way() for _ in range(5)]) / (5 * BATCH), flush=True)  # noqa: B023 (called at once)


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(what: str, goal: int, rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> None:
    """Prints milliseconds an image of both, from the seconds that they return, and the ratio."""
    ours(), theirs()  # warms up
    seconds = [[ours(), theirs()] for _ in range(rounds)]
    mine, written_up = (1000 * median(column) for column in zip(*seconds, strict=True))
    print(
        f"{what}: ours {mine:.2f} ms an image, write-up {written_up:.0f} ms, "
        f"ratio {written_up / mine:.0f}x (goal {goal}x)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eegs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--fold", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n, rounds = arguments.eegs, arguments.rounds
    torch.set_num_threads(1)
    if arguments.fold:
        return Fold.serve(arguments.fold)
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), n_eegs=n, n_patients=n, n_test=0)
        raw = read(Path(folder))
    features = HMSImage()
    half = features.device_half()
    name, draw = drawing_routine()
    print(f"the write-up's lines are drawn by {name}; {n} simulated EEGs, {rounds} rounds")
    regions = [eeg_spectrogram_as_written_up(eeg) for eeg, _ in raw]
    blank = np.zeros(640 * 320, np.uint8)

    def lines(eeg: np.ndarray) -> np.ndarray:
        vector = np.concatenate([blank, features.packed(features.lines(eeg[CENTRAL]))])
        return half(torch.from_numpy(vector)[None])[0, 0, :, 320:].numpy()

    def picture(eeg: np.ndarray, power: np.ndarray) -> torch.Tensor:
        return half(torch.from_numpy(features.store({"eeg": eeg, "spectrogram": power}))[None])

    def their_picture(eeg: np.ndarray, power: np.ndarray) -> np.ndarray:
        return picture_as_written_up(eeg, power, eeg_spectrogram_as_written_up(eeg), draw)

    def all_of(way: Callable[..., object], *columns: list[np.ndarray]) -> Callable[[], float]:
        """CPU seconds an image over all EEGs."""
        return lambda: timed(lambda: [way(*one) for one in zip(*columns, strict=True)]) / n

    eegs, powers = [eeg for eeg, _ in raw], [power for _, power in raw]
    mine = np.stack([lines(eeg) for eeg in eegs]) > 0
    written_up = np.stack([traces_as_written_up(eeg, draw) for eeg in eegs]) > 0
    print(
        f"pixels of lines: ours {mine.mean():.1%}, write-up {written_up.mean():.1%} (two pixels thick), "
        f"{(mine & written_up).sum() / mine.sum():.1%} of ours are its too"
    )
    their_traces = all_of(lambda eeg: traces_as_written_up(eeg, draw), eegs)
    compare("traces", 12, rounds, all_of(lines, eegs), their_traces)
    compare("picture", 12, rounds, all_of(picture, eegs, powers), all_of(their_picture, eegs, powers))
    with tempfile.TemporaryDirectory() as folder:
        vectors = Path(folder) / "vectors.npy"
        np.save(vectors, np.stack([features.store({"eeg": e, "spectrogram": p}) for e, p in raw]))
        fold = Fold(vectors)
        theirs = all_of(
            lambda eeg, power, region: picture_as_written_up(eeg, power, region, draw), eegs, powers, regions
        )
        compare("epoch", 200, rounds, lambda: fold.seconds("pictures"), theirs)
        compare("epoch in bf16", 200, rounds, lambda: fold.seconds("narrow"), theirs)
        compare("filling memory alone", 200, rounds, lambda: fold.seconds("fill"), theirs)
        fold.end()


if __name__ == "__main__":
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if not one_thread.items() <= os.environ.items():  # numpy has read them by now: start again with them
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | one_thread)
    main()
