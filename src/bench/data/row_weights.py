"""How much a training row counts in an epoch, beyond the dataset's own weight: (rows, epoch, epochs) → (N,) factors.

Validation rows keep the dataset's weight: a score must not change with how training went.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from bench.spec import UserError

RowWeights = Callable[[pd.DataFrame, int, int], np.ndarray]


def votes(
    rows: pd.DataFrame,
    epoch: int,
    epochs: int,
    at_least: Sequence[float] = (1, 6, 10),
    factors: Sequence[Sequence[float]] = ((0.3, 0.5, 1.0), (0.02, 0.02, 1.0)),
    starts: Sequence[float] = (0.0, 0.5),
) -> np.ndarray:
    """(N,) float32 factors by the column ``votes``, for ``epoch`` (from 0) of ``epochs``.

    ``at_least`` are the votes from which each range begins, ``factors`` one list of a factor a range for each stage,
    ``starts`` the share of the epochs at which each stage begins. A row below the first range counts 0, and a row
    that counts 0 is not drawn. Source: the best HMS solutions, where all rows teach first and the surest ones last.
    """
    if "votes" not in rows:
        raise UserError("row_weights=votes needs the column votes, which this dataset has not; leave row_weights out")
    if len(factors) != len(starts) or any(len(stage) != len(at_least) for stage in factors):
        raise UserError(
            f"row_weights.factors must hold {len(starts)} lists (a stage each, as starts has) of {len(at_least)} "
            "factors (a range each, as at_least has)"
        )
    if list(at_least) != sorted(at_least) or list(starts) != sorted(starts) or not starts or starts[0] != 0:
        raise UserError("row_weights.at_least and row_weights.starts must ascend, and starts begin with 0")
    if any(not 0 <= factor < np.inf for stage in factors for factor in stage):
        raise UserError("row_weights.factors must be numbers of 0 or more")
    stage = int(np.searchsorted(np.asarray(starts) * epochs, epoch, side="right")) - 1
    by_range = np.array([0.0, *factors[stage]], np.float32)
    return by_range[np.searchsorted(at_least, rows["votes"].to_numpy(), side="right")]
