"""HMS's files: EEGs and spectrograms in parquet, read by the names of their columns, and the judged part of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.datasets.base import MEND
from bench.features.hms_regions import CHAINS
from bench.features.hms_waveform import SAMPLE_RATE, WINDOW
from bench.spec import UserError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SPECTROGRAM_ROWS = 300
"""Ten minutes, a row 2 s."""
FREQUENCIES = np.arange(3, 103) * SAMPLE_RATE / 1024
"""Hz of a region's columns, 0.59 to 19.92: the file's names have two decimals."""
SPECTROGRAM_COLUMNS = len(CHAINS) * len(FREQUENCIES)
SECONDS_A_ROW = 2
OTHER_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8", "EKG": "ECG"}
"""What newer recordings call the competition's electrodes (the 10-10 system)."""
UNITS = {"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3}
"""µV of one unit."""
USUAL = (0.1, 3000.0)
"""Median distance of an EEG's values from their middle, in µV: far below a resting brain's, far above an artefact's."""
TYPICAL = 20.0
GLANCED_AT = 8
"""Files whose scale and rate are looked at before all are read."""


@dataclass(frozen=True)
class Recording:
    """How EEGs were recorded, and how much of one is an example: Hz, seconds, and the unit of their values.

    ``settled``: a run was trained with these, so that files must be as they say.
    """

    sample_rate: float = float(SAMPLE_RATE)
    seconds: float = WINDOW / SAMPLE_RATE
    unit: str = "uV"
    settled: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 10 <= self.sample_rate <= 100_000:
            raise UserError(f"dataset.sample_rate={self.sample_rate:g} must lie between 10 and 100000 Hz")
        if not 1 <= self.seconds <= 600:
            raise UserError(f"dataset.seconds={self.seconds:g} must lie between 1 and 600; the competition's have 50")
        if self.unit not in UNITS:
            raise UserError(f"dataset.unit={self.unit} is not one of {', '.join(UNITS)}")

    def advice(self, setting: str, instead: str) -> str:
        """What to do where files are not as this says: a setting, or for a trained run what to do ``instead``."""
        return f"{instead}, as the run was trained on" if self.settled else f"set {setting}"

    @property
    def window(self) -> int:
        """Rows of an example, at 200 Hz."""
        return round(self.seconds * SAMPLE_RATE)


def read_eeg(path: Path, columns: Sequence[str] | None, start: float | None, recording: Recording) -> np.ndarray:
    """The seconds from ``start`` (None: the middle) as ``HMS.read`` says, in memory of its own."""
    eeg_ct = _whole_eeg(path, None if columns is None else tuple(columns), recording)
    rows, window = eeg_ct.shape[1], recording.window
    first = (rows - window) // 2 if start is None else round(start * SAMPLE_RATE)
    if first + window > rows:
        raise UserError(
            f"{path} has {rows} rows, too few for the {window} ({recording.seconds:g} s) from second {start:g} that "
            f"train.csv names; correct its row, or {MEND}"
        )
    return eeg_ct[:, first : first + window].copy().T


def read_spectrogram(path: Path, start: float) -> np.ndarray:
    """The ten minutes from ``start`` (s) as (300, 400) float32; missing values are NaN."""
    whole_tf = _whole_spectrogram(path)
    first = int(start // SECONDS_A_ROW)
    window_tf = whole_tf[first : first + SPECTROGRAM_ROWS]
    if len(window_tf) < SPECTROGRAM_ROWS:
        raise UserError(
            f"{path} has {len(window_tf)} rows from second {start:g} on, expected {SPECTROGRAM_ROWS} (10 minutes); "
            f"{MEND}"
        )
    if np.isinf(window_tf).any():
        raise UserError(f"{path} holds infinite values from second {start:g} on; {MEND}")
    return window_tf.copy()


def refuse_other_recordings(files: Sequence[Path], columns: Sequence[str], recording: Recording) -> None:
    """Looks at the first files: refuses values in another unit, and a column ``time`` of another rate.

    Files that can't be read are left to those who name all of them.
    """
    spreads = []
    for path in list(dict.fromkeys(files))[:GLANCED_AT]:
        _refuse_other_rate(path, recording)
        try:
            eeg_tc = read_eeg(path, columns, None, recording)
        except UserError:
            continue
        values = eeg_tc[np.isfinite(eeg_tc)]
        spread = float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0
        if spread > 0:
            spreads.append(spread)
    if not spreads or USUAL[0] <= (spread := float(np.median(spreads))) <= USUAL[1]:
        return
    in_units = spread / UNITS[recording.unit]
    unit = min(UNITS, key=lambda name: abs(np.log(in_units * UNITS[name] / TYPICAL)))
    unit_note = "" if recording.unit == "uV" else f" with dataset.unit={recording.unit}"
    raise UserError(
        f"the first EEGs in {files[0].parent} spread by {spread:.2g} µV around their middle{unit_note}, where EEGs "
        f"spread by some {TYPICAL:g}: their values are in {unit}; "
        + recording.advice(f"dataset.unit={unit}", f"write them in {recording.unit}")
    )


@lru_cache(maxsize=1)  # the sub-records of one EEG come one after the other
def _whole_eeg(path: Path, columns: tuple[str, ...] | None, recording: Recording) -> np.ndarray:
    rate, seconds = recording.sample_rate, recording.seconds
    with _opened(path) as file:
        names = file.schema_arrow.names
        selected = _electrodes(path, names, columns or [name for name in dict.fromkeys(names) if name != "time"])
        rows = file.metadata.num_rows
        if rows < round(seconds * rate):
            raise UserError(
                f"{path} has {rows} rows, expected at least {round(seconds * rate)} ({seconds:g} s at {rate:g} Hz); "
                + recording.advice(
                    f"dataset.seconds={int(rows / rate * 10) / 10:g} for shorter windows, dataset.sample_rate= for "
                    f"another rate, or {MEND}",
                    "give as many seconds at that rate",
                )
            )
        eeg_ct = _columns(path, file, selected, f"float32 in {recording.unit.replace('u', 'µ')}")
    if recording.unit != "uV":
        eeg_ct *= np.float32(UNITS[recording.unit])
    return eeg_ct if rate == SAMPLE_RATE else _resampled(eeg_ct, rate)


def _electrodes(path: Path, names: Sequence[str], requested: Sequence[str]) -> list[str]:
    """The columns of electrodes, by their names or by others that they go by; UserError where one lacks or is twice."""
    columns, missing = [], []
    for electrode in requested:
        known = {electrode.casefold(), OTHER_NAMES.get(electrode, electrode).casefold()}
        same = [name for name in names if name == electrode] or [name for name in names if name.casefold() in known]
        if len(same) > 1:
            twice = f"the column {electrode} twice" if len(set(same)) == 1 else f"{' and '.join(same)} for {electrode}"
            raise UserError(f"{path} has {twice}; keep one of them")
        columns += same
        missing += [] if same else [electrode]
    if missing:
        raise UserError(
            f"{path} lacks the column {', '.join(missing)}, which the features read; name its electrodes as the 10-20 "
            f"system does, or choose other features: it has {', '.join(names[:30])}"
        )
    return columns


def _resampled(x_ct: np.ndarray, rate: float) -> np.ndarray:
    """(C, T) at ``rate`` Hz → the same seconds at 200 Hz, by soxr's HQ; missing values stay missing."""
    import soxr

    gaps_ct, steps = np.isnan(x_ct), np.arange(x_ct.shape[1])
    for x_t, gap_t in zip(x_ct, gaps_ct, strict=True):
        if gap_t.any():  # bridged by straight lines: a filter spreads NaN over all
            x_t[gap_t] = 0 if gap_t.all() else np.interp(steps[gap_t], steps[~gap_t], x_t[~gap_t])
    rows = round(x_ct.shape[1] * SAMPLE_RATE / rate)
    y_ct = np.ascontiguousarray(soxr.resample(x_ct.T, rate, SAMPLE_RATE, quality="HQ").T)
    y_ct = np.pad(y_ct, ((0, 0), (0, max(0, rows - y_ct.shape[1]))), mode="edge")[:, :rows]
    nearest = np.clip(np.rint(np.arange(rows) * rate / SAMPLE_RATE).astype(int), 0, len(steps) - 1)
    y_ct[gaps_ct[:, nearest]] = np.nan
    return y_ct


def _refuse_other_rate(path: Path, recording: Recording) -> None:
    """Refuses an EEG whose column ``time``, in seconds or milliseconds, tells of another rate than the one given."""
    import pyarrow as pa

    try:
        with _opened(path) as file:
            if file.schema_arrow.names.count("time") != 1 or file.metadata.num_rows < 2:
                return
            column = file.read(columns=["time"], use_threads=False).column("time")
            if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
                return
            time = column.to_numpy().astype(np.float64)
    except UserError:
        return
    step = float(np.median(np.diff(time)))
    if not step > 0:
        return
    rate = 1 / step if step < 0.1 else 1000 / step
    if abs(rate / recording.sample_rate - 1) > 0.01:
        raise UserError(
            f"{path}: its column time steps by {step:g}, which is {rate:.5g} Hz, and not {recording.sample_rate:g} Hz; "
            + recording.advice(f"dataset.sample_rate={rate:.5g}", f"resample it to {recording.sample_rate:g} Hz")
        )


@lru_cache(maxsize=1)
def _whole_spectrogram(path: Path) -> np.ndarray:
    with _opened(path) as file:
        selected = _by_region(path, file.schema_arrow.names)
        return np.ascontiguousarray(_columns(path, file, selected, "float32").T)


def _by_region(path: Path, names: Sequence[str]) -> list[str]:
    """The 400 columns by region (LL, RL, LP, RP) and frequency, as their names say."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path} has the column {twice[0]} twice; keep one of them")
    selected: list[str] = []
    for region in CHAINS:
        matches = [m for name in names if (m := re.fullmatch(rf"{region}_(\d+(?:\.\d*)?)", name))]
        matches.sort(key=lambda m: float(m[1]))
        frequencies = np.array([float(m[1]) for m in matches])
        if len(frequencies) != len(FREQUENCIES) or np.abs(frequencies - FREQUENCIES).max() > 0.011:
            span = f" from {frequencies[0]:g} to {frequencies[-1]:g} Hz" if len(frequencies) else ""
            raise UserError(
                f"{path} has {len(frequencies)} columns of region {region}{span}, expected {len(FREQUENCIES)} from "
                f"{region}_{FREQUENCIES[0]:.2f} to {region}_{FREQUENCIES[-1]:.2f} (LL, RL, LP and RP alike); {MEND}"
            )
        selected += [m[0] for m in matches]
    return selected


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
        raise UserError(f"{path} can't be read as parquet ({reason}); {MEND}") from error
