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
from bench.comparison.words import bounds, chance, decimals, differences, labels, loss_name, notes, signed, verdict
from bench.report import page
from bench.report.figures import cut
from bench.report.tables import Marked, Spread, Table
from bench.runs.facts import short_name
from bench.spec import Direction
from bench.tell import amount, percent

TEMPLATE = Path(__file__).with_name("templates") / "comparison.html"


def write(of: Comparison, folder: Path, pictures: Mapping[str, str], inputs: Inputs) -> Path:
    """Writes ``<folder>/report.html`` and returns its path; the folder's name is the comparison's identity.

    ``pictures`` are the comparison's figures as SVG, by name.
    """
    names = labels(of.runs)
    against = names[1] if len(names) == 2 else f"{len(names) - 1} others"
    name = f"{of.runs[0].inputs['dataset']} · {names[0]} against {against}"
    units = [] if of.unit == "row" else [f"{amount(of.n_units)} {of.unit}s"]
    counts = [f"{len(of.runs)} runs", f"{len(of.numbers)} folds", f"{amount(len(of.rows.table))} rows", *units]
    shown = f"Of {len(names)} runs the best {MOST} are shown." if len(names) > MOST else ""

    def drawn(*keys: str) -> list[str]:
        return [picture for key, picture in pictures.items() if key in keys or key.rpartition("_")[0] in keys]

    sections: dict[str, tuple[str, object]] = {
        "scores": ("Scores", {**_scores(of, names), "drawn": drawn("folds")}),
        "differences": ("Differences", {**_differences(of, names), "drawn": drawn("differences")}),
        "curves": ("Learning curves", {"shown": shown, "drawn": drawn("curves"), **_losses(of, names)}),
        "classes": ("By class", {"shown": shown, **_classes(of, names), "drawn": drawn("classes")}),
        "reliability": ("Reliability", {"shown": shown, "drawn": drawn("reliability")}),
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


def _scores(of: Comparison, names: Sequence[str]) -> dict[str, object]:
    """Folds by runs, the best of each line marked; of two runs their difference beside it."""
    pairs, digits = of.pairs if len(of.runs) == 2 else [], decimals(of)

    def ahead(values: Sequence[float]) -> list[str]:
        return [signed(value, digits) if np.isfinite(value) else "–" for value in values]

    rows: list[list[object]] = [
        [f"fold {k}", *_marked(of.metric.direction, of.folds[:, i]), *ahead([p.gains[i] for p in pairs])]
        for i, k in enumerate(of.numbers)
    ]
    known = [scores[np.isfinite(scores)] for scores in of.folds]
    means = [float(np.mean(scores)) if len(scores) else np.nan for scores in known]
    spreads = [Spread(mean, float(np.std(s)) if len(s) else np.nan) for mean, s in zip(means, known, strict=True)]
    test = [pair.folds.mean if pair.folds else np.nan for pair in pairs]
    rows.append(["mean ± std", *_marked(of.metric.direction, means, spreads), *ahead(test)])
    rows.append(["out of fold", *_marked(of.metric.direction, of.scores), *ahead([p.gain for p in pairs])])
    written = 0 if np.abs(of.scores).max() >= 100 else 4
    spans = [bounds(low, high, written) for low, high in of.intervals]
    rows.append(["95 % interval", *spans, *[bounds(p.low, p.high, digits) for p in pairs]])
    kinds = [*[""] * len(of.numbers), "line breaks", "strong", "breaks"]
    table = Table(["", *names, *["difference" for _ in pairs]], rows, 1, kinds, kind="narrow" * (len(names) > 4))
    return {"metric": of.metric, "table": table, "difference": names[0] if pairs else ""}


def _marked(direction: Direction, values: Sequence[float] | np.ndarray, cells: Sequence[object] = ()) -> list[object]:
    """The ``cells`` (the values themselves) with the best of them marked, all that share that place."""
    best = direction.best(values)
    top = None if best is None else values[best]
    pairs = zip(values, cells or [float(value) for value in values], strict=True)
    return [Marked(cell, "best") if value == top else cell for value, cell in pairs]


def _differences(of: Comparison, names: Sequence[str]) -> dict[str, object]:
    """Each pair's difference by folds and by rows: the numbers of both tests."""
    digits, many = decimals(of), len(of.pairs) > 1
    rows: list[list[object]] = []
    for pair in of.pairs:
        judged, t = pair.gains[np.isfinite(pair.gains)], pair.folds
        fold = [signed(judged.mean(), digits), bounds(t.low, t.high, digits)] if t else ["–", "–"]
        how = f"over folds: better on {(judged > 0).sum()} of {len(judged)}"
        rows.append([*[names[pair.other]] * many, how, *fold, chance(pair.p_folds).removeprefix("= ")])
        span = [signed(pair.gain, digits), bounds(pair.low, pair.high, digits)]
        rows.append([*[""] * many, "resampled rows, out of fold", *span, chance(pair.p_rows).removeprefix("= ")])
    head = [*["against"] * many, "", "difference", "95 % interval", "p"]
    return {
        "first": names[0],
        "metric": of.metric,
        "unit": "rows" if of.unit == "row" else f"rows, whole {of.unit}s together",
        "draws": f"{amount(of.resamples)} draws of the {amount(of.n_units)} {of.unit}s",
        "table": Table(head, rows, 1 + many, ["breaks"] * len(rows)),
    }


def _losses(of: Comparison, names: Sequence[str]) -> dict[str, object]:
    """Which losses differ, where they do, and which runs have no epochs: ensembles."""
    trained = [i for i, run in enumerate(of.runs[:MOST]) if any(fold.history() for fold in run.folds)]
    losses = [of.runs[i].config.get("loss") for i in trained]
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
        cells = _marked(of.loss_direction, [float(run["score"]) for run in runs])
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
        "seed": [str(run.config.get("seed", "–")) for run in of.runs],
        "folder": [str(run.folder) for run in of.runs],
    }
    apart = [{k: v for k, v in words.items() if k != "seed"} for words in differences(of.runs)]
    keys = list(dict.fromkeys(key for words in apart for key in words))
    rows = [[name, *values] for name, values in known.items()]
    rows += [[key, *(words.get(key, "–") for words in apart)] for key in keys]
    kinds = ["", "", "", "line", *[""] * len(keys)][: len(rows)]
    head = ["", *names]
    return {"differ": bool(keys), "table": Table(head, rows, len(head), kinds, kind="runs")}
