"""HMS's files: EEGs and spectrograms in parquet, and the judged part of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.datasets.base import several
from bench.features.hms_waveform import SAMPLE_RATE, WINDOW
from bench.spec import UserError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SPECTROGRAM_ROWS, SPECTROGRAM_COLUMNS = 300, 400
"""Ten minutes, a row 2 s; four regions of 100 frequencies."""
SECONDS_A_ROW = 2


def read_eeg(path: Path, columns: Sequence[str] | None = None, start: float | None = None) -> np.ndarray:
    """The 50 s from ``start`` (s; None: the middle) as ``HMS.read`` says, in memory of its own."""
    eeg_ct = _whole_eeg(path, None if columns is None else tuple(columns))
    rows = eeg_ct.shape[1]
    first = (rows - WINDOW) // 2 if start is None else round(start * SAMPLE_RATE)
    if first + WINDOW > rows:
        raise UserError(
            f"{path} has {rows} rows, too few for the {WINDOW} from second {start:g} that train.csv names; "
            "download it again"
        )
    return eeg_ct[:, first : first + WINDOW].copy().T


def read_spectrogram(path: Path, start: float) -> np.ndarray:
    """The ten minutes from ``start`` (s) as (300, 400) float32; missing values are NaN."""
    whole_tf = _whole_spectrogram(path)
    first = int(start // SECONDS_A_ROW)
    found = whole_tf[first : first + SPECTROGRAM_ROWS]
    if len(found) < SPECTROGRAM_ROWS:
        raise UserError(
            f"{path} has {len(found)} rows from second {start:g} on, expected {SPECTROGRAM_ROWS} (10 minutes); "
            "download it again"
        )
    return found.copy()


@lru_cache(maxsize=1)  # the sub-records of one EEG come one after the other
def _whole_eeg(path: Path, columns: tuple[str, ...] | None) -> np.ndarray:
    with _opened(path) as file:
        names = file.schema_arrow.names
        wanted = columns or tuple(names)
        absent = [c for c in wanted if c not in names]
        if absent:
            raise UserError(f"{path} lacks the column {', '.join(absent)}; expected the competition's 20 electrodes")
        if file.metadata.num_rows < WINDOW:
            raise UserError(
                f"{path} has {file.metadata.num_rows} rows, expected at least {WINDOW} "
                f"(50 s at {SAMPLE_RATE} Hz); download it again"
            )
        return _columns(path, file, wanted, "float32 in µV")


@lru_cache(maxsize=1)
def _whole_spectrogram(path: Path) -> np.ndarray:
    with _opened(path) as file:
        wanted = [name for name in file.schema_arrow.names if name != "time"]
        if len(wanted) != SPECTROGRAM_COLUMNS:
            raise UserError(
                f"{path} has {len(wanted)} columns besides time, expected {SPECTROGRAM_COLUMNS} "
                "(LL, RL, LP and RP, 100 frequencies each); download it again"
            )
        return np.ascontiguousarray(_columns(path, file, wanted, "float32").T)


def _columns(path: Path, file: pq.ParquetFile, names: Sequence[str], expected: str) -> np.ndarray:
    """(columns, rows) float32."""
    import pyarrow as pa

    # One thread: many files are read side by side by processes, and a file is too small to share out.
    table = file.read(columns=list(names), use_threads=False)
    x_ct = np.empty((len(names), table.num_rows), np.float32)
    for row, name in enumerate(names):
        column = table.column(name)
        if not pa.types.is_floating(column.type):
            raise UserError(f"{path}, column {name}, holds {column.type}, expected {expected}")
        x_ct[row] = column.to_numpy()  # a missing value comes out as NaN
    return x_ct


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} can't be read as parquet ({reason}); download it again") from error


def read_csv(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A CSV with at least the ``needed`` columns, none of their cells empty, and eeg_id whole numbers."""
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
    for column in ("eeg_id", "spectrogram_id"):
        # File names are built from it: 1628180742.0 would look for a file that nobody wrote.
        if column in needed and not pd.api.types.is_integer_dtype(rows[column]):
            raise UserError(f"{path}, column {column}, holds {rows[column].dtype}, expected whole numbers")
    return rows


def refuse_gaps(path: Path, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuses cells of these columns that are empty, below 0 or no numbers."""
    for column in columns:
        numbers = pd.to_numeric(rows[column], errors="coerce").to_numpy(np.float64)
        bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
        if len(bad):
            cells = [f"line {i + 2} is '{rows[column].iloc[i]}'" for i in bad]
            raise several(cells, f"{path}, column {column}, needs numbers of 0 or more")


def refuse_unmatched(folder: Path, csv: str, ids: Sequence[int], what: str) -> None:
    """Refuses ids without a file and files without an id; ``what`` names them in the plural."""
    # one listing: 17,089 stats are slow on a network
    there = {p.name for p in folder.iterdir() if not p.name.startswith(".")} if folder.is_dir() else set()
    wanted = {f"{i}.parquet": None for i in ids}
    problems = [f"{name} is not there" for name in wanted if name not in there]
    missing = len(problems)
    problems += [f"{name} has no row" for name in sorted(there.difference(wanted))]
    if problems:
        raise several(
            problems,
            f"{missing} of {len(wanted)} {what} of {csv} have no file in {folder} and {len(problems) - missing} files "
            "there have no row; unpack both again, or take out what has no partner",
        )
