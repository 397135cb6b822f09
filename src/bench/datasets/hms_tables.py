"""HMS's tables: a row a judged 50 s, checked, and what becomes of several rows of one EEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.datasets import folders, tables
from bench.datasets.base import several
from bench.spec import UserError

VOTE = "_vote"
OFFSET = "eeg_label_offset_seconds"
SPECTROGRAM = ("spectrogram_id", "spectrogram_label_offset_seconds")


class Rows:
    """A CSV's rows: ``frame`` in their own types, NaN where a number is missing; ``table`` knows their lines."""

    def __init__(self, table: tables.Table, frame: pd.DataFrame) -> None:
        self.table, self.frame = table, frame

    def refuse_gaps(self, columns: Sequence[str]) -> None:
        """Refuses cells of these columns that are empty, below 0 or no numbers."""
        for column in columns:
            _, problems = self.table.numbers(column, least=0)
            self.table.refuse(problems, f"needs numbers of 0 or more in the column {column}")


def read_train(path: Path) -> Rows:
    """``train.csv``: eeg_id, eeg_sub_id, patient_id (or ``group``), votes, offsets, columns of one's own."""
    names, _ = tables.header(path)
    votes = [name for name in names if name.endswith(VOTE)]
    if len(votes) < 2:
        raise UserError(f"{path} has {len(votes)} columns that end in {VOTE}, expected one a class")
    person = "group" if "group" in names and "patient_id" not in names else "patient_id"
    needed = ["eeg_id", "eeg_sub_id", person]
    table = tables.read(path, [*needed, *votes], [OFFSET, *SPECTROGRAM, *tables.OWN])
    columns, problems = tables.own_columns(table)
    problems = [*table.blanks(*(name for name in needed if name != "group")), *problems]
    table.refuse(problems, f"has {len(problems)} mistakes; correct these cells, or take their rows out")
    frame = pd.DataFrame({"eeg_id": _ids(table, "eeg_id")})
    frame["eeg_sub_id"] = tables.as_numbers(table.text("eeg_sub_id"))
    frame["patient_id"] = tables.as_numbers(table.text(person))
    problems = []
    for name in votes:
        values, wrong = table.numbers(name, least=0)
        frame[name] = _whole(values)
        problems += wrong
    table.refuse(problems, "has votes that are not counts of 0 or more; correct")
    frame = _with_places(table, frame).assign(**columns)
    _refuse_repeats(table, frame)
    _refuse_parted(path, frame, "patient_id", "correct it, or a split would leak")
    if "group" in frame:
        _refuse_parted(path, frame, "group", "a patient stays in one group", by="patient_id")
    if "fold" in frame:
        _refuse_parted(path, frame, "fold", "an EEG is validated as a whole")
    return Rows(table, frame)


def read_test(path: Path) -> Rows | None:
    """``test.csv``: eeg_id, and where they are there spectrogram_id and patient_id; None without the file."""
    if not path.exists():
        return None
    table = tables.read(path, ["eeg_id"], ["patient_id", "group", *SPECTROGRAM])
    groups = [name for name in ("patient_id", "group") if name in table]
    problems = table.blanks("eeg_id", *groups)
    table.refuse(problems, f"has {len(problems)} mistakes; correct these cells, or take their rows out")
    table.refuse(table.repeats("eeg_id"), "has an EEG twice; keep one row of it")
    frame = pd.DataFrame({"eeg_id": _ids(table, "eeg_id")})
    for name in groups:
        frame[name] = tables.as_numbers(table.text(name))
    return Rows(table, _with_places(table, frame))


def each(path: Path, rows: Rows) -> pd.DataFrame:
    """A row a sub-record: id, group, example, votes, columns of one's own, the classes' votes and its places."""
    frame = rows.frame
    if OFFSET not in frame:
        raise UserError(f"{path} lacks the column {OFFSET}; choose dataset.records=summed")
    rows.refuse_gaps([OFFSET])
    classes = [c for c in frame.columns if c.endswith(VOTE)]
    names = [f"{i}_{sub}" for i, sub in zip(frame["eeg_id"], frame["eeg_sub_id"], strict=True)]
    table = pd.DataFrame({"id": names, "group": _group(frame), "example": frame["eeg_id"]})
    table["votes"] = frame[classes].sum(axis=1)
    table = table.join(frame[[*_more(frame), *classes, "eeg_id"]])
    table["eeg_start"] = frame[OFFSET].astype(float)
    if set(SPECTROGRAM) <= set(frame.columns):
        table["spectrogram_id"] = frame["spectrogram_id"]
        table["spectrogram_start"] = frame["spectrogram_label_offset_seconds"].astype(float)
    return table.sort_values(["eeg_id", "eeg_start"], kind="stable").reset_index(drop=True)


