"""Rows of several sources end to end: a training side with pseudo-labelled or synthetic rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from bench.data.source import Source
from bench.spec import UserError


class InMemory(Source):
    """An array (N, *shape) as a source; its rows are copied as they are."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape, self.dtype = array.shape[1:], array.dtype

    def __len__(self) -> int:
        return len(self.array)

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    def gather(self, positions: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self.array[positions]
        return rows

    def gather_one(self, position: int, into: np.ndarray) -> None:
        into[...] = self.array[position]


class Joined(Source):
    """Positions run over the first source, then over the second, and so on.

    The sources must agree in shape and dtype; the UserError says what each holds where they don't.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        first = self.sources[0]
        self.shape, self.dtype, self.open = first.shape, first.dtype, first.open
        for source in self.sources[1:]:
            if source.shape != self.shape or source.dtype != self.dtype:
                raise UserError(
                    f"rows of shape {source.shape} ({source.dtype}) can't be trained on beside rows of shape "
                    f"{self.shape} ({self.dtype}): all must be stored alike; choose features that do, or leave them out"
                )
        self._begins = list(accumulate((len(source) for source in self.sources), initial=0))
        self._lengths = np.concatenate([source.lengths for source in self.sources]) if self.open else None

    def __len__(self) -> int:
        return self._begins[-1]

    @property
    def nbytes(self) -> int:
        return sum(source.nbytes for source in self.sources)

    @property
    def lengths(self) -> np.ndarray:
        """(rows,) int64: each example's own length, where it is open."""
        assert self._lengths is not None
        return self._lengths

    def gather(self, positions: np.ndarray) -> np.ndarray:
        """The examples at ``positions`` (B,) → (B, *shape), each copied once: a batch may be all of a fold's rows."""
        batch = np.empty((len(positions), *self.shape), self.dtype)
        for row, position in enumerate(positions.tolist()):
            self.gather_one(position, batch[row, ...])
        return batch

    def gather_one(self, position: int, into: np.ndarray) -> None:
        """Copies one example into a contiguous array of its shape and type."""
        source = self._source(position)
        self.sources[source].gather_one(position - self._begins[source], into)

    def windows(self, positions: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
        """(B, *leading, size), as ``Store.windows``."""
        batch = np.empty((len(positions), *self.shape[:-1], size), self.dtype)
        source_numbers = np.searchsorted(self._begins, positions, side="right") - 1
        for source in np.unique(source_numbers):
            mask = source_numbers == source
            batch[mask] = self.sources[source].windows(positions[mask] - self._begins[source], starts[mask], size)
        return batch

    def _source(self, position: int) -> int:
        if not 0 <= position < len(self):
            raise IndexError(f"row {position} of {len(self)}")
        return bisect_right(self._begins, position) - 1
