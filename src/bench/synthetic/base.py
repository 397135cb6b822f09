"""Training rows made up of a fold's training rows: what every way of making them does alike.

A way is called with (x, target, seed): x (N, *stored shape) float32 and target (N, K) float32 of the training side,
and nothing else, so it can know nothing of the rows that the fold validates. It answers with the new rows alone,
(M, *stored shape) float32, and their one-hot targets (M, K) float32. The seed decides them, to the bit, with the same
number of threads; the caller's random state is left as it was. ``notes`` then says which classes were left alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from bench.spec import UserError

MOST = 4 << 30  # bytes that rows, flattened to float32, may take
SURE = 0.5  # the largest share of a target from which its row stands for that class
SHOWN = 8  # examples a class and classes in a run's picture


class Way(ABC):
    """See this module's docstring."""

    notes: list[str]

    @abstractmethod
    def __call__(self, x: np.ndarray, target: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]: ...


def by_class(target: np.ndarray) -> dict[int, np.ndarray]:
    """class → the rows (n,) that stand for it: their largest share is its, and at least ``SURE``."""
    label, sure = target.argmax(1), target.max(1) >= SURE
    return {int(k): np.flatnonzero(sure & (label == k)) for k in np.unique(label[sure])}


def refuse_large(name: str, n: int, numbers: int) -> None:
    """UserError for n rows of so many numbers that don't fit in ``MOST``; call it before they are copied."""
    if 4 * n * numbers > MOST:
        raise UserError(
            f"synthetic={name} would hold {n} rows of {numbers} numbers, more than {MOST >> 30} GB; leave synthetic "
            "out, choose a smaller synthetic.share, or features that store less"
        )


def together(
    rows_by_class: dict[int, np.ndarray], shape: tuple[int, ...], n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """class → its new flattened rows (m, numbers), in the classes' order, as rows and targets."""
    pieces = [rows_by_class[k] for k in sorted(rows_by_class)]
    x = np.concatenate([np.zeros((0, int(np.prod(shape))), np.float32), *pieces])
    label = np.repeat(sorted(rows_by_class), [len(rows) for rows in pieces]).astype(np.int64)
    return x.reshape(-1, *shape), np.eye(n_classes, dtype=np.float32)[label]


def examples(
    x: np.ndarray, target: np.ndarray, synthetic: np.ndarray, synthetic_target: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Real rows beside made ones, for a picture: (classes shown, 2, 8, *shape) float32 and those classes' names.

    Axis 1 is real, then made. The classes are the 8 of which most was made; rows are taken evenly from all, and where
    there are fewer than 8 the rest is NaN.
    """
    real, new = by_class(target), by_class(synthetic_target)
    most = sorted(sorted(new, key=lambda k: -len(new[k]))[:SHOWN])
    pairs = np.full((len(most), 2, SHOWN, *x.shape[1:]), np.nan, np.float32)
    for at, k in enumerate(most):
        for side, (rows, indices) in enumerate(((x, real), (synthetic, new))):
            of_class = indices.get(k, np.zeros(0, np.int64))
            n = min(SHOWN, len(of_class))
            pairs[at, side, :n] = rows[of_class[np.arange(n) * len(of_class) // max(n, 1)]]
    return pairs, [classes[k] for k in most]
