"""A report on a run's out-of-fold rows: confusion, classes, groups, worst examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.report.examples import Lines, Picture, example
from bench.report.figures import cut
from bench.report.judged import Judged
from bench.report.tables import Table
from bench.runs.run import Run
from bench.spec import InputSpec, Metric
from bench.tell import amount, figure, percent

GROUPS = 8
MIXED = 10
BARS = 8
"""An example with at most this many classes shows all of them."""


@dataclass(frozen=True)
class Bar:
    """A class of an example: its share of the target, and its predicted probability by one run or two."""

    name: str
    target: float
    predicted: list[float]


@dataclass(frozen=True)
class Card:
    """An example: its name, facts about it, its drawn input or None, and its classes."""

    name: str
    about: list[str]
    drawn: Lines | Picture | None
    bars: list[Bar]

    @property
    def several(self) -> bool:
        return len(self.bars[0].predicted) > 1


def mixed_up(judged: Judged, classes: Sequence[str]) -> Table | None:
    """The most frequent confusions of two classes; None for fewer than three classes, or without an error."""
    counts, k = judged.counts(), len(classes)
    wrong = [(counts[a, b], a, b) for a in range(k) for b in range(k) if a != b and counts[a, b]]
    if k < 3 or not wrong:
        return None
    wrong.sort(key=lambda cell: (-cell[0], cell[1:]))
    rows = [[classes[a], classes[b], amount(n), percent(n / counts[a].sum())] for n, a, b in wrong[:MIXED]]
    return Table(["true", "predicted", "rows", "of the true class"], rows, words=2)


def by_class(metric: Metric, judged: Judged, classes: Sequence[str]) -> dict[str, object]:
    """Count, share, mean prediction, accuracy and score of each class."""
    target, probability, true = judged.target, judged.probability, judged.true
    name, sentence, values = _on_classes(metric, judged)
    rows = []
    for k, label in enumerate(classes):
        in_class = true == k
        accuracy = percent(judged.right[in_class].mean()) if in_class.any() else "–"
        shares = [percent(target[:, k].mean()), percent(probability[:, k].mean())]
        rows.append([label, amount(in_class.sum()), *shares, accuracy, figure(values[k])])
    head = ["class", "rows", "share", "mean predicted", "accuracy", name]
    return {"sentence": sentence, "table": Table(head, rows)}


def _on_classes(metric: Metric, judged: Judged) -> tuple[str, str, Sequence[float]]:
    """A column's name, a sentence that explains it, and its (K,) values.

    A metric that is a mean over rows is shown by class; for any other it is average precision.
    """
    target, probability, true = judged.target, judged.probability, judged.true
    k = target.shape[1]
    terms = metric.terms(target, probability) if metric.terms else None
    if terms is not None and terms.ndim == 2:
        sentence = f"The parts add up to the {metric.name} of all rows."
        return f"part in {metric.name}", sentence, terms.mean(axis=0).tolist()
    if terms is not None:
        values = [float(terms[true == c].mean()) if (true == c).any() else math.nan for c in range(k)]
        return metric.name, f"{metric.name} is the mean over the class's rows.", values
    from sklearn.metrics import average_precision_score

    values = [
        average_precision_score(true == c, probability[:, c]) if (true == c).any() else math.nan for c in range(k)
    ]
    return "average precision", "Average precision is that of the class against all others.", values


def by_group(judged: Judged, classes: Sequence[str]) -> dict[str, object] | None:
    """The groups with the largest and the smallest mean loss; None for a run without groups."""
    if "group" not in judged.table:
        return None
    group = judged.table["group"].to_numpy()
    frame = pd.DataFrame({"group": group, "loss": judged.loss, "right": judged.right, "true": judged.true})
    groups = frame.groupby("group")
    table = groups.agg(rows=("loss", "size"), loss=("loss", "mean"), right=("right", "mean"))
    table["class"] = groups["true"].agg(lambda values: np.bincount(values).argmax())
    table = table.sort_values("loss", ascending=False, kind="stable")
    head = ["group", "rows", "mean loss", "accuracy", "most frequent class"]

    def listed(part: pd.DataFrame) -> Table:
        rows = [
            [str(name), amount(n), figure(loss), percent(right), classes[mode]]
            for name, n, loss, right, mode in part[["rows", "loss", "right", "class"]].itertuples()
        ]
        return Table(head, rows, last_word=True)

    parts = [("Worst", table[:GROUPS]), ("Best", table[: -GROUPS - 1 : -1])]
    if len(table) <= 2 * GROUPS:
        parts = [("", table)]
    size = table["rows"]
    about = {"count": len(table), "fewest": size.min(), "most": size.max(), "median": f"{size.median():g}"}
    return {**about, "tables": [(title, listed(part)) for title, part in parts]}


def worst(run: Run, judged: Judged, examples: Mapping[int, np.ndarray], reason_missing: str) -> dict[str, object]:
    """The rows with the largest loss as cards; ``examples`` are their inputs, or ``reason_missing`` says why not."""
    spec, at = run.spec, {place: i for i, place in enumerate(judged.position.tolist())}
    cards = []
    for place in judged.worst():
        i = at[place]
        about = [f"loss {figure(judged.loss[i])}", *where(judged.table, i, judged.fold[i])]
        x, target, predicted = examples.get(place), judged.target[i], [judged.probability[i]]
        cards.append(card(str(judged.table["id"].iloc[i]), about, x, spec.classes, target, predicted))
    who = "the first member" if run.inputs.members else "the model"
    return {"cards": cards, "how": f"Drawn as {who} sees them, {size(spec)}." if examples else reason_missing}


def where(table: pd.DataFrame, i: int, fold: int) -> list[str]:
    """A row's fold, and its group where it has one."""
    return [f"fold {fold}", *([f"group {table['group'].iloc[i]}"] if "group" in table else [])]


def size(spec: InputSpec) -> str:
    """An input's shape in words."""
    shape = "\u00a0×\u00a0".join(map(amount, spec.shape))
    if len(spec.size) > 1:
        return f"{shape} (channels × height × width)"
    seconds = f", {spec.size[0] / spec.sample_rate:g} s" if spec.sample_rate else ""
    return f"{shape} (channels × samples{seconds})"


def card(
    name: str,
    about: list[str],
    x: np.ndarray | None,
    classes: Sequence[str],
    target: np.ndarray,
    predicted: list[np.ndarray],
) -> Card:
    """A row with its input, (C, T) or (C, H, W), and its (K,) target and predictions.

    Of more than ``BARS`` classes it shows the most probable three of each, without those below 0.5 %.
    """
    positions = list(range(len(target)))
    if len(target) > BARS:
        top = [k for values in (target, *predicted) for k in np.argsort(-values, kind="stable")[:3].tolist()]
        positions = [k for k in dict.fromkeys(top) if max(p[k] for p in (target, *predicted)) >= 0.005]
    bars = [Bar(cut(classes[k], 40), float(target[k]), [float(p[k]) for p in predicted]) for k in positions]
    return Card(name, about, None if x is None else example(x), bars)
