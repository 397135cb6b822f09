"""HMS harmful brain activity (Kaggle 2024): EEGs, one parquet file each → votes over six patterns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets import hms_tables
from bench.datasets.base import TARGET, Dataset, several
from bench.datasets.hms_files import (
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    Recording,
    read_eeg,
    read_spectrogram,
    refuse_other_recordings,
)
from bench.datasets.hms_tables import SPECTROGRAM, VOTE, refuse_unmatched
from bench.features.hms_waveform import WINDOW
from bench.metrics import KL
from bench.spec import Kind, Metric, Part, UserError

EEGS_ALONE = "choose features=hms_eeg_spectrogram for an image model, which reads EEGs alone"
PLACES = ("eeg_id", "eeg_start", "spectrogram_id", "spectrogram_start")
"""Where a row of the table lies in its files: seconds at which a window begins, None for the middle."""


class HMS(Dataset):
    """``train.csv`` (a row a judged 50 s), ``train_eegs/<eeg_id>.parquet``; the same for test, where present.

    ``records="summed"``: one example is one EEG's middle 50 s; the votes of its judged sub-records are summed and
    normalised, as the first write-up does (their windows overlap). ``records="each"``: every judged sub-record is a
    row with its own window and votes; the rows of an EEG take turns in training, the central one is validated.

    ``min_votes`` leaves out what fewer people judged, in training; ``min_votes_valid`` in validation (None: the same).
    ``keep_rest`` keeps in the table what serves neither side, for pseudo-labels.
    An EEG's ``votes`` are the most that one of its sub-records got. ``group`` is the patient, or a column of that name,
    which keeps patients whole (a hospital); ``fold``, ``weight``, ``time`` of one's own are passed on. Classes are the
    ``*_vote`` columns in the file's order. Spectrograms (``train_spectrograms/<spectrogram_id>.parquet``) are looked
    for only where the features read them.

    Own EEGs: ``sample_rate`` is the files' (others than 200 Hz are resampled), ``seconds`` how much of a file is an
    example, ``unit`` that of its values (V, mV, uV, nV). Only the electrodes that the features read are needed, under
    their old or new names (T3 or T7).
    """

    kaggle: ClassVar[str | None] = "hms-harmful-brain-activity-classification"
    name: ClassVar[str] = "hms"
    metric: ClassVar[Metric] = KL
    features: ClassVar[dict[Kind, str]] = {"sequence": "hms_waveform", "image": "hms_image"}
    sample: ClassVar[str | None] = "sample_submission.csv"

    def __init__(
        self,
        root: str | Path,
        records: Literal["summed", "each"] = "summed",
        min_votes: int = 1,
        min_votes_valid: int | None = None,
        keep_rest: bool = False,
        sample_rate: float = 200.0,
        seconds: float = 50.0,
        unit: str = "uV",
    ) -> None:
        self.recording = Recording(float(sample_rate), float(seconds), unit, self.test_only)
        if records not in ("summed", "each"):
            raise UserError(f"dataset.records={records} is not one of summed, each")
        self.records, self.min_votes, self.keep_rest = records, min_votes, keep_rest
        self.min_votes_valid = min_votes if min_votes_valid is None else min_votes_valid
        super().__init__(root)

    def fitting(self, kind: Kind) -> str | None:
        if kind == "image" and not self.test_only:
            has_spectrograms = (self.root / "train_spectrograms").is_dir() and "spectrogram_id" in self._csv(
                "train"
            ).frame
            return "hms_image" if has_spectrograms else "hms_eeg_spectrogram"
        return super().fitting(kind)

    def required(self) -> list[str]:
        return ["train.csv", "train_eegs"]

    def required_to_predict(self) -> list[str]:
        return ["test.csv", "test_eegs"]

    def read_table(self, part: Part) -> pd.DataFrame:
        return self._rows(part).drop(columns=list(PLACES), errors="ignore")

    @property
    def window(self) -> int:
        """Rows of an EEG that are an example, at 200 Hz."""
        return self.recording.window

    def facts(self) -> dict[str, Any]:
        return super().facts() | ({} if self.window == WINDOW else {"window": self.window})

    def files(self, part: Part) -> list[Path]:
        return [self._file(part, "eegs", i) for i in self._rows(part)["eeg_id"]]

    def also_read(self, part: Part, **what: Any) -> list[Path | str]:
        """Where windows begin, how EEGs were recorded, and the spectrograms' files.

        Raises UserError for spectrograms that are not there, all of them by name, and for EEGs in another unit.
        """
        also: list[Path | str] = [] if self.recording == Recording() else [repr(self.recording)]
        if "columns" in what and (part, *what["columns"]) not in self._looked_at:
            refuse_other_recordings(self.files(part), what["columns"], self.recording)
            self._looked_at.add((part, *what["columns"]))
        places = self._rows(part).filter(list(PLACES))
        if not what.get("spectrogram"):
            return [*also, places[["eeg_id", "eeg_start"]].to_csv()] if self.records == "each" else also
        if places.empty:
            return also
        rows, needed = self._csv(part), SPECTROGRAM[:1] if part == "test" else SPECTROGRAM
        if absent := [name for name in needed if name not in rows.frame]:
            raise UserError(f"{self.root / part}.csv lacks the column {absent[0]}; {EEGS_ALONE}")
        rows.refuse_gaps(needed)
        folder = self.root / f"{part}_spectrograms"
        ids = rows.frame["spectrogram_id"]
        refuse_unmatched(folder, f"{part}.csv", ids, "spectrograms", f", or {EEGS_ALONE}")
        files = (self._file(part, "spectrograms", i) for i in places["spectrogram_id"].unique())
        return [*also, "columns by name", places.to_csv(), *files]

    def read(self, part: Part, position: int, **what: Any) -> Any:
        """The judged 50 s of one EEG as (10000, columns) float32 in µV at 200 Hz, each column contiguous; other
        ``seconds`` alike.

        ``columns`` names and orders the electrodes; without it all of the file's. With ``spectrogram`` instead the
        10 minutes around them, (300, 400) float32, a row 2 s, columns as the file orders them (regions LL, RL, LP,
        RP); with both a dict of ``eeg`` and ``spectrogram``. Missing values are NaN. Raises UserError naming the file
        where it can't be read, lacks a column, holds other than floats or is too short.
        """
        place = {name: values[position] for name, values in self._places(part).items()}
        arrays: dict[str, np.ndarray] = {}
        if "columns" in what or not what.get("spectrogram"):
            path = self._file(part, "eegs", place["eeg_id"])
            arrays["eeg"] = read_eeg(path, what.get("columns"), place["eeg_start"], self.recording)
        if what.get("spectrogram"):
            path = self._file(part, "spectrograms", place["spectrogram_id"])
            arrays["spectrogram"] = read_spectrogram(path, place["spectrogram_start"])
        return arrays if len(arrays) > 1 else next(iter(arrays.values()))

    @classmethod
    def raw(cls, facts: dict[str, Any], reads: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
        shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        if "columns" in reads:
            shapes["eeg"] = ((facts.get("window", WINDOW), len(reads["columns"])), "float32")
        if reads.get("spectrogram"):
            shapes["spectrogram"] = ((SPECTROGRAM_ROWS, SPECTROGRAM_COLUMNS), "float32")
        return shapes if len(shapes) > 1 else {"": next(iter(shapes.values()))}

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

    def _csv(self, part: Part) -> hms_tables.Rows:
        rows = self._train_csv if part == "train" else self._test_csv
        assert rows is not None  # who asks has rows of it
        return rows

    @cached_property
    def _looked_at(self) -> set[tuple[str, ...]]:
        """Parts and electrodes whose first files were looked at."""
        return set()

    @cached_property
    def _train_csv(self) -> hms_tables.Rows:
        rows = hms_tables.read_train(self.root / "train.csv")
        if not self.tables_alone:
            refuse_unmatched(self.root / "train_eegs", "train.csv", rows.frame["eeg_id"], "EEGs")
        return rows

    @cached_property
    def _test_csv(self) -> hms_tables.Rows | None:
        rows = hms_tables.read_test(self.root / "test.csv")
        if rows is not None:
            refuse_unmatched(self.root / "test_eegs", "test.csv", rows.frame["eeg_id"], "EEGs")
        return rows

    @cached_property
    def _train_rows(self) -> pd.DataFrame:
        path, rows = self.root / "train.csv", self._train_csv
        table = (hms_tables.summed if self.records == "summed" else hms_tables.each)(path, rows)
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
            validated &= hms_tables.central(table[validated]).reindex(table.index, fill_value=False)
        kept = trained | validated | self.keep_rest
        for name, serving in (("trained", trained), ("validated", validated)):
            if not serving[kept].all():
                table[name] = serving
        return table[kept].reset_index(drop=True)

    @cached_property
    def _test_rows(self) -> pd.DataFrame:
        if self._test_csv is None:
            return pd.DataFrame({name: np.zeros(0, np.int64) for name in ("id", "eeg_id", "eeg_start")})
        frame = self._test_csv.frame
        table = pd.DataFrame({"id": frame["eeg_id"], "eeg_id": frame["eeg_id"], "eeg_start": None})
        if "spectrogram_id" in frame:
            table = table.assign(spectrogram_id=frame["spectrogram_id"], spectrogram_start=0.0)
        for name in ("patient_id", "group"):
            if name in frame:
                table["group"] = frame[name]
        return table
