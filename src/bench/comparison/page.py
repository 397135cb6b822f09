"""A comparison as one page: verdicts, scores by fold, differences, curves, classes, and the rows told differently.

``report.html`` is made as a run's own page is: no network, no scripts, its charts in the page; exact numbers stand in
the ``value`` of ``<data>`` elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from bench.atomic import write_text
from bench.comparison import rows as comparison_rows
from bench.comparison.comparison import DISTANCE, Comparison
from bench.comparison.rows import Inputs
from bench.comparison.words import bounds, chance, decimals, differences, labels, notes, signed, verdict
from bench.report import charts
from bench.report.page import page
from bench.report.plots import cut
from bench.report.tables import amount, number, percent, table
from bench.runs.facts import short_name

MOST = 5
"""Runs, the best ones, whose curves, classes and reliability are shown: as many as the page has colours for."""
POINTS = 20_000
"""Points of all learning curves of a chart together."""


def write(of: Comparison, folder: Path, inputs: Inputs) -> Path:
    """Writes ``<folder>/report.html`` and returns its path; the folder's name is the comparison's identity."""
    names = labels(of.runs)
    against = names[1] if len(names) == 2 else f"{len(names) - 1} others"
    name = f"{of.runs[0].inputs['dataset']} · {names[0]} against {against}"
    units = "" if of.unit == "row" else f" · {amount(of.n_units)} {of.unit}s"
    under = (
        f"Comparison <code>{escape(folder.name)}</code> · {len(of.runs)} runs · {len(of.numbers)} folds · "
        f"{amount(len(of.rows.table))} rows{units}"
    )
    sections = [
        ("scores", "Scores", _scores(of, names)),
        ("differences", "Differences", _differences(of, names)),
        ("curves", "Learning curves", _curves(of, names)),
        ("classes", "By class", _classes(of, names)),
        ("reliability", "Reliability", _reliability(of, names)),
        ("rows", "Where they disagree", comparison_rows.section(of, names, inputs)),
        ("runs", "The runs", _runs(of, names)),
    ]
    text = page(
        f"{name} · {folder.name[:6]}",
        name,
        under,
        _verdicts(of) + _tiles(of, names),
        sections,
        "Everything here is read from the runs' folders; the files beside this page hold the same in full.",
        of.rows.simulated,
    )
    write_text(folder / "report.html", text)
    return folder / "report.html"


def better(direction: str) -> str:
    return "lower is better" if direction == "min" else "higher is better"


def loss_name(of: Comparison) -> str:
    """What a row's score is called."""
    return "distance from the target" if of.loss == DISTANCE else of.loss


def _verdicts(of: Comparison) -> str:
    """The verdicts in the words of the terminal, and what to know of them."""
    said = []
    for pair in of.pairs:
        told, numbers = verdict(of, pair)
        told = told.replace("on these rows", "On these rows", 1) if told.startswith("on ") else told
        said.append(f"<p><strong>{escape(told)}</strong>{escape(numbers)}.</p>")
    known = "".join(f'<p class="quiet">Note: {escape(note)}.</p>' for note in notes(of))
    return f'<div class="verdicts">{"".join(said)}</div>{known}'


def _tiles(of: Comparison, names: Sequence[str]) -> str:
    """The two best runs and their difference."""
    metric, digits, pair = escape(of.metric.name), decimals(of), of.pairs[0]
    judged = pair.gains[np.isfinite(pair.gains)]
    tiles = [
        (escape(cut(name, 40)), number(score), f"{metric}, out of fold")
        for name, score in zip(names[:2], of.scores[:2].tolist(), strict=True)
    ]
    span = bounds(pair.low, pair.high, digits)
    tiles.append(("Difference", signed(pair.gain, digits), f"95 % interval {span}"))
    tiles.append(("Better on", f"{(judged > 0).sum()} of {len(judged)}", f"folds, p {escape(chance(pair.p_folds))}"))
    cells = [f"<dt>{head}</dt><dd>{value}<small>{below}</small></dd>" for head, value, below in tiles]
    kinds = [' class="first"', *[""] * (len(cells) - 1)]
    return '<dl class="tiles">' + "".join(f"<div{k}>{c}</div>" for k, c in zip(kinds, cells, strict=True)) + "</dl>"


