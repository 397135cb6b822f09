"""A run's out-of-fold rows, and what a report says of them: confusion, classes, groups, worst examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from bench.metrics import SMALLEST
from bench.report import charts
from bench.report.plots import cut
from bench.report.tables import amount, figure, percent, table
from bench.runs.run import Run
from bench.spec import InputSpec

WORST = 12
GROUPS = 8
MIXED = 10
BARS = 8
"""Classes up to which an example shows all of them."""


@dataclass(frozen=True)
class Judged:
    """A run's out-of-fold rows.

    table are their rows of splits.parquet, position their places in it (and in the store); target and probability are
    (N, K), fold and loss (N,).
    """

    table: pd.DataFrame
    position: np.ndarray
    target: np.ndarray
    probability: np.ndarray
    fold: np.ndarray

    @property
    def loss(self) -> np.ndarray:
        """(N,) Kullback-Leibler divergence of each row, which for a hard target is its cross entropy."""
        return divergence(self.target, self.probability).sum(1)

    @property
    def right(self) -> np.ndarray:
        """(N,) bool: the most probable class is the target's largest."""
        return self.target.argmax(1) == self.probability.argmax(1)

    def worst(self, count: int = WORST) -> list[int]:
        """Places (in splits.parquet) of the rows with the largest loss, the largest first."""
        return self.position[np.argsort(-self.loss, kind="stable")[:count]].tolist()


def judge(run: Run) -> Judged:
    """Reads what the run has predicted out of fold."""
    rows, oof = (pd.read_parquet(run.folder / name) for name in ("splits.parquet", "oof.parquet"))
    target, probability = (
        oof[[f"{part}_{name}" for name in run.spec.classes]].to_numpy(np.float64) for part in ("target", "pred")
    )
    there = np.isfinite(probability).all(1)
    place = pd.Series(np.arange(len(rows)), index=rows["id"])[oof["id"][there]].to_numpy()
    return Judged(rows.iloc[place], place, target[there], probability[there], oof["fold"].to_numpy()[there])


