"""Batches of a source's rows: gathered from it, or held on the device where all of them fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.spec import UserError

RESIDENT_SHARE = 0.4  # of the device's free memory: the rest is the model's
WIDE = 1 << 18  # bytes of a float16 example from which on a processor casts it while it is at hand


@dataclass(frozen=True)
class Batch:
    """x (B, *stored shape) as stored (wide float16 rows on a CPU: as float32); target, weight: float32."""

    x: Tensor
    target: Tensor
    weight: Tensor | None


class Source(Protocol):
    """Rows that batches are gathered from: a store, an array in memory, several of them end to end."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[Any, ...]:
        """An example's shape; its last entry is None where each example has a length of its own (``open``)."""

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def open(self) -> bool: ...

    @property
    def nbytes(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """(rows,) int64: each example's own length, where it is open."""

    def gather(self, positions: np.ndarray) -> np.ndarray:
        """Copies the examples at ``positions`` (B,) → (B, *shape)."""

    def gather_one(self, position: int, into: np.ndarray) -> None:
        """Copies one example into a contiguous array of its shape and type."""

    def windows(self, positions: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
        """(B, *leading, size): of each example of open length its samples from ``starts`` on, zeros outside of it."""


class Batches:
    """The rows of one side of a fold.

    rows (N,) are positions in the source; target (N, K) float32; weight (N,) float32 or None. Rows of one ``example``
    (N,) take turns in training: each epoch draws one of them. Rows whose weight is 0 are not drawn. On a CPU the
    batch is gathered from the source. On another device the rows are kept there when they take at most 40 % of its
    free memory, else gathered and copied through pinned memory while the device works. ``where`` says which.

    ``balanced``: an epoch has as many examples as without, but as many of each class (a row's largest target), to one,
    and so has every batch. A class with fewer examples than that repeats all of them equally often, to one; of a class
    with more some are drawn.
    """

    def __init__(
        self,
        store: Source,
        rows: np.ndarray,
        target: np.ndarray,
        weight: np.ndarray | None,
        device: torch.device,
        window: int | None = None,
        example: np.ndarray | None = None,
        balanced: bool = False,
    ) -> None:
        self.store, self.rows, self.device, self.window = store, rows, device, window
        self.example = np.arange(len(rows)) if example is None else example
        self._class = target.argmax(1) if balanced else None
        self.target = torch.from_numpy(target).to(device)
        self.set_weight(weight)
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

    def set_weight(self, weight: np.ndarray | None) -> None:
        """Gives every row (N,) another weight, and draws no longer, or again, those whose weight is, or was, 0.

        ``mean_weight`` is that of the rows that may be drawn; once a balanced epoch has begun, of those that are.
        """
        self._weight = weight
        self.weight = None if weight is None else torch.from_numpy(weight).to(self.device)
        drawn = np.arange(len(self)) if weight is None else np.flatnonzero(weight > 0)
        self.mean_weight = 1.0 if weight is None or not len(drawn) else float(weight[drawn].mean())
        self._by_example, self._first, self._count = self._turns(drawn)
        if self._class is not None:
            of = self._class[drawn]
            self._by_class = [self._turns(drawn[of == k]) for k in np.unique(of)]

    def _turns(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows sorted by example, where in them each example begins, and how many rows it has."""
        by_example = rows[np.argsort(self.example[rows], kind="stable")]
        _, first, count = np.unique(self.example[by_example], return_index=True, return_counts=True)
        return by_example, first, count

    def shuffled(self, batch_size: int, seed: tuple[int, ...]) -> Iterator[Batch]:
        """A row of every example, in an order that ``seed`` alone decides: a resumed epoch sees the same again."""
        if not len(self._first):
            raise UserError("every training row has weight 0; choose other row_weights or another dataset weight")
        rng = np.random.default_rng(seed)
        if self._class is not None:
            order = self._balanced(batch_size, rng)
            self.mean_weight = 1.0 if self._weight is None else float(self._weight[order].mean())
            return self._batches(order, batch_size, rng)
        chosen = self._first + rng.integers(self._count) if (self._count > 1).any() else self._first
        return self._batches(rng.permutation(self._by_example[chosen]), batch_size, rng)

    def _balanced(self, batch_size: int, rng: np.random.Generator) -> np.ndarray:
        """A balanced epoch's rows. Classes come round in one order: so every stretch has as many of each, to one."""
        n, k = len(self._first), len(self._by_class)
        of = rng.permutation(k)[np.arange(n) % k]
        order = np.empty(n, np.int64)
        for which, (by_example, first, count) in enumerate(self._by_class):
            places = np.flatnonzero(of == which)
            rounds = np.tile(np.arange(len(first)), (-(-len(places) // len(first)), 1))
            example = rng.permuted(rounds, axis=1).ravel()[: len(places)]
            order[places] = by_example[first[example] + rng.integers(count[example])]
        for start, stop in cut(n, batch_size):  # what mixes neighbours shall not always meet the same two classes
            order[start:stop] = rng.permutation(order[start:stop])
        return order

    def in_order(self, batch_size: int, share: float = 0.5) -> Iterator[Batch]:
        """Every row once, as the table has them; of examples of open length the window at ``share`` (0 to below 1)."""
        return self._batches(np.arange(len(self)), batch_size, share)

    def n_batches(self, batch_size: int) -> int:
        """Batches of a training epoch."""
        return len(cut(len(self._first), batch_size))

    def _batches(self, order: np.ndarray, batch_size: int, place: float | np.random.Generator) -> Iterator[Batch]:
        for start, stop in cut(len(order), batch_size):
            yield self._take(order[start:stop], place)

    def _take(self, chosen: np.ndarray, place: float | np.random.Generator) -> Batch:
        index = torch.from_numpy(chosen).to(self.device)
        if self.resident is not None:
            x = self.resident.index_select(0, index)
        else:
            x = self._gather(self.rows[chosen], place)
            if self.device.type == "cuda":
                x = x.pin_memory().to(self.device, non_blocking=True)
        return Batch(x, self.target[index], None if self.weight is None else self.weight[index])

    def _gather(self, positions: np.ndarray, place: float | np.random.Generator) -> Tensor:
        store = self.store
        if self.window is None:
            wide = store.dtype == np.float16 and store.nbytes >= WIDE * len(store)
            if wide and self.device.type == "cpu":
                return self._cast(positions)
            return torch.from_numpy(store.gather(positions))
        spare = self.store.lengths[positions] - self.window  # below 0: the example is shorter than the window
        share = place if isinstance(place, float) else place.random(len(positions))
        starts = np.sign(spare) * np.floor(share * (np.abs(spare) + 1)).astype(np.int64)
        return torch.from_numpy(self.store.windows(positions, starts, self.window))

    def _cast(self, positions: np.ndarray) -> Tensor:
        """Large float16 examples as float32, which the device half wants: each while the cache still holds it.

        Gathering all and then casting all goes to memory once more, and takes a third longer.
        """
        x = torch.empty(len(positions), *self.store.shape)
        row = np.empty(self.store.shape, np.float16)
        for out, position in zip(x, positions.tolist(), strict=True):
            self.store.gather_one(position, row)
            out.copy_(torch.from_numpy(row))
        return x


def cut(n: int, size: int) -> list[tuple[int, int]]:
    """Ranges of ``size`` over n rows. A last batch of one row joins the one before: BatchNorm can't train on one."""
    edges = [*range(0, n, size), n]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return [(a, b) for a, b in pairwise(edges) if b > a]
