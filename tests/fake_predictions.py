"""Made-up out-of-fold predictions of models whose skill is known: what comparisons are tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench import metrics
from bench.comparison import comparison
from bench.comparison.comparison import Comparison, Rows
from bench.runs.run import Run
from bench.spec import Metric


def some_rows(n: int = 200, classes: int = 3, folds: int = 5, groups: int | None = None, seed: int = 0) -> Rows:
    rng = np.random.default_rng([seed, 1])
    target = np.eye(classes)[rng.integers(0, classes, n)]
    table = pd.DataFrame({"id": [f"r{i}" for i in range(n)], "fold": np.arange(n) % folds})
    if groups:  # a fold holds whole groups
        group = rng.integers(0, groups, n)
        table = table.assign(group=[f"p{g}" for g in group], fold=group % folds)
    return Rows(table, target, tuple(f"class {k}" for k in range(classes)), 1 / (folds - 1), False)


def predicted(rows: Rows, skill: float, seed: int) -> np.ndarray:
    """(N, K) predictions: noise about the truth; ``skill`` is how far the truth stands out of it."""
    logits = skill * rows.target + np.random.default_rng([seed, 2]).normal(size=rows.target.shape)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def compared(
    rows: Rows, skills: tuple[float, ...], metric: Metric = metrics.KL, seed: int = 0, resamples: int = 300
) -> Comparison:
    runs = [Run(Path(f"/nowhere/data/model{i}/{i}")) for i in range(len(skills))]
    given = [predicted(rows, skill, 100 * seed + i) for i, skill in enumerate(skills)]
    return comparison.compare(runs, rows, given, metric, resamples, seed)
