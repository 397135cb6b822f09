"""Tables of predictions: out-of-fold and test frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets.base import TARGET

PREDICTION = "pred_"


PLAIN = "plain_"


def write_frame(frame: pd.DataFrame, path: Any) -> None:
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)


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
