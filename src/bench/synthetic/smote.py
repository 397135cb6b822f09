"""SMOTE: new rows of the rarer classes on the lines between neighbours (Chawla et al. 2002, JAIR 16)."""

from __future__ import annotations

import numpy as np

from bench.spec import UserError
from bench.synthetic.base import Way, by_class, refuse_large, together


class Smote(Way):
    """Fills every class up to ``share`` of the largest one, with imbalanced-learn's SMOTE on flattened rows.

    A new row lies between a row and one of its ``k_neighbors`` nearest of the same class. A class of no more rows than
    that takes all of them as neighbours, one of a single row is left alone. Rows whose target gives no class half are
    not used. Source: the heartbeat write-up, which fills every class up; there it came before the split, here the rows
    that a fold validates are unknown to it.
    """

    def __init__(self, k_neighbors: int = 5, share: float = 1.0) -> None:
        if k_neighbors < 1:
            raise UserError(f"synthetic.k_neighbors={k_neighbors} must be 1 or more")
        if not 0 < share <= 1:
            raise UserError(
                f"synthetic.share={share:g} must be above 0 and at most 1, which is all of the largest class"
            )
        self.k_neighbors, self.share = k_neighbors, share
        self.notes: list[str] = []

    def __call__(self, x: np.ndarray, target: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, *shape), (N, K), seed → new rows (M, *shape) and targets (M, K); see ``synthetic.base``."""
        rows = by_class(target)
        size = {k: len(indices) for k, indices in rows.items()}
        full = round(self.share * max(size.values(), default=0))
        alone = [k for k, n in size.items() if n < min(full, 2)]
        fill = [k for k, n in size.items() if 2 <= n < full]
        self.notes = [f"SMOTE made none of class {k} (from 0): a single row has no neighbour" for k in alone]
        shape = x.shape[1:]
        refuse_large("smote", sum(size.values()) + sum(full - size[k] for k in fill), int(np.prod(shape)))
        new_rows: dict[int, np.ndarray] = {}
        if fill:
            used = np.concatenate(list(rows.values()))
            flat, labels = x[used].reshape(len(used), -1), np.repeat(list(size), list(size.values()))
            neighbours = {k: min(self.k_neighbors, size[k] - 1) for k in fill}
            for n in sorted(set(neighbours.values())):
                new_rows |= _oversampled(flat, labels, {k: full for k in fill if neighbours[k] == n}, n, seed)
        return together(new_rows, shape, target.shape[1])


def _oversampled(
    flat: np.ndarray, labels: np.ndarray, counts: dict[int, int], neighbours: int, seed: int
) -> dict[int, np.ndarray]:
    """class → its new rows (m, numbers) float32; all that are made with one number of neighbours."""
    from imblearn.over_sampling import SMOTE

    number = int(np.random.SeedSequence((seed, neighbours)).generate_state(1)[0])  # it takes 32 bits
    maker = SMOTE(sampling_strategy=counts, k_neighbors=neighbours, random_state=number)
    x, y = maker.fit_resample(flat, labels)
    new, new_labels = x[len(flat) :], y[len(flat) :]  # what it was given comes first
    return {k: new[new_labels == k].astype(np.float32, copy=False) for k in counts}
