"""SETI Breakthrough Listen (Kaggle 2021): cadences of six spectrograms, one file each → is there a signal."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets import folders, tables
from bench.datasets.base import MEND, TARGET, Dataset, several
from bench.metrics import AUC
from bench.spec import Kind, Metric, Part, UserError

PANELS = 6
"""Spectrograms of a cadence: ON target, OFF, ON, OFF, ON, OFF."""
LABELS = ("0", "1")
EDITIONS: dict[str, tuple[str, str]] = {
    "current": ("train_labels.csv", "train"),
    "withdrawn": ("old_leaky_data/train_labels_old.csv", "old_leaky_data/train_old"),
}
"""Labels and cadences of each edition, below the root."""


class Seti(Dataset):
    """``train_labels.csv`` (id, target 0 or 1) and ``train/<first digit of the id>/<id>.npy``; for a submission
    ``sample_submission.csv`` and ``test/`` in the same way (where one of the two is absent there is no test part).

    ``edition="withdrawn"`` reads the first edition instead, which leaked and is good for pre-training alone:
    ``old_leaky_data/train_labels_old.csv`` and ``old_leaky_data/train_old/``; it has no test part here. Its names
    are those of a listing of the competition's download; the files themselves were not at hand.

    Columns of one's own (``group``: a target, a night; ``fold``, ``weight``, ``time``) go to the table.

    A cadence is (6, rows of time, bins of frequency) float16, all of the shape that most of the first
    hundred have; the competition's are (6, 273, 256). Classes are the labels, "0" (none) and "1" (a signal).
    """

    kaggle: ClassVar[str | None] = "seti-breakthrough-listen"
    name: ClassVar[str] = "seti"
    metric: ClassVar[Metric] = AUC
    features: ClassVar[dict[Kind, str]] = {"image": "seti_stacked", "sequence": "seti_sequence"}
    learned: ClassVar[tuple[str, ...]] = ("classes", "shape")
    sample: ClassVar[str | None] = "sample_submission.csv"

    def __init__(self, root: str | Path, edition: Literal["current", "withdrawn"] = "current") -> None:
        if edition not in EDITIONS:
            raise UserError(f"dataset.edition={edition} is not one of {', '.join(EDITIONS)}")
        self.edition = edition
        super().__init__(root)

    def check(self) -> None:
        try:
            super().check()
        except UserError as error:
            if self.edition == "current" or not self.root.is_dir():
                raise
            raise UserError(f"{error}; leave dataset.edition out for the current edition") from None

    def required(self) -> list[str]:
        return list(EDITIONS[self.edition])

    def required_to_predict(self) -> list[str]:
        return ["sample_submission.csv", "test"]

    def read_table(self, part: Part) -> pd.DataFrame:
        if not self._there(part):
            return pd.DataFrame({"id": np.zeros(0, str)})
        path = self._csv(part)
        train = part == "train"
        rows = tables.read(path, ["id", "target"] if train else ["id"], tables.OWN if train else ())
        columns, wrong = tables.own_columns(rows)
        problems = [*rows.blanks("id"), *rows.repeats("id"), *wrong, *self._unmatched(part, rows.text("id"))]
        target = rows.text("target") if train else np.zeros(0, object)
        problems += [
            f"line {rows.line(i)} (id {rows.text('id')[i]}) has the target {target[i]!r}"
            for i in np.flatnonzero(~np.isin(target, LABELS))
        ]
        if problems:
            raise several(
                problems,
                f"{path} and {self._folder(part)} don't fit in {len(problems)} places (targets are 0 or 1); correct "
                "these rows, unpack both again, or take out what has no partner",
            )
        if train and len(set(target)) < 2:
            raise UserError(f"{path} has the target {target[0]} alone; expected both 0 and 1 to tell apart")
        table = pd.DataFrame({"id": rows.text("id")})
        for label in LABELS if train else ():
            table[TARGET + label] = (target == label).astype(np.float32)
        return table.assign(**columns)

    def files(self, part: Part) -> list[Path]:
        folder = self._folder(part)
        return [folder / i[0] / f"{i}.npy" for i in self.table(part)["id"]]

    def read(self, part: Part, position: int, **what: Any) -> np.ndarray:
        """One cadence as (6, time, frequency) float16.

        Raises UserError naming the file where it can't be read, is of another shape or type, or holds NaN or
        infinite values.
        """
        cadence_id = self.table(part)["id"].iloc[position]
        return read_cadence(self._folder(part) / cadence_id[0] / f"{cadence_id}.npy", self.shape)

    @classmethod
    def raw(cls, facts: dict[str, Any], reads: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
        return {"": (tuple(facts["shape"]), "float16")}

    def write_submission(self, path: Path, ids: Sequence[Any], probability: np.ndarray) -> None:
        """``id`` and ``target``, the probability of a signal from (N, 2), in the order of sample_submission.csv."""
        probability = np.asarray(probability, np.float64)
        if probability.shape != (len(ids), len(LABELS)):
            raise ValueError(f"predictions are {probability.shape}, expected ({len(ids)}, {len(LABELS)})")
        if not (np.isfinite(probability).all() and (probability >= 0).all() and (probability <= 1).all()):
            raise ValueError("predictions hold values that are not in [0, 1]; a submission needs probabilities")
        sample_ids = self.table("test")["id"].to_numpy()
        predicted = pd.Series(probability[:, 1], index=pd.Index(ids))
        if len(predicted) != len(sample_ids) or set(predicted.index) != set(sample_ids):
            raise ValueError(
                f"predictions are for {len(ids)} ids, expected the {len(sample_ids)} of sample_submission.csv"
            )
        with replacing(path) as temporary:
            pd.DataFrame({"id": sample_ids, "target": predicted[sample_ids].to_numpy()}).to_csv(temporary, index=False)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(6, rows, bins) of most of the first hundred training cadences; others are named later, all at once."""
        shapes: Counter[tuple[int, int, int]] = Counter()
        problems = []
        for path in self.files("train")[:100]:
            try:
                with _opened(path) as file:
                    shapes[_header(path, file)] += 1
            except UserError as error:
                problems.append(str(error))
        if not shapes:
            raise several(problems, f"none of the first {len(problems)} training cadences can be used")
        return shapes.most_common(1)[0][0]

    def _csv(self, part: Part) -> Path:
        return self.root / (EDITIONS[self.edition][0] if part == "train" else "sample_submission.csv")

    def _folder(self, part: Part) -> Path:
        return self.root / (EDITIONS[self.edition][1] if part == "train" else "test")

    def _there(self, part: Part) -> bool:
        if part == "train":
            return True
        return self.edition == "current" and self._csv(part).exists() and self._folder(part).is_dir()

    def _unmatched(self, part: Part, ids: np.ndarray) -> list[str]:
        """What to say of ids without a file and files without an id."""
        folder, present = self._folder(part), set[str]()
        if self.tables_alone:
            return []
        if (folder / folder.name).is_dir():
            raise UserError(
                f"{folder} holds the folder {folder.name}; move what is in {folder / folder.name} one level up, into "
                f"{folder}, and remove the empty folder"
            )
        for entry in os.scandir(folder):  # sixteen listings: 60,000 stats are slow on a network
            if entry.is_dir():
                inside = folders.names(Path(entry.path))
                present |= {f"{entry.name}/{name}" for name in inside if name.endswith(".npy")}
        missing, extra = folders.unmatched([f"{i[0]}/{i}.npy" for i in ids if i], present)
        return [f"{name} is not there" for name in missing] + [f"{name} has no row" for name in extra]


