"""Fits a blend on the members' predictions, and scores it by cross-validation on the folds that the members share.

The blend (weights, a stacked model, a threshold) that predicts fold k's rows is fitted on the rows of the other folds
alone. One optimistic bias remains, as in all stacking on shared folds: the members that predicted those other rows
were trained on fold k's targets.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bench.ensembling.hardening import Hardening
from bench.ensembling.members import Members
from bench.ensembling.ways import Blend, Way
from bench.runs.frames import read_frame
from bench.spec import Metric, UserError


def fit(way: Way, harden: Hardening | None, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
    """Fits the way on (M, N, K) predictions and (N, K) targets, then the hardening on the way's output."""
    blend = way.fit(p_mnk, target_nk, metric)
    if harden is None:
        return blend
    hard, parameters = harden.fit(blend.apply(p_mnk), target_nk, metric)
    return Blend(lambda p_mnk: hard(blend.apply(p_mnk)), blend.weights, {**blend.parameters, **parameters})


def nested(way: Way, harden: Hardening | None, members: Members) -> tuple[np.ndarray, np.ndarray, list[Blend], Blend]:
    """Out-of-fold (N, K) and in-sample (N, K) predictions, each fold's blend, and the blend fitted on all rows.

    Rows are predicted fold by fold, as the members predicted them. If nothing is fitted, both predictions are the same.
    """
    from threadpoolctl import threadpool_limits

    p_mnk, target, fold = members.p_mnk, members.target, members.fold
    numbers = range(members.runs[0].inputs.n_splits)
    if not way.fitted and (harden is None or not harden.fitted):
        final = fit(way, harden, p_mnk, target, members.metric)
        same = np.empty_like(target)
        for k in numbers:
            same[fold == k] = final.apply(p_mnk[:, fold == k])
        return same, same, [final for _ in numbers], final

    if "trained_from" in read_frame(members.runs[0].checked("splits.parquet")):
        raise UserError(
            "a blend that is fitted learns from the rows of other folds, and with split=time some of them lie in the "
            "future; choose blend=mean, blend=geometric or blend=rank, and no harden that looks for its threshold"
        )

    def without(k: int | None) -> Blend:
        if k is None:
            return fit(way, harden, p_mnk, target, members.metric)
        return fit(way, harden, p_mnk[:, fold != k], target[fold != k], members.metric)

    side_by_side = min(4, os.cpu_count() or 1) if way.threads else 1  # each copies its rows
    # Nested threads of a library would wait for each other: twice the processor time, and no faster.
    with threadpool_limits(1 if way.threads else None), ThreadPoolExecutor(side_by_side) as pool:
        final, *blends = pool.map(without, [None, *numbers])
    honest, in_sample = np.empty_like(target), np.empty_like(target)
    for k in numbers:
        honest[fold == k] = blends[k].apply(p_mnk[:, fold == k])
        in_sample[fold == k] = final.apply(p_mnk[:, fold == k])
    return honest, in_sample, blends, final
