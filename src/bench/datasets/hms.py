"""HMS harmful brain activity (Kaggle 2024): EEGs, one parquet file each → votes over six patterns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets.base import TARGET, Dataset, several
from bench.datasets.hms_files import (
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    read_csv,
    read_eeg,
    read_spectrogram,
    refuse_gaps,
    refuse_unmatched,
)
from bench.features.hms_waveform import SAMPLE_RATE, WINDOW
from bench.metrics import KL
from bench.spec import Kind, Metric, Part, UserError

VOTE = "_vote"
PLACES = ("eeg_id", "eeg_start", "spectrogram_id", "spectrogram_start")
"""Where a row of the table lies in its files: seconds at which a window begins, None for the middle."""


class HMS(Dataset):
    """``train.csv`` (a row a judged 50 s), ``train_eegs/<eeg_id>.parquet``; the same for test, where present.

    ``records="summed"``: one example is one EEG's middle 50 s; the votes of its judged sub-records are summed and
    normalised, as the first write-up does (their windows overlap). ``records="each"``: every judged sub-record is a
    row with its own window and votes; the rows of an EEG take turns in training, the central one is validated.

    ``min_votes`` leaves out what fewer people judged, in training; ``min_votes_valid`` in validation (None: the same).
    ``keep_rest`` keeps in the table what serves neither side, for pseudo-labels.
    An EEG's ``votes`` are the most that one of its sub-records got. ``group`` is the patient. Classes are the
    ``*_vote`` columns in the file's order. Spectrograms (``train_spectrograms/<spectrogram_id>.parquet``) are looked
    for only where the features read them.
    """

    name: ClassVar[str] = "hms"
    metric: ClassVar[Metric] = KL
    features: ClassVar[dict[Kind, str]] = {"sequence": "hms_waveform", "image": "hms_image"}
    sample: ClassVar[str | None] = "sample_submission.csv"
    sample_rate: ClassVar[float] = SAMPLE_RATE

    def __init__(
        self,
        root: str | Path,
        records: Literal["summed", "each"] = "summed",
        min_votes: int = 1,
        min_votes_valid: int | None = None,
        keep_rest: bool = False,
    ) -> None:
        if records not in ("summed", "each"):
            raise UserError(f"dataset.records={records} is not one of summed, each")
        self.records, self.min_votes, self.keep_rest = records, min_votes, keep_rest
        self.min_votes_valid = min_votes if min_votes_valid is None else min_votes_valid
        super().__init__(root)

    def required(self) -> list[str]:
        return ["train.csv", "train_eegs"]

    def required_to_predict(self) -> list[str]:
        return ["test.csv", "test_eegs"]

    def read_table(self, part: Part) -> pd.DataFrame:
        return self._rows(part).drop(columns=list(PLACES), errors="ignore")

    def files(self, part: Part) -> list[Path]:
        return [self._file(part, "eegs", i) for i in self._rows(part)["eeg_id"]]

    def also_read(self, part: Part, **what: Any) -> list[Path | str]:
        """Where windows begin, and the spectrograms' files; UserError naming all that are not there."""
        places = self._rows(part).filter(list(PLACES))
        if not what.get("spectrogram"):
            return [places[["eeg_id", "eeg_start"]].to_csv()] if self.records == "each" else []
        if places.empty:
            return []
        needed = ["spectrogram_id", *(["spectrogram_label_offset_seconds"] if part == "train" else [])]
        if absent := [name for name in needed if name not in self._csv(part)]:
            raise UserError(f"{self.root / part}.csv lacks the column {absent[0]}; choose features=hms_waveform")
        refuse_gaps(self.root / f"{part}.csv", self._csv(part), needed)
        folder = self.root / f"{part}_spectrograms"
        refuse_unmatched(folder, f"{part}.csv", self._csv(part)["spectrogram_id"], "spectrograms")
        return [places.to_csv(), *(self._file(part, "spectrograms", i) for i in places["spectrogram_id"].unique())]

    def read(self, part: Part, position: int, **what: Any) -> Any:
        """The judged 50 s of one EEG as (10000, columns) float32 in µV at 200 Hz, each column contiguous.

        ``columns`` names and orders the electrodes; without it all of the file's. With ``spectrogram`` instead the
        10 minutes around them, (300, 400) float32, a row 2 s, columns as the file orders them (regions LL, RL, LP,
        RP); with both a dict of ``eeg`` and ``spectrogram``. Missing values are NaN. Raises UserError naming the file
        where it can't be read, lacks a column, holds other than floats or is too short.
        """
        place = {name: values[position] for name, values in self._places(part).items()}
        found: dict[str, np.ndarray] = {}
        if "columns" in what or not what.get("spectrogram"):
            path = self._file(part, "eegs", place["eeg_id"])
            found["eeg"] = read_eeg(path, what.get("columns"), place["eeg_start"])
        if what.get("spectrogram"):
            path = self._file(part, "spectrograms", place["spectrogram_id"])
            found["spectrogram"] = read_spectrogram(path, place["spectrogram_start"])
        return found if len(found) > 1 else next(iter(found.values()))

    @classmethod
    def raw(cls, facts: dict[str, Any], reads: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        if "columns" in reads:
            found["eeg"] = ((WINDOW, len(reads["columns"])), "float32")
        if reads.get("spectrogram"):
            found["spectrogram"] = ((SPECTROGRAM_ROWS, SPECTROGRAM_COLUMNS), "float32")
        return found if len(found) > 1 else {"": next(iter(found.values()))}

    def write_submission(self, path: Path, ids: Sequence[Any], probability: np.ndarray) -> None:
        """``eeg_id`` and the vote columns; each row of (N, K) is normalised to sum to 1 in float64."""
        probability = np.asarray(probability, np.float64)
        if probability.shape != (len(ids), len(self.classes)):
            raise ValueError(f"predictions are {probability.shape}, expected ({len(ids)}, {len(self.classes)})")
        sums = probability.sum(axis=1, keepdims=True)
        if not (np.isfinite(probability).all() and (probability >= 0).all() and (sums > 0).all()):
            raise ValueError(
                "predictions hold NaN, negative values or a row of zeros; a submission needs probabilities"
            )
        columns = {"eeg_id": np.asarray(ids)}
        columns |= {name + VOTE: p for name, p in zip(self.classes, (probability / sums).T, strict=True)}
        with replacing(path) as temporary:
            pd.DataFrame(columns).to_csv(temporary, index=False)

    def _file(self, part: Part, what: Literal["eegs", "spectrograms"], number: int) -> Path:
        return self.root / f"{part}_{what}" / f"{number}.parquet"

    def _places(self, part: Part) -> dict[str, np.ndarray]:
        """The columns of ``PLACES``, out of pandas: asking it for single values would take a sixth of a reading."""
        return self._test_places if part == "test" else self._train_places

    @cached_property
    def _train_places(self) -> dict[str, np.ndarray]:
        return {name: self._train_rows[name].to_numpy() for name in PLACES if name in self._train_rows}

    @cached_property
    def _test_places(self) -> dict[str, np.ndarray]:
        return {name: self._test_rows[name].to_numpy() for name in PLACES if name in self._test_rows}

    def _rows(self, part: Part) -> pd.DataFrame:
        """The part's table with its places."""
        return self._train_rows if part == "train" else self._test_rows

    def _csv(self, part: Part) -> pd.DataFrame:
        return self._train_csv if part == "train" else self._test_csv

    @cached_property
    def _train_csv(self) -> pd.DataFrame:
        path = self.root / "train.csv"
        rows = read_csv(path, ["eeg_id", "eeg_sub_id", "patient_id"])
        votes = [c for c in rows.columns if c.endswith(VOTE)]
        if len(votes) < 2:
            raise UserError(f"{path} has {len(votes)} columns that end in {VOTE}, expected one a class")
        _refuse_repeats(path, rows)
        _refuse_bad_votes(path, rows, votes)
        _refuse_parted(path, rows, "patient_id", "correct it, or a split would leak")
        if "fold" in rows:  # a split of one's own
            _refuse_parted(path, rows, "fold", "an EEG is validated as a whole")
        refuse_unmatched(self.root / "train_eegs", "train.csv", rows["eeg_id"], "EEGs")
        return rows

    @cached_property
    def _test_csv(self) -> pd.DataFrame:
        path = self.root / "test.csv"
        if not path.exists():
            return pd.DataFrame({"eeg_id": np.zeros(0, np.int64)})
        rows = read_csv(path, ["eeg_id"])
        again = rows["eeg_id"].duplicated()
        if again.any():
            raise several(
                [f"eeg_id {i}" for i in rows["eeg_id"][again]], f"{path} has an EEG twice; keep one row of it"
            )
        refuse_unmatched(self.root / "test_eegs", "test.csv", rows["eeg_id"], "EEGs")
        return rows

    @cached_property
    def _train_rows(self) -> pd.DataFrame:
        path, rows = self.root / "train.csv", self._train_csv
        table = _summed(rows) if self.records == "summed" else _each(path, rows)
        columns = [c for c in table.columns if c.endswith(VOTE)]
        total = table[columns].sum(axis=1)
        if (total == 0).any():
            empty = [f"id {i}" for i in table["id"][total == 0]]
            raise several(empty, f"{path} has EEGs whose votes sum to zero; remove their rows")
        for column in columns:
            table[TARGET + column.removesuffix(VOTE)] = table.pop(column) / total
        trained = table["votes"] >= self.min_votes
        validated = table["votes"] >= self.min_votes_valid
        if not (trained.any() and validated.any()):
            raise UserError(
                f"dataset.min_votes={self.min_votes} and min_votes_valid={self.min_votes_valid} leave a side no EEG; "
                f"the most votes in {path} are {table['votes'].max()}"
            )
        if self.records == "each":
            validated &= _central(table[validated]).reindex(table.index, fill_value=False)
        kept = trained | validated | self.keep_rest
        for name, serving in (("trained", trained), ("validated", validated)):
            if not serving[kept].all():
                table[name] = serving
        return table[kept].reset_index(drop=True)

    @cached_property
    def _test_rows(self) -> pd.DataFrame:
        table = self._test_csv[["eeg_id"]].assign(id=self._test_csv["eeg_id"], eeg_start=None)
        if "spectrogram_id" in self._test_csv:
            table = table.assign(spectrogram_id=self._test_csv["spectrogram_id"], spectrogram_start=0.0)
        if "patient_id" in self._test_csv:
            table = table.assign(group=self._test_csv["patient_id"])
        return table[["id", *(c for c in table.columns if c != "id")]]


def _each(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """A row a sub-record: id, group, example, votes, fold where there is one, the classes' votes and its places."""
    if "eeg_label_offset_seconds" not in rows:
        raise UserError(f"{path} lacks the column eeg_label_offset_seconds; choose dataset.records=summed")
    refuse_gaps(path, rows, ["eeg_label_offset_seconds"])
    classes = [c for c in rows.columns if c.endswith(VOTE)]
    names = [f"{i}_{sub}" for i, sub in zip(rows["eeg_id"], rows["eeg_sub_id"], strict=True)]
    table = pd.DataFrame({"id": names, "group": rows["patient_id"], "example": rows["eeg_id"]})
    table["votes"] = rows[classes].sum(axis=1)
    table = table.join(rows[[*(["fold"] if "fold" in rows else []), *classes, "eeg_id"]])
    table["eeg_start"] = rows["eeg_label_offset_seconds"].astype(float)
    if {"spectrogram_id", "spectrogram_label_offset_seconds"} <= set(rows.columns):
        table["spectrogram_id"] = rows["spectrogram_id"]
        table["spectrogram_start"] = rows["spectrogram_label_offset_seconds"].astype(float)
    return table.sort_values(["eeg_id", "eeg_start"], kind="stable").reset_index(drop=True)


def _summed(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with a row an EEG, its sub-records' votes summed; its spectrogram is the first one's, around the middle
    of what was judged of it."""
    classes = [c for c in rows.columns if c.endswith(VOTE)]
    by_eeg = rows.groupby("eeg_id", sort=True)
    table = pd.DataFrame({"id": by_eeg["eeg_id"].first(), "group": by_eeg["patient_id"].first()})
    table["votes"] = rows[classes].sum(axis=1).groupby(rows["eeg_id"]).max()
    if "fold" in rows:
        table["fold"] = by_eeg["fold"].first()
    table = table.join(by_eeg[classes].sum())
    table["eeg_id"], table["eeg_start"] = table["id"], None
    if {"spectrogram_id", "spectrogram_label_offset_seconds"} <= set(rows.columns):
        table["spectrogram_id"] = by_eeg["spectrogram_id"].first()
        own = rows[rows["spectrogram_id"] == rows["eeg_id"].map(table["spectrogram_id"])]
        span = own.groupby("eeg_id")["spectrogram_label_offset_seconds"].agg(["min", "max"])
        table["spectrogram_start"] = span.mean(axis=1)
    return table.reset_index(drop=True)


def _central(table: pd.DataFrame) -> pd.Series:
    """Which row of each EEG lies closest to the middle of its judged span; the first of two."""
    span = table.groupby("eeg_id")["eeg_start"]
    distance = (table["eeg_start"] - (span.transform("min") + span.transform("max")) / 2).abs()
    closest = distance.groupby(table["eeg_id"]).idxmin()
    return pd.Series(table.index.isin(closest), table.index)


def _refuse_parted(path: Path, rows: pd.DataFrame, column: str, why: str) -> None:
    """Refuses an EEG whose rows disagree in a column."""
    values = rows.groupby("eeg_id")[column].nunique(dropna=False)
    if (values > 1).any():
        parted = [f"eeg_id {i}" for i in values.index[values > 1]]
        raise several(parted, f"{path} gives an EEG more than one {column}; {why}")


def _refuse_repeats(path: Path, rows: pd.DataFrame) -> None:
    again = rows.duplicated(["eeg_id", "eeg_sub_id"])
    if again.any():
        pairs = rows.loc[again, ["eeg_id", "eeg_sub_id"]].itertuples()
        raise several(
            [f"line {p.Index + 2} (eeg_id {p.eeg_id}, eeg_sub_id {p.eeg_sub_id})" for p in pairs],
            f"{path} has a sub-record twice, so its votes would count twice; remove",
        )


def _refuse_bad_votes(path: Path, rows: pd.DataFrame, votes: Sequence[str]) -> None:
    problems = []
    for column in votes:
        numbers = pd.to_numeric(rows[column], errors="coerce").to_numpy(np.float64)
        bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
        problems += [f"line {i + 2}, {column} is '{rows[column].iloc[i]}'" for i in bad]
    if problems:
        raise several(problems, f"{path} has votes that are not counts of 0 or more; correct")
