"""Tables of predictions: out-of-fold and test frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets.base import TARGET
from bench.spec import UserError

PREDICTION = "pred_"


PLAIN = "plain_"
MOST_VALUES, MOST_BYTES = 1_000_000_000, 8_000_000_000
"""Of a table of predictions: more than any machine here could hold."""


def write_frame(frame: pd.DataFrame, path: Any) -> None:
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_frame(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table in a run's folder; UserError naming the file where it can't be read, or is of absurd size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
            values = sum(group.column(c).num_values for group in groups for c in range(group.num_columns))
            values = max(values, file.metadata.num_rows * max(1, file.metadata.num_columns))
            size = sum(group.total_byte_size for group in groups)
            if values > MOST_VALUES or size > MOST_BYTES:
                raise UserError(f"{path} says that it holds {values:,} values in {size:,} bytes: no run has as many")
            return file.read(columns=columns, use_pandas_metadata=True).to_pandas()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise UserError(f"{path} can't be read ({str(error).splitlines()[0]}); train the run again") from error


def predictions(frame: pd.DataFrame, prefix: str = PREDICTION) -> np.ndarray:
    """The (N, K) float64 probabilities of an out-of-fold or test frame."""
    return np.asarray(frame[[c for c in frame.columns if c.startswith(prefix)]], np.float64)


def prediction_frame(ids: pd.Series, probability: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    columns = {f"{PREDICTION}{c}": probability[:, i] for i, c in enumerate(classes)}
    return pd.DataFrame({"id": ids.to_numpy(), **columns})


def oof_frame(
    rows: pd.DataFrame, probability: np.ndarray, plain: np.ndarray | None, classes: tuple[str, ...]
) -> pd.DataFrame:
    """id, fold, target_<class>, pred_<class> of the validated rows, and plain_<class> where pred is of many views."""
    kept = rows[["id", "fold", *(f"{TARGET}{c}" for c in classes)]].reset_index(drop=True)
    kept = kept.join(prediction_frame(kept["id"], probability, classes).drop(columns="id"))
    if plain is None:
        return kept
    return kept.join(pd.DataFrame({f"{PLAIN}{c}": plain[:, i] for i, c in enumerate(classes)}))
