"""Freesound general-purpose audio tagging (Kaggle 2018): sound files of 0.3 to 30 s → one of 41 labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.datasets.base import TARGET, Dataset, several
from bench.metrics import MAP3
from bench.spec import Kind, Metric, Part, UserError

if TYPE_CHECKING:
    import soundfile

PADDED = (9_400, 7_800)
"""Rows of the competition's sample_submission.csv, and how many of them are padding that is not scored."""
UNKNOWN = (0, 0xFFFFFFFF)
"""Lengths that a wave file's writer leaves in its header when it did not know better."""


class Freesound(Dataset):
    """``train.csv`` (fname, label), ``audio_train/``; where present ``audio_test/`` and ``sample_submission.csv``.

    ``manually_verified`` (1 or 0) may stand in train.csv, and must for ``verified_only``, which leaves the others out,
    for an ``unverified_weight`` below 1, which makes them count less (and doubtful to ``loss.mask_above``), and for
    ``row_weights=verified``; the table says it as ``verified``. A column ``fold`` is passed on. Classes are the labels
    found, sorted. Any format that soundfile reads, one channel, each file at a rate of its own. A name without a file
    and a file without a row are refused. A test file may be empty: it is predicted as silence.

    The test table has the names of sample_submission.csv; without that file, all of audio_test. Of the competition's
    9,400 rows 7,800 are padding, whose files the data set's later edition leaves out: where exactly so many of so
    many are absent, the others are the test table. Any other number is an archive that was not unpacked whole.
    """

    name: ClassVar[str] = "freesound"
    metric: ClassVar[Metric] = MAP3
    features: ClassVar[dict[Kind, str]] = {"sequence": "freesound_waveform", "image": "freesound_logmel"}
    learned: ClassVar[tuple[str, ...]] = ("classes", "padding")
    sample: ClassVar[str | None] = "sample_submission.csv"

    def __init__(self, root: str | Path, verified_only: bool = False, unverified_weight: float = 1.0) -> None:
        if not 0 <= unverified_weight <= 1:
            raise UserError(f"dataset.unverified_weight={unverified_weight:g} must lie between 0 and 1")
        self.verified_only, self.unverified_weight = verified_only, unverified_weight
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
        x_t = read_sound(path, what.get("sample_rate"))
        if len(x_t) == 0 and part == "train":
            raise UserError(f"{path} holds no sound; take its row out, or download it again")
        return x_t

    def lengths(self, part: Part, sample_rate: int) -> np.ndarray:
        """(N,) int64 samples of each clip at ``sample_rate`` Hz, from the files' headers.

        Raises UserError naming all files that can't be used: broken, cut short, not mono, empty in training.
        """
        files = self.files(part)
        try:
            headers = [header(path) for path in files]
        except UserError:
            raise self._unusable(part, files) from None
        if part == "train" and not all(frames for frames, _ in headers):
            raise self._unusable(part, files)
        return np.array([resampled(frames, rate, sample_rate) for frames, rate in headers], np.int64)

    def _unusable(self, part: Part, files: list[Path]) -> UserError:
        """Names every file that can't be used, by reading all of them: a header doesn't tell of NaN."""
        problems: list[str] = []
        for path in files:
            try:
                if len(read_sound(path)) == 0 and part == "train":
                    problems.append(f"{path.name} holds no sound")
            except UserError as error:
                problems.append(str(error).removeprefix(f"{path.parent}/"))
        return several(
            problems,
            f"{len(problems)} of {len(files)} sounds in {self._folder(part)} can't be used; correct them, "
            "download them again, or take their rows out",
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
        rows = _read_csv(path, ["fname", "label", *(["manually_verified"] if looks else [])])
        kept = rows
        problems = [*_empty_cells(rows, "label"), *_repeats(rows)]
        if "manually_verified" in rows:
            verified = pd.to_numeric(rows["manually_verified"], errors="coerce")
            wrong = np.flatnonzero(~verified.isin([0, 1]))
            problems += [f"line {i + 2} has a manually_verified that is neither 0 nor 1" for i in wrong]
            rows["weight"] = np.where(verified == 1, 1.0, self.unverified_weight)
            if self.verified_only:
                kept = rows[verified == 1].reset_index(drop=True)
        if self._folder("test").is_dir():
            spaced = sorted({label for label in rows["label"] if len(label.split()) > 1})
            problems += [f"the label {s!r} has a space, which parts labels in a submission" for s in spaced]
        there = self._listing("train")
        problems += [f"{name} has no file" for name in kept["fname"] if name and name not in there]
        problems += [f"{name} has no row" for name in sorted(there.difference(rows["fname"]))]
        if problems:
            raise several(
                problems,
                f"{path} and {folder} don't fit in {len(problems)} places; correct these rows, unpack or download the "
                "files again, or take out what has no partner",
            )
        classes = sorted(set(kept["label"]))
        if len(classes) < 2:
            among = " among the verified rows" if self.verified_only else ""
            raise UserError(f"{path} has {len(classes)} labels{among}; expected at least two to tell apart")
        table = pd.DataFrame({"id": kept["fname"].to_numpy()})
        for label in classes:
            table[TARGET + label] = (kept["label"] == label).to_numpy(np.float32)
        if self.unverified_weight < 1:
            table["weight"] = kept["weight"].to_numpy(np.float32)
        if "manually_verified" in kept:
            table["verified"] = pd.to_numeric(kept["manually_verified"]).to_numpy() == 1
        if "fold" in kept:
            table["fold"] = kept["fold"].to_numpy()
        return table

    def _read_test(self) -> pd.DataFrame:
        there, sample, folder = self._listing("test"), self._sample(), self._folder("test")
        if sample is None or not folder.is_dir():
            return pd.DataFrame({"id": np.array(sorted(there), dtype=object)})
        ids = [name for name in sample if name in there]
        missing = [name for name in sample if name not in there]
        if (len(sample), len(missing)) == PADDED:
            missing = []
        problems = [f"{name} has no file" for name in missing]
        problems += [f"{name} has no row" for name in sorted(there.difference(sample))]
        if problems:
            raise several(
                problems,
                f"{len(missing)} of the {len(sample)} names in {self.root / 'sample_submission.csv'} have no file in "
                f"{folder} and {len(problems) - len(missing)} files there have no row; unpack both again, or take out "
                "what has no partner",
            )
        return pd.DataFrame({"id": np.array(ids, dtype=object)})

    def _listing(self, part: Part) -> set[str]:
        """Names of a folder's files, in one look: thousands of them are slow on a network."""
        folder = self._folder(part)
        names = (p.name for p in folder.iterdir()) if folder.is_dir() else iter(())
        return {name for name in names if not name.startswith(".")}

    def _sample(self) -> list[str] | None:
        """The names of sample_submission.csv in its order; None where it isn't there."""
        path = self.root / "sample_submission.csv"
        if not path.exists():
            return None
        rows = _read_csv(path, ["fname"])
        problems = [*_empty_cells(rows), *_repeats(rows)]
        if problems:
            raise several(problems, f"{path} has {len(problems)} mistakes; correct them, or download it again")
        return list(rows["fname"])


def header(path: Path) -> tuple[int, int]:
    """(frames, rate in Hz) of a mono sound file, whole by what its header says; (0, 44100) for a file of 0 bytes.

    Raises UserError naming the file.
    """
    with _opened(path) as file:
        return (file.frames, file.samplerate) if file else (0, 44_100)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile | None]:
    """A mono file that is as long as its header says, None for one of 0 bytes; what can't be read is a UserError."""
    import soundfile

    try:
        size = path.stat().st_size
        if size == 0:
            yield None
            return
        with soundfile.SoundFile(path) as file:
            if file.channels != 1:
                stereo = " (stereo)" if file.channels == 2 else ""
                raise UserError(f"{path} has {file.channels} channels{stereo}, expected mono")
            if _cut_short(path, size):
                raise UserError(f"{path} is cut short: it ends before its header says")
            yield file
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
        raise UserError(f"{path} can't be read as sound ({reason})") from error


