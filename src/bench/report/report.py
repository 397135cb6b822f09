"""A run as one page: scores, curves, errors, and the command that reproduces it.

``report.html`` needs no network and no scripts: its figures are SVG in the page, its colours follow the reader's
scheme, and every score is there to the last digit in the ``value`` of a ``<data>`` element.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.atomic import read_json
from bench.report import page, recipe
from bench.report import rows as report_rows
from bench.report.judged import Judged
from bench.report.tables import Spread, Table
from bench.runs.run import Run
from bench.runs.scores import Scores
from bench.spec import Metric
from bench.tell import amount, figure

TEMPLATE = page.TEMPLATES / "run.html"


def write(
    run: Run,
    metric: Metric,
    judged: Judged,
    pictures: Mapping[str, str],
    examples: Mapping[int, np.ndarray],
    reason_missing: str = "",
) -> Path:
    """Writes ``<run>/report.html`` and returns its path.

    ``pictures`` are the figures as SVG, by name. ``examples`` are the model's inputs, (C, T) or (C, H, W), for the rows
    of ``judged.worst()``, by their position in splits.parquet. Where there are none, ``reason_missing`` says why.
    """
    scores, inputs, classes = run.scores(), run.inputs, run.spec.classes
    assert scores is not None, "collect comes first"
    histories = {fold.number: history for fold in run.folds if (history := fold.history())}
    drawn = {key: [pictures[name] for name in names if name in pictures] for key, names in DRAWN.items()}
    about = {"right": judged.right.mean(), "rows": len(judged.right), "soft": bool((judged.target.max(1) < 1).any())}
    confusion = {**about, "mixed": report_rows.mixed_up(judged, classes), "wide": len(classes) > 6}
    sections: dict[str, tuple[str, object]] = {
        "scores": ("Scores", {**_scores(run, scores, metric, judged), "metric": metric, "drawn": drawn["scores"]}),
        "members": ("Members", _members(run)),
        "curves": ("Learning curves", drawn["curves"] and {"folds": len(histories), "drawn": drawn["curves"]}),
        "confusion": ("Confusion", {**confusion, "drawn": drawn["confusion"]}),
        "reliability": ("Reliability", drawn["reliability"]),
        "classes": ("By class", report_rows.by_class(metric, judged, classes)),
        "groups": ("By group", report_rows.by_group(judged, classes)),
        "examples": ("Worst examples", report_rows.worst(run, judged, examples, reason_missing)),
        "split": ("Split", recipe.split(run)),
        "recipe": ("Recipe", recipe.recipe(run)),
        "environment": ("Environment", recipe.environment(run, histories)),
    }
    name = f"{inputs.dataset} · {inputs.model}"
    return page.write(
        run.folder / "report.html",
        TEMPLATE,
        sections,
        tab=f"{name} · {run.identity[:6]}",
        name=name,
        under={"identity": run.identity, "about": _about(run, scores, histories)},
        first=_tiles(scores, metric),
        footer="Everything here is read from the run's folder, whose files hold the same in full.",
        simulated=scores.simulated,
    )


DRAWN = {
    "scores": ["folds"],
    "curves": ["curves_loss", "curves_metric"],
    "confusion": ["confusion"],
    "reliability": ["reliability"],
}
"""The figures of each section."""


def _about(run: Run, scores: Scores, histories: dict[int, Any]) -> list[str]:
    done, all_folds = len(scores.folds), run.inputs.n_splits
    lines = [f"{done} of {all_folds} folds" if done < all_folds else f"{done} folds", f"{amount(scores.rows)} rows"]
    ends = [end for history in histories.values() if (end := history[-1].get("time"))]
    if ends:
        lines.append(f"trained until {pd.Timestamp(max(ends), unit='s'):%d %B %Y, %H:%M} UTC".replace(" 0", " "))
    return lines


def _tiles(scores: Scores, metric: Metric) -> list[tuple[str, object, str]]:
    tiles: list[tuple[str, object, str]] = [
        (f"{metric.name}, out of fold", scores.oof, metric.direction.sentence),
        (f"{metric.name}, mean ± std", Spread(scores.mean, scores.std), "over folds"),
        ("Baseline", scores.baseline, "always the training side's mean"),
        ("Accuracy", scores.accuracy, "most probable class, out of fold"),
    ]
    return tiles if len(scores.folds) > 1 else [tiles[0], *tiles[2:]]


def _scores(run: Run, scores: Scores, metric: Metric, judged: Judged) -> dict[str, object]:
    """Warnings, and a table of scores: folds, their mean, out of fold, the baseline, and the other metrics."""
    plain = scores.without_tta
    done = {k: read_json(path) if (path := run.fold(k).done).exists() else {} for k in scores.fold_numbers}
    kept = all("kept_epoch" in fold for fold in done.values())
    rows: list[list[object]] = []
    kinds: list[str] = []

    def add(name: str, n: str, score: object, view: float | None, accuracy: object, epoch: str, kind: str) -> None:
        rows.append(
            [name, n, score, *(["" if view is None else view] if plain else []), accuracy, *([epoch] if kept else [])]
        )
        kinds.append(kind)

    views = plain.folds if plain else [None] * len(scores.folds)
    for k, score, view in zip(scores.fold_numbers, scores.folds, views, strict=True):
        of_fold = judged.fold == k
        epoch = f"{done[k]['kept_epoch']} of {len(run.fold(k).history())}" if kept else ""
        add(f"fold {k}", amount(of_fold.sum()), score, view, figure(judged.right[of_fold].mean()), epoch, "")
    if len(rows) > 1:
        add("mean ± std over folds", "", Spread(scores.mean, scores.std), plain.mean if plain else None, "", "", "line")
    add("out of fold", amount(scores.rows), scores.oof, plain.oof if plain else None, scores.accuracy, "", "strong")
    add("baseline: training means", "", scores.baseline, None, "", "", "")
    for name, score in scores.also.items():
        add(f"{name}, out of fold", "", score, None, "", "", "")
    head = ["", "rows", metric.name, *[f"{metric.name}, one view"] * bool(plain), "accuracy", *["kept epoch"] * kept]
    warnings = []
    if not scores.complete:
        warnings.append(f"{len(scores.folds)} of {run.inputs.n_splits} folds are in these numbers.")
    if scores.no_better:
        warnings.append("Out of fold, this run is no better than always predicting the training means.")
    return {"warnings": warnings, "table": Table(head, rows, kinds=kinds)}


def _members(run: Run) -> Table | None:
    path = run.folder / "blend.json"
    if not path.exists():
        return None
    blend = read_json(path)
    rows = [[m["name"], m["oof"], "" if m["weight"] is None else f"{m['weight']:.3f}"] for m in blend["members"]]
    return Table(["run", f"{blend['metric']}, out of fold", "weight"], rows)
