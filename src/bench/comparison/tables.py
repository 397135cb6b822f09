"""A comparison on the terminal and in files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.atomic import replacing, write_json, write_text
from bench.comparison.comparison import Comparison, disagreements
from bench.comparison.significance import LEVEL
from bench.comparison.words import bounds, chance, decimals, differing, labels, notes, sentence, signed
from bench.report.tables import Marked, Spread, Table, terminal
from bench.runs.run import identity
from bench.spec import Direction
from bench.tell import console


def folds_table(compared: Comparison) -> pd.DataFrame:
    """One row a fold and one column a run, then mean, std (population, as in scores.json) and the out-of-fold score."""
    frame = pd.DataFrame(compared.folds.T, columns=labels(compared.runs), index=[f"fold {k}" for k in compared.numbers])
    means, stds = fold_statistics(compared)
    rest = pd.DataFrame({"mean": means, "std": stds, "out-of-fold": compared.scores}, index=frame.columns)
    return pd.concat([frame, rest.T])


def tell(compared: Comparison, more: Sequence[str] = ()) -> None:
    """Prints the tables, the verdicts, and the notes together with ``more``."""
    screen = console(140, markup=False)
    mark = "  SIMULATED data" if compared.rows.simulated else ""
    title = f"{compared.runs[0].inputs.dataset}: {compared.metric.name} ({compared.metric.direction.sentence}){mark}"
    screen.print(terminal(score_table(compared), title))
    if len(compared.runs) > 2:
        screen.print(terminal(difference_table(compared), f"\n{labels(compared.runs)[0]}, the best, is ahead"))
    screen.print()
    for name, run, words in zip(labels(compared.runs), compared.runs, differing(compared.runs), strict=True):
        screen.print(f"{name}: {run.folder}" + (f"\n    {words}" if words else ""), soft_wrap=True)
    screen.print()
    for pair in compared.pairs:
        screen.print(
            f"{'SIMULATED data: ' if compared.rows.simulated else ''}{sentence(compared, pair)}.", soft_wrap=True
        )
    for note in [*notes(compared), *more]:
        screen.print(f"Note: {note}.", soft_wrap=True)


def write(compared: Comparison, outputs: Path) -> Path:
    """Writes <outputs>/comparisons/<identity>/: tables, and comparison.json last; returns the folder."""
    names = labels(compared.runs)
    deciding = {
        "runs": sorted(run.identity for run in compared.runs),
        "resamples": compared.resamples,
        "seed": compared.seed,
    }
    folder = outputs.resolve() / "comparisons" / identity(deciding)
    write_text(folder / "folds.csv", no_formulas(folds_table(compared)).to_csv(index_label=compared.metric.name))
    classes = compared.classes.rename(columns={"score": compared.loss})
    classes = classes.assign(run=[names[i] for i in classes["run"]])
    write_text(folder / "classes.csv", no_formulas(classes).to_csv(index=False))
    write_text(folder / "disagreements.csv", no_formulas(disagreements(compared)).to_csv(index=False))
    losses = {f"{compared.loss} {name}": compared.losses[:, i] for i, name in enumerate(names)}
    with replacing(folder / "rows.parquet") as temporary:
        compared.rows.table.join(pd.DataFrame(losses)).to_parquet(temporary, index=False)
    write_json(folder / "comparison.json", summary(compared))
    return folder


def no_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before each text, name of a column or of a row that a spreadsheet would compute."""
    plain = frame.rename(columns=_no_formula, index=_no_formula)
    for place, dtype in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            plain.isetitem(place, frame.iloc[:, place].map(_no_formula).to_numpy())
    return plain


