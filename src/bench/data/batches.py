"""Batches of a source's rows: gathered from it, or held on the device where all of them fit."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bench.data.ranges import cut
from bench.data.source import Source
from bench.spec import UserError

Rng = np.random.Generator
RESIDENT_SHARE = 0.4  # of the device's free memory: the rest is the model's
WIDE = 1 << 18  # bytes of a float16 example from which on a processor casts it while it is at hand


@dataclass(frozen=True)
class Batch:
    """Some rows on the device: what is trained on, or predicted, at once. It is never changed, only replaced.

    B rows, K classes, C channels:

    - ``x``: (B, *stored shape) as the store has it; after the features' device half the model's input, (B, C, T) or
      (B, C, H, W) float32. On a processor, large float16 rows are float32 from the beginning.
    - ``target``: (B, K) float32; each row is a distribution over the classes.
    - ``weight``: (B,) float32, how much each row counts; None: every row counts 1.
    """

    x: Tensor
    target: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def with_x(self, x: Tensor) -> Batch:
        """The same rows with another ``x``."""
        return replace(self, x=x)

    def rows(self, index: Tensor) -> Batch:
        """The rows at ``index`` (b,) int64, which lies on the batch's device."""
        weight = None if self.weight is None else self.weight.index_select(0, index)
        return Batch(self.x.index_select(0, index), self.target.index_select(0, index), weight)


class Epoch:
    """One pass over training rows in an order that is known before it begins.

    ``len`` is the number of batches, ``mean_weight`` the mean weight of the rows drawn (1 where every row counts 1).
    Iterated again, it gives the same batches.
    """

    def __init__(self, rows: Batches, order: np.ndarray, batch_size: int, mean_weight: float, rng: Rng) -> None:
        self.order, self.mean_weight = order, mean_weight
        self._rows, self._batch_size, self._rng = rows, batch_size, rng

    def __len__(self) -> int:
        return len(cut(len(self.order), self._batch_size))

    def __iter__(self) -> Iterator[Batch]:
        return self._rows.taken(self.order, self._batch_size, copy.deepcopy(self._rng))


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
        self._weigh(weight)
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

    def weighted(self, weight: np.ndarray | None) -> Batches:
        """The same rows with other weights (N,); they share all that is held. Rows of weight 0 are not drawn."""
        other = copy.copy(self)
        other._weigh(weight)
        return other

    def between(self, stretch: slice) -> Batches:
        """A stretch of the rows, to be read in order."""
        other = copy.copy(self)
        other.rows, other.example, other.target = self.rows[stretch], self.example[stretch], self.target[stretch]
        other.resident = None if self.resident is None else self.resident[stretch]
        other._class = None if self._class is None else self._class[stretch]
        other._weigh(None if self._weight is None else self._weight[stretch])
        return other

    def _weigh(self, weight: np.ndarray | None) -> None:
        self._weight = weight
        self.weight = None if weight is None else torch.from_numpy(weight).to(self.device)
        drawn = np.arange(len(self)) if weight is None else np.flatnonzero(weight > 0)
        self._drawn, (self._by_example, self._first, self._count) = drawn, self._turns(drawn)
        if self._class is not None:
            label = self._class[drawn]
            self._by_class = [self._turns(drawn[label == k]) for k in np.unique(label)]

    def _turns(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows sorted by example, where in them each example begins, and how many rows it has."""
        by_example = rows[np.argsort(self.example[rows], kind="stable")]
        _, first, count = np.unique(self.example[by_example], return_index=True, return_counts=True)
        return by_example, first, count

    def shuffled(self, batch_size: int, seed: tuple[int, ...]) -> Epoch:
        """A row of every example, in an order that ``seed`` alone decides: a resumed epoch sees the same again.

        ``mean_weight`` is that of all rows that may be drawn; where classes are balanced, of those that are.
        """
        if not len(self._first):
            raise UserError("every training row has weight 0; choose other row_weights or another dataset weight")
        rng = np.random.default_rng(seed)
        if self._class is not None:
            order = self._balanced(batch_size, rng)
            return Epoch(self, order, batch_size, self._mean_weight(order), rng)
        drawn_rows = self._first + rng.integers(self._count) if (self._count > 1).any() else self._first
        order = rng.permutation(self._by_example[drawn_rows])
        return Epoch(self, order, batch_size, self._mean_weight(self._drawn), rng)

    def _mean_weight(self, rows: np.ndarray) -> float:
        return 1.0 if self._weight is None else float(self._weight[rows].mean())

    def _balanced(self, batch_size: int, rng: np.random.Generator) -> np.ndarray:
        """A balanced epoch's rows. The classes take turns in one order, so every batch has as many of each, ±1."""
        n, k = len(self._first), len(self._by_class)
        turn = rng.permutation(k)[np.arange(n) % k]
        order = np.empty(n, np.int64)
        for which, (by_example, first, count) in enumerate(self._by_class):
            places = np.flatnonzero(turn == which)
            rounds = np.tile(np.arange(len(first)), (-(-len(places) // len(first)), 1))
            example = rng.permuted(rounds, axis=1).ravel()[: len(places)]
            order[places] = by_example[first[example] + rng.integers(count[example])]
        for start, stop in cut(n, batch_size):  # what mixes neighbours shall not always meet the same two classes
            order[start:stop] = rng.permutation(order[start:stop])
        return order

    def in_order(self, batch_size: int, share: float = 0.5) -> Iterator[Batch]:
        """Every row once, as the table has them; of examples of open length the window at ``share`` (0 to below 1)."""
        return self.taken(np.arange(len(self)), batch_size, share)

    def n_batches(self, batch_size: int) -> int:
        """Batches of a training epoch."""
        return len(cut(len(self._first), batch_size))

    def taken(self, order: np.ndarray, batch_size: int, place: float | Rng) -> Iterator[Batch]:
        """Batches of the rows at ``order``, numbers from 0 to N.

        ``place`` says where the windows of open examples lie: at a share of the room that there is, or at random.
        """
        on_device = torch.from_numpy(order).to(self.device)  # at once: each copy waits for the device
        for start, stop in cut(len(order), batch_size):
            yield self._take(order[start:stop], on_device[start:stop], place)

    def _take(self, numbers: np.ndarray, index: Tensor, place: float | Rng) -> Batch:
        if self.resident is not None:
            x = self.resident.index_select(0, index)
        else:
            x = self._gather(self.rows[numbers], place)
            if self.device.type == "cuda":
                x = x.pin_memory().to(self.device, non_blocking=True)
        return Batch(x, self.target[index], None if self.weight is None else self.weight[index])

    def _gather(self, positions: np.ndarray, place: float | Rng) -> Tensor:
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
