"""A run's out-of-fold rows with their targets, predictions and losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.metrics import hits, kl_terms
from bench.runs.frames import read_frame
from bench.runs.run import Run

WORST = 12


@dataclass(frozen=True)
class Judged:
    """A run's out-of-fold rows.

    table has their rows of splits.parquet, position their positions in it (and in the store). target and probability
    are (N, K); fold, loss and right are (N,). loss is the Kullback-Leibler divergence of each row, which for a hard
    target is its cross entropy; right says whether the most probable class is the target's largest.
    """

    table: pd.DataFrame
    position: np.ndarray
    target: np.ndarray
    probability: np.ndarray
    fold: np.ndarray
    loss: np.ndarray
    right: np.ndarray

    @property
    def true(self) -> np.ndarray:
        """(N,) the class of each row: the largest of its target."""
        return np.asarray(self.target.argmax(axis=1))

    def counts(self) -> np.ndarray:
        """(K, K) counts of rows by true and predicted class."""
        k = self.target.shape[1]
        return np.bincount(self.true * k + self.probability.argmax(axis=1), minlength=k * k).reshape(k, k)

    def worst(self, count: int = WORST) -> list[int]:
        """Positions (in splits.parquet) of the rows with the largest loss, largest first."""
        return [int(place) for place in self.position[np.argsort(-self.loss, kind="stable")[:count]]]


def judge(run: Run) -> Judged:
    """Reads the out-of-fold predictions of the run's finished folds."""
    rows, oof = read_frame(run.checked("splits.parquet")), read_frame(run.checked("oof.parquet"))
    target, probability = (
        oof[[f"{part}_{name}" for name in run.spec.classes]].to_numpy(np.float64) for part in ("target", "pred")
    )
    done = np.isfinite(probability).all(axis=1)
    target, probability = target[done], probability[done]
    place = pd.Series(np.arange(len(rows)), index=rows["id"])[oof["id"][done]].to_numpy()
    loss, right = kl_terms(target, probability).sum(axis=1), hits(target, probability) == 1
    return Judged(rows.iloc[place], place, target, probability, oof["fold"].to_numpy()[done], loss, right)
