"""A comparison in words, tables and files."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.atomic import replacing, write_json, write_text
from bench.comparison.comparison import Comparison, disagreements
from bench.comparison.significance import LEVEL
from bench.comparison.words import bounds, chance, decimals, differing, labels, notes, sentence, signed
from bench.runs.run import identity

if TYPE_CHECKING:
    from rich.table import Table


def folds_table(of: Comparison) -> pd.DataFrame:
    """One row a fold and one column a run, then mean, std (population, as in scores.json) and the out-of-fold score."""
    frame = pd.DataFrame(of.folds.T, columns=labels(of.runs), index=[f"fold {k}" for k in of.numbers])
    whole = {"mean": np.nanmean(of.folds, 1), "std": np.nanstd(of.folds, 1), "out-of-fold": of.scores}
    return pd.concat([frame, pd.DataFrame(whole, index=frame.columns).T])


def tell(of: Comparison, more: Sequence[str] = ()) -> None:
    """Prints the tables, the verdicts and what to know of them, ``more`` too."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False, emoji=False)
    console.print(_score_table(of))
    console.print()
    if len(of.runs) > 2:
        console.print(_pair_table(of))
        console.print()
    for name, run, words in zip(labels(of.runs), of.runs, differing(of.runs), strict=True):
        console.print(f"{name}: {run.folder}" + (f"\n    {words}" if words else ""), soft_wrap=True)
    console.print()
    for pair in of.pairs:
        console.print(f"{'SIMULATED data: ' if of.rows.simulated else ''}{sentence(of, pair)}.", soft_wrap=True)
    for note in [*notes(of), *more]:
        console.print(f"Note: {note}.", soft_wrap=True)


def write(of: Comparison, outputs: Path) -> Path:
    """Writes <outputs>/comparisons/<identity>/: tables, pictures, and comparison.json last; returns the folder."""
    from bench.comparison import plots

    names = labels(of.runs)
    deciding = {"runs": sorted(run.identity for run in of.runs), "resamples": of.resamples, "seed": of.seed}
    folder = outputs.resolve() / "comparisons" / identity(deciding)
    write_text(folder / "folds.csv", folds_table(of).to_csv(index_label=of.metric.name))
    classes = of.classes.rename(columns={"score": of.loss})
    write_text(folder / "classes.csv", classes.assign(run=[names[i] for i in classes["run"]]).to_csv(index=False))
    write_text(folder / "disagreements.csv", disagreements(of).to_csv(index=False))
    losses = {f"{of.loss} {name}": of.losses[:, i] for i, name in enumerate(names)}
    with replacing(folder / "rows.parquet") as temporary:
        of.rows.table.join(pd.DataFrame(losses)).to_parquet(temporary, index=False)
    plots.draw(of, names, folder / "plots")
    write_json(folder / "comparison.json", summary(of))
    return folder


def summary(of: Comparison) -> dict[str, Any]:
    """What comparison.json holds: runs best first, pairs, verdicts; numbers that are not defined are null."""
    names, words = labels(of.runs), differing(of.runs)
    runs = [
        {
            "name": name,
            "identity": run.identity,
            "folder": str(run.folder),
            "differs": differs,
            "folds": of.folds[i],
            "mean": np.nanmean(of.folds[i]),
            "std": np.nanstd(of.folds[i]),
            "oof": of.scores[i],
            "interval": of.intervals[i],
        }
        for i, (name, run, differs) in enumerate(zip(names, of.runs, words, strict=True))
    ]
    pairs = [
        {
            "best": of.runs[pair.best].identity,
            "other": of.runs[pair.other].identity,
            "verdict": pair.verdict,
            "sentence": sentence(of, pair),
            "folds": {
                "gains": pair.gains,
                "better_on": int((pair.gains > 0).sum()),
                **(vars(pair.folds) if pair.folds else {}),
                "p_corrected": pair.p_folds,
            },
            "oof": {"gain": pair.gain, "low": pair.low, "high": pair.high, "p_corrected": pair.p_rows},
        }
        for pair in of.pairs
    ]
    return _plain(
        {
            "metric": of.metric.name,
            "direction": of.metric.direction,
            "row_loss": of.loss,
            "simulated": of.rows.simulated,
            "dataset": of.runs[0].inputs["dataset"],
            "rows": len(of.rows.table),
            "unit": of.unit,
            "units": of.n_units,
            "fold_numbers": of.numbers,
            "ratio": of.rows.ratio,
            "level": LEVEL,
            "resamples": of.resamples,
            "seed": of.seed,
            "runs": runs,
            "pairs": pairs,
            "notes": notes(of),
        }
    )


def _score_table(of: Comparison) -> Table:
    from rich.table import Table

    better = "lower" if of.metric.direction == "min" else "higher"
    mark = "  SIMULATED data" if of.rows.simulated else ""
    dataset = of.runs[0].inputs["dataset"]
    table = Table(title=f"{dataset}: {of.metric.name} ({better} is better){mark}", box=None, title_justify="left")
    pairs, digits = of.pairs if len(of.runs) == 2 else [], decimals(of)  # of two runs the table has a column for it
    for column in ("", *labels(of.runs), *["difference" for _ in pairs]):
        table.add_column(column, justify="right" if column else "left")
    written = 1 if np.nanmax(np.abs(of.folds)) >= 100 else 4

    def row(name: str, cells: list[str], differences: list[str]) -> None:
        table.add_row(name, *cells, *differences)

    def mean(values: np.ndarray, digits: int) -> str:
        judged = values[np.isfinite(values)]
        return f"{signed(judged.mean(), digits)} ± {signed(judged.std(), digits)}" if len(judged) else "–"

    for i, number in enumerate(of.numbers):
        row(f"fold {number}", [signed(s, written) for s in of.folds[:, i]], [signed(p.gains[i], digits) for p in pairs])
    row("mean ± std", [mean(f, written) for f in of.folds], [mean(p.gains, digits) for p in pairs])
    whole = [signed(score, written) for score in of.scores]
    row(f"out-of-fold, {len(of.rows.table)} rows", whole, [signed(p.gain, digits) for p in pairs])
    spans = [bounds(low, high, written) for low, high in of.intervals]
    row(f"  95 % ({of.n_units} {of.unit}s resampled)", spans, [bounds(p.low, p.high, digits) for p in pairs])
    return table


def _pair_table(of: Comparison) -> Table:
    from rich.table import Table

    names, digits = labels(of.runs), decimals(of)
    table = Table(title=f"{names[0]}, the best, is ahead", box=None, title_justify="left")
    for column in ("of", "by fold", "on folds", "p", "out-of-fold", "95 % interval", "p", "verdict"):
        words = column in ("of", "verdict")
        table.add_column(column, justify="left" if words else "right", no_wrap=words)
    for pair in of.pairs:
        judged = pair.gains[np.isfinite(pair.gains)]
        table.add_row(
            names[pair.other],
            f"{signed(judged.mean(), digits)} ± {signed(judged.std(), digits)}" if len(judged) else "–",
            f"{(judged > 0).sum()} of {len(judged)}",
            chance(pair.p_folds).removeprefix("= "),
            signed(pair.gain, digits),
            bounds(pair.low, pair.high, digits),
            chance(pair.p_rows).removeprefix("= "),
            pair.verdict,
        )
    return table


def _plain(value: Any) -> Any:
    """Arrays as lists, and null for what is not a number: JSON has neither."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