def divergence(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(N, K) terms t · log(t / p) whose mean sum is the KL metric; p as that clips it."""
    clipped = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return target * np.log(np.divide(target, clipped, out=np.ones_like(target), where=target > 0))


def confusion(judged: Judged, classes: Sequence[str]) -> str:
    k, true, predicted = len(classes), judged.target.argmax(1), judged.probability.argmax(1)
    counts = np.zeros((k, k), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    soft = " A row's true class is its target's largest." if (judged.target.max(1) < 1).any() else ""
    wide = ' class="wide"' if k > 6 else ""
    chart = f'<div class="scroll"><div{wide}>{charts.confusion(counts, classes)}</div></div>'
    text = f"<p>{percent(judged.right.mean())} of {amount(len(true))} rows are right.{soft}</p>{chart}"
    wrong = [(counts[a, b], a, b) for a in range(k) for b in range(k) if a != b and counts[a, b]]
    if k < 3 or not wrong:
        return text
    wrong.sort(key=lambda cell: (-cell[0], cell[1:]))
    rows = [
        [escape(classes[a]), escape(classes[b]), amount(n), percent(n / counts[a].sum())] for n, a, b in wrong[:MIXED]
    ]
    return f"{text}<h3>Most often mixed up</h3>{table(['true', 'predicted', 'rows', 'of the true class'], rows, 2)}"


def classes(scores: dict[str, Any], judged: Judged, classes: Sequence[str]) -> str:
    """Count, share, mean prediction, accuracy, and the class's part in the metric where that is a sum over classes."""
    target, probability = judged.target, judged.probability
    true = target.argmax(1)
    parts = _parts(scores, target, probability)
    if parts is not None:
        name, said = "part in " + scores["metric"], f"The parts add up to the {scores['metric']} of all rows."
    else:
        from sklearn.metrics import average_precision_score

        name, said = "average precision", "Average precision is that of the class against all others."
        parts = np.array([
            average_precision_score(true == k, probability[:, k]) if (true == k).any() else math.nan
            for k in range(len(classes))
        ])  # fmt: skip
    rows = []
    for k, label in enumerate(classes):
        here = true == k
        accuracy = percent(judged.right[here].mean()) if here.any() else "–"
        shares = [percent(target[:, k].mean()), percent(probability[:, k].mean())]
        rows.append([escape(label), amount(here.sum()), *shares, accuracy, figure(parts[k])])
    head = ["class", "rows", "share", "mean predicted", "accuracy", escape(name)]
    return f"<p>{escape(said)}</p>{table(head, rows)}"


def _parts(scores: dict[str, Any], target: np.ndarray, probability: np.ndarray) -> np.ndarray | None:
    """(K,) what each class adds to the out-of-fold score; None for a metric that is no sum over classes."""
    terms = {"kl": divergence(target, probability), "l1_20k": np.abs(target - probability) * 20_000}
    if scores["metric"] not in terms:
        return None
    parts = terms[scores["metric"]].mean(0)
    return parts if math.isclose(parts.sum(), scores["oof"], rel_tol=1e-6, abs_tol=1e-9) else None


def groups(judged: Judged, classes: Sequence[str]) -> str:
    if "group" not in judged.table:
        return ""
    group, true = judged.table["group"].to_numpy(), judged.target.argmax(1)
    frame = pd.DataFrame({"group": group, "loss": judged.loss, "right": judged.right, "true": true})
    by = frame.groupby("group")
    found = by.agg(rows=("loss", "size"), loss=("loss", "mean"), right=("right", "mean"))
    found["class"] = by["true"].agg(lambda values: np.bincount(values).argmax())
    found = found.sort_values("loss", ascending=False, kind="stable")
    size = found["rows"]
    spread = f"Their rows: {amount(size.min())} to {amount(size.max())}, median {size.median():g}."
    said = f"<p>{amount(len(found))} groups by the mean loss (KL divergence) of their rows. {spread}</p>"
    head = ["group", "rows", "mean loss", "accuracy", "most frequent class"]

    def listed(part: pd.DataFrame) -> str:
        rows = [
            [escape(str(name)), amount(n), figure(loss), percent(right), escape(classes[mode])]
            for name, n, loss, right, mode in part[["rows", "loss", "right", "class"]].itertuples()
        ]
        return table(head, rows, last_word=True)

    if len(found) <= 2 * GROUPS:
        return said + listed(found)
    return f"{said}<h3>Worst</h3>{listed(found[:GROUPS])}<h3>Best</h3>{listed(found[: -GROUPS - 1 : -1])}"


def examples(run: Run, judged: Judged, examples: Mapping[int, np.ndarray], lacking: str) -> str:
    spec, loss = run.spec, judged.loss
    of = {place: i for i, place in enumerate(judged.position.tolist())}
    kind = "sequence" if len(spec.size) == 1 else "image"
    cards = []
    for place in judged.worst():
        i = of[place]
        name = str(judged.table["id"].iloc[i])  # by column: a whole row's numbers would become floats
        group = f" · group {escape(str(judged.table['group'].iloc[i]))}" if "group" in judged.table else ""
        drawn = charts.example(examples[place], kind, f"example {name}") if place in examples else ""
        about = f"loss {figure(loss[i])} · fold {judged.fold[i]}{group}"
        cards.append(card(name, about, drawn, judged.target[i], [judged.probability[i]], spec.classes))
    who = "the first member" if "members" in run.inputs else "the model"
    how = f"Drawn as {who} sees them, {size(spec)}." if examples else escape(lacking)
    return (
        f"<p>The rows with the largest loss out of fold (KL divergence). {how}</p>"
        '<p class="quiet keys"><span><i class="key target"></i>target</span>'
        '<span><i class="key predicted"></i>predicted</span></p>'
        f'<div class="examples">{"".join(cards)}</div>'
    )


def size(spec: InputSpec) -> str:
    """An input's shape in words."""
    shape = "\u00a0×\u00a0".join(map(amount, spec.shape))
    if len(spec.size) > 1:
        return f"{shape} (channels × height × width)"
    seconds = f", {spec.size[0] / spec.sample_rate:g} s" if spec.sample_rate else ""
    return f"{shape} (channels × samples{seconds})"


def card(
    name: str, about: str, drawn: str, target: np.ndarray, predictions: Sequence[np.ndarray], classes: Sequence[str]
) -> str:
    """A row with its picture, and its (K,) target above what was predicted; ``about`` and ``drawn`` are HTML."""
    head = f"<h3>{escape(name)} <span>{about}</span></h3>"
    return f'<article class="example">{head}{drawn}{_bars(target, predictions, classes)}</article>'


def _bars(target: np.ndarray, predictions: Sequence[np.ndarray], classes: Sequence[str]) -> str:
    """Target above predictions, all (K,), of all classes where they are few, else of those that matter to any."""
    chosen = list(range(len(classes)))
    if len(classes) > BARS:
        top = [k for values in (target, *predictions) for k in np.argsort(-values, kind="stable")[:3].tolist()]
        chosen = [k for k in dict.fromkeys(top) if max(p[k] for p in (target, *predictions)) >= 0.005]
    rows = "".join(
        f'<tr><td class="word">{escape(cut(classes[k], 40))}</td><td class="room">'
        f'<b style="width:{100 * target[k]:.1f}%"></b>'
        + "".join(f'<i style="width:{100 * p[k]:.1f}%"></i>' for p in predictions)
        + f"</td><td>{target[k]:.2f}</td>{''.join(f'<td>{p[k]:.2f}</td>' for p in predictions)}</tr>"
        for k in chosen
    )
    return f'<table class="bars{" several" * (len(predictions) > 1)}">{rows}</table>'
