"""Kernels as features beside aeon's own classifiers: five folds out of fold, and their predictions of the test rows.

    pip install --target <folder> --no-deps aeon deprecated wrapt
    PYTHONPATH=<folder> python benchmarks/kernels.py [--root <ecg5000>] [--only hydra] [--rounds 3]

aeon (BSD-3) caps pandas and numba below the versions that bench is developed with, hence a folder beside. Its
classifiers (HydraClassifier, MultiRocketHydraClassifier, QUANTClassifier, their defaults, one thread) are fitted on
each fold's training rows and predict its validation rows and all test rows; ours are the same features as
``features=hydra``, ``multirocket_hydra`` (2,016 kernels in place of 6,216, and both) and ``quant``, computed once, and
five times the ridge of ``model=linear``. In one process in turn; the median of CPU seconds counts. Without ``--root``
the beats are simulated. Before that: what Hydra and QUANT make of a signal, ours beside aeon's with the same kernels.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from bench.data.splits import stratified
from bench.datasets.base import targets
from bench.datasets.heartbeat import Heartbeat
from bench.features.hydra import Hydra
from bench.features.multirocket_hydra import MultiRocketHydra
from bench.features.quant import Quant
from bench.models.linear import Linear
from bench.simulators.heartbeat import simulate
from bench.spec import InputSpec

SIGNAL = {"_target_": "bench.features.heartbeat_waveform.HeartbeatWaveform"}
Beats = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def beats(root: Path) -> Beats:
    """Training signals (N, 1, T), labels (N,), folds (N,) and test signals."""
    from bench.data.assignment import assign

    dataset = Heartbeat(root)
    table = dataset.table("train")
    x = np.stack([dataset.read("train", i) for i in range(len(table))])
    test = np.stack([dataset.read("test", i) for i in range(len(dataset.table("test")))])
    fold = assign(table, np.zeros((len(table), 16), np.uint8), stratified, strict=False).fold
    return x, targets(table).argmax(1), fold, test


def ours(features: Any, data: Beats) -> float:
    """Out-of-fold accuracy; the test rows are predicted, too."""
    x, label, fold, test = data
    numbers, of_test = (torch.from_numpy(np.stack([features.store(row) for row in rows])) for rows in (x, test))
    target = torch.nn.functional.one_hot(torch.from_numpy(label)).float()
    right = 0
    for k in range(int(fold.max()) + 1):
        trained = fold != k
        model = Linear(InputSpec(1, (numbers.shape[2],), tuple(map(str, range(target.shape[1])))))
        n = int(trained.sum())
        model.solve(numbers[trained], target[trained], torch.ones(n), torch.arange(n))
        with torch.inference_mode():
            right += int((model(numbers[~trained]).argmax(1).numpy() == label[~trained]).sum())
            model(of_test)
    return right / len(x)


def theirs(classifier: Callable[[], Any], data: Beats) -> float:
    x, label, fold, test = data
    right = 0
    for k in range(int(fold.max()) + 1):
        trained = fold != k
        fitted = classifier().fit(x[trained], label[trained])
        right += int((fitted.predict(x[~trained]) == label[~trained]).sum())
        fitted.predict(test)
    return right / len(x)


def differences(x: np.ndarray) -> None:
    """The largest difference from aeon's transforms, on some signals of mean 0 and deviation 1."""
    from aeon.transformations.collection.convolution_based._hydra import _HydraInternal
    from aeon.transformations.collection.interval_based import QUANTTransformer

    from bench.signal import hydra, quant

    z = ((x - x.mean(2, keepdims=True)) / x.std(2, keepdims=True)).astype(np.float32)
    length = z.shape[2]
    mine, their = hydra.Hydra(1, length, 64, 8, 0), _HydraInternal(length, 1)
    their.W = torch.from_numpy(mine.weights)[:, :, :, None]
    expected = their(torch.from_numpy(z)).clamp(0).sqrt().numpy()
    found = np.stack([mine(row) for row in z])
    print(f"Hydra: {found.shape[1]} numbers, largest difference from aeon's {np.abs(found - expected).max():.1e}")
    whole = quant.Quant(1, length, None, None)
    expected, found = QUANTTransformer().fit_transform(z), np.stack([whole(row) for row in z])
    spectral = sum(int(part[2].sum()) for part in whole._parts[:3])
    found[:, spectral:] *= length**0.5  # aeon's Fourier transform is not unitary
    print(f"QUANT: {found.shape[1]} numbers, largest difference from aeon's {np.abs(found - expected).max():.1e}")


def cpu_seconds(work: Callable[[], float]) -> tuple[float, float]:
    start = time.process_time()
    accuracy = work()
    return time.process_time() - start, accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="ECG5000, or another folder of heartbeats; simulated without")
    parser.add_argument("--only", help="one of hydra, multirocket_hydra and quant")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    try:
        from aeon.classification.convolution_based import HydraClassifier, MultiRocketHydraClassifier
        from aeon.classification.interval_based import QUANTClassifier
    except ImportError as error:
        raise SystemExit(f"{error}: this needs aeon; the file's first lines say how") from None
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.root is None:
            simulate(Path(folder), n_train=500, n_test=4500, length=140)
        data = beats(arguments.root or Path(folder))
    differences(data[0][:50])
    pairs: dict[str, tuple[Any, Callable[[], Any]]] = {
        "hydra": (Hydra(SIGNAL), lambda: HydraClassifier(random_state=0)),
        "multirocket_hydra": (MultiRocketHydra(SIGNAL), lambda: MultiRocketHydraClassifier(random_state=0)),
        "quant": (Quant(SIGNAL), lambda: QUANTClassifier(random_state=0)),
    }
    chosen = {name: pair for name, pair in pairs.items() if arguments.only in (None, name)}
    for name, (features, classifier) in chosen.items():
        some = np.random.default_rng(0).permutation(len(data[0]))[:60]
        few = (data[0][some], data[1][some], np.arange(60) % 2, data[3][:2])
        ours(features, few), theirs(classifier, few)  # both compile
        sides = (partial(ours, features, data), partial(theirs, classifier, data))
        rounds = [[cpu_seconds(side) for side in sides] for _ in range(arguments.rounds)]
        mine, their = (median(found[side][0] for found in rounds) for side in (0, 1))
        accuracy = [found[1] for found in rounds[0]]
        print(
            f"{name}: ours {mine:.1f} s, aeon {their:.1f} s of CPU, ratio {their / mine:.2f}x; out of fold "
            f"{100 * accuracy[0]:.1f} %, aeon {100 * accuracy[1]:.1f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
