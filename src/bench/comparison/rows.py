"""The rows that two runs tell differently, for a comparison's page: which, how many, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from bench.comparison.comparison import Comparison, Pair, apart
from bench.report import charts
from bench.report import rows as report_rows
from bench.report.tables import amount, figure, percent, table
from bench.runs.run import Run

EXAMPLES = 12
"""Rows that a page shows of all pairs together."""
PAIRS = 6


@dataclass(frozen=True)
class Inputs:
    """What the model of ``run`` is given, (C, T) or (C, H, W), by the row's place in ``Comparison.rows``.

    Where there are none, ``lacking`` says why in a sentence.
    """

    run: Run | None = None
    shown: Mapping[int, np.ndarray] = field(default_factory=dict)
    lacking: str = ""


def shown_rows(of: Comparison) -> list[tuple[Pair, list[int]]]:
    """The first pairs with the places (in ``of.rows``) of the rows that they tell most differently, most first."""
    pairs = of.pairs[:PAIRS]
    each = max(2, EXAMPLES // len(pairs))
    found = []
    for pair in pairs:
        distance = apart(of, pair)
        top = np.argsort(-distance, kind="stable")[:each]
        found.append((pair, [int(i) for i in top if distance[i] > 0]))
    return found


def section(of: Comparison, names: Sequence[str], inputs: Inputs) -> str:
    """For each shown pair: how often each is right and nearer, and its rows as cards with both predictions."""
    parts, found = [], shown_rows(of)
    for pair, rows in found:
        first, second = (escape(names[i]) for i in (pair.best, pair.other))
        if len(found) > 1:
            parts.append(f"<h3>{first} and {second}</h3>")
        if not rows:
            parts.append("<p>They predict the very same.</p>")
            continue
        parts.append(_counts(of, pair, first, second))
        parts.append(
            '<p class="quiet keys"><span><i class="key target"></i>target</span>'
            f'<span><i class="key predicted"></i>{first}</span>'
            f'<span><i class="key predicted other"></i>{second}</span></p>'
            f'<div class="examples">{"".join(_card(of, pair, i, inputs) for i in rows)}</div>'
        )
    if inputs.shown and inputs.run:
        who = "the first member of " if "members" in inputs.run.inputs else ""
        name = names[next(i for i, run in enumerate(of.runs) if run.folder == inputs.run.folder)]
        how = f"Drawn as {who}{escape(name)} sees them, {report_rows.size(inputs.run.spec)}."
    else:
        how = escape(inputs.lacking)
    left = f" Of {len(of.pairs)} pairs the first {PAIRS} are shown." if len(of.pairs) > PAIRS else ""
    return (
        "<p>The rows whose predictions are furthest apart: half the sum of their differences, 1 where they have "
        f"nothing in common; disagreements.csv has 100 of each pair. {how}{left}</p>{''.join(parts)}"
    )


def _counts(of: Comparison, pair: Pair, first: str, second: str) -> str:
    """How many rows both, one or none tell right, and on how many each one's score is the better."""
    true = of.rows.target.argmax(1)
    one, other = (of.probabilities[i].argmax(1) == true for i in (pair.best, pair.other))
    kinds = (
        ("both are right", one & other),
        (f"{first} alone is right", one & ~other),
        (f"{second} alone is right", other & ~one),
        ("neither is right", ~one & ~other),
    )
    rows = [[name, amount(which.sum()), percent(which.mean())] for name, which in kinds]
    ahead = of.losses[:, pair.other] - of.losses[:, pair.best]
    ahead = ahead if of.loss_direction == "min" else -ahead
    nearer = f"{first} has the better {escape(of.loss)} on {percent((ahead > 0).mean())} of rows"
    said = f"<p>{nearer}, {second} on {percent((ahead < 0).mean())}.</p>"
    return said + table(["most probable class", "rows", "share"], rows)


def _card(of: Comparison, pair: Pair, i: int, inputs: Inputs) -> str:
    row, kind = of.rows.table, "sequence"
    if inputs.run is not None:
        kind = "sequence" if len(inputs.run.spec.size) == 1 else "image"
    name = str(row["id"].iloc[i])
    group = f" · group {escape(str(row['group'].iloc[i]))}" if "group" in row else ""
    scores = " against ".join(figure(of.losses[i, k]) for k in (pair.best, pair.other))
    about = f"apart {apart(of, pair)[i]:.2f} · fold {row['fold'].iloc[i]}{group} · {escape(of.loss)} {scores}"
    drawn = charts.example(inputs.shown[i], kind, f"example {name}") if i in inputs.shown else ""
    both = [of.probabilities[k][i] for k in (pair.best, pair.other)]
    return report_rows.card(name, about, drawn, of.rows.target[i], both, of.rows.classes)