def _cut_short(path: Path, size: int) -> bool:
    """Whether a wave file lacks the end of its samples, or an Ogg file its last page; soundfile would read the rest."""
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] == b"OggS":
            file.seek(max(0, size - (1 << 16) - 64))  # a page has at most 64 KiB
            tail = file.read()
            page = tail.rfind(b"OggS")
            return page < 0 or len(tail) < page + 6 or not tail[page + 5] & 4
        if start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return False
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                return length not in UNKNOWN and file.tell() + length > size
            file.seek(length + length % 2, 1)
    return True


def read_sound(path: Path, sample_rate: int | None = None) -> np.ndarray:
    """(samples,) float32 of a mono file, at ``sample_rate`` Hz or its own; see ``Freesound.read``."""
    with _opened(path) as file:
        if file is None or file.frames == 0:
            return np.zeros(0, np.float32)
        unit = np.float32(1)
        if file.subtype == "PCM_16":  # the same numbers in a third of the time that soundfile takes for floats
            x_t, unit = file.read(dtype="int16").astype(np.float32), np.float32(2.0**-15)
        else:
            x_t = file.read(dtype="float32")
            if not np.isfinite(x_t).all():
                raise UserError(f"{path} holds NaN or infinite samples; download it again, or take its row out")
        announced, rate = file.frames, file.samplerate
    if len(x_t) != announced:
        raise UserError(f"{path} holds {len(x_t)} of the {announced} samples it announces; download it again")
    if sample_rate is None or sample_rate == rate:
        x_t *= unit
        return x_t
    import soxr

    y_t = soxr.resample(x_t, rate, sample_rate, quality="HQ")  # as long, to the nearest sample
    y_t *= unit  # a power of two: resampling first gives the same bits, and fewer are multiplied
    lacking = resampled(announced, rate, sample_rate) - len(y_t)
    return np.pad(y_t, (0, lacking)) if lacking > 0 else y_t[: len(y_t) + lacking]


