"""Tianchi heartbeat: one ECG beat a row of a CSV, its numbers in one quoted field → the kind of beat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets import tables
from bench.datasets.base import TARGET, Dataset
from bench.metrics import L1_20K
from bench.spec import Kind, Metric, Part, UserError

if TYPE_CHECKING:
    import pyarrow as pa

SIGNALS = "heartbeat_signals"
LARGEST = float(np.finfo(np.float32).max)


class Heartbeat(Dataset):
    """``train.csv`` (id, heartbeat_signals, label) and, where present, ``testA.csv`` (id, heartbeat_signals).

    Columns of one's own in ``train.csv`` (``group``, ``fold``, ``weight``, ``time``) go to the table.

    The class names are the labels found, in ascending order: whole numbers, or words. All beats of a
    part are held in memory as float32 once one is read (82 MB for the competition's 100,000); a pickle leaves
    them out.
    """

    page: ClassVar[str] = "https://tianchi.aliyun.com/competition/entrance/531883/information"
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
        for name, values in beats.columns.items():
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
        """Samples of most of the first hundred beats: a model's size must not cost a parse of the file."""
        first = tables.head(self.root / "train.csv", SIGNALS, 100)
        return Counter(text.count(",") + 1 for text in first).most_common(1)[0][0]

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
    """One CSV in memory: ``ids`` (N,), ``x_nt`` (N, length) float32, ``labels`` (N,) int64 or text, None without any.

    ``columns`` are those of a person's own (``tables.OWN``).
    """

    ids: np.ndarray
    x_nt: np.ndarray
    labels: np.ndarray | None
    columns: dict[str, np.ndarray]


def read_beats(path: Path, labelled: bool, length: int) -> Beats:
    """A heartbeat CSV, about six times as fast as splitting it row by row in Python.

    Raises UserError naming all rows (the first ten, then a count) that have another length than ``length``, a
    number that can't be read or isn't finite, no label or one that is neither a word nor a whole number, or an id that
    was there before.
    """
    needed = ["id", SIGNALS, *(["label"] if labelled else [])]
    table = tables.read(path, needed, tables.OWN if labelled else ("group",), as_it_is=(SIGNALS,))
    ids = table.text("id")
    columns, wrong = tables.own_columns(table)
    problems = [*table.blanks(*(name for name in needed if name != SIGNALS)), *table.repeats("id"), *wrong]
    table.refuse(problems, f"has {len(problems)} mistakes; correct these cells, or take their rows out")
    x_nt = np.empty((len(table), length), np.float32)
    done = 0
    for chunk in table.arrow(SIGNALS).chunks:
        problems += _parse(chunk, x_nt[done : done + len(chunk)], table, done)
        done += len(chunk)
    table.refuse(problems, f"has {len(problems)} rows that are not {length} numbers; correct or remove them")
    labels = _labels(table) if labelled else None
    x_nt.setflags(write=False)
    return Beats(tables.as_numbers(ids), x_nt, labels, columns)


def _parse(chunk: pa.Array, out_nt: np.ndarray, table: tables.Table, start: int) -> list[str]:
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
            problems.append(f"{_row(start + i, table)} has {lengths[i]} values, expected {length} as most have")
            continue
        values = [_number(field) for field in text.split(",")]
        bad = [j for j, value in enumerate(values) if value is None or not abs(value) <= LARGEST]  # NaN is not
        if bad:
            problems.append(f"{_row(start + i, table)} holds {text.split(',')[bad[0]]!r} as value {bad[0] + 1}")
        else:
            out_nt[i] = values
    return problems


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _labels(table: tables.Table) -> np.ndarray:
    """Labels as int64, or as text where none of them is a number; the competition's files write whole ones as 0.0."""
    texts = table.text("label")
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(np.float64)
    integral = np.isfinite(numbers) & (numbers == np.round(numbers))
    words = np.isnan(numbers)
    if not (integral.all() or words.all()):
        odd = ~integral if integral.sum() >= words.sum() else ~words
        cells = [f"{_row(i, table)} has label {texts[i]!r}" for i in np.flatnonzero(odd)]
        others = "whole numbers" if integral.sum() >= words.sum() else "words"
        table.refuse(
            cells, f"has {len(cells)} labels that are not {others} as the others; correct or remove their rows"
        )
    labels = texts.astype(str) if words.all() else numbers.astype(np.int64)
    if len(np.unique(labels)) < 2:
        raise UserError(f"{table.path} has the label {labels[0]} alone; expected at least two classes to tell apart")
    return labels


def _row(i: int | np.integer, table: tables.Table) -> str:
    return f"line {table.line(i)} (id {table.text('id')[i]})"
