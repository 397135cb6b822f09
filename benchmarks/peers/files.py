"""Raw files → arrays, as the peers' users write it: pandas, scipy and librosa, everything in memory.

Each recording is read and filtered once for all folds, and by ``processes`` processes where a tool asks for them.
Shape suffixes: n rows, t samples, k classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RATE, SECONDS, N_MFCC = 44_100, 2, 40
FEATS = ["Fp1", "T3", "C3", "O1", "Fp2", "C4", "T4", "O2"]
PAIRS = [
    ("Fp1", "T3"),
    ("T3", "O1"),
    ("Fp1", "C3"),
    ("C3", "O1"),
    ("Fp2", "C4"),
    ("C4", "O2"),
    ("Fp2", "T4"),
    ("T4", "O2"),
]


@dataclass
class Data:
    """``x`` and ``x_test``: (N, C, T) float32, or lists of (T,) sounds; ``target`` (N, K); ``fold`` (N,)."""

    ids: np.ndarray
    x: Any
    target: np.ndarray
    fold: np.ndarray
    classes: list[str]
    test_ids: np.ndarray
    x_test: Any

    @property
    def label(self) -> np.ndarray:
        values: np.ndarray = self.target.argmax(1)
        return values


def read(files: str, root: Path, n_folds: int, processes: int = 1) -> Data:
    readers: dict[str, Callable[[Path, int, int], Data]] = {
        "heartbeat": heartbeat, "hms": hms, "freesound": freesound
    }  # fmt: skip
    return readers[files](root, n_folds, processes)


def heartbeat(root: Path, n_folds: int, processes: int) -> Data:
    from sklearn.model_selection import StratifiedKFold

    train, test = pd.read_csv(root / "train.csv"), pd.read_csv(root / "testA.csv")
    classes, label = np.unique(train["label"], return_inverse=True)
    splits = StratifiedKFold(n_folds, shuffle=True, random_state=0).split(label, label)
    return Data(
        train["id"].to_numpy(),
        signals(train),
        np.eye(len(classes), dtype=np.float32)[label],
        folds(splits, len(train)),
        [f"{c:g}" for c in classes],
        test["id"].to_numpy(),
        signals(test),
    )


def signals(frame: pd.DataFrame) -> np.ndarray:
    """(N, 1, T) from a column of numbers in text."""
    values = np.loadtxt(frame["heartbeat_signals"], delimiter=",", dtype=np.float32, ndmin=2)
    return values[:, None]


def hms(root: Path, n_folds: int, processes: int) -> Data:
    train, target, votes, fold = hms_table(root, n_folds)
    test = pd.read_csv(root / "test.csv")["eeg_id"].to_numpy()
    parts = [("train_eegs", train.index.to_numpy()), ("test_eegs", test)]
    paths = [root / folder / f"{i}.parquet" for folder, ids in parts for i in ids]
    x = np.stack(mapped(eeg, paths, processes))
    classes = [name.removesuffix("_vote") for name in votes]
    return Data(train.index.to_numpy(), x[: len(train)], target, fold, classes, test, x[len(train) :])


def hms_table(root: Path, n_folds: int) -> tuple[pd.DataFrame, np.ndarray, list[str], np.ndarray]:
    """A row an EEG, its shares of the votes (N, K) float32, the vote columns, and the folds by patient."""
    from sklearn.model_selection import GroupKFold

    frame = pd.read_csv(root / "train.csv")
    votes = [c for c in frame.columns if c.endswith("_vote")]
    train = frame.groupby("eeg_id").agg({"patient_id": "first"} | dict.fromkeys(votes, "sum"))
    target = train[votes].to_numpy(np.float64)
    target = (target / target.sum(1, keepdims=True)).astype(np.float32)
    splits = GroupKFold(n_folds).split(target, target, train["patient_id"])
    return train, target, votes, folds(splits, len(train))


def electrodes(path: Path) -> np.ndarray:
    """(10000, 8) µV around the middle of a recording, gaps filled with the electrode's mean."""
    eeg = pd.read_parquet(path, columns=FEATS)
    start = (len(eeg) - 10_000) // 2
    x = eeg.iloc[start : start + 10_000].to_numpy(np.float32)
    empty = np.isnan(x).all(0)
    mean = np.zeros(len(FEATS), np.float32)
    mean[~empty] = np.nanmean(x[:, ~empty], axis=0)
    return np.where(np.isnan(x), mean, x)


def eeg(path: Path) -> np.ndarray:
    """(8, 2000) float32: differences, clipped, low-passed, every fifth sample."""
    from scipy.signal import butter, lfilter

    data = electrodes(path)
    x = np.stack([data[:, FEATS.index(a)] - data[:, FEATS.index(b)] for a, b in PAIRS])
    b, a = butter(4, 20, fs=200)
    return np.asarray(lfilter(b, a, np.clip(x, -1024, 1024) / 32)[:, ::5], np.float32)


def freesound(root: Path, n_folds: int, processes: int) -> Data:
    train = pd.read_csv(root / "train.csv")
    classes, label = np.unique(train["label"], return_inverse=True)
    test = sorted(path.name for path in (root / "audio_test").glob("*.*"))
    paths = [root / "audio_train" / name for name in train["fname"]] + [root / "audio_test" / name for name in test]
    x = mapped(sound, paths, processes)
    target = np.eye(len(classes), dtype=np.float32)[label]
    ids = train["fname"].to_numpy()
    return Data(ids, x[: len(train)], target, train["fold"].to_numpy(), list(classes), np.array(test), x[len(train) :])


def sound(path: Path) -> np.ndarray:
    """(T,) float32 at 44.1 kHz."""
    import librosa

    return np.asarray(librosa.load(path, sr=RATE)[0])


def window(y: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """Two seconds of a sound, zeros around a shorter one: at a random place, without ``rng`` in the middle."""
    size = RATE * SECONDS
    spare = abs(len(y) - size)
    offset = spare // 2 if rng is None else int(rng.integers(spare + 1))
    return y[offset : offset + size] if len(y) >= size else np.pad(y, (offset, spare - offset))


def mfcc(y: np.ndarray) -> np.ndarray:
    """(40, 173) float32 of two seconds."""
    import librosa

    return np.asarray(librosa.feature.mfcc(y=y, sr=RATE, n_mfcc=N_MFCC), np.float32)


def mapped(function: Callable[[Path], np.ndarray], paths: list[Path], processes: int) -> list[np.ndarray]:
    if processes == 1:
        return [function(path) for path in paths]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(function, paths, chunksize=8))


def folds(splits: Iterable[tuple[np.ndarray, np.ndarray]], n: int) -> np.ndarray:
    fold = np.zeros(n, int)
    for k, (_, valid) in enumerate(splits):
        fold[valid] = k
    return fold
