"""The rows that two runs tell differently, for a comparison's page: which, how many, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.comparison.comparison import Comparison, Pair, apart
from bench.report import rows as report_rows
from bench.report.rows import Card
from bench.report.tables import Table
from bench.runs.run import Run
from bench.tell import amount, figure, percent

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


def shown_rows(of: Comparison) -> list[tuple[Pair, dict[int, float]]]:
    """The first pairs with the rows that they tell most differently, most first: places in ``of.rows``, and how far."""
    pairs = of.pairs[:PAIRS]
    each = max(2, EXAMPLES // len(pairs))
    shown = []
    for pair in pairs:
        distance = apart(of, pair)
        top = np.argsort(-distance, kind="stable")[:each]
        shown.append((pair, {int(i): float(distance[i]) for i in top if distance[i] > 0}))
    return shown


def section(of: Comparison, names: Sequence[str], inputs: Inputs, pictures: Sequence[str]) -> dict[str, object]:
    """For each shown pair: how often each is right and nearer, and its rows as cards with both predictions."""
    how = inputs.lacking
    if inputs.shown and inputs.run:
        who = "the first member of " if inputs.run.inputs.members else ""
        name = names[next(i for i, run in enumerate(of.runs) if run.folder == inputs.run.folder)]
        how = f"Drawn as {who}{name} sees them, {report_rows.size(inputs.run.spec)}."
    left = f" Of {len(of.pairs)} pairs the first {PAIRS} are shown." if len(of.pairs) > PAIRS else ""
    pairs = [_pair(of, pair, rows, names, inputs) for pair, rows in shown_rows(of)]
    return {"how": how + left, "pairs": pairs, "drawn": pictures}


def _pair(
    of: Comparison, pair: Pair, rows: Mapping[int, float], names: Sequence[str], inputs: Inputs
) -> dict[str, object]:
    """How many rows both, one or none tell right, on how many each one's score is the better, and the rows' cards."""
    first, second = names[pair.best], names[pair.other]
    true = of.rows.target.argmax(1)
    one, other = (of.probabilities[i].argmax(1) == true for i in (pair.best, pair.other))
    kinds = (
        ("both are right", one & other),
        (f"{first} alone is right", one & ~other),
        (f"{second} alone is right", other & ~one),
        ("neither is right", ~one & ~other),
    )
    counts = [[name, amount(which.sum()), percent(which.mean())] for name, which in kinds]
    ahead = of.loss_direction.sign * (of.losses[:, pair.best] - of.losses[:, pair.other])
    nearer = f"{first} has the better {of.loss} on {percent((ahead > 0).mean())} of rows"
    return {
        "names": (first, second),
        "sentence": f"{nearer}, {second} on {percent((ahead < 0).mean())}.",
        "table": Table(["most probable class", "rows", "share"], counts),
        "cards": [_card(of, pair, i, inputs, distance) for i, distance in rows.items()],
    }


def _card(of: Comparison, pair: Pair, i: int, inputs: Inputs, distance: float) -> Card:
    table = of.rows.table
    scores = " against ".join(figure(of.losses[i, k]) for k in (pair.best, pair.other))
    where = report_rows.where(table, i, table["fold"].iloc[i])
    about = [f"apart {distance:.2f}", *where, f"{of.loss} {scores}"]
    both = [of.probabilities[k][i] for k in (pair.best, pair.other)]
    name, x = str(table["id"].iloc[i]), inputs.shown.get(i)
    return report_rows.card(name, about, x, of.rows.classes, of.rows.target[i], both)