def summed(path: Path, rows: Rows) -> pd.DataFrame:
    """The same with a row an EEG, its sub-records' votes summed; its spectrogram is the first one's, around the middle
    of what was judged of it."""
    frame = rows.frame
    for name in ("weight", "time"):
        if name in frame:
            _refuse_parted(path, frame, name, "give its rows one, or choose dataset.records=each")
    classes = [c for c in frame.columns if c.endswith(VOTE)]
    by_eeg = frame.assign(group=_group(frame)).groupby("eeg_id", sort=True)
    table = pd.DataFrame({"id": by_eeg["eeg_id"].first(), "group": by_eeg["group"].first()})
    table["votes"] = frame[classes].sum(axis=1).groupby(frame["eeg_id"]).max()
    for name in _more(frame):
        table[name] = by_eeg[name].first()
    table = table.join(by_eeg[classes].sum())
    table["eeg_id"], table["eeg_start"] = table["id"], None
    if set(SPECTROGRAM) <= set(frame.columns):
        table["spectrogram_id"] = by_eeg["spectrogram_id"].first()
        same = frame[frame["spectrogram_id"] == frame["eeg_id"].map(table["spectrogram_id"])]
        span = same.groupby("eeg_id")["spectrogram_label_offset_seconds"].agg(["min", "max"])
        table["spectrogram_start"] = span.mean(axis=1)
    return table.reset_index(drop=True)


def central(table: pd.DataFrame) -> pd.Series:
    """Which row of each EEG lies closest to the middle of its judged span; the first of two."""
    span = table.groupby("eeg_id")["eeg_start"]
    distance = (table["eeg_start"] - (span.transform("min") + span.transform("max")) / 2).abs()
    closest = distance.groupby(table["eeg_id"]).idxmin()
    return pd.Series(table.index.isin(closest), table.index)


def refuse_unmatched(folder: Path, csv: str, ids: Sequence[int], what: str, advice: str = "") -> None:
    """Refuses ids without a file and files without an id; ``what`` names them in the plural."""
    file_names = list(dict.fromkeys(f"{i}.parquet" for i in ids))
    missing, extra = folders.unmatched(file_names, folders.names(folder))
    problems = [f"{name} is not there" for name in missing] + [f"{name} has no row" for name in extra]
    if problems:
        raise several(
            problems,
            f"{len(missing)} of {len(file_names)} {what} of {csv} have no file in {folder} and {len(extra)} files "
            f"there have no row; unpack both again, or take out what has no partner{advice}",
        )


def _ids(table: tables.Table, name: str) -> np.ndarray:
    """Ids of which file names are built: 1628180742.0 would look for a file that nobody wrote."""
    values, problems = table.integers(name)
    table.refuse(problems, f"needs whole numbers in the column {name}, as the files' names have them")
    return values


def _with_places(table: tables.Table, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with offsets and spectrograms as numbers; what is missing there matters to those who read it."""
    for name in (OFFSET, *SPECTROGRAM):
        if name in table:
            frame[name] = _whole(table.numbers(name)[0]) if name == "spectrogram_id" else table.numbers(name)[0]
    return frame


def _whole(values: np.ndarray) -> np.ndarray:
    """Numbers as int64 where all of them are whole."""
    return values.astype(np.int64) if (values == np.floor(values)).all() else values


def _group(frame: pd.DataFrame) -> pd.Series:
    return frame["group" if "group" in frame else "patient_id"]


def _more(frame: pd.DataFrame) -> list[str]:
    """The columns of one's own, besides the group."""
    return [name for name in tables.OWN if name in frame and name != "group"]


def _refuse_parted(path: Path, rows: pd.DataFrame, column: str, why: str, by: str = "eeg_id") -> None:
    """Refuses an EEG (or a patient) whose rows disagree in a column."""
    values = rows.groupby(by)[column].nunique(dropna=False)
    if (values > 1).any():
        parted = [f"{by} {i}" for i in values.index[values > 1]]
        who = "an EEG" if by == "eeg_id" else "a patient"
        raise several(parted, f"{path} gives {who} more than one {column}; {why}")


def _refuse_repeats(table: tables.Table, frame: pd.DataFrame) -> None:
    again = np.flatnonzero(frame.duplicated(["eeg_id", "eeg_sub_id"]))
    ids, subs = frame["eeg_id"].to_numpy(), frame["eeg_sub_id"].to_numpy()
    problems = [f"line {table.line(i)} (eeg_id {ids[i]}, eeg_sub_id {subs[i]})" for i in again]
    table.refuse(problems, "has a sub-record twice, so its votes would count twice; remove")
