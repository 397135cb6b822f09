"""The scores of finished runs as a table, a row a run."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.runs.run import Run
from bench.spec import UserError

COLUMNS = (
    *("dataset", "model", "identity", "metric", "direction", "simulated", "score", "mean", "std", "baseline"),
    *("accuracy", "rows", "folds", "seed", "group", "folder"),
)


def frame(runs: Sequence[Run]) -> pd.DataFrame:
    """``score`` is the metric of all out-of-fold predictions at once, ``mean`` and ``std`` are over folds.

    ``folds`` has the tuple of fold scores; runs of one ``group`` differ in their seed alone (None: an ensemble). The
    best come first within a data set and metric. Runs that have no whole score are left out.
    """
    rows = []
    for run in runs:
        try:
            scores, inputs = run.scores(), run.inputs
            seed = run.made_by.seed
        except UserError:  # one broken folder is no reason to refuse all the others
            continue
        if scores is None or not scores.complete:
            continue
        rows.append(
            (
                *(inputs.dataset, inputs.model, run.identity, scores.metric, scores.direction.value, scores.simulated),
                *(scores.oof, scores.mean, scores.std, scores.baseline, scores.accuracy, scores.rows, scores.folds),
                *(seed, scores.group, str(run.folder)),
            )
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    order = table["score"].where(table["direction"] != "max", -table["score"].astype(float))
    places = table.assign(order=order).sort_values(["dataset", "metric", "simulated", "order"], kind="stable")
    return places.drop(columns="order").reset_index(drop=True)
