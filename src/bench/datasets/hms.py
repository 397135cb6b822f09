"""HMS harmful brain activity (Kaggle 2024): EEGs, one parquet file each → votes over six patterns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets.base import TARGET, Dataset, several
from bench.features.hms_waveform import SAMPLE_RATE, WINDOW
from bench.metrics import KL
from bench.spec import Kind, Metric, Part, UserError

VOTE = "_vote"


class HMS(Dataset):
    """``train.csv`` (a row a judged 50 s), ``train_eegs/<eeg_id>.parquet``; the same for test, where present.

    One example is one EEG: the votes of its judged sub-records are summed and normalised, as the first
    write-up does (their windows overlap, and its model reads the middle one). ``group`` is the patient.
    Classes are the ``*_vote`` columns in the file's order.
    """

    name: ClassVar[str] = "hms"
    metric: ClassVar[Metric] = KL
    features: ClassVar[dict[Kind, str]] = {"sequence": "hms_waveform"}
    sample_rate: ClassVar[float] = SAMPLE_RATE

    def required(self) -> list[str]:
        return ["train.csv", "train_eegs"]

    def read_table(self, part: Part) -> pd.DataFrame:
        return self._read_train() if part == "train" else self._read_test()

    def files(self, part: Part) -> list[Path]:
        return [self._path(part, eeg_id) for eeg_id in self.table(part)["id"]]

    def read(self, part: Part, position: int, **what: Any) -> np.ndarray:
        """One EEG as (rows, columns) float32 in µV at 200 Hz, each column contiguous; missing values are NaN.

        ``columns`` names and orders the electrodes; without it all of the file's. Raises UserError naming the
        file where it can't be read, lacks a column, holds other than floats or fewer than 10,000 rows.
        """
        return read_eeg(self._path(part, self.table(part)["id"].to_numpy()[position]), what.get("columns"))

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

    def _path(self, part: Part, eeg_id: Any) -> Path:
        return self.root / f"{part}_eegs" / f"{eeg_id}.parquet"

    def _read_train(self) -> pd.DataFrame:
        path = self.root / "train.csv"
        rows = _read_csv(path, ["eeg_id", "eeg_sub_id", "patient_id"])
        votes = [c for c in rows.columns if c.endswith(VOTE)]
        if len(votes) < 2:
            raise UserError(f"{path} has {len(votes)} columns that end in {VOTE}, expected one a class")
        _refuse_repeats(path, rows)
        _refuse_bad_votes(path, rows, votes)
        by_eeg = rows.groupby("eeg_id", sort=True)
        patients = by_eeg["patient_id"].nunique(dropna=False)
        if (patients > 1).any():
            shared = [f"eeg_id {i}" for i in patients.index[patients > 1]]
            raise several(shared, f"{path} gives an EEG more than one patient_id; correct it, or a split would leak")
        summed = by_eeg[votes].sum().astype(np.float64)
        total = summed.sum(axis=1)
        if (total == 0).any():
            empty = [f"eeg_id {i}" for i in total.index[total == 0]]
            raise several(empty, f"{path} has EEGs whose votes sum to zero; remove their rows")
        table = summed.div(total, axis=0)
        table.columns = [TARGET + c.removesuffix(VOTE) for c in votes]
        table.insert(0, "group", by_eeg["patient_id"].first())
        if "fold" in rows:  # a split of one's own
            folds = by_eeg["fold"].nunique(dropna=False)
            if (folds > 1).any():
                parted = [f"eeg_id {i}" for i in folds.index[folds > 1]]
                raise several(parted, f"{path} gives an EEG more than one fold; an EEG is one row of the table")
            table["fold"] = by_eeg["fold"].first()
        table = table.rename_axis("id").reset_index()
        self._refuse_missing_files("train", table["id"])
        return table

    def _read_test(self) -> pd.DataFrame:
        path = self.root / "test.csv"
        if not path.exists():
            return pd.DataFrame({"id": np.zeros(0, np.int64)})
        ids = _read_csv(path, ["eeg_id"])["eeg_id"]
        if ids.duplicated().any():
            raise several(
                [f"eeg_id {i}" for i in ids[ids.duplicated()]], f"{path} has an EEG twice; keep one row of it"
            )
        self._refuse_missing_files("test", ids)
        return pd.DataFrame({"id": ids.to_numpy()})

    def _refuse_missing_files(self, part: Part, ids: pd.Series) -> None:
        folder = self.root / f"{part}_eegs"
        there = (
            {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        )  # one listing: 17,089 stats are slow on a network
        missing = [f"{i}.parquet" for i in ids if f"{i}.parquet" not in there]
        if missing:
            raise several(
                missing,
                f"{len(missing)} of {len(ids)} EEGs of {part}.csv have no file in {folder}; unpack it again, "
                "or take their rows out",
            )


def read_eeg(path: Path, columns: Sequence[str] | None = None) -> np.ndarray:
    """One EEG file as ``HMS.read`` says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One thread: many files are read side by side by processes, and a file is too small to share out.
        with pq.ParquetFile(path, memory_map=False) as file:
            names = file.schema_arrow.names
            wanted = list(columns) if columns is not None else names
            absent = [c for c in wanted if c not in names]
            if absent:
                raise UserError(
                    f"{path} lacks the column {', '.join(absent)}; expected the competition's 20 electrodes"
                )
            if file.metadata.num_rows < WINDOW:
                raise UserError(
                    f"{path} has {file.metadata.num_rows} rows, expected at least {WINDOW} "
                    f"(50 s at {SAMPLE_RATE} Hz); download it again"
                )
            table = file.read(columns=wanted, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} can't be read as parquet ({reason}); download it again") from error
    eeg_ct = np.empty((len(wanted), table.num_rows), np.float32)
    for row, name in enumerate(wanted):
        column = table.column(name)
        if not pa.types.is_floating(column.type):
            raise UserError(f"{path}, column {name}, holds {column.type}, expected float32 in µV")
        eeg_ct[row] = column.to_numpy()  # a missing value comes out as NaN
    return eeg_ct.T


def _read_csv(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as CSV ({error}); download it again") from error
    absent = [c for c in needed if c not in rows.columns]
    if absent:
        raise UserError(f"{path} lacks the column {', '.join(absent)}; it has {', '.join(map(str, rows.columns))}")
    if rows.empty:
        raise UserError(f"{path} has no rows; download it again")
    for column in needed:
        if rows[column].isna().any():
            raise several([f"line {i + 2}" for i in np.flatnonzero(rows[column].isna())], f"{path} has no {column} in")
    if not pd.api.types.is_integer_dtype(rows["eeg_id"]):
        # File names are built from it: 1628180742.0 would look for a file that nobody wrote.
        raise UserError(f"{path}, column eeg_id, holds {rows['eeg_id'].dtype}, expected whole numbers")
    return rows


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
