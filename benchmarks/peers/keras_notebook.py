"""(a) The write-ups' Keras notebooks: HMS's "WaveNet Starter", Freesound's "Beginner's Guide to Audio Data".

HMS: a generator takes the differences and filters them for every batch, as the notebook has it; the network is called
on the eight signals one after another. Freesound: MFCC once of one window of each sound; the notebook standardises by
all rows, here by the training side as the others do. Nothing is compiled by XLA, which Keras 3 would do and the
notebooks' Keras did not: on a processor it takes eight times as long.

    python -m benchmarks.peers.keras_notebook <job> <raw files> <folder to write to>
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers
from scipy.signal import butter, lfilter

from benchmarks.peers import files
from benchmarks.peers.files import FEATS, PAIRS, Data
from benchmarks.peers.jobs import EVAL_BATCH, FOLDS, Job
from benchmarks.peers.leaving import asked, leave


def wave_block(x: Any, filters: int, kernel_size: int, n: int) -> Any:
    x = layers.Conv1D(filters, 1, padding="same")(x)
    res_x = x
    for rate in [2**i for i in range(n)]:
        tanh, sigmoid = (
            layers.Conv1D(filters, kernel_size, padding="same", activation=name, dilation_rate=rate)(x)
            for name in ("tanh", "sigmoid")
        )
        x = layers.Conv1D(filters, 1, padding="same")(layers.Multiply()([tanh, sigmoid]))
        res_x = layers.Add()([res_x, x])
    return res_x


def wavenet(classes: int) -> keras.Model:
    inp = keras.Input((2_000, 8))
    one = keras.Input((2_000, 1))
    x = one
    for filters, n in ((8, 12), (16, 8), (32, 4), (64, 1)):
        x = wave_block(x, filters, 3, n)
    extractor = keras.Model(one, x)
    chains = []
    for c in range(0, 8, 2):
        both = [layers.GlobalAveragePooling1D()(extractor(inp[:, :, i : i + 1])) for i in (c, c + 1)]
        chains.append(layers.Average()(both))
    y = layers.Dense(64, activation="relu")(layers.Concatenate()(chains))
    return keras.Model(inp, layers.Dense(classes, activation="softmax", dtype="float32")(y))


def cnn2d(classes: int) -> keras.Model:
    inp = keras.Input((40, 173, 1))
    x = inp
    for _ in range(4):
        x = layers.Convolution2D(32, (4, 10), padding="same")(x)
        x = layers.MaxPool2D()(layers.Activation("relu")(layers.BatchNormalization()(x)))
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Dense(64)(layers.Flatten()(x))))
    return keras.Model(inp, layers.Dense(classes, activation="softmax")(x))


class EEGs(keras.utils.Sequence):
    """Batches of (B, 2000, 8), filtered anew each time."""

    def __init__(self, eegs: list[np.ndarray], target: np.ndarray | None, batch_size: int, shuffle: bool) -> None:
        super().__init__()
        self.eegs, self.target, self.batch_size, self.shuffle = eegs, target, batch_size, shuffle
        self.filter = butter(4, 20 / 100, btype="low")
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self.eegs) / self.batch_size)

    def on_epoch_end(self) -> None:
        self.rows = np.arange(len(self.eegs))
        if self.shuffle:
            np.random.shuffle(self.rows)  # noqa: NPY002  as the notebook has it

    def __getitem__(self, index: int) -> Any:
        rows = self.rows[index * self.batch_size : (index + 1) * self.batch_size]
        x = np.zeros((len(rows), 10_000, 8), np.float32)
        sample = np.zeros((10_000, 8))
        for j, i in enumerate(rows):
            for c, (a, b) in enumerate(PAIRS):
                sample[:, c] = self.eegs[i][:, FEATS.index(a)] - self.eegs[i][:, FEATS.index(b)]
            x[j] = lfilter(*self.filter, np.nan_to_num(np.clip(sample, -1024, 1024)) / 32, axis=0)
        return x[:, ::5], np.zeros(len(rows)) if self.target is None else self.target[rows]


Fold = tuple[Any, Any, Any]
"""The training batches or arrays, the validation side's inputs and the test rows'."""


def hms(job: Job, data: Data) -> Callable[[int], Fold]:
    def fold(k: int) -> Fold:
        train, valid = np.flatnonzero(data.fold != k), np.flatnonzero(data.fold == k)
        batches = EEGs([data.x[i] for i in train], data.target[train], job.batch_size, shuffle=True)
        return (
            batches,
            EEGs([data.x[i] for i in valid], data.target[valid], EVAL_BATCH, False),
            EEGs(data.x_test, None, EVAL_BATCH, False),
        )

    return fold


def freesound(job: Job, data: Data, seed: int) -> Callable[[int], Fold]:
    rng = np.random.default_rng(seed)
    x = np.stack([files.mfcc(files.window(sound, rng)) for sound in data.x])[..., None]
    x_test = np.zeros((0, 40, 173, 1), np.float32)

    def fold(k: int) -> Fold:
        train, valid = data.fold != k, data.fold == k
        mean, std = x[train].mean((0, 2), keepdims=True), x[train].std((0, 2), keepdims=True)
        return ((x[train] - mean) / std, data.target[train]), ((x[valid] - mean) / std, data.target[valid]), x_test

    return fold


def eegs(root: Any) -> Data:
    """The recordings as they are, gaps filled: they are filtered in batches."""
    import pandas as pd

    train, target, votes, fold = files.hms_table(root, FOLDS)
    test = pd.read_csv(root / "test.csv")["eeg_id"].to_numpy()
    x = [files.electrodes(root / "train_eegs" / f"{i}.parquet") for i in train.index]
    x_test = [files.electrodes(root / "test_eegs" / f"{i}.parquet") for i in test]
    classes = [name.removesuffix("_vote") for name in votes]
    return Data(train.index.to_numpy(), x, target, fold, classes, test, x_test)


def main() -> None:
    job, root, out, seed = asked()
    data = eegs(root) if job.files == "hms" else files.read(job.files, root, FOLDS)
    sides = hms(job, data) if job.files == "hms" else freesound(job, data, seed)
    oof = np.zeros(data.target.shape, np.float32)
    test = np.zeros((len(data.test_ids), len(data.classes)), np.float32)
    for k in range(FOLDS):
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed + k)
        model = {"wavenet": wavenet, "cnn2d": cnn2d}[job.network](len(data.classes))
        loss = keras.losses.KLDivergence() if job.loss == "kl" else keras.losses.CategoricalCrossentropy()
        model.compile(loss=loss, optimizer=keras.optimizers.Adam(job.lr, epsilon=job.eps), jit_compile=False)
        train, valid, tested = sides(k)
        x, y = (train, None) if job.files == "hms" else train
        sizes = {} if job.files == "hms" else {"batch_size": job.batch_size}
        model.fit(x, y, validation_data=valid, epochs=job.epochs, verbose=0, **sizes)
        model.save_weights(out / f"fold{k}.weights.h5")
        oof[data.fold == k] = model.predict(
            valid if job.files == "hms" else valid[0], batch_size=None if job.files == "hms" else EVAL_BATCH, verbose=0
        )
        if len(test):
            test += model.predict(tested, verbose=0) / FOLDS
        size = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        del model
        gc.collect()
    leave(out, data, oof, test, size)


if __name__ == "__main__":
    main()
