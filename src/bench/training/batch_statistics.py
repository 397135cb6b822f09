"""Batch normalisation's statistics, measured over the training side with the weights as they are.

Running averages forget the network's first weights over some hundreds of steps. Where a fold takes fewer, or where the
weights are an average themselves, they do not fit the weights, and what has been learned predicts far below its worth.
Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021 (arXiv 2105.07576), its precise statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.augment.base import prepared
from bench.data.batches import Batches
from bench.training.inference import autocast

ROWS = 2048
"""The most rows measured at a time; on large data this adds a few percent to an epoch."""


def once(model: nn.Module) -> list[_BatchNorm]:
    """Layers that are measured before training, and never again: ``models.parts.Standardised``."""
    return [layer for layer in model.modules() if getattr(layer, "measured_once", False)]  # type: ignore[misc]


def along(model: nn.Module) -> list[_BatchNorm]:
    """Layers that measure while the model trains, which frozen ones do not. Leaves the model in its mode."""
    was_training = model.training
    model.train()
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.training]
    model.train(was_training)
    return [layer for layer in layers if layer.running_mean is not None]


def measure(
    model: nn.Module,
    layers: list[_BatchNorm],
    device_half: nn.Module,
    rows: Batches,
    size: int,
    precision: str,
    seed: tuple[int, ...],
    at_most: int | None = ROWS,
) -> None:
    """Sets the layers' statistics to those of the rows as an epoch of training draws them, without augmentation.

    One row of each example, classes balanced where they are in training, rows that were added among them, the windows
    of examples of open length drawn: ``seed`` alone decides the draw and its order. Of more than ``at_most`` rows some
    are drawn. ``size`` is the most rows that the device takes at once.
    """
    if not layers:
        return
    drawn = len(rows.shuffled(size, seed).order)
    n_rows = drawn if at_most is None else min(drawn, at_most)
    n_batches = -(-n_rows // size)
    epoch = rows.shuffled(-(-n_rows // n_batches), seed)
    was_training = device_half.training
    device_half.eval()
    with measuring(model, layers):
        for batch in islice(epoch, n_batches):
            batch = prepared(batch, device_half, (), progress=0.0)
            with autocast(rows.device, precision):
                model(batch.x)
    device_half.train(was_training)


@contextmanager
def measuring(model: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """What goes through the model within the block is what the layers' statistics are of, when it ends.

    The layers normalise each batch by itself, as in training; everything else is in evaluation mode, so that what they
    see is what they will see in predicting: nothing is dropped. Batches of several sizes count by their size.
    """
    was_training = model.training
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(_uncompiled(model))
        model.eval()
        pools = [stack.enter_context(_pooling(layer)) for layer in layers]
        yield
        for pool in pools:
            if pool.n:
                pool.write()
    model.train(was_training)


@dataclass
class _Pool:
    """Mean and variance of all values of a layer's channels so far, from those of each batch (Chan et al. 1979)."""

    layer: _BatchNorm
    n: int = 0
    mean_c: Tensor | float = 0.0
    squares_c: Tensor | float = 0.0

    def add(self, layer: nn.Module, inputs: Any, answer: Tensor) -> None:
        """A forward hook: with a momentum of 1 the layer holds its batch's own mean and unbiased variance."""
        n = answer.numel() // answer.shape[1]
        mean_c, variance_c = _held(self.layer)
        total, moved_c = self.n + n, mean_c.double() - self.mean_c
        within_c = variance_c.double() * (n - 1)
        _forget(self.layer)
        self.squares_c = self.squares_c + within_c + moved_c.square() * (self.n * n / total)
        self.mean_c = self.mean_c + moved_c * (n / total)
        self.n = total

    def write(self) -> None:
        """Puts the statistics into the layer."""
        mean_c, variance_c = _held(self.layer)
        mean_c.copy_(torch.as_tensor(self.mean_c))
        variance_c.copy_(torch.as_tensor(self.squares_c) / (self.n - 1))


@contextmanager
def _pooling(layer: _BatchNorm) -> Iterator[_Pool]:
    """A pool that gathers what the layer sees. Beside the statistics the layer stays as it was."""
    pool, momentum = _Pool(layer), layer.momentum
    before = {name: value.clone() for name, value in layer.named_buffers()}
    hook = layer.register_forward_hook(pool.add)
    layer.training, layer.momentum = True, 1.0
    _forget(layer)
    try:
        yield pool
    finally:
        hook.remove()
        layer.training, layer.momentum = False, momentum
        for name, value in layer.named_buffers():
            if pool.n == 0 or not name.startswith("running_"):  # what nothing went through keeps what it had
                value.copy_(before[name])


def _forget(layer: _BatchNorm) -> None:
    """A number that was not finite would stay for ever: 0 × it is not 0."""
    for statistic_c in _held(layer):
        statistic_c.zero_()


def _held(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) each, which a layer that is measured has."""
    mean_c, variance_c = layer.running_mean, layer.running_var
    assert mean_c is not None
    assert variance_c is not None
    return mean_c, variance_c


def _uncompiled(model: nn.Module) -> Any:
    """A compiled model knows nothing of the hooks; asking torch for that loads its compiler, so only where need be."""
    compiled = getattr(model, "_compiled_call_impl", None) is not None
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