def _scores(of: Comparison, names: Sequence[str]) -> str:
    """Folds by runs, the best of each line marked; of two runs their difference beside it."""
    pairs, digits = of.pairs if len(of.runs) == 2 else [], decimals(of)

    def ahead(values: Sequence[float]) -> list[str]:
        return [signed(value, digits) if np.isfinite(value) else "–" for value in values]

    rows = [
        [f"fold {k}", *_marked(of.folds[:, i], of.metric.direction), *ahead([p.gains[i] for p in pairs])]
        for i, k in enumerate(of.numbers)
    ]
    known = [scores[np.isfinite(scores)] for scores in of.folds]
    means, stds = (np.array([f(k) if len(k) else np.nan for k in known]) for f in (np.mean, np.std))
    cells = _marked(means, of.metric.direction)
    spread = [f"{mean} ± {number(std)}" for mean, std in zip(cells, stds.tolist(), strict=True)]
    rows.append(["mean ± std", *spread, *ahead([p.folds.mean if p.folds else np.nan for p in pairs])])
    whole = _marked(of.scores, of.metric.direction)
    rows.append(["out of fold", *whole, *ahead([p.gain for p in pairs])])
    written = 0 if np.abs(of.scores).max() >= 100 else 4
    spans = [bounds(low, high, written) for low, high in of.intervals]
    rows.append(["95 % interval", *spans, *[bounds(p.low, p.high, digits) for p in pairs]])
    kinds = [*[""] * len(of.numbers), "line breaks", "strong", "breaks"]
    head = ["", *map(escape, names), *["difference" for _ in pairs]]
    said = f"{escape(of.metric.name)}: {better(of.metric.direction)}. The best of each line is marked."
    more = f" Difference: how much better {escape(names[0])} is." if pairs else ""
    return f"<p>{said}{more}</p>{table(head, rows, 1, kinds, kind='narrow' * (len(names) > 4))}"


def _marked(values: np.ndarray, direction: str) -> list[str]:
    """The numbers with the best of them marked, all that share that place."""
    known = values[np.isfinite(values)]
    top = (known.min() if direction == "min" else known.max()) if len(known) else None
    shown = [(number(value), value == top) for value in values.tolist()]
    return [f'<b class="best">{text}</b>' if first else text for text, first in shown]


def _differences(of: Comparison, names: Sequence[str]) -> str:
    """Each pair's difference by folds and by rows: a chart and the numbers of both tests."""
    digits, many = decimals(of), len(of.pairs) > 1
    rows: list[list[str]] = []
    for pair in of.pairs:
        judged, t = pair.gains[np.isfinite(pair.gains)], pair.folds
        fold = [signed(judged.mean(), digits), bounds(t.low, t.high, digits)] if t else ["–", "–"]
        how = f"over folds: better on {(judged > 0).sum()} of {len(judged)}"
        rows.append([*[escape(names[pair.other])] * many, how, *fold, escape(chance(pair.p_folds).removeprefix("= "))])
        span = [signed(pair.gain, digits), bounds(pair.low, pair.high, digits)]
        rows.append(
            [*[""] * many, "resampled rows, out of fold", *span, escape(chance(pair.p_rows).removeprefix("= "))]
        )
    unit = "rows" if of.unit == "row" else f"rows, whole {of.unit}s together"
    drawn = f"{amount(of.resamples)} draws of the {amount(of.n_units)} {of.unit}s"
    first = escape(names[0])
    return (
        f"<p>How much better {first} is than each other run in {escape(of.metric.name)}: above 0 it is ahead.</p>"
        "<p><b>Over folds</b>: Nadeau and Bengio's corrected t-test, which asks whether another training would find "
        "the difference again, and knows that folds share their training rows. <b>Resampled rows</b>: a bootstrap of "
        f"the out-of-fold {unit} ({drawn}), which says how sure the difference of these trained models is.</p>"
        f'<p class="quiet keys"><span><i class="key run0"></i>resampled rows</span>'
        f'<span><i class="key run3"></i>over folds</span><span><i class="tick"></i>a fold</span></p>'
        f"<figure>{_intervals(of, names)}<figcaption>Dot and square: the difference. Lines: its 95 % interval; one "
        "without an end goes on.</figcaption></figure>"
        + table([*["against"] * many, "", "difference", "95 % interval", "p"], rows, 1 + many, ["breaks"] * len(rows))
    )


