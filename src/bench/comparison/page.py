"""A comparison as one page: verdicts, scores by fold, differences, curves, classes, and rows predicted differently.

Like a run's page, ``report.html`` needs no network and no scripts. Its figures are in the page, and exact numbers are
in the ``value`` of ``<data>`` elements.
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


def write(compared: Comparison, folder: Path, pictures: Mapping[str, str], inputs: Inputs) -> Path:
    """Writes ``<folder>/report.html`` and returns its path; the folder's name is the comparison's identity.

    ``pictures`` are the comparison's figures as SVG, by name.
    """
    names = labels(compared.runs)
    against = names[1] if len(names) == 2 else f"{len(names) - 1} others"
    name = f"{compared.runs[0].inputs.dataset} · {names[0]} against {against}"
    units = [] if compared.unit == "row" else [f"{amount(compared.n_units)} {compared.unit}s"]
    counts = [
        f"{len(compared.runs)} runs",
        f"{len(compared.numbers)} folds",
        f"{amount(len(compared.rows.table))} rows",
        *units,
    ]
    some = f"Of {len(names)} runs the best {MOST} are shown." if len(names) > MOST else ""

    def drawn(*keys: str) -> list[str]:
        return [picture for key, picture in pictures.items() if key in keys or key.rpartition("_")[0] in keys]

    sections: dict[str, tuple[str, object]] = {
        "scores": ("Scores", {"metric": compared.metric, "table": score_table(compared), "drawn": drawn("folds")}),
        "differences": (
            "Differences",
            {"compared": compared, "table": difference_table(compared), "drawn": drawn("differences")},
        ),
        "curves": ("Learning curves", {"shown": some, "drawn": drawn("curves"), **_losses(compared, names)}),
        "classes": ("By class", {"shown": some, **_classes(compared, names), "drawn": drawn("classes")}),
        "reliability": ("Reliability", {"shown": some, "drawn": drawn("reliability")}),
        "rows": ("Where they disagree", comparison_rows.section(compared, names, inputs, drawn("rows"))),
        "runs": ("The runs", _runs(compared, names)),
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
        first={"verdicts": _verdicts(compared), "notes": notes(compared), "tiles": _tiles(compared, names)},
        footer="Everything here is read from the runs' folders; the files beside this page hold the same in full.",
        simulated=compared.rows.simulated,
    )


def _verdicts(compared: Comparison) -> list[tuple[str, str]]:
    """The verdicts as the terminal prints them: each one, and the numbers behind it."""
    verdicts = [verdict(compared, pair) for pair in compared.pairs]
    return [(words[0].upper() + words[1:] if words.startswith("on ") else words, rest) for words, rest in verdicts]


def _tiles(compared: Comparison, names: Sequence[str]) -> list[tuple[str, object, str]]:
    """The two best runs and their difference."""
    digits, pair = decimals(compared), compared.pairs[0]
    judged = pair.gains[np.isfinite(pair.gains)]
    return [
        *((cut(names[i], 40), compared.scores[i], f"{compared.metric.name}, out of fold") for i in (0, 1)),
        ("Difference", signed(pair.gain, digits), f"95 % interval {bounds(pair.low, pair.high, digits)}"),
        ("Better on", f"{(judged > 0).sum()} of {len(judged)}", f"folds, p {chance(pair.p_folds)}"),
    ]


def _losses(compared: Comparison, names: Sequence[str]) -> dict[str, object]:
    """The names of the losses, where they differ, and of the runs without epochs (ensembles)."""
    trained = [i for i, run in enumerate(compared.runs[:MOST]) if any(fold.history() for fold in run.folds)]
    losses = [compared.runs[i].made_by.loss for i in trained]
    differ = any(loss != losses[0] for loss in losses)
    return {
        "losses": ", ".join(dict.fromkeys(short_name(loss) or "none" for loss in losses)) if differ else "",
        "lacking": ", ".join(names[i] for i in range(min(len(names), MOST)) if i not in trained),
    }


def _classes(compared: Comparison, names: Sequence[str]) -> dict[str, object]:
    """Each class's score and accuracy under each run; for two runs also the difference."""
    positions, digits, two = range(min(len(names), MOST)), decimals(compared), len(names) == 2
    by_run = [compared.classes[compared.classes["run"] == i] for i in positions]
    scores: list[list[object]] = []
    right: list[list[object]] = []
    for c, name in enumerate(compared.rows.classes):
        runs = [table.iloc[c] for table in by_run]
        start = [name, amount(runs[0]["rows"])]
        cells = marked(compared.loss_direction, [float(run["score"]) for run in runs])
        if two:
            gain, low, high = (float(runs[1][key]) for key in ("gain", "low", "high"))
            ahead = signed(gain, digits) if np.isfinite(gain) else "–"
            cells.append(Marked(ahead, "sure") if low > 0 or high < 0 else ahead)
            cells.append(bounds(low, high, digits) if np.isfinite(low) else "–")
        scores.append([*start, *cells])
        right.append([*start, *(percent(run["accuracy"]) for run in runs)])
    head = ["class", "rows", *(names[i] for i in positions)]
    return {
        "loss": loss_name(compared),
        "direction": compared.loss_direction,
        "first": names[0] if two else "",
        "scores": Table([*head, *["difference", "95 % interval"] * two], scores),
        "right": Table(head, right),
    }


def _runs(compared: Comparison, names: Sequence[str]) -> dict[str, object]:
    """The runs' folders, seeds and differing options, as text."""
    known: Mapping[str, list[str]] = {
        "identity": [run.identity for run in compared.runs],
        "seed": ["–" if run.made_by.seed is None else str(run.made_by.seed) for run in compared.runs],
        "folder": [str(run.folder) for run in compared.runs],
    }
    apart = [{k: v for k, v in words.items() if k != "seed"} for words in differences(compared.runs)]
    keys = list(dict.fromkeys(key for words in apart for key in words))
    rows = [[name, *values] for name, values in known.items()]
    rows += [[key, *(words.get(key, "–") for words in apart)] for key in keys]
    kinds = ["", "", "", "line", *[""] * len(keys)][: len(rows)]
    head = ["", *names]
    return {"differ": bool(keys), "table": Table(head, rows, len(head), kinds, kind="runs")}
