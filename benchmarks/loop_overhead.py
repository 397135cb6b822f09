"""What the training loop costs over a bare PyTorch loop on the same model and batches.

    python benchmarks/loop_overhead.py

Bare: gather, forward, loss, backward, step; no seeds, schedule, records, NaN guard or reports. Ours is the epoch of
``bench.training.loop``. Both go over the same batches in turn, in one process and one thread; the ratio is of the
medians of user CPU seconds an epoch. "tensors" is the same bare loop over batches that lie ready in memory.
Bounds: 1.05 on WaveNet, 1.25 on a tiny MLP.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench.atomic import write_json
from bench.data.batches import Batch, Batches
from bench.data.store import Store
from bench.features.device.cast import ToFloat32
from bench.losses.kl import kl
from bench.metrics import KL
from bench.models.mlp import MLP
from bench.models.wavenet import WaveNet
from bench.runs.run import Fold
from bench.spec import InputSpec
from bench.training import loop, schedules


def batches(folder: Path, spec: InputSpec, rows: int) -> Batches:
    """Random float16 examples of the spec's shape in a store."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rng.normal(size=(rows, *spec.shape)).astype(np.float16).tofile(folder / "data.bin")
    write_json(folder / "manifest.json", {"rows": rows, "shape": spec.shape, "dtype": "float16", "digest": ""})
    target = rng.dirichlet(np.ones(spec.n_classes), rows).astype(np.float32)
    return Batches(Store(folder), np.arange(rows), target, None, torch.device("cpu"))


def bare(model: nn.Module, optimizer: torch.optim.Optimizer, epoch: Iterable[Batch]) -> None:
    model.train()
    for batch in epoch:
        loss = kl(model(batch.x.float()), batch.target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def user_seconds(work: Callable[[], object]) -> float:
    before = os.times()
    work()
    return os.times().user - before.user


def compare(name: str, model: nn.Module, train: Batches, batch_size: int, repeats: int, bound: float) -> None:
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    parts = loop.Parts(model, ToFloat32(), kl, optimizer, schedules.constant, KL)
    settings = loop.Settings(epochs=1, batch_size=batch_size, eval_batch_size=64, seed=0)
    ready = list(train.in_order(batch_size))
    fold = Fold(Path("unused"), 0)
    rates, off = [lambda at: 1e-3], torch.amp.GradScaler("cpu", enabled=False)
    ways = {
        "ours": lambda: loop._train_epoch(parts, train, settings, fold, 0, rates, None, lambda event: None, off),
        "bare": lambda: bare(model, optimizer, train.shuffled(batch_size, (0, 0, 0))),
        "tensors": lambda: bare(model, optimizer, ready),
    }
    for work in ways.values():
        work()
    times: dict[str, list[float]] = {key: [] for key in ways}
    for _ in range(repeats):
        for key, work in ways.items():
            times[key].append(user_seconds(work))
    ours, plain, tensors = (statistics.median(times[key]) / len(ready) * 1e3 for key in ways)
    print(
        f"{name}: {ours:.3f} ms a step, bare {plain:.3f} ms: ratio {ours / plain:.3f} (bound {bound}); "
        f"over ready tensors {tensors:.3f} ms: ratio {ours / tensors:.3f}"
    )


def main() -> None:
    torch.set_num_threads(1)
    beat = InputSpec(1, (205,), tuple("abcd"))
    eeg = InputSpec(8, (2000,), tuple("abcdef"))
    with tempfile.TemporaryDirectory() as folder:
        compare("tiny MLP", MLP(beat), batches(Path(folder) / "beat", beat, 6400), 32, 15, 1.25)
        compare("WaveNet", WaveNet(eeg), batches(Path(folder) / "eeg", eeg, 8), 4, 7, 1.05)


if __name__ == "__main__":
    main()
