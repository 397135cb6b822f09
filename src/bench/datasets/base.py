"""What every competition answers: where its files are, one row an example, one raw example, a submission."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from bench.datasets import folders, remote
from bench.spec import Kind, Metric, Part, UserError

TARGET = "target_"
MEND = "put a whole copy in its place, or take its row out"
MEND_EACH = "put whole copies in their place, or take their rows out"
"""What to do about a broken file, a competition's or a person's own, and about several."""


class Dataset(ABC):
    """A competition's folder of raw files.

    ``table("train")`` is a frame with one row an example: ``id`` (unique), ``target_<class>`` (a distribution), and
    where the competition has them

    - ``group``: rows that no split may part (a patient); ``fold``: a split the authors published;
    - ``weight``: how much a row counts in the loss; ``time``: when it was recorded, for a split by time;
    - ``example``: several rows with one value show one thing (an EEG's sub-records): an epoch trains on one of them,
      drawn at random, and no split parts them;
    - ``trained``, ``validated`` (bool): rows that serve one side of a fold alone; each is True where it is absent.

    ``table("test")`` has ``id``, and ``group`` where it is known; it is empty where there are no test files. Classes,
    lengths and column names are read from the files wherever the files say them.

    A subclass is cheap to construct and to pickle: tables are read when first asked for.

    A run keeps ``facts`` of what it was trained on, so that it can predict where there are test files alone:
    ``remembered`` opens such a folder.
    """

    name: ClassVar[str]
    metric: ClassVar[Metric]
    features: ClassVar[dict[Kind, str]]
    """The feature (a name in conf/features) that this competition gives a sequence and an image model."""
    learned: ClassVar[tuple[str, ...]] = ("classes",)
    """Cached properties that the training files decide and prediction needs: JSON-able, tuples or plain values."""
    sample: ClassVar[str | None] = None
    """The competition's example of a submission, below the root, where it has one."""
    kaggle: ClassVar[str | None] = None
    """The competition's name on Kaggle, where its files are to be had there."""
    page: ClassVar[str] = ""
    """Where else a person gets the files."""
    excel: ClassVar[bool] = False
    """Whether the competition also takes its submission as a spreadsheet."""
    test_only: bool = False
    """The training files are not there, and are not asked for."""
    tables_alone: bool = False
    """Only tables are read: recordings may be absent, and are not looked for."""

    def __init__(self, root: str | Path) -> None:
        self.root = remote.known(root)
        self.check()

    @classmethod
    def remembered(cls, facts: dict[str, Any], root: str | Path, **options: Any) -> Self:
        """A folder of test files alone; ``facts`` answer what the training files would.

        Raises UserError where the folder lacks test files; so does asking for the training table.
        """
        if missing := [name for name in cls.learned if name not in facts]:
            raise UserError(
                f"the run does not say what its training files had as {', '.join(missing)}: an earlier version trained "
                "it; run the same training command again, which adds it and trains nothing anew"
            )
        dataset = cls.__new__(cls)
        dataset.test_only = True
        for name in cls.learned:  # a cached property asks here first
            dataset.__dict__[name] = tuple(facts[name]) if isinstance(facts[name], list) else facts[name]
        cls.__init__(dataset, root, **options)
        return dataset

    @classmethod
    def of_tables(cls, root: str | Path, **options: Any) -> Self:
        """A folder whose training table is all that is read: for what can be told without the recordings."""
        dataset = cls.__new__(cls)
        dataset.tables_alone = True
        cls.__init__(dataset, root, **options)
        return dataset

    @classmethod
    def raw(cls, facts: dict[str, Any], reads: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]] | None:
        """Shape and type of what ``read(part, row, **reads)`` gives, by name; of a single array by ``""``.

        None where they differ between examples, or nothing is promised.
        """
        return None

    def facts(self) -> dict[str, Any]:
        """What prediction needs to know of the training files, JSON-able."""
        values = {name: getattr(self, name) for name in self.learned}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def fitting(self, kind: Kind) -> str | None:
        """The feature that these files have for a model that takes ``kind``, to name as advice."""
        return self.features.get(kind)

    @abstractmethod
    def required(self) -> list[str]:
        """Paths below the root without which there is nothing to train on."""

    def required_to_predict(self) -> list[str]:
        """Paths below the root without which there is no test part."""
        return []

    @abstractmethod
    def read_table(self, part: Part) -> pd.DataFrame:
        """The part's table, as the class's docstring says; raises UserError naming file, row and column."""

    @abstractmethod
    def files(self, part: Part) -> list[Path]:
        """The raw files behind a part: one per row in the table's order, or the single file that holds all."""

    @abstractmethod
    def read(self, part: Part, position: int, **what: Any) -> Any:
        """One raw example by its row in the part's table, an array or a dict of some; UserError naming the file.

        ``what`` is the features' ``reads``: which part of the raw example they want.
        """

    def also_read(self, part: Part, **what: Any) -> list[Path | str]:
        """What decides ``read`` besides ``files`` and ids: further files, or text such as where windows begin."""
        return []

    @abstractmethod
    def write_submission(self, path: Path, ids: Sequence[Any], probability: np.ndarray) -> None:
        """The competition's own file from (N, K) probabilities in the order of ``ids``."""

    def table(self, part: Part) -> pd.DataFrame:
        return self._train if part == "train" else self._test

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(c.removeprefix(TARGET) for c in self._train.columns if c.startswith(TARGET))

    def check(self) -> None:
        """Refuses a root that is missing or incomplete, naming everything that is not there and where it is instead."""
        key = "input" if self.test_only else "dataset.root"
        needed = self.required_to_predict() if self.test_only else self.required()
        needed = [name for name in needed if Path(name).suffix or not self.tables_alone]
        if sentence := folders.layout_problem(self.root, needed, key, self.name):
            raise UserError(sentence)

    @cached_property
    def _train(self) -> pd.DataFrame:
        if self.test_only:
            raise UserError(f"{self.root} was opened to predict: its training files are not read; train with them")
        return self.read_table("train")

    @cached_property
    def _test(self) -> pd.DataFrame:
        return self.read_table("test")


def targets(table: pd.DataFrame) -> np.ndarray:
    """The (N, K) float32 target distributions of a table."""
    columns = [c for c in table.columns if c.startswith(TARGET)]
    return np.asarray(table[columns].to_numpy(np.float32))


def serves(table: pd.DataFrame, side: Literal["trained", "validated"]) -> np.ndarray:
    """(N,) bool: the rows that a fold may train on, or that it validates."""
    return table[side].to_numpy(bool) if side in table else np.ones(len(table), bool)


def open_to(table: pd.DataFrame, fold: int) -> np.ndarray:
    """(N,) bool: the rows that a fold may see in training, by a table with ``fold``: it validates none of them.

    A split by time adds ``trained_from``, the first fold that comes late enough to train on a row.
    """
    not_validated: np.ndarray = table["fold"].to_numpy() != fold
    if "trained_from" in table:
        not_validated &= table["trained_from"].to_numpy() <= fold
    return not_validated


def several(problems: Sequence[str], what: str) -> UserError:
    """One sentence for many problems: the first ten by name, then a count. Advice that they share is given once."""
    if any(problem.endswith(MEND) for problem in problems):
        what = what if MEND_EACH in what else f"{what}; {MEND_EACH}"
        problems = [problem.removesuffix(f"; {MEND}") for problem in problems]
    listed = "; ".join(problems[:10])
    more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
    return UserError(f"{what}: {listed}{more}")
