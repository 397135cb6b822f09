"""One fold over several devices: torch's DistributedDataParallel, as near to one process as rounding lets it be.

Every rank prepares the whole batch (rows, order, augmentation: all from the epoch's seed) and sends a part of it
through the model. The answers of all ranks are put together before the loss is taken, so that any loss, weights and
mixed rows count as in one process; batch normalisation sees the whole batch too, unless it is not synchronised. The
first rank alone writes files, and its numbers decide where ranks must agree. Without ``join`` there is one rank, and
nothing here costs anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from bench.data.batches import Batch
from bench.training import batch_statistics
from bench.training.inference import autocast
from bench.training.step import Step
from bench.training.together import Chance

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others at most; torchrun ends all as soon as one has ended."""


def join(address: str, prefix: str, rank: int, world: int, device: torch.device, shared: bool = False) -> None:
    """Joins the ranks that meet at the store ``address`` (host:port) under ``prefix``; ``shared``: on one device."""
    host, _, port = address.rpartition(":")
    store = PrefixStore(prefix, TCPStore(host, int(port), is_master=False, timeout=PATIENCE))
    backend = "nccl" if device.type == "cuda" and not shared else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)


def leave() -> None:
    if several():
        dist.destroy_process_group()


def several() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if several() else 0


def world() -> int:
    return dist.get_world_size() if several() else 1


def leads() -> bool:
    """Whether this process writes files, and decides."""
    return rank() == 0


def first_says(value: T, device: torch.device) -> T:
    """The first rank's value, with every rank."""
    if not several():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=device)
    return box[0]


def wait() -> None:
    """Until all ranks are here."""
    if several():
        dist.barrier()


def part(n: int) -> slice:
    """This rank's rows among ``n``; all of them where there are fewer than ranks."""
    if n < world():
        return slice(0, n)
    return slice(n * rank() // world(), n * (rank() + 1) // world())


def gathered(mine: Tensor, n: int) -> Tensor:
    """(n, …) rows of all ranks from those of ``part(n)``; gradients flow to this rank's alone."""
    if n < world() or not several():
        return mine
    sizes = [n * (r + 1) // world() - n * r // world() for r in range(world())]
    padded = mine.new_zeros(max(sizes), *mine.shape[1:])
    padded[: len(mine)] = mine.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    rows = [rows[:size] for rows, size in zip(parts, sizes, strict=True)]
    rows[rank()] = mine
    return torch.cat(rows)


def same(module: nn.Module) -> None:
    """Gives a module the first rank's parameters and buffers."""
    if several():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


class SharedStep(Step):
    """A step of which this rank computes its part; loss and gradients are those of the whole batch on every rank.

    Dropout draws from a state of the rank's own, so that what all ranks draw alike stays alike.
    """

    def __init__(self, step: Step, device: torch.device, synced: bool) -> None:
        super().__init__(step.model, step.loss, step.precision, step.scaler, step.summed)
        devices = [device.index] if device.type == "cuda" else None
        self._shared = DistributedDataParallel(step.model, devices)
        self._layers = batch_statistics.along(step.model) if synced else []
        self._device = device
        self._seed, self._chance = -1, Chance(device)

    def __call__(self, batch: Batch, share: Tensor | None) -> Tensor:
        rows, divided = part(len(batch)), len(batch) >= world()
        with self._own_chance().drawn(), _synced(self._layers if divided else []):
            with autocast(batch.x.device, self.precision):
                answer = self._shared(batch.x[rows])
            loss = self.judge(gathered(answer.float(), len(batch)), batch, share)
            parts = world() if divided else 1  # DDP takes the mean over ranks; the sum of their parts is wanted
            self.scaled(loss * parts, batch).backward()
        return loss.detach()

    def _own_chance(self) -> Chance:
        """This rank's random state, begun anew with each epoch's seed: a resumed fold draws as it would have."""
        if self._seed != torch.initial_seed():
            self._seed = torch.initial_seed()
            with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
                torch.manual_seed((self._seed + 1 + rank()) % 2**63)
                self._chance = Chance(self._device)
        return self._chance


@contextmanager
def _synced(layers: list[_BatchNorm]) -> Iterator[None]:
    """Within the block these layers take their statistics over all ranks.

    torch's SyncBatchNorm is for GPUs alone, and changes the model's layers.
    """
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_patched(layer))
        yield


@contextmanager
def _patched(layer: _BatchNorm) -> Iterator[None]:
    layer.forward = lambda x: _normalised(layer, x)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del layer.forward


class _Sum(torch.autograd.Function):
    """A tensor's sum over all ranks, through which gradients flow; torch's own of this kind have moved twice."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        total = mine.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _normalised(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Batch normalisation of (B, C, …) by mean and variance over the batch's rows on all ranks."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    wide = x.float()
    counted = _Sum.apply(torch.cat([wide.sum(axes), wide.new_full((1,), x.numel() // x.shape[1])]))
    mean_c, n = counted[:-1] / counted[-1], counted[-1].detach()
    centred = wide - mean_c.view(shape)
    variance_c = _Sum.apply(centred.square().sum(axes)) / n
    if layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None:
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
            rate = layer.momentum if layer.momentum is not None else 1.0 / float(layer.num_batches_tracked)
            layer.running_mean.lerp_(mean_c.detach(), rate)
            layer.running_var.lerp_(variance_c.detach() * (n / (n - 1)), rate)
    answer = centred * (variance_c + layer.eps).rsqrt().view(shape)
    if layer.weight is not None:
        answer = answer * layer.weight.view(shape) + layer.bias.view(shape)
    normalised: Tensor = answer.to(x.dtype)
    return normalised