def _no_formula(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.lstrip().startswith(("=", "+", "-", "@")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell  # a number that is text, such as an id


def summary(compared: Comparison) -> dict[str, Any]:
    """The content of comparison.json: runs (best first), pairs and verdicts; undefined numbers are null."""
    names, words, (means, stds) = labels(compared.runs), differing(compared.runs), fold_statistics(compared)
    runs = [
        {
            "name": name,
            "identity": run.identity,
            "folder": str(run.folder),
            "differs": differs,
            "folds": compared.folds[i],
            "mean": means[i],
            "std": stds[i],
            "oof": compared.scores[i],
            "interval": compared.intervals[i],
        }
        for i, (name, run, differs) in enumerate(zip(names, compared.runs, words, strict=True))
    ]
    pairs = [
        {
            "best": compared.runs[pair.best].identity,
            "other": compared.runs[pair.other].identity,
            "verdict": pair.verdict,
            "sentence": sentence(compared, pair),
            "folds": {
                "gains": pair.gains,
                "better_on": int((pair.gains > 0).sum()),
                **(vars(pair.folds) if pair.folds else {}),
                "p_corrected": pair.p_folds,
            },
            "oof": {"gain": pair.gain, "low": pair.low, "high": pair.high, "p_corrected": pair.p_rows},
        }
        for pair in compared.pairs
    ]
    content: dict[str, Any] = _plain(
        {
            "metric": compared.metric.name,
            "direction": compared.metric.direction,
            "row_loss": compared.loss,
            "simulated": compared.rows.simulated,
            "dataset": compared.runs[0].inputs.dataset,
            "rows": len(compared.rows.table),
            "unit": compared.unit,
            "units": compared.n_units,
            "fold_numbers": compared.numbers,
            "ratio": compared.rows.ratio,
            "level": LEVEL,
            "resamples": compared.resamples,
            "seed": compared.seed,
            "runs": runs,
            "pairs": pairs,
            "notes": notes(compared),
        }
    )
    return content


def score_table(compared: Comparison) -> Table:
    """Scores by fold and run, with the best of each line marked; for two runs also their difference."""
    names, direction = labels(compared.runs), compared.metric.direction
    pairs, digits = compared.pairs if len(names) == 2 else [], decimals(compared)

    def ahead(values: Sequence[float]) -> list[str]:
        return [signed(value, digits) if np.isfinite(value) else "–" for value in values]

    rows: list[list[object]] = [
        [f"fold {k}", *marked(direction, compared.folds[:, i]), *ahead([p.gains[i] for p in pairs])]
        for i, k in enumerate(compared.numbers)
    ]
    means, stds = fold_statistics(compared)
    spreads = [Spread(mean, std) for mean, std in zip(means, stds, strict=True)]
    test = [pair.folds.mean if pair.folds else np.nan for pair in pairs]
    rows.append(["mean ± std", *marked(direction, means, spreads), *ahead(test)])
    rows.append(["out of fold", *marked(direction, compared.scores), *ahead([p.gain for p in pairs])])
    written = 0 if np.abs(compared.scores).max() >= 100 else 4
    spans = [bounds(low, high, written) for low, high in compared.intervals]
    rows.append(["95 % interval", *spans, *[bounds(p.low, p.high, digits) for p in pairs]])
    kinds = [*[""] * len(compared.numbers), "line breaks", "strong", "breaks"]
    head = ["", *names, *["difference" for _ in pairs]]
    return Table(head, rows, 1, kinds, kind="narrow" * (len(names) > 4))


def marked(direction: Direction, values: Sequence[float] | np.ndarray, cells: Sequence[object] = ()) -> list[object]:
    """The ``cells`` (by default the values) with the best one marked, or all that are equally good."""
    best = direction.best(values)
    top = None if best is None else values[best]
    pairs = zip(values, cells or [float(value) for value in values], strict=True)
    return [Marked(cell, "best") if value == top else cell for value, cell in pairs]


def difference_table(compared: Comparison) -> Table:
    """The best run's gain over each other run: the numbers of both tests, by folds and by rows."""
    names, digits, many = labels(compared.runs), decimals(compared), len(compared.pairs) > 1
    rows: list[list[object]] = []
    for pair in compared.pairs:
        judged, t = pair.gains[np.isfinite(pair.gains)], pair.folds
        fold = [signed(judged.mean(), digits), bounds(t.low, t.high, digits)] if t else ["–", "–"]
        how = f"over folds: better on {(judged > 0).sum()} of {len(judged)}"
        rows.append([*[names[pair.other]] * many, how, *fold, chance(pair.p_folds).removeprefix("= ")])
        span = [signed(pair.gain, digits), bounds(pair.low, pair.high, digits)]
        rows.append([*[""] * many, "resampled rows, out of fold", *span, chance(pair.p_rows).removeprefix("= ")])
    head = [*["against"] * many, "", "difference", "95 % interval", "p"]
    return Table(head, rows, 1 + many, ["breaks"] * len(rows))


def fold_statistics(compared: Comparison) -> tuple[np.ndarray, np.ndarray]:
    """(R,) means and population standard deviations of the folds that have a score."""
    return np.nanmean(compared.folds, axis=1), np.nanstd(compared.folds, axis=1)


def _plain(value: Any) -> Any:
    """The value for JSON: arrays become lists, and numbers that are not finite become null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