def resampled(n: int, rate: int, sample_rate: int) -> int:
    """Samples that n become at another rate: all that is heard, the last one in part (as librosa counts)."""
    return -(-n * sample_rate // rate)


def _read_csv(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A CSV whose fname and label are text, as they stand; UserError where a needed column is missing."""
    try:
        rows = pd.read_csv(path, dtype={"fname": str, "label": str}, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as CSV ({str(error).strip()}); download it again") from error
    absent = [c for c in needed if c not in rows.columns]
    if absent:
        raise UserError(f"{path} lacks the column {', '.join(absent)}; it has {', '.join(map(str, rows.columns))}")
    if rows.empty:
        raise UserError(f"{path} has no rows; download it again")
    text = [c for c in ("fname", "label") if c in rows]
    return rows.assign(**{c: rows[c].fillna("") for c in text})  # a row that ends early has cells that are not there


def _empty_cells(rows: pd.DataFrame, *columns: str) -> list[str]:
    """What to say of cells of ``fname`` and further columns in which nothing stands."""
    empty = [(i, column) for column in ("fname", *columns) for i in np.flatnonzero(rows[column].str.strip() == "")]
    return [f"line {i + 2} has no {column}" for i, column in sorted(empty)]


def _repeats(rows: pd.DataFrame) -> list[str]:
    """What to say of sounds that are named more than once."""
    again = rows[rows["fname"].duplicated(keep=False) & (rows["fname"] != "")]
    problems = []
    for name, same in again.groupby("fname", sort=False):
        labels = sorted(set(same["label"])) if "label" in same else []
        what = f"is {' and '.join(labels)}" if len(labels) > 1 else f"is there {len(same)} times"
        problems.append(f"{name} (lines {', '.join(str(i + 2) for i in same.index)}) {what}")
    return problems
