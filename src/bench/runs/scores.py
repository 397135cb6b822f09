"""A run's scores.json: the scores of its out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.atomic import write_json
from bench.runs import checksums, records
from bench.spec import Direction
from bench.tell import figure, spread

FILE = "scores.json"
TABLES = ("oof.parquet", "test.parquet")
"""Those of a run whose checksums scores.json holds."""


@dataclass(frozen=True, kw_only=True)
class OneView:
    """The scores of one view of each row, where a run predicts from many."""

    oof: float
    folds: tuple[float, ...]
    mean: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """``oof`` is the metric on all validated rows at once, ``folds`` each fold's own (of ``fold_numbers``), ``std``
    their population standard deviation.

    ``baseline`` is the metric of always predicting the training side's mean target, on the same rows. ``predictions``
    is a hash of what was predicted, ``also`` other scores by their name; ``complete`` says whether every fold is in;
    ``checksums`` are those of the run's prediction tables.
    """

    metric: str
    direction: Direction
    oof: float
    folds: tuple[float, ...]
    fold_numbers: tuple[int, ...]
    mean: float
    std: float
    baseline: float
    rows: int
    accuracy: float
    without_tta: OneView | None = None
    predictions: str = ""
    also: Mapping[str, float] = field(default_factory=dict)
    complete: bool
    simulated: bool
    identity: str
    group: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def no_better(self) -> bool:
        """Whether always predicting the training means scores as well, or better."""
        return self.oof == self.baseline or self.direction.better(self.baseline, self.oof)

    @property
    def over_folds(self) -> tuple[str, str]:
        """Name and text of the folds' mean and spread; one fold has no spread."""
        if len(self.folds) == 1:
            return f"fold {self.fold_numbers[0]}", figure(self.mean)
        return "mean ± std over folds", spread(self.mean, self.std)

    @property
    def part(self) -> str:
        """The folds that an incomplete score is of: "fold 0 alone"; empty for a complete one."""
        if self.complete:
            return ""
        return f"fold{'s' * (len(self.folds) > 1)} {', '.join(map(str, self.fold_numbers))} alone"


def of(content: Any, source: str) -> Scores:
    """From what JSON holds; UserError naming ``source``."""
    return records.parse(Scores, content, source)


def read(folder: Path) -> Scores | None:
    """Reads scores.json; None where no fold has been collected, UserError for a damaged file."""
    path = folder / FILE
    return records.from_json(Scores, checksums.held(path)) if path.exists() else None


def write(folder: Path, scores: Scores) -> None:
    with checksums.writing(folder, FILE):
        write_json(folder / FILE, records.plain(scores))
