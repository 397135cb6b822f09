"""Examples of open length held in memory, each an array of its own, as a source of windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.data.source import Source


class Ragged(Source):
    """Arrays (*leading, T), T the example's own, alike in all else."""

    open = True

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = list(arrays)
        self.shape, self.dtype = (*arrays[0].shape[:-1], None), arrays[0].dtype

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in self.arrays)

    @property
    def lengths(self) -> np.ndarray:
        return np.array([x.shape[-1] for x in self.arrays], np.int64)

    def windows(self, positions: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
        """(B, *leading, size), as ``Store.windows``: zeros outside of the example."""
        batch = np.zeros((len(positions), *self.shape[:-1], size), self.dtype)
        for row, (position, start) in enumerate(zip(positions.tolist(), starts.tolist(), strict=True)):
            x = self.arrays[position][..., max(start, 0) : max(start + size, 0)]
            batch[row, ..., max(-start, 0) : max(-start, 0) + x.shape[-1]] = x
        return batch
