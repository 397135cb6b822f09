"""How much a training row counts in an epoch, beyond the dataset's own weight: (rows, epoch, epochs) → (N,) factors.

A row that counts 0 is not drawn. Validation rows keep the dataset's weight: a score must not change with how training
went.
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
    _column(rows, "votes", "votes")
    if len(factors) != len(starts) or any(len(stage) != len(at_least) for stage in factors):
        raise UserError(
            f"row_weights.factors must hold {len(starts)} lists (a stage each, as starts has) of {len(at_least)} "
            "factors (a range each, as at_least has)"
        )
    if list(at_least) != sorted(at_least) or list(starts) != sorted(starts) or not starts or starts[0] != 0:
        raise UserError("row_weights.at_least and row_weights.starts must ascend, and starts begin with 0")
    _numbers([factor for stage in factors for factor in stage])
    by_range: np.ndarray = np.array([0.0, *factors[_stage(epoch, epochs, starts)]], np.float32)
    weight: np.ndarray = by_range[np.searchsorted(at_least, rows["votes"].to_numpy(), side="right")]
    return weight


def high_votes_last(
    rows: pd.DataFrame, epoch: int, epochs: int, at_least: float = 10, start: float = 0.5
) -> np.ndarray:
    """(N,) float32: all rows count 1 until the share ``start`` of the epochs, then those of ``at_least`` votes alone.

    Source: the best HMS solutions' two stages, in one training.
    """
    _column(rows, "high_votes_last", "votes")
    if not 0 < start < 1:
        raise UserError(f"row_weights.start={start:g} must lie between 0 and 1, the share of the epochs with all rows")
    kept = rows["votes"].to_numpy() >= (at_least if _stage(epoch, epochs, (0.0, start)) else -np.inf)
    return np.asarray(kept, np.float32)


def verified(
    rows: pd.DataFrame,
    epoch: int,
    epochs: int,
    factors: Sequence[float] = (1.0, 0.3),
    starts: Sequence[float] = (0.0, 0.5),
) -> np.ndarray:
    """(N,) float32: rows whose column ``verified`` is true count 1, the others the stage's entry of ``factors``.

    ``starts`` is the share of the epochs at which each stage begins.
    """
    _column(rows, "verified", "verified")
    if len(factors) != len(starts):
        raise UserError(f"row_weights.factors must hold {len(starts)} numbers, one a stage, as row_weights.starts has")
    if list(starts) != sorted(starts) or not starts or starts[0] != 0:
        raise UserError("row_weights.starts must ascend and begin with 0")
    _numbers(factors)
    others = np.float32(factors[_stage(epoch, epochs, starts)])
    return np.where(rows["verified"].to_numpy(bool), np.float32(1), others)


def _stage(epoch: int, epochs: int, starts: Sequence[float]) -> int:
    return int(np.searchsorted(np.asarray(starts) * epochs, epoch, side="right")) - 1


def _column(rows: pd.DataFrame, option: str, name: str) -> None:
    if name not in rows:
        raise UserError(
            f"row_weights={option} needs the column {name}, which this dataset has not; leave row_weights out"
        )


def _numbers(factors: Sequence[float]) -> None:
    if any(not 0 <= factor < np.inf for factor in factors):
        raise UserError("row_weights.factors must be numbers of 0 or more")
