"""What augmentation costs in a training step on a processor.

    python benchmarks/augment_cost.py

The same model on the same batch, with and without the parts of conf/augment that suit it, in turn, in one process and
one thread with the allocator that a fold's process has; the ratio is of the medians of CPU seconds a step (forward,
loss, backward, optimiser). Beside it what the parts take alone, which a noisy machine shows more truly. Bound: 1.15.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import yaml

from bench import build
from bench.allocator import ALLOCATOR
from bench.augment.base import Augmentation
from bench.data.batches import Batch
from bench.losses.kl import kl
from bench.models.cnn1d import CNN1D
from bench.models.resnet1d import ResNet1D
from bench.models.wavenet import WaveNet
from bench.paths import conf
from bench.spec import InputSpec

BOUND = 1.15


def parts(names: list[str]) -> list[Augmentation]:
    nodes = {name: yaml.safe_load((conf() / "augment" / f"{name}.yaml").read_text())[name] for name in names}
    return build.each(nodes, "augment")


def through(changes: list[Augmentation], batch: Batch) -> Batch:
    for change in changes:
        batch = change(batch, 0.0)
    return batch


def seconds(work: Callable[[], object], times: int) -> float:
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times


def compare(
    title: str, net: type[torch.nn.Module], spec: InputSpec, rows: int, names: list[str], times: int, repeats: int
) -> None:
    """``times`` steps of each way in turn, ``repeats`` times over."""
    torch.manual_seed(0)
    model, augment = net(spec).train(), parts(names)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    given = Batch(torch.randn(rows, *spec.shape), torch.rand(rows, spec.n_classes).softmax(1), None)

    def step(batch: Batch) -> None:
        loss = kl(model(batch.x), batch.target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "without": (lambda: step(given), times),
        "with": (lambda: step(through(augment, given)), times),
        "alone": (partial(through, augment, given), 20),
    }
    for way, _ in ways.values():
        way()
    taken: dict[str, list[float]] = {key: [] for key in ways}
    for _ in range(repeats):
        for key, (way, n) in ways.items():
            taken[key].append(seconds(way, n))
    without, with_them, alone = (statistics.median(taken[key]) * 1e3 for key in ways)
    print(
        f"{title}: {with_them:.1f} ms a step with {', '.join(names)}, {without:.1f} ms without: "
        f"ratio {with_them / without:.3f} (bound {BOUND}); the parts alone {alone:.2f} ms, {alone / without:.1%}"
    )
    for name in names:
        work = partial(through, parts([name]), given)
        cost = statistics.median(seconds(work, 20) for _ in range(5)) * 1e3
        print(f"    {name}: {cost:.2f} ms, {cost / without:.1%}")


def main() -> None:
    torch.set_num_threads(1)
    beat = InputSpec(1, (205,), tuple("abcd"))
    eeg = InputSpec(8, (2000,), tuple("abcdef"))
    sound = InputSpec(1, (32000,), tuple(map(str, range(41))))
    small = ["gaussian_noise", "time_shift", "gain", "mixup"]
    compare("resnet1d (32, 1, 205)", ResNet1D, beat, 32, small, 5, 15)
    compare("cnn1d (64, 1, 32000)", CNN1D, sound, 64, small, 1, 7)
    compare("wavenet (32, 8, 2000)", WaveNet, eeg, 32, ["channel_drop", "band_pass", *small], 1, 5)


if __name__ == "__main__":
    if not ALLOCATOR.items() <= os.environ.items():  # it has to be there before the process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    main()