def _intervals(of: Comparison, names: Sequence[str]) -> str:
    """Both intervals of every pair about 0; a t-test of two folds has one so wide that it would hide the others."""
    near = [0.0, *(v for p in of.pairs for v in (p.gain, p.low, p.high, *p.gains[np.isfinite(p.gains)].tolist()))]
    tests = [v for p in of.pairs if p.folds for v in (p.folds.low, p.folds.high)]
    room = (max(near) - min(near)) or 1.0
    low, high = max(min(near + tests), min(near) - room), min(max(near + tests), max(near) + room)
    edge = 0.04 * (high - low) or 1.0
    low, high = low - edge, high + edge
    frame = charts.Frame((low, high), (len(of.pairs), 0), height=62 * len(of.pairs) + 48, left=16)
    parts = [frame.axes([t for t in charts.ticks(low, high) if low < t < high], [], "")]

    def line(a: float, b: float, y: float, kind: str) -> str:
        (left, at), right = frame.at(max(a, low), y), frame.at(min(b, high), y)[0]
        ends = "".join(
            f"M{x:g} {at - 4:g}v8" for x, inside in ((left, a >= low), (right, b <= high)) if inside and a < b
        )
        return f'<path class="mean {kind}" d="M{left:g} {at:g}H{right:g}{ends}"/>'

    for i, pair in enumerate(of.pairs):
        name = f"{cut(names[0], 30)} over {cut(names[pair.other], 30)}"
        x, y = frame.at(low, i + 0.24)
        parts.append(f'<text class="ink" x="{x:g}" y="{y:g}">{escape(name)}</text>')
        (x, top), bottom = frame.at(0, i + 0.32), frame.at(0, i + 0.92)[1]  # not through the name
        parts.append(f'<path class="diagonal" d="M{x:g} {top:g}V{bottom:g}"/>')
        x, y = frame.at(pair.gain, i + 0.46)
        parts.append(
            line(pair.low, pair.high, i + 0.46, "run0") + f'<circle class="run0" cx="{x:g}" cy="{y:g}" r="4"/>'
        )
        if t := pair.folds:
            x, y = frame.at(t.mean, i + 0.74)
            square = f'<path class="square" d="M{x - 4:g} {y - 4:g}h8v8h-8z"/>'
            parts.append(line(t.low, t.high, i + 0.74, "run3") + square)
        for gain in pair.gains[np.isfinite(pair.gains)].tolist():
            x, y = frame.at(gain, i + 0.74)
            parts.append(f'<path class="tick" d="M{x:g} {y - 6:g}v12"/>')
    return frame.svg("differences with their intervals", *parts)


def _best(names: Sequence[str]) -> str:
    return f"<p>Of {len(names)} runs the best {MOST} are shown.</p>" if len(names) > MOST else ""


