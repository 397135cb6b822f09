"""A comparison as one page: verdicts, scores by fold, differences, curves, classes, and the rows told differently.

``report.html`` is made as a run's own page is: no network, no scripts, its figures in the page; exact numbers stand in
the ``value`` of ``<data>`` elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.comparison import rows as comparison_rows
from bench.comparison.comparison import Comparison
from bench.comparison.plots import MOST
from bench.comparison.rows import Inputs
from bench.comparison.tables import difference_table, marked, score_table
from bench.comparison.words import bounds, chance, decimals, differences, labels, loss_name, notes, signed, verdict
from bench.report import page
from bench.report.figures import cut
from bench.report.tables import Marked, Table
from bench.runs.facts import short_name
from bench.tell import amount, percent

TEMPLATE = Path(__file__).with_name("templates") / "comparison.html"


def write(of: Comparison, folder: Path, pictures: Mapping[str, str], inputs: Inputs) -> Path:
    """Writes ``<folder>/report.html`` and returns its path; the folder's name is the comparison's identity.

    ``pictures`` are the comparison's figures as SVG, by name.
    """
    names = labels(of.runs)
    against = names[1] if len(names) == 2 else f"{len(names) - 1} others"
    name = f"{of.runs[0].inputs.dataset} · {names[0]} against {against}"
    units = [] if of.unit == "row" else [f"{amount(of.n_units)} {of.unit}s"]
    counts = [f"{len(of.runs)} runs", f"{len(of.numbers)} folds", f"{amount(len(of.rows.table))} rows", *units]
    some = f"Of {len(names)} runs the best {MOST} are shown." if len(names) > MOST else ""

    def drawn(*keys: str) -> list[str]:
        return [picture for key, picture in pictures.items() if key in keys or key.rpartition("_")[0] in keys]

    sections: dict[str, tuple[str, object]] = {
        "scores": ("Scores", {"metric": of.metric, "table": score_table(of), "drawn": drawn("folds")}),
        "differences": ("Differences", {"of": of, "table": difference_table(of), "drawn": drawn("differences")}),
        "curves": ("Learning curves", {"shown": some, "drawn": drawn("curves"), **_losses(of, names)}),
        "classes": ("By class", {"shown": some, **_classes(of, names), "drawn": drawn("classes")}),
        "reliability": ("Reliability", {"shown": some, "drawn": drawn("reliability")}),
        "rows": ("Where they disagree", comparison_rows.section(of, names, inputs, drawn("rows"))),
        "runs": ("The runs", _runs(of, names)),
    }
    if not drawn("curves"):
        del sections["curves"]
    return page.write(
        folder / "report.html",
        TEMPLATE,
        sections,
        tab=f"{name} · {folder.name[:6]}",
        name=name,
        under={"identity": folder.name, "about": counts},
        first={"verdicts": _verdicts(of), "notes": notes(of), "tiles": _tiles(of, names)},
        footer="Everything here is read from the runs' folders; the files beside this page hold the same in full.",
        simulated=of.rows.simulated,
    )


def _verdicts(of: Comparison) -> list[tuple[str, str]]:
    """The verdicts in the words of the terminal: each one, and the numbers that it stands on."""
    verdicts = [verdict(of, pair) for pair in of.pairs]
    return [(words[0].upper() + words[1:] if words.startswith("on ") else words, rest) for words, rest in verdicts]


def _tiles(of: Comparison, names: Sequence[str]) -> list[tuple[str, object, str]]:
    """The two best runs and their difference."""
    digits, pair = decimals(of), of.pairs[0]
    judged = pair.gains[np.isfinite(pair.gains)]
    return [
        *((cut(names[i], 40), of.scores[i], f"{of.metric.name}, out of fold") for i in (0, 1)),
        ("Difference", signed(pair.gain, digits), f"95 % interval {bounds(pair.low, pair.high, digits)}"),
        ("Better on", f"{(judged > 0).sum()} of {len(judged)}", f"folds, p {chance(pair.p_folds)}"),
    ]


def _losses(of: Comparison, names: Sequence[str]) -> dict[str, object]:
    """Which losses differ, where they do, and which runs have no epochs: ensembles."""
    trained = [i for i, run in enumerate(of.runs[:MOST]) if any(fold.history() for fold in run.folds)]
    losses = [of.runs[i].made_by.loss for i in trained]
    differ = any(loss != losses[0] for loss in losses)
    return {
        "losses": ", ".join(dict.fromkeys(short_name(loss) or "none" for loss in losses)) if differ else "",
        "lacking": ", ".join(names[i] for i in range(min(len(names), MOST)) if i not in trained),
    }


def _classes(of: Comparison, names: Sequence[str]) -> dict[str, object]:
    """Every class's score under each run, and accuracy; of two runs how far the better one is ahead there, too."""
    shown, digits, two = range(min(len(names), MOST)), decimals(of), len(names) == 2
    by_run = [of.classes[of.classes["run"] == i] for i in shown]
    scores: list[list[object]] = []
    right: list[list[object]] = []
    for c, name in enumerate(of.rows.classes):
        runs = [table.iloc[c] for table in by_run]
        start = [name, amount(runs[0]["rows"])]
        cells = marked(of.loss_direction, [float(run["score"]) for run in runs])
        if two:
            gain, low, high = (float(runs[1][key]) for key in ("gain", "low", "high"))
            ahead = signed(gain, digits) if np.isfinite(gain) else "–"
            cells.append(Marked(ahead, "sure") if low > 0 or high < 0 else ahead)
            cells.append(bounds(low, high, digits) if np.isfinite(low) else "–")
        scores.append([*start, *cells])
        right.append([*start, *(percent(run["accuracy"]) for run in runs)])
    head = ["class", "rows", *(names[i] for i in shown)]
    return {
        "loss": loss_name(of),
        "direction": of.loss_direction,
        "first": names[0] if two else "",
        "scores": Table([*head, *["difference", "95 % interval"] * two], scores),
        "right": Table(head, right),
    }


def _runs(of: Comparison, names: Sequence[str]) -> dict[str, object]:
    """Where the runs are, their seeds, and what sets them apart, as text."""
    known: Mapping[str, list[str]] = {
        "identity": [run.identity for run in of.runs],
        "seed": ["–" if run.made_by.seed is None else str(run.made_by.seed) for run in of.runs],
        "folder": [str(run.folder) for run in of.runs],
    }
    apart = [{k: v for k, v in words.items() if k != "seed"} for words in differences(of.runs)]
    keys = list(dict.fromkeys(key for words in apart for key in words))
    rows = [[name, *values] for name, values in known.items()]
    rows += [[key, *(words.get(key, "–") for words in apart)] for key in keys]
    kinds = ["", "", "", "line", *[""] * len(keys)][: len(rows)]
    head = ["", *names]
    return {"differ": bool(keys), "table": Table(head, rows, len(head), kinds, kind="runs")}
