"""Rows that batches are gathered from: a store, an array in memory, several of them end to end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class Source(ABC):
    """Stored examples by their position, all of one type.

    They have one shape and are gathered whole; or, where ``open`` is true, each has its own length and is taken in
    windows. A source of the first kind defines ``gather`` and ``gather_one``, one of the second ``lengths`` and
    ``windows``; the other two raise TypeError.
    """

    shape: tuple[Any, ...]
    """An example's shape; its last entry is None where each example has its own length."""
    dtype: np.dtype[Any]
    open: bool = False

    @abstractmethod
    def __len__(self) -> int:
        """How many examples there are."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of all examples."""

    @property
    def lengths(self) -> np.ndarray:
        """(rows,) int64: each example's own length, where it is open."""
        raise TypeError("rows of one length are gathered whole")

    def gather(self, positions: np.ndarray) -> np.ndarray:
        """Copies the examples at ``positions`` (B,) → (B, *shape)."""
        raise TypeError("rows of open length are taken in windows")

    def gather_one(self, position: int, into: np.ndarray) -> None:
        """Copies one example into a contiguous array of its shape and type."""
        raise TypeError("rows of open length are taken in windows")

    def windows(self, positions: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
        """(B, *leading, size): of each example of open length its samples from ``starts`` (B,) on, zeros outside of it.

        A start below 0 puts an example that far behind the window's beginning.
        """
        raise TypeError("rows of one length are gathered whole")
