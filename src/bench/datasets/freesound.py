"""Freesound general-purpose audio tagging (Kaggle 2018): sound files of 0.3 to 30 s → one of 41 labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets import folders, sounds, tables
from bench.datasets.base import MEND, MEND_EACH, TARGET, Dataset, several
from bench.metrics import MAP3
from bench.spec import Kind, Metric, Part, UserError
from bench.tell import say

PADDED = (9_400, 7_800)
"""Rows of the competition's sample_submission.csv, and how many of them are padding that is not scored."""
VERIFIED = "manually_verified"


class Freesound(Dataset):
    """``train.csv`` (fname, label), ``audio_train/``; where present ``audio_test/`` and ``sample_submission.csv``.

    ``manually_verified`` (1 or 0) may stand in train.csv, and must for ``verified_only``, which leaves the others out,
    for an ``unverified_weight`` below 1, which makes them count less (and doubtful to ``loss.mask_above``), and for
    ``row_weights=verified``; the table says it as ``verified``. Columns of one's own (``group``, ``fold``, ``weight``,
    ``time``) are passed on. Classes are the labels found, sorted. Any format that soundfile reads, one channel, each
    file at a rate of its own. ``full_scale`` is what the samples of files of floats are divided by. A name without a
    file and a file without a row are refused. A test file may be empty: it is predicted as silence.

    The test table has the names of sample_submission.csv; without that file, all of audio_test. Of the competition's
    9,400 rows 7,800 are padding, whose files the data set's later edition leaves out: where exactly so many of so
    many are absent, the others are the test table. Any other number is an archive that was not unpacked whole.
    """

    kaggle: ClassVar[str | None] = "freesound-audio-tagging"
    name: ClassVar[str] = "freesound"
    metric: ClassVar[Metric] = MAP3
    features: ClassVar[dict[Kind, str]] = {"sequence": "freesound_waveform", "image": "freesound_logmel"}
    learned: ClassVar[tuple[str, ...]] = ("classes", "padding")
    sample: ClassVar[str | None] = "sample_submission.csv"

    def __init__(
        self,
        root: str | Path,
        verified_only: bool = False,
        unverified_weight: float = 1.0,
        full_scale: float = 1.0,
    ) -> None:
        if not 0 <= unverified_weight <= 1:
            raise UserError(f"dataset.unverified_weight={unverified_weight:g} must lie between 0 and 1")
        if not full_scale > 0:
            raise UserError(f"dataset.full_scale={full_scale:g} must be above 0; floats in [−1, 1] have 1")
        self.verified_only, self.unverified_weight, self.full_scale = verified_only, unverified_weight, full_scale
        super().__init__(root)

    def required(self) -> list[str]:
        return ["train.csv", "audio_train"]

    def required_to_predict(self) -> list[str]:
        return ["audio_test"]

    def read_table(self, part: Part) -> pd.DataFrame:
        return self._read_train() if part == "train" else self._read_test()

    def files(self, part: Part) -> list[Path]:
        return [self._folder(part) / name for name in self.table(part)["id"]]

    def read(self, part: Part, position: int, **what: Any) -> np.ndarray:
        """One clip as (samples,) float32 in [−1, 1] at its own rate, or at ``sample_rate`` Hz where that is given.

        Raises UserError naming the file where it can't be decoded whole, isn't mono, holds NaN, or is an empty
        training clip. Resampling is soxr's HQ; n samples become ceil(n · new / old), as ``lengths`` announces.
        """
        path = self._folder(part) / self.table(part)["id"].iat[position]
        x_t = sounds.read_sound(path, what.get("sample_rate"), self.full_scale, self.test_only)
        if len(x_t) == 0 and part == "train":
            raise UserError(f"{path} holds no sound; {MEND}")
        return x_t

    def also_read(self, part: Part, **what: Any) -> list[Path | str]:
        if part not in self._looked_at:
            sounds.refuse_other_units(self.files(part), self.full_scale, self.test_only)
            self._looked_at.add(part)
        return [f"sounds to their ends, full scale {self.full_scale:g}"]

    @cached_property
    def _looked_at(self) -> set[Part]:
        """Parts whose first files were looked at."""
        return set()

    def lengths(self, part: Part, sample_rate: int) -> np.ndarray:
        """(N,) int64 samples of each clip at ``sample_rate`` Hz: from the files' headers, where these say it.

        Raises UserError naming all files that can't be used: broken, cut short, not mono, empty in training.
        """
        files = self.files(part)
        try:
            headers = [sounds.header(path) for path in files]
        except UserError:
            raise self._unusable(part, files) from None
        if part == "train" and not all(frames for frames, _ in headers):
            raise self._unusable(part, files)
        return np.array([sounds.resampled(frames, rate, sample_rate) for frames, rate in headers], np.int64)

    def _unusable(self, part: Part, files: list[Path]) -> UserError:
        """Names every file that can't be used, by reading all of them: a header doesn't tell of NaN."""
        problems: list[str] = []
        for path in files:
            try:
                if len(sounds.read_sound(path, None, self.full_scale, self.test_only)) == 0 and part == "train":
                    problems.append(f"{path.name} holds no sound")
            except UserError as error:
                problems.append(str(error).removeprefix(f"{path.parent}/"))
        return several(
            problems,
            f"{len(problems)} of {len(files)} sounds in {self._folder(part)} can't be used; {MEND_EACH}",
        )

    def write_submission(self, path: Path, ids: Sequence[Any], probability: np.ndarray) -> None:
        """``fname`` and the three most probable labels, by spaces; rows as sample_submission.csv has them, if it is.

        (N, K) probabilities in the order of ``ids``; the first class wins a tie. Rows of the sample without a
        prediction (padding, which isn't scored) get the three commonest labels of the training table.
        """
        probability = np.asarray(probability, np.float64)
        if probability.shape != (len(ids), len(self.classes)):
            raise ValueError(f"predictions are {probability.shape}, expected ({len(ids)}, {len(self.classes)})")
        if not np.isfinite(probability).all():
            raise ValueError("predictions hold NaN or infinite values; a submission needs probabilities")
        labels = {str(i): self._top_three(p) for i, p in zip(ids, probability, strict=True)}
        order = self._sample()
        if order is None:
            order = list(labels)
        elif not set(labels) <= set(order):
            raise ValueError(f"{len(set(labels) - set(order))} predicted names are not in sample_submission.csv")
        rows = pd.DataFrame({"fname": order, "label": [labels.get(name, self.padding) for name in order]})
        with replacing(path) as temporary:
            rows.to_csv(temporary, index=False)

    @cached_property
    def padding(self) -> str:
        """What a row of the sample without a prediction gets: the three commonest labels of the training table."""
        return self._top_three(self.table("train")[[TARGET + c for c in self.classes]].to_numpy().mean(axis=0))

    def _top_three(self, probability_k: np.ndarray) -> str:
        return " ".join(self.classes[k] for k in np.argsort(-probability_k, kind="stable")[:3])

    def _folder(self, part: Part) -> Path:
        return self.root / f"audio_{part}"

    def _read_train(self) -> pd.DataFrame:
        path, folder = self.root / "train.csv", self._folder("train")
        looks = self.verified_only or self.unverified_weight < 1
        needed = ["fname", "label", *([VERIFIED] if looks else [])]
        rows = tables.read(path, needed, [VERIFIED, *tables.OWN])
        columns, wrong = tables.own_columns(rows)
        problems = [*rows.blanks("fname", "label"), *_repeats(rows), *wrong]
        table = pd.DataFrame({"id": rows.text("fname"), "label": rows.text("label"), **columns})
        if VERIFIED in rows:
            verified, _ = rows.numbers(VERIFIED)
            wrong_rows = np.flatnonzero(~np.isin(verified, (0, 1)))
            problems += [f"line {rows.line(i)} has a {VERIFIED} that is neither 0 nor 1" for i in wrong_rows]
            table["verified"] = verified == 1
            if self.unverified_weight < 1:
                factor = np.where(verified == 1, 1.0, self.unverified_weight)
                table["weight"] = (factor * columns.get("weight", 1.0)).astype(np.float32)
        kept = table[table["verified"]].reset_index(drop=True) if self.verified_only else table
        if self._folder("test").is_dir():
            spaced = sorted({label for label in table["label"] if len(label.split()) > 1})
            problems += [f"the label {s!r} has a space, which parts labels in a submission" for s in spaced]
        if not self.tables_alone:
            present = folders.names(folder, table["id"])
            missing, _ = folders.unmatched((name for name in kept["id"] if name), present)
            _, extra = folders.unmatched(table["id"], present)
            problems += [f"{name} has no file" for name in missing] + [f"{name} has no row" for name in extra]
        if problems:
            raise several(
                problems,
                f"{path} and {folder} don't fit in {len(problems)} places; correct these rows, unpack the files again, "
                "or take out what has no partner",
            )
        return self._with_targets(path, kept, set(table["label"]))

    def _with_targets(self, path: Path, table: pd.DataFrame, labels: set[str]) -> pd.DataFrame:
        """A column a class in the place of ``label``; says which of all ``labels`` the kept rows lack."""
        classes = sorted(set(table["label"]))
        among = " among the verified rows (dataset.verified_only)" if self.verified_only else ""
        if len(classes) < 2:
            raise UserError(f"{path} has {len(classes)} labels{among}; expected at least two to tell apart")
        if dropped := sorted(labels.difference(classes)):
            say(f"data      {path}: no row of {', '.join(dropped)} is verified: dataset.verified_only drops the class")
        one_hot = {TARGET + c: (table["label"] == c).to_numpy(np.float32) for c in classes}
        return table[["id"]].assign(**one_hot).join(table.drop(columns=["id", "label"]))

    def _read_test(self) -> pd.DataFrame:
        folder, sample = self._folder("test"), self._sample()
        present = folders.names(folder, sample or ())
        if sample is None or not folder.is_dir():
            return pd.DataFrame({"id": np.array(sorted(present), dtype=object)})
        missing, extra = folders.unmatched(sample, present)
        ids = [name for name in sample if name in present]
        if (len(sample), len(missing)) == PADDED:
            missing = []
        problems = [f"{name} has no file" for name in missing] + [f"{name} has no row" for name in extra]
        if problems:
            raise several(
                problems,
                f"{len(missing)} of the {len(sample)} names in {self.root / 'sample_submission.csv'} have no file in "
                f"{folder} and {len(problems) - len(missing)} files there have no row; unpack both again, or take out "
                "what has no partner",
            )
        return pd.DataFrame({"id": np.array(ids, dtype=object)})

    def _sample(self) -> list[str] | None:
        """The names of sample_submission.csv in its order; None where it isn't there."""
        path = self.root / "sample_submission.csv"
        if not path.exists():
            return None
        rows = tables.read(path, ["fname"])
        problems = [*rows.blanks("fname"), *_repeats(rows)]
        rows.refuse(problems, f"has {len(problems)} mistakes; correct them, or put the competition's file in its place")
        return list(rows.text("fname"))


def _repeats(rows: tables.Table) -> list[str]:
    """What to say of sounds that are named more than once."""
    names = pd.Series(rows.text("fname"))
    again = names[names.duplicated(keep=False) & (names != "")]
    problems = []
    for name, same in again.groupby(again, sort=False):
        labels = sorted(set(rows.text("label")[same.index])) if "label" in rows else []
        what = f"is {' and '.join(labels)}" if len(labels) > 1 else f"is there {len(same)} times"
        problems.append(f"{name} (lines {', '.join(str(rows.line(i)) for i in same.index)}) {what}")
    return problems
