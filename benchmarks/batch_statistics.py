"""What weights of few steps are worth with running averages of batch statistics, and with measured ones.

    python benchmarks/batch_statistics.py [<ecg5000> [--seeds 5] [--write]]

Small draws of ECG5000's training rows (in the heartbeat competition's layout: train.csv, testA.csv, test_labels.csv;
without a folder simulated beats stand in) train every model that has batch normalisation by ``bench.training.loop``:
10 epochs of Adam at 0.001 in batches of 32, which of 20, 50 and 100 rows are 10, 20 and 40 steps; cross entropy. The
test rows' accuracy is that of the same weights, once with running averages and once measured over the training rows;
of ``rocket`` alone the weights differ, since measured numbers are what its one layer learns on. Mean and standard
deviation over seeds, each of which draws other rows and starts. The largest models are left out, and two are narrow.

The second table is ``train.min_steps``: models without batch normalisation, for 10 epochs and for 600 steps.
--write puts both into benchmarks/results/batch_statistics.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from bench.data.batches import Batches
from bench.data.joined import InMemory
from bench.datasets.heartbeat import Heartbeat
from bench.losses.ce import ce
from bench.metrics import ACCURACY, accuracy
from bench.models.rocket import Rocket
from bench.paths import conf
from bench.runs.run import Fold
from bench.simulators.heartbeat import simulate
from bench.spec import InputSpec
from bench.training import batch_statistics, inference, loop, schedules
from bench.training import parts as builder
from bench.training.seeds import epoch_seed

ROWS = (20, 50, 100)
EPOCHS, BATCH, TEST = 10, 32, 500
CPU = torch.device("cpu")
MODELS = (
    "heartbeat_net1", "heartbeat_net2", "heartbeat_net3", "heartbeat_net4", "resnet1d", "inceptiontime", "rocket",
    "squeezeformer1d", "cnn2d", "panns", "timm_backbone",
)  # fmt: skip
"""heartbeat_net5, efficientnetv2 and tinyvit are left out: they take minutes a training on a processor."""
NARROW: dict[str, dict[str, Any]] = {
    "panns": {"filters": [16, 32, 64, 128]},
    "timm_backbone": {"name": "test_resnet"},
}
PLAIN = ("mlp", "cnn1d")
PICTURE = {"hop": 4, "n_fft": 62}
"""heartbeat_spectrogram's, for beats of 140 samples."""


