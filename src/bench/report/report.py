"""A run as one page: scores, curves, where it is wrong, and how to have it again.

``report.html`` needs no network and no scripts: its charts are SVG in the page, its colours follow the reader's
scheme, and every score is there to the last digit in the ``value`` of a ``<data>`` element.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.atomic import read_json, write_text
from bench.report import charts, recipe
from bench.report import rows as report_rows
from bench.report.page import page
from bench.report.rows import Judged, judge
from bench.report.tables import amount, figure, number, table
from bench.runs.run import Run
from bench.runs.scores import Scores

__all__ = ["Judged", "judge", "write"]


def write(run: Run, judged: Judged, examples: Mapping[int, np.ndarray], lacking: str = "") -> Path:
    """Writes ``<run>/report.html`` and returns its path.

    ``examples``: inputs of the model, (C, T) or (C, H, W), by their place in splits.parquet, for those of
    ``judged.worst()`` that are to be drawn; ``lacking`` says in a sentence why there are none.
    """
    scores: Any = run.scores()
    assert scores is not None, "collect comes first"
    histories = {fold.number: history for fold in run.folds if (history := fold.history())}
    chart, error = charts.reliability(judged.target, judged.probability)
    sections = [
        ("scores", "Scores", _scores(run, scores, judged)),
        ("members", "Members", _members(run)),
        ("curves", "Learning curves", _curves(scores, histories)),
        ("confusion", "Confusion", report_rows.confusion(judged, run.spec.classes)),
        (
            "reliability",
            "Reliability",
            f"<p>Expected calibration error {error:.3f}: the mean distance of confidence from what came true.</p>"
            f"<figure>{chart}<figcaption>Dashed: perfectly calibrated. Bars: 95 % intervals.</figcaption></figure>",
        ),
        ("classes", "By class", report_rows.classes(scores, judged, run.spec.classes)),
        ("groups", "By group", report_rows.groups(judged, run.spec.classes)),
        ("examples", "Worst examples", report_rows.examples(run, judged, examples, lacking)),
        ("split", "Split", recipe.split(run) + _notes(run)),
        ("recipe", "Recipe", recipe.recipe(run)),
        ("environment", "Environment", recipe.environment(run, histories)),
    ]
    inputs = run.inputs
    name = f"{inputs['dataset']} · {inputs['model']}"
    text = page(
        f"{name} · {run.identity[:6]}",
        name,
        f"Run <code>{escape(run.identity)}</code> · {_about(run, scores, histories)}",
        _tiles(scores),
        sections,
        "Everything here is read from the run's folder, whose files hold the same in full.",
        bool(scores["simulated"]),
    )
    write_text(run.folder / "report.html", text)
    return run.folder / "report.html"


def _better(scores: Scores) -> str:
    return "lower is better" if scores["direction"] == "min" else "higher is better"


def _about(run: Run, scores: Scores, histories: dict[int, Any]) -> str:
    done, all_folds = len(scores["folds"]), run.inputs["n_splits"]
    said = [f"{done} of {all_folds} folds" if done < all_folds else f"{done} folds", f"{amount(scores['rows'])} rows"]
    ends = [end for history in histories.values() if (end := history[-1].get("time"))]
    if ends:
        said.append(f"trained until {pd.Timestamp(max(ends), unit='s'):%d %B %Y, %H:%M} UTC".replace(" 0", " "))
    return " · ".join(said)


def _spread(scores: Scores) -> str:
    return f"{number(scores['mean'])} ± {number(scores['std'])}"


def _tiles(scores: Scores) -> str:
    metric = escape(scores["metric"])
    tiles = [
        (f"{metric}, out of fold", number(scores["oof"]), _better(scores)),
        (f"{metric}, mean ± std", _spread(scores), "over folds"),
        ("Baseline", number(scores["baseline"]), "always the training side's mean"),
        ("Accuracy", number(scores["accuracy"]), "most probable class, out of fold"),
    ]
    if len(scores["folds"]) == 1:
        del tiles[1]
    cells = [f"<dt>{name}</dt><dd>{value}<small>{below}</small></dd>" for name, value, below in tiles]
    kinds = [' class="first"', *[""] * (len(cells) - 1)]
    return '<dl class="tiles">' + "".join(f"<div{k}>{c}</div>" for k, c in zip(kinds, cells, strict=True)) + "</dl>"


def _scores(run: Run, scores: Scores, judged: Judged) -> str:
    plain, metric = scores.get("without_tta"), escape(scores["metric"])
    done = {k: read_json(path) if (path := run.fold(k).done).exists() else {} for k in scores["fold_numbers"]}
    kept = all("kept_epoch" in said for said in done.values())

    def row(name: str, rows: str, score: str, view: float | None, accuracy: str = "", epoch: str = "") -> list[str]:
        views = ["" if view is None else number(view)] if plain else []
        return [name, rows, score, *views, accuracy, *[epoch] * kept]

    seen = plain or {"folds": [None] * len(scores["folds"]), "mean": None, "oof": None}
    rows, kinds = [], []
    for k, score, view in zip(scores["fold_numbers"], scores["folds"], seen["folds"], strict=True):
        here = judged.fold == k
        epoch = f"{done[k]['kept_epoch']} of {len(run.fold(k).history())}" if kept else ""
        rows.append(row(f"fold {k}", amount(here.sum()), number(score), view, figure(judged.right[here].mean()), epoch))
        kinds.append("")
    if len(rows) > 1:
        rows.append(row("mean ± std over folds", "", _spread(scores), seen["mean"]))
        kinds.append("line")
    accuracy = number(scores["accuracy"])
    rows.append(row("out of fold", amount(scores["rows"]), number(scores["oof"]), seen["oof"], accuracy))
    rows.append(row("baseline: training means", "", number(scores["baseline"]), None))
    also = scores.get("also", {})
    rows += [row(f"{escape(name)}, out of fold", "", number(score), None) for name, score in also.items()]
    kinds += ["strong", *[""] * (1 + len(also))]
    head = ["", "rows", metric, *[f"{metric}, one view"] * bool(plain), "accuracy", *["kept epoch"] * kept]
    notes = ""
    if not scores.get("complete", True):
        notes += f'<p class="warn">{len(scores["folds"])} of {run.inputs["n_splits"]} folds are in these numbers.</p>'
    if scores.no_better:
        notes += '<p class="warn">Out of fold, this run is no better than always predicting the training means.</p>'
    return f"{notes}<p>{metric}: {_better(scores)}.</p>{table(head, rows, kinds=kinds)}"


def _members(run: Run) -> str:
    path = run.folder / "blend.json"
    if not path.exists():
        return ""
    said = read_json(path)
    rows = [
        [escape(m["name"]), number(m["oof"]), "" if m["weight"] is None else f"{m['weight']:.3f}"]
        for m in said["members"]
    ]
    return table(["run", f"{escape(said['metric'])}, out of fold", "weight"], rows)


def _notes(run: Run) -> str:
    """What was said of the split when it was made."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in run.inputs.get("notes", []))
    return f"<ul>{notes}</ul>" if notes else ""


def _curves(scores: Scores, histories: dict[int, list[dict[str, float]]]) -> str:
    if not histories:
        return ""
    metric = scores["metric"]
    titles = {"loss": "Loss", metric: f"{metric}, {_better(scores)}"}
    drawn = [(title, charts.curves(histories, what, title)) for what, title in titles.items()]
    figures = "".join(f"<figure><h3>{escape(title)}</h3>{chart}</figure>" for title, chart in drawn if chart)
    folds = f"thin: {len(histories)} folds; bold: their mean" if len(histories) > 1 else "one fold"
    return (
        '<p class="quiet keys"><span><i class="key train"></i>training</span>'
        '<span><i class="key"></i>validation</span>'
        f'<span>{folds}</span></p><div class="pair">{figures}</div>'
    )
