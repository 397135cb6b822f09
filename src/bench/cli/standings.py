"""Prints a leaderboard, a table for each data set, metric and kind of data; or writes it as CSV."""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.atomic import write_text
from bench.mistake import UserError
from bench.runs import leaderboard
from bench.runs.leaderboard import Place, Row
from bench.runs.selection import everything, matching
from bench.tell import console, figure, say, spread

COLUMNS = (
    *(
        "dataset",
        "metric",
        "simulated",
        "place",
        "model",
        "score",
        "spread",
        "over",
        "low",
        "high",
        "baseline",
        "accuracy",
    ),
    *("seconds", "bytes", "runs", "words"),
)
"""Of the CSV; low and high are the interval's."""
Interval = Callable[[Sequence[float], int], tuple[float, float]]
"""(fold scores of all seeds, folds of one) → the 95 % interval of their mean."""
MOST_LEFT_OUT = 3
WIDE = 110


def show(runs: str | None, outputs: Path, top: int, to: str | None, interval: Interval) -> None:
    """The best ``top`` rows of each place of all runs in ``outputs``, or of those that the query ``runs`` means."""
    if top < 1:
        raise UserError(f"top={top} must be 1 or more")
    chosen = matching(runs, outputs) if runs else everything(outputs)
    places, left_out = leaderboard.places(chosen)
    for sentence in left_out[:MOST_LEFT_OUT]:
        say(f"left out  {sentence}")
    if len(left_out) > MOST_LEFT_OUT:
        say(f"left out  {len(left_out) - MOST_LEFT_OUT} more")
    if not places:
        raise UserError(f"there is no finished run in {outputs}; python -m bench.train makes one")
    for place, rows in places.items():
        _print(place, rows[:top], len(rows), interval)
    if to:
        write_text(Path(to), as_csv(places, interval))
        say(f"csv       {to}")


def _print(place: Place, rows: Sequence[Row], n_rows: int, interval: Interval) -> None:
    from rich.table import Table
    from rich.text import Text

    dataset, metric, simulated = place
    screen = console(160, markup=False)
    of_all = f"the best {len(rows)} of {n_rows}" if len(rows) < n_rows else f"{n_rows}"
    title = f"{'SIMULATED ' if simulated else ''}{dataset}, out-of-fold {metric}: {of_all}"
    wide = screen.width >= WIDE
    table = Table(
        "", "model", metric, "over", *["95 % of the folds' mean"] * wide, box=None, title=title, title_justify="left"
    )
    for name in ("baseline", "accuracy", "time", "MB") if wide else ("time",):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("run", no_wrap=True)
    if wide:
        table.add_column("what differs", overflow="fold")
    for number, row in enumerate(rows, 1):
        cost = _time(row.seconds)
        low, high = interval(row.folds, row.n_folds) if row.n_folds > 1 else (math.nan, math.nan)
        between = f"{figure(low, like=row.score)} … {figure(high, like=row.score)}"
        more = [between, figure(row.baseline), f"{row.accuracy:.3f}", cost, f"{row.size / 1e6:.1f}"] if wide else [cost]
        cells = ["best" if number == 1 else str(number), row.model, spread(row.score, row.spread), row.over, *more]
        cells.append(row.runs[0].name + (f" +{len(row.runs) - 1}" if len(row.runs) > 1 else ""))
        table.add_row(*map(Text, cells), *([Text(shlex.join(row.words[:4]))] if wide else []))
    screen.print()
    screen.print(table)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def as_csv(places: Mapping[Place, Sequence[Row]], interval: Interval) -> str:
    """A line a row; texts that a spreadsheet would compute begin with an apostrophe."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for (dataset, metric, simulated), rows in places.items():
        for number, row in enumerate(rows, 1):
            runs, words = " ".join(map(str, row.runs)), shlex.join(row.words)
            values = [dataset, metric, simulated, number, row.model, row.score, row.spread, row.over]
            values += [*(interval(row.folds, row.n_folds) if row.n_folds > 1 else (math.nan, math.nan)), row.baseline]
            values += [row.accuracy, round(row.seconds, 1), row.size, runs, words]
            lines.writerow([f"'{v}" if isinstance(v, str) and v[:1] in "=+-@" and v else v for v in values])
    return text.getvalue()