@dataclass(frozen=True)
class Data:
    """Stored examples (N, *shape), targets (N, K) and what a model is built from."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    spec: InputSpec
    device_half: nn.Module


def data(root: Path, kind: str) -> Data:
    """The beats of a folder as the features of ``kind`` (sequence or image) store them, with TEST of the test rows."""
    dataset = Heartbeat(root)
    name = "heartbeat_spectrogram" if kind == "image" else Heartbeat.features["sequence"]
    options = PICTURE if kind == "image" else {}
    features = builder.features({**node("features", name), **options})
    shape: Any = features.stored_shape(dataset)

    def stored(part: Any, rows: np.ndarray) -> np.ndarray:
        raw = (features.store(dataset.read(part, int(row))) for row in rows)
        return np.stack([np.asarray(x, np.float32).reshape(shape) for x in raw])

    label = dataset.table("train").filter(like="target_").to_numpy(np.float32)
    answers = pd.read_csv(root / "test_labels.csv")["label"].to_numpy().astype(int)
    chosen = np.random.default_rng(0).permutation(len(answers))[:TEST]
    return Data(
        stored("train", np.arange(len(label))),
        label,
        stored("test", chosen),
        np.eye(label.shape[1], dtype=np.float32)[answers[chosen]],
        features.spec(dataset),
        features.device_half(),
    )


def node(group: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((conf() / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def trained(
    name: str, beats: Data, rows: int, seed: int, epochs: int, stats: Any = "running"
) -> tuple[loop.Parts, Batches, loop.Settings]:
    """A model after its last epoch on ``rows`` random rows."""
    torch.manual_seed(epoch_seed(seed, rows))
    model = builder.model({**node("model", name), **NARROW.get(name, {})}, beats.spec)
    if isinstance(model, Rocket) and stats == "running":
        model.norm = nn.BatchNorm1d(model.norm.num_features, affine=False)  # type: ignore[assignment]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    made = loop.Parts(model, beats.device_half, ce, optimizer, schedules.constant, ACCURACY)
    chosen = np.random.default_rng(seed).permutation(len(beats.train_x))[:rows]
    train = Batches(InMemory(beats.train_x[chosen]), np.arange(rows), beats.train_y[chosen], None, CPU)
    settings = loop.Settings(epochs=epochs, batch_size=BATCH, eval_batch_size=64, seed=seed, batch_stats=stats)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "fold").mkdir()
        loop.fit(made, train, train, settings, Fold(Path(folder) / "fold", 0), lambda event: None)
    return made, train, settings


def score(made: loop.Parts, beats: Data) -> float:
    """Percent of the test rows."""
    rows = Batches(InMemory(beats.test_x), np.arange(len(beats.test_x)), beats.test_y, None, CPU)
    answer = inference.probabilities(inference.logits(made.model, made.device_half, rows, 64, "float32"))
    return 100 * accuracy(beats.test_y, answer)


def both(name: str, beats: Data, rows: int, seed: int) -> tuple[float, float]:
    """Test accuracy with running averages, and measured."""
    made, train, _ = trained(name, beats, rows, seed, EPOCHS)
    running = score(made, beats)
    if name == "rocket":
        made, _, _ = trained(name, beats, rows, seed, EPOCHS, "exact")
    else:
        layers = batch_statistics.along(made.model)
        batch_statistics.measure(made.model, layers, made.device_half, train, 64, "float32", (seed,))
    return running, score(made, beats)


def longer(name: str, beats: Data, rows: int, seed: int) -> tuple[float, float]:
    """Test accuracy after 10 epochs, and after 600 steps."""
    steps = -(-rows // BATCH)
    return tuple(score(trained(name, beats, rows, seed, epochs)[0], beats) for epochs in (10, -(-600 // steps)))  # type: ignore[return-value]


def cell(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", nargs="?", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        where = given.root or simulated(Path(folder))
        kinds = {kind: data(where, kind) for kind in ("sequence", "image")}
    what = "SIMULATED beats" if given.root is None else "ECG5000"
    lines = [f"# Batch statistics of few steps ({what}, test accuracy in percent, {given.seeds} seeds)", ""]
    sizes = [f"{rows} rows, {way}" for rows in ROWS for way in ("running", "exact")]
    lines += [f"| model | {' | '.join(sizes)} |", "| --- |" + " --- |" * len(sizes)]
    began = time.perf_counter()
    for name in MODELS:
        lines.append(row(name, both, kinds, given.seeds))
        print(lines[-1], f"{time.perf_counter() - began:.0f} s", flush=True)
    sizes = [f"{rows} rows, {way}" for rows in ROWS for way in ("10 epochs", "600 steps")]
    lines += ["", f"| model | {' | '.join(sizes)} |", "| --- |" + " --- |" * len(sizes)]
    lines += [row(name, longer, kinds, given.seeds) for name in PLAIN]
    common = kinds["sequence"].test_y.mean(0).max()
    narrow = ", ".join(f"`{name}` has {', '.join(f'{k}={v}' for k, v in own.items())}" for name, own in NARROW.items())
    lines += [
        "",
        f"Mean ± standard deviation over seeds, {TEST} test rows; always the commonest class: {100 * common:.1f}.",
    ]
    lines += [f"{narrow}; `heartbeat_net5`, `efficientnetv2` and `tinyvit` are left out. Made by"]
    lines += ["`python benchmarks/batch_statistics.py <ecg5000> --seeds 5 --write`."]
    print("\n".join(lines))
    if given.write:
        path = Path(__file__).parent / "results" / "batch_statistics.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def row(name: str, compare: Any, kinds: dict[str, Data], seeds: int) -> str:
    takes = builder.model_class(node("model", name)).takes
    cells = []
    for rows in ROWS:
        pairs = [compare(name, kinds[takes], rows, seed) for seed in range(seeds)]
        cells += [cell(list(values)) for values in zip(*pairs, strict=True)]
    return f"| `{name}` | {' | '.join(cells)} |"


def simulated(folder: Path) -> Path:
    simulate(folder, n_train=500, n_test=1200, length=140, seed=0)
    test = Heartbeat(folder).table("test")
    other = folder / "other"
    other.mkdir()
    simulate(other, n_train=len(test), n_test=1, length=140, seed=1)  # the simulator's own test rows have no labels
    beats = pd.read_csv(other / "train.csv")
    beats.drop(columns="label").to_csv(folder / "testA.csv", index=False)
    beats[["id", "label"]].to_csv(folder / "test_labels.csv", index=False)
    return folder


if __name__ == "__main__":
    main()