def read_cadence(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """One .npy file as ``Seti.read`` says."""
    with _opened(path) as file:
        actual_shape = _header(path, file)
        if actual_shape != shape:
            raise UserError(f"{path} has the shape {actual_shape}, expected {shape}; {MEND}")
        file.seek(0)
        try:
            cadence_phw = np.load(file, allow_pickle=False)
        except (ValueError, OSError) as error:
            raise UserError(f"{path} is cut short ({_first_line(error)}); {MEND}") from error
    # a float16 is not finite where all bits of its exponent are set: 25 times as fast as numpy.isfinite
    if ((cadence_phw.view(np.uint16) & 0x7C00) == 0x7C00).any():
        bad = np.argwhere(~np.isfinite(cadence_phw))
        raise UserError(
            f"{path} holds {len(bad)} values that are NaN or infinite, the first in panel {bad[0, 0]}, "
            f"row {bad[0, 1]}, column {bad[0, 2]}; {MEND}"
        )
    return np.asarray(cadence_phw)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path} can't be opened ({error.strerror}); {MEND}") from error


def _header(path: Path, file: IO[bytes]) -> tuple[int, int, int]:
    """Shape of an opened .npy file; UserError where it is none, or not six panels of float16."""
    if os.fstat(file.fileno()).st_size == 0:
        raise UserError(f"{path} is empty; {MEND}")
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} can't be read as npy ({_first_line(error)}); {MEND}") from error
    if dtype != np.float16:
        raise UserError(f"{path} holds {dtype}, expected float16; {MEND}")
    if len(shape) != 3 or shape[0] != PANELS or 0 in shape:
        raise UserError(f"{path} has the shape {shape}, expected ({PANELS}, rows, bins); {MEND}")
    return shape


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