def _curves(of: Comparison, names: Sequence[str]) -> str:
    """Validation metric and loss by epoch, all runs on the same axes; a run without epochs (an ensemble) has none."""
    histories = {
        i: found
        for i, run in enumerate(of.runs[:MOST])
        if (found := {fold.number: history for fold in run.folds if (history := fold.history())})
    }
    if not histories:
        return ""
    metric = of.metric.name
    points = max(40, min(charts.POINTS, POINTS // sum(map(len, histories.values())) // 2))
    valid = [(f"run{i}", charts.by_epoch(h, f"valid/{metric}")) for i, h in histories.items()]
    drawn = {f"{metric}, {better(of.metric.direction)}": charts.epochs(valid, metric, points)}
    losses = {i: of.runs[i].config.get("loss") for i in histories}
    alike = all(loss == losses[next(iter(losses))] for loss in losses.values())
    if alike:
        parts = (("train", "train "), ("valid", ""))
        both = [(f"{k}run{i}", charts.by_epoch(h, f"{p}/loss")) for p, k in parts for i, h in histories.items()]
        drawn["Loss"] = charts.epochs(both, "loss", points)
    figures = "".join(f"<figure><h3>{escape(title)}</h3>{chart}</figure>" for title, chart in drawn.items() if chart)
    words = "solid: validation; dashed: training" if alike else "validation"
    folds = "; thin: folds; bold: their mean" if any(len(h) > 1 for h in histories.values()) else ""
    said = _best(names)
    if not alike:
        lost = ", ".join(dict.fromkeys(short_name(loss) or "none" for loss in losses.values()))
        said += f"<p>The losses are not drawn: those that were trained on differ ({escape(lost)}).</p>"
    if lacking := [names[i] for i in range(min(len(names), MOST)) if i not in histories]:
        said += f"<p>Without epochs of their own: {escape(', '.join(lacking))}.</p>"
    keys = "".join(f'<span><i class="key run{i}"></i>{escape(names[i])}</span>' for i in histories)
    return f'{said}<p class="quiet keys">{keys}<span>{words}{folds}</span></p><div class="pair">{figures}</div>'


def _classes(of: Comparison, names: Sequence[str]) -> str:
    """Every class's score under each run, and accuracy; of two runs how far the better one is ahead there, too."""
    shown, digits, two = range(min(len(names), MOST)), decimals(of), len(names) == 2
    by_run = [of.classes[of.classes["run"] == i] for i in shown]
    scores, right = [], []
    for c, name in enumerate(of.rows.classes):
        here = [frame.iloc[c] for frame in by_run]
        start = [escape(name), amount(here[0]["rows"])]
        cells = _marked(np.array([h["score"] for h in here], dtype=float), of.loss_direction)
        if two:
            gain, low, high = (float(here[1][key]) for key in ("gain", "low", "high"))
            sure = "<b>{}</b>" if low > 0 or high < 0 else "{}"
            cells.append(sure.format(signed(gain, digits)) if np.isfinite(gain) else "–")
            cells.append(bounds(low, high, digits) if np.isfinite(low) else "–")
        scores.append([*start, *cells])
        right.append([*start, *(percent(h["accuracy"]) if np.isfinite(h["accuracy"]) else "–" for h in here)])
    head = ["class", "rows", *(escape(names[i]) for i in shown)]
    said = f"Mean {escape(loss_name(of))} on the class's rows: {better(of.loss_direction)}."
    if two:
        said += f" Difference: how much better {escape(names[0])} is; bold where its interval leaves out 0, which is "
        said += "not corrected for the number of classes."
    losses = table([*head, *["difference", "95 % interval"] * two], scores)
    return f"{_best(names)}<p>{said}</p>{losses}<h3>Accuracy</h3>{table(head, right)}"


def _reliability(of: Comparison, names: Sequence[str]) -> str:
    figures = []
    for name, probability in zip(names[:MOST], of.probabilities, strict=False):
        chart, error = charts.reliability(of.rows.target, probability)
        figures.append(
            f"<figure><h3>{escape(name)}</h3>{chart}<figcaption>Calibration error {error:.3f}.</figcaption></figure>"
        )
    said = (
        "Expected calibration error: the mean distance of confidence from what came true. Dashed: perfectly calibrated."
    )
    return f'{_best(names)}<p>{said}</p><div class="pair even">{"".join(figures)}</div>'


def _runs(of: Comparison, names: Sequence[str]) -> str:
    """Where the runs are, their seeds, and what sets them apart, as text."""
    found: Mapping[str, list[str]] = {
        "identity": [run.identity for run in of.runs],
        "seed": [str(run.config.get("seed", "–")) for run in of.runs],
        "folder": [str(run.folder) for run in of.runs],
    }
    apart = [{k: v for k, v in said.items() if k != "seed"} for said in differences(of.runs)]
    keys = list(dict.fromkeys(key for said in apart for key in said))
    rows = [[name, *values] for name, values in found.items()]
    rows += [[key, *(said.get(key, "–") for said in apart)] for key in keys]
    kinds = ["", "", "", "line", *[""] * len(keys)][: len(rows)]
    cells = [[escape(cell) for cell in row] for row in rows]
    head = ["", *map(escape, names)]
    said = "What differs stands below the line." if keys else "Their recipes do not differ but for the seed."
    return f"<p>{said}</p>{table(head, cells, len(head), kinds, kind='runs')}"
