"""The rows that two runs predict most differently, with their inputs, for the page of a comparison."""

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
"""The number of rows that a page shows, over all pairs."""
PAIRS = 6


@dataclass(frozen=True)
class Inputs:
    """The inputs of ``run``'s model, (C, T) or (C, H, W), by row position in ``Comparison.rows``.

    Where there are none, ``reason_missing`` says why in a sentence.
    """

    run: Run | None = None
    by_row: Mapping[int, np.ndarray] = field(default_factory=dict)
    reason_missing: str = ""


def shown_rows(compared: Comparison) -> list[tuple[Pair, dict[int, float]]]:
    """The first pairs, and of each the rows that it predicts most differently: position → distance, largest first."""
    pairs = compared.pairs[:PAIRS]
    each = max(2, EXAMPLES // len(pairs))
    selected = []
    for pair in pairs:
        distance = apart(compared, pair)
        top = np.argsort(-distance, kind="stable")[:each]
        selected.append((pair, {int(i): float(distance[i]) for i in top if distance[i] > 0}))
    return selected


def section(compared: Comparison, names: Sequence[str], inputs: Inputs, pictures: Sequence[str]) -> dict[str, object]:
    """For each shown pair: how often each run is right and has the better loss, and cards of its rows."""
    how = inputs.reason_missing
    if inputs.by_row and inputs.run:
        who = "the first member of " if inputs.run.inputs.members else ""
        name = names[next(i for i, run in enumerate(compared.runs) if run.folder == inputs.run.folder)]
        how = f"Drawn as {who}{name} sees them, {report_rows.size(inputs.run.spec)}."
    omitted = f" Of {len(compared.pairs)} pairs the first {PAIRS} are shown." if len(compared.pairs) > PAIRS else ""
    pairs = [_pair(compared, pair, rows, names, inputs) for pair, rows in shown_rows(compared)]
    return {"how": how + omitted, "pairs": pairs, "drawn": pictures}


def _pair(
    compared: Comparison, pair: Pair, rows: Mapping[int, float], names: Sequence[str], inputs: Inputs
) -> dict[str, object]:
    """Counts of the rows that both, one or neither predict right, shares of better losses, and the rows' cards."""
    first, second = names[pair.best], names[pair.other]
    true = compared.rows.target.argmax(1)
    one, other = (compared.probabilities[i].argmax(1) == true for i in (pair.best, pair.other))
    kinds = (
        ("both are right", one & other),
        (f"{first} alone is right", one & ~other),
        (f"{second} alone is right", other & ~one),
        ("neither is right", ~one & ~other),
    )
    counts = [[name, amount(which.sum()), percent(which.mean())] for name, which in kinds]
    ahead = compared.loss_direction.sign * (compared.losses[:, pair.best] - compared.losses[:, pair.other])
    nearer = f"{first} has the better {compared.loss} on {percent((ahead > 0).mean())} of rows"
    return {
        "names": (first, second),
        "sentence": f"{nearer}, {second} on {percent((ahead < 0).mean())}.",
        "table": Table(["most probable class", "rows", "share"], counts),
        "cards": [_card(compared, pair, i, inputs, distance) for i, distance in rows.items()],
    }


def _card(compared: Comparison, pair: Pair, i: int, inputs: Inputs, distance: float) -> Card:
    table = compared.rows.table
    scores = " against ".join(figure(compared.losses[i, k]) for k in (pair.best, pair.other))
    where = report_rows.where(table, i, table["fold"].iloc[i])
    about = [f"apart {distance:.2f}", *where, f"{compared.loss} {scores}"]
    both = [compared.probabilities[k][i] for k in (pair.best, pair.other)]
    name, x = str(table["id"].iloc[i]), inputs.by_row.get(i)
    return report_rows.card(name, about, x, compared.rows.classes, compared.rows.target[i], both)
