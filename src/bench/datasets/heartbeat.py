"""Tianchi heartbeat: one ECG beat a row of a CSV, its numbers in one quoted field → the kind of beat."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets.base import TARGET, Dataset, several
from bench.metrics import L1_20K
from bench.spec import Kind, Metric, Part, UserError

if TYPE_CHECKING:
    import pyarrow as pa

SIGNALS = "heartbeat_signals"
BLOCK = 1 << 20
"""Bytes of CSV parsed at a time: its numbers, as text, still fit the processor's cache."""
LARGEST = float(np.finfo(np.float32).max)


class Heartbeat(Dataset):
    """``train.csv`` (id, heartbeat_signals, label) and, where present, ``testA.csv`` (id, heartbeat_signals).

    Columns ``group`` and ``fold`` of one's own in ``train.csv`` go to the table, for the splits that use them.

    The class names are the labels found, in ascending order; the length is the first row's. All beats of a
    part are held in memory as float32 once one is read (82 MB for the competition's 100,000); a pickle leaves
    them out.
    """

    name: ClassVar[str] = "heartbeat"
    metric: ClassVar[Metric] = L1_20K
    features: ClassVar[dict[Kind, str]] = {"sequence": "heartbeat_waveform", "image": "heartbeat_scalogram"}
    learned: ClassVar[tuple[str, ...]] = ("classes", "length")
    sample: ClassVar[str | None] = "sample_submit.csv"
    excel: ClassVar[bool] = True

    def required(self) -> list[str]:
        return ["train.csv"]

    def required_to_predict(self) -> list[str]:
        return ["testA.csv"]

    def read_table(self, part: Part) -> pd.DataFrame:
        if not self.files(part):
            return pd.DataFrame({"id": np.zeros(0, np.int64)})
        beats = self._beats(part)
        table = pd.DataFrame({"id": beats.ids})
        if beats.labels is not None:
            for label in np.unique(beats.labels):
                table[f"{TARGET}{label}"] = (beats.labels == label).astype(np.float32)
        for name, values in beats.extra.items():
            table[name] = values
        return table

    def files(self, part: Part) -> list[Path]:
        path = self.root / ("train.csv" if part == "train" else "testA.csv")
        return [path] if path.exists() else []

    def read(self, part: Part, position: int, **what: Any) -> np.ndarray:
        """One beat as (1, length) float32; raises UserError, naming file and lines, if the file is broken."""
        return self._beats(part).x_nt[position : position + 1]

    @classmethod
    def raw(cls, facts: dict[str, Any], reads: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
        return {"": ((1, facts["length"]), "float32")}

    def write_submission(self, path: Path, ids: Sequence[Any], probability: np.ndarray) -> None:
        """``id`` and ``label_<class>`` for each class, probabilities (N, K) as they are given."""
        if np.shape(probability) != (len(ids), len(self.classes)):
            raise ValueError(f"predictions are {np.shape(probability)}, expected ({len(ids)}, {len(self.classes)})")
        if not np.isfinite(probability).all():
            raise ValueError("predictions hold NaN or infinite values; a submission needs probabilities")
        columns = {"id": np.asarray(ids)}
        columns |= {f"label_{name}": p for name, p in zip(self.classes, probability.T, strict=True)}
        with replacing(path) as temporary:
            pd.DataFrame(columns).to_csv(temporary, index=False)

    @cached_property
    def length(self) -> int:
        """Samples of a beat, from the first row alone: a model's size must not cost a parse of the file."""
        path = self.root / "train.csv"
        csv.field_size_limit(1 << 27)  # a beat is one field, and Python's own limit is 20,000 samples
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            first = next(csv.DictReader(file), None)
        if first is None or first.get(SIGNALS) is None:
            raise UserError(f"{path} has no {SIGNALS} in its first row; expected the columns id, {SIGNALS}, label")
        return first[SIGNALS].count(",") + 1

    def _beats(self, part: Part) -> Beats:
        if part not in self._in_memory:
            path = self.files(part)[0]
            self._in_memory[part] = read_beats(path, labelled=part == "train", length=self.length)
        return self._in_memory[part]

    @cached_property
    def _in_memory(self) -> dict[Part, Beats]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        # A worker that reads beats parses them again; one that only asks for the table gets a small pickle.
        return {key: value for key, value in self.__dict__.items() if key != "_in_memory"}


@dataclass(frozen=True)
class Beats:
    """One CSV in memory: ``ids`` (N,), ``x_nt`` (N, length) float32, ``labels`` (N,) int64 or None.

    ``extra`` are columns of one's own for the split, as text, where the file has them: ``group`` and ``fold``.
    """

    ids: np.ndarray
    x_nt: np.ndarray
    labels: np.ndarray | None
    extra: dict[str, list[str]]


def read_beats(path: Path, labelled: bool, length: int) -> Beats:
    """A heartbeat CSV, about six times as fast as splitting it row by row in Python.

    Raises UserError naming all rows (the first ten, then a count) that have another length than ``length``, a
    number that can't be read or isn't finite, a label that is not a whole number, or an id that was there
    before.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    needed = ["id", SIGNALS, *(["label"] if labelled else [])]
    optional = ("group", "fold") if labelled else ()
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        header = next(csv.reader(file), [])
    absent = [c for c in needed if c not in header]
    if absent:
        raise UserError(f"{path} lacks the column {', '.join(absent)}; it has {', '.join(header) or 'no header'}")
    extra = [c for c in optional if c in header]
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(block_size=BLOCK),
            convert_options=pa_csv.ConvertOptions(
                include_columns=needed + extra, column_types=dict.fromkeys(needed + extra, pa.string())
            ),
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} can't be read as CSV ({str(error)[:200]}); expected {','.join(needed)}") from error
    if table.num_rows == 0:
        raise UserError(f"{path} has no rows; download it again")
    ids = table.column("id").to_pylist()
    x_nt = np.empty((table.num_rows, length), np.float32)
    problems: list[str] = []
    done = 0
    for chunk in table.column(SIGNALS).chunks:
        problems += _parse(chunk, x_nt[done : done + len(chunk)], ids, done)
        done += len(chunk)
    if problems:
        raise several(
            problems, f"{path} has {len(problems)} rows that are not {length} numbers; correct or remove them"
        )
    labels = _labels(path, table.column("label").to_pylist(), ids) if labelled else None
    x_nt.setflags(write=False)
    return Beats(_unique(path, ids), x_nt, labels, {c: table.column(c).to_pylist() for c in extra})


def _parse(chunk: pa.Array, out_nt: np.ndarray, ids: list[str], start: int) -> list[str]:
    """Numbers of the rows from ``start`` on into ``out_nt``; what is wrong with which row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    length = out_nt.shape[1]
    fields = pc.split_pattern(chunk, ",")
    lengths = pc.list_value_length(fields).to_numpy()
    if (lengths == length).all():
        try:
            out_nt[:] = pc.list_flatten(fields).cast(pa.float32()).to_numpy().reshape(len(chunk), length)
            if np.isfinite(out_nt).all():
                return []
        except pa.ArrowInvalid:
            pass  # row by row below: it says which row, or reads what Arrow is too strict for, such as spaces
    problems = []
    for i, text in enumerate(chunk.to_pylist()):
        if lengths[i] != length:
            problems.append(f"{_row(start + i, ids)} has {lengths[i]} values, expected {length} as in the first row")
            continue
        values = [_number(field) for field in text.split(",")]
        bad = [j for j, value in enumerate(values) if value is None or not abs(value) <= LARGEST]  # NaN is not
        if bad:
            problems.append(f"{_row(start + i, ids)} holds {text.split(',')[bad[0]]!r} as value {bad[0] + 1}")
        else:
            out_nt[i] = values
    return problems


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _labels(path: Path, texts: list[str], ids: list[str]) -> np.ndarray:
    """Labels as int64; the competition's files write whole numbers as 0.0."""
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.round(numbers)))
    if len(bad):
        raise several(
            [f"{_row(i, ids)} has label {texts[i]!r}" for i in bad],
            f"{path} has {len(bad)} labels that are not whole numbers; correct or remove their rows",
        )
    labels = numbers.astype(np.int64)
    if len(np.unique(labels)) < 2:
        raise UserError(f"{path} has the label {labels[0]} alone; expected at least two classes to tell apart")
    return labels


def _unique(path: Path, ids: list[str]) -> np.ndarray:
    """Ids as int64 where that loses nothing (007 stays text), else as text."""
    again = pd.Series(ids).duplicated()
    if again.any():
        raise several([_row(i, ids) for i in np.flatnonzero(again)], f"{path} has ids that were there before; remove")
    try:
        numbers = np.array(ids, dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(ids)
    return numbers if numbers.astype(str).tolist() == ids else np.array(ids)


def _row(i: int | np.integer, ids: list[str]) -> str:
    return f"line {i + 2} (id {ids[i]})"
