"""From finished folds to one result: out-of-fold predictions, scores, averaged test predictions."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from bench.datasets.base import open_to, serves, targets
from bench.metrics import accuracy
from bench.runs import checksums, scores
from bench.runs.frames import PLAIN, prediction_frame, predictions, read_frame, write_frame
from bench.runs.run import Run
from bench.runs.scores import OneView, Scores
from bench.spec import Metric, UserError


def collect(run: Run, metric: Metric) -> tuple[Scores | None, list[str]]:
    """Writes oof.parquet, test.parquet and scores.json from the folds that are done.

    Returns the scores, and sentences for the person. Of a run that validates nothing, test.parquet alone and no scores.
    """
    inputs = run.inputs
    damaged = {fold.number: trouble for fold in run.folds if fold.done.exists() and (trouble := fold.trouble())}
    done = [fold for fold in run.folds if fold.finished and fold.number not in damaged]
    if not done:
        raise UserError(f"{run.folder} has no whole fold: {'; '.join(damaged.values())}")
    if not inputs.validated:
        return None, _average_test(run, [fold.number for fold in done])
    oof = pd.concat([read_frame(fold.oof) for fold in done], ignore_index=True)
    rows = read_frame(run.checked("splits.parquet"))
    order = pd.Series(np.arange(len(rows)), index=rows["id"])
    oof = oof.iloc[np.argsort(order[oof["id"]].to_numpy(), kind="stable")].reset_index(drop=True)
    write_frame(oof, run.folder / "oof.parquet")
    notes = [f"fold {k} is left out: {trouble}" for k, trouble in damaged.items()]
    notes += _average_test(run, [fold.number for fold in done])
    target, probability, number = targets(oof).astype(np.float64), predictions(oof), oof["fold"].to_numpy()
    folds = [metric.score(target[number == f.number], probability[number == f.number]) for f in done]
    results = Scores(
        metric=metric.name,
        direction=metric.direction,
        oof=metric.score(target, probability),
        folds=tuple(folds),
        fold_numbers=tuple(fold.number for fold in done),
        mean=float(np.mean(folds)),
        std=float(np.std(folds)),
        baseline=_baseline(metric, target, _training_means(rows)[order[oof["id"]].to_numpy()], number),
        rows=len(oof),
        accuracy=accuracy(target, probability),
        without_tta=_one_view(metric, oof, [f.number for f in done]),
        predictions=hashlib.sha256(probability.tobytes()).hexdigest()[:16],
        also={other.name: other.score(target, probability) for other in metric.also},
        complete=len(done) == inputs.n_splits,
        simulated=inputs.simulated,
        identity=run.identity,
        group=inputs.group,
        checksums=checksums.of_files(run.folder, scores.TABLES),
    )
    scores.write(run.folder, results)
    return results, notes


def _one_view(metric: Metric, oof: pd.DataFrame, numbers: list[int]) -> OneView | None:
    """The scores without test-time augmentation; None where there is only one view."""
    plain = predictions(oof, PLAIN)
    if not plain.shape[1]:
        return None
    target, fold = targets(oof).astype(np.float64), oof["fold"].to_numpy()
    folds = [metric.score(target[fold == k], plain[fold == k]) for k in numbers]
    return OneView(oof=metric.score(target, plain), folds=tuple(folds), mean=float(np.mean(folds)))


def _baseline(metric: Metric, target: np.ndarray, mean: np.ndarray, fold: np.ndarray) -> float:
    """The folds' scores of their training means, by their rows.

    For a metric that is a mean over rows that is the score of all rows. One of ranks must not see the folds side by
    side: their constants differ, and would rank folds by what they left out. Folds that it can't judge are left out.
    """
    fold_scores = [(metric.score(target[fold == k], mean[fold == k]), int((fold == k).sum())) for k in np.unique(fold)]
    judged = [(score, rows) for score, rows in fold_scores if np.isfinite(score)] or fold_scores
    values, weights = zip(*judged, strict=True)
    return float(np.average(values, weights=weights))


def _training_means(rows: pd.DataFrame) -> np.ndarray:
    """(N, K): for each row the mean target of what its fold trains on, several rows of an example counting as one."""
    target, fold = targets(rows).astype(np.float64), rows["fold"].to_numpy()
    count = serves(rows, "trained").astype(np.float64)
    if "weight" in rows:  # rows of weight 0 are not trained on
        count *= rows["weight"].to_numpy() > 0
    if "example" in rows:
        count /= np.maximum(1, rows.assign(trained=count).groupby("example")["trained"].transform("sum").to_numpy())
    means = np.empty_like(target)
    for k in np.unique(fold):
        trainable = open_to(rows, k)
        if not trainable.any():  # one fold of predictions made elsewhere: on what they were trained is not known
            trainable = ~trainable
        means[fold == k] = count[trainable] @ target[trainable] if k >= 0 else np.nan  # what no fold validates has none
    shares: np.ndarray = means / means.sum(1, keepdims=True)
    return shares


def _average_test(run: Run, numbers: list[int]) -> list[str]:
    """test.parquet: the mean of the probabilities of the folds that saw today's test files; says which did not."""
    path, today = run.folder / "test.parquet", run.inputs.test
    fresh = [k for k in numbers if run.fold(k).test.exists() and run.fold(k).outcome().test == today]
    if not fresh or not len(read_frame(run.checked("test_ids.parquet"))):
        path.unlink(missing_ok=True)
        return []
    frames = [read_frame(run.fold(k).test) for k in fresh]
    mean = np.mean([predictions(frame) for frame in frames], axis=0)
    write_frame(prediction_frame(frames[0]["id"], mean, run.spec.classes), path)
    stale = [k for k in numbers if k not in fresh]
    return (
        [f"folds {stale} saw other test files and are left out; train without folds.only to predict anew"]
        if stale
        else []
    )
