"""Batches of a store's rows: gathered from the store, or held on the device where all of them fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from bench.data.store import Store

RESIDENT_SHARE = 0.4  # of the device's free memory: the rest is the model's


@dataclass(frozen=True)
class Batch:
    """x (B, *stored shape) as stored; target (B, K) and weight (B,) float32; all on the device."""

    x: Tensor
    target: Tensor
    weight: Tensor | None


class Batches:
    """The rows of one side of a fold.

    rows (N,) are positions in the store; target (N, K) float32; weight (N,) float32 or None. On a CPU the batch is
    gathered from the store. On another device the rows are kept there when they take at most 40 % of its free
    memory, else gathered and copied through pinned memory while the device works. ``where`` says which.
    """

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        target: np.ndarray,
        weight: np.ndarray | None,
        device: torch.device,
        window: int | None = None,
    ) -> None:
        self.store, self.rows, self.device, self.window = store, rows, device, window
        self.target = torch.from_numpy(target).to(device)
        self.weight = None if weight is None else torch.from_numpy(weight).to(device)
        self.resident: Tensor | None = None
        size = store.nbytes * len(rows) // max(1, len(store))
        self.where = f"{len(rows)} rows ({size / 1e6:.0f} MB) gathered from the store"
        if device.type == "cuda" and window is None:
            free = torch.cuda.mem_get_info(device)[0]
            if size <= RESIDENT_SHARE * free:
                self.resident = torch.from_numpy(store.gather(rows)).to(device)
                self.where = f"{len(rows)} rows ({size / 1e6:.0f} MB) held on {device} ({free / 1e6:.0f} MB free)"

    def __len__(self) -> int:
        return len(self.rows)

    def shuffled(self, batch_size: int, seed: tuple[int, ...]) -> Iterator[Batch]:
        """Every row once, in an order that ``seed`` alone decides: a resumed epoch sees what it would have seen."""
        rng = np.random.default_rng(seed)
        return self._batches(rng.permutation(len(self)), batch_size, rng)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every row once, as the table has them; of examples of open length the middle window."""
        return self._batches(np.arange(len(self)), batch_size, None)

    def n_batches(self, batch_size: int) -> int:
        return len(cut(len(self), batch_size))

    def _batches(self, order: np.ndarray, batch_size: int, rng: np.random.Generator | None) -> Iterator[Batch]:
        for start, stop in cut(len(self), batch_size):
            yield self._take(order[start:stop], rng)

    def _take(self, chosen: np.ndarray, rng: np.random.Generator | None) -> Batch:
        index = torch.from_numpy(chosen).to(self.device)
        if self.resident is not None:
            x = self.resident.index_select(0, index)
        else:
            x = torch.from_numpy(self._gather(self.rows[chosen], rng))
            if self.device.type == "cuda":
                x = x.pin_memory().to(self.device, non_blocking=True)
        return Batch(x, self.target[index], None if self.weight is None else self.weight[index])

    def _gather(self, positions: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        if self.window is None:
            return self.store.gather(positions)
        spare = self.store.lengths[positions] - self.window  # below 0: the example is shorter than the window
        share = 0.5 if rng is None else rng.random(len(positions))
        starts = np.sign(spare) * np.floor(share * (np.abs(spare) + 1)).astype(np.int64)
        return self.store.windows(positions, starts, self.window)


def cut(n: int, size: int) -> list[tuple[int, int]]:
    """Ranges of ``size`` over n rows. A last batch of one row joins the one before: BatchNorm can't train on one."""
    edges = [*range(0, n, size), n]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return [(a, b) for a, b in pairwise(edges) if b > a]
