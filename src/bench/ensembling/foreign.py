"""A table of somebody's predictions: read, its columns told apart, its rows put in the order of a data set's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import bounded
from bench.ensembling.members import SUM
from bench.runs import frames
from bench.spec import UserError

IDS = ("id", "label_id", "eeg_id", "fname", "example")
BEFORE, BEHIND = ("", "pred_", "prob_", "p_", "label_", "target_", "oof_"), ("", "_vote", "_prob", "_pred")
"""What people write before and behind a class's name."""
FOLD = "fold"


def read(path: str, key: str) -> pd.DataFrame:
    """A CSV or parquet file; UserError naming ``key`` and the file where it is none."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{key}={path} is not a file; give a CSV or parquet file of predictions")
    if file.suffix.lower() in (".parquet", ".pq"):
        return frames.read_frame(file)
    try:
        return pd.read_csv(bounded.table(file), dtype=dict.fromkeys(IDS, str), keep_default_na=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{key}={path} can't be read as CSV: {str(error).splitlines()[0]}") from error


def id_column(table: pd.DataFrame, given: str | None, known: set[str], key: str) -> str:
    """The column of ids: ``given``, a usual name, or the only one that holds ids of the data set."""
    if given is not None:
        if given not in table:
            raise UserError(f"id={given} is no column of {key}'s file, which has {_listed(table.columns)}")
        return given
    named = [name for name in IDS if name in table]
    holding = [c for c in named or table.columns if set(texts(table[c].head(100))) & known]
    if len(holding) != 1:
        which = f"{_listed(holding)} do" if holding else f"none of {_listed(table.columns)} does"
        raise UserError(f"{key}: which column holds the data set's ids? {which}; name it with id=<column>")
    return str(holding[0])


def texts(ids: pd.Series) -> pd.Series:
    """Ids as text: 7.0, which a column with a gap makes of 7, is 7."""
    if pd.api.types.is_float_dtype(ids) and bool((ids.dropna() % 1 == 0).all()):
        ids = ids.astype("Int64")
    return ids.astype(str).str.strip()


def class_columns(table: pd.DataFrame, classes: Sequence[str], given: Any, key: str) -> list[str]:
    """The column of each class, in the order of the classes; of two classes the second's alone may be there."""
    if isinstance(given, Mapping):
        if odd := [name for name in given if str(name) not in classes]:
            raise UserError(f"columns: {odd[0]} is no class; the classes are {_listed(classes)}")
        missing = [name for name in classes if name not in given]
        if missing:
            raise UserError(f"columns names no column for class {missing[0]}")
        named = [str(given[name]) for name in classes]
    elif given is not None:
        named = [str(name) for name in given]
        if len(named) not in (len(classes), 1 if len(classes) == 2 else len(classes)):
            raise UserError(f"columns has {len(named)} names, and there are {len(classes)} classes: {_listed(classes)}")
    else:
        named = _by_name(table, classes, key)
    if absent := [name for name in named if name not in table]:
        raise UserError(f"{key}'s file has no column {absent[0]}; it has {_listed(table.columns)}")
    return named


def _by_name(table: pd.DataFrame, classes: Sequence[str], key: str) -> list[str]:
    lower = {str(name).lower(): str(name) for name in table.columns}

    def of(name: str) -> list[str]:
        return [lower[w] for a in BEFORE for z in BEHIND if (w := f"{a}{name}{z}".lower()) in lower and w != "target_"]

    matches = [of(name) for name in classes]
    if all(len(set(match)) == 1 for match in matches):
        return [match[0] for match in matches]
    if len(classes) == 2 and (alone := [lower[w] for w in ("target", "pred", "prob", "probability") if w in lower]):
        return alone[:1]
    at = next(k for k, match in enumerate(matches) if len(set(match)) != 1)
    several = f"several columns ({_listed(matches[at])})" if matches[at] else "no column"
    raise UserError(
        f"{key}'s file has {several} for class {classes[at]}; it has {_listed(table.columns)}: name them with "
        "columns=[…] in the order of the classes, or columns={class: column}"
    )


def probabilities(table: pd.DataFrame, columns: Sequence[str], ids: pd.Series, key: str) -> np.ndarray:
    """(N, K) float64 whose rows sum to one; UserError naming the column and id of what is no probability."""
    values = np.empty((len(table), len(columns)))
    for k, name in enumerate(columns):
        numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        bad = np.flatnonzero(~np.isfinite(numbers) | (numbers < 0) | (numbers > 1 + SUM))
        if len(bad):
            raise UserError(
                f"{key}: {name} of id {ids.iloc[bad[0]]} is {table[name].iloc[bad[0]]}, which is no probability; "
                "give a file of probabilities"
            )
        values[:, k] = numbers
    if len(columns) == 1:
        return np.column_stack([1 - values[:, 0], values[:, 0]])
    sums = values.sum(1)
    wrong = np.flatnonzero(np.abs(sums - 1) > SUM)
    if len(wrong):
        raise UserError(
            f"{key}: the probabilities of id {ids.iloc[wrong[0]]} sum to {sums[wrong[0]]:.6g}"
            f"{f', and those of {len(wrong) - 1} other rows not to 1' * (len(wrong) > 1)}; divide each row by its sum"
        )
    shares: np.ndarray = values / sums[:, None]
    return shares


def places(theirs: pd.Series, rows: pd.DataFrame, key: str) -> tuple[np.ndarray, str | None]:
    """(N,) the row of their file that belongs to each of the data set's ``rows``, and a sentence where that was no
    matter of one id a row.

    UserError for an id that comes twice, and for rows of the data set that the file lacks.
    """
    twice = theirs[theirs.duplicated()]
    if len(twice):
        raise UserError(
            f"{key}: id {twice.iloc[0]} comes {int((theirs == twice.iloc[0]).sum())} times; which row counts? Keep one "
            "a row of the data set, or name another column with id=<column>"
        )
    at = pd.Series(np.arange(len(theirs)), index=theirs.to_numpy())
    told = None
    found = at.reindex(texts(rows["id"]))
    if found.isna().all() and "example" in rows:
        found = at.reindex(texts(rows["example"]))
        told = f"{key}: a row an example of {len(theirs)}, which counts for each of its {len(rows)} rows"
    missing = np.flatnonzero(found.isna().to_numpy())
    if len(missing):
        others = f" and {len(missing) - 1} other rows" if len(missing) > 1 else ""
        raise UserError(f"{key}: the file lacks id {rows['id'].iloc[missing[0]]}{others} of the data set's {len(rows)}")
    surplus = len(theirs) - found.nunique()
    if surplus and told is None:
        told = f"{key}: {surplus} rows of the file belong to no row of the data set, and are left out"
    return found.to_numpy(np.int64), told


def _listed(names: Any) -> str:
    words = [str(name) for name in names]
    return ", ".join(words[:12]) + (f" and {len(words) - 12} more" if len(words) > 12 else "")
