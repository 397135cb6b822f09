"""Made-up out-of-fold predictions of models whose skill is known: what comparisons are tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import metrics
from bench.atomic import write_json, write_text
from bench.comparison import comparison
from bench.comparison.comparison import Comparison
from bench.comparison.reading import Rows
from bench.runs.run import Run
from bench.spec import Metric
from fake_run import inputs, recipe, scores

KINDS = {
    "kl": ("hms.HMS", metrics.KL),
    "map3": ("freesound.Freesound", metrics.MAP3),
    "auc": ("seti.Seti", metrics.AUC),
}


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


def write_run(
    outputs: Path, rows: Rows, probability: np.ndarray, model: str, identity: str, metric: str = "kl", **more: Any
) -> Run:
    """A finished run's folder, as far as a comparison reads it; ``more`` changes its inputs."""
    folder, (dataset, score) = outputs / "data" / model / identity, KINDS[metric]
    import yaml

    config = recipe(dataset={"_target_": f"bench.datasets.{dataset}"}, model={"hidden": [8]})
    write_text(folder / "config.yaml", yaml.safe_dump(config))
    spec = {"channels": 1, "size": [64], "classes": list(rows.classes), "sample_rate": None}
    known = inputs(
        dataset="data", model=model, metric=metric, direction=score.direction, spec=spec, names={"model": model},
        n_splits=int(rows.table["fold"].max()) + 1, stores={"train": str(outputs / "no store")},
    )  # fmt: skip
    write_json(folder / "inputs.json", {**known, **more})
    targets = pd.DataFrame({f"target_{c}": rows.target[:, k] for k, c in enumerate(rows.classes)})
    rows.table.join(targets).to_parquet(folder / "splits.parquet")
    said = pd.DataFrame({f"pred_{c}": probability[:, k] for k, c in enumerate(rows.classes)})
    oof = rows.table[["id", "fold"]].join(targets).join(said)
    oof.to_parquet(folder / "oof.parquet")
    run = Run.open(folder)
    for fold in run.folds:
        fold.folder.mkdir(parents=True)
        oof[oof["fold"] == fold.number].to_parquet(fold.oof)
        write_json(fold.done, {"test": "", "test_rows": 0})
    write_json(run.scores_path, scores(metric=metric, identity=run.identity))
    run.write_state(status="finished")
    return run


def two_runs(outputs: Path, rows: Rows, skills: tuple[float, ...] = (3.0, 1.0), **more: Any) -> list[Run]:
    names = ("wavenet", "mlp", "cnn1d", "resnet1d")
    return [
        write_run(outputs, rows, predicted(rows, skill, i), names[i], f"{i}" * 12, **more)
        for i, skill in enumerate(skills)
    ]
