"""Checks of a submission: against the competition's sample file, and that its probabilities are valid."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from bench import bounded
from bench.atomic import replacing
from bench.runs import checksums, frames
from bench.runs.run import Run
from bench.spec import UserError


class Submitting(Protocol):
    """What is asked of a data set here."""

    root: Path
    sample: ClassVar[str | None]

    def write_submission(self, path: Path, ids: Sequence[Any], probability: np.ndarray) -> None: ...


def write(dataset: Submitting, path: Path, ids: Sequence[Any], probability: np.ndarray) -> None:
    """The competition's own file of (N, K) probabilities, in its sample's order and held against it where there is one.

    Raises UserError (see ``refuse_other``) or the data set's ValueError, and leaves at ``path`` what was there.
    """
    sample = dataset.root / dataset.sample if dataset.sample else None
    with replacing(path) as temporary:
        if sample is None or not sample.exists():
            dataset.write_submission(temporary, ids, probability)
        else:
            dataset.write_submission(temporary, *in_order(ids, probability, sample_ids(sample)))
            refuse_other(temporary, sample, dataset.root)


def submit(run: Run, dataset: Callable[[], Submitting]) -> str | None:
    """Writes submission.csv from a run's test predictions, if it has any; the data set gives the format.

    A sentence where that can't be, such as for a sample file of other rows; then there is no submission.csv.
    """
    test, path = run.folder / "test.parquet", run.folder / "submission.csv"
    if not test.exists():
        path.unlink(missing_ok=True)
        return None
    frame = frames.read_frame(run.checked("test.parquet"))
    try:
        with checksums.writing(run.folder, path.name):
            write(dataset(), path, frame["id"].tolist(), frames.predictions(frame))
    except ValueError as error:  # a UserError, or a data set's own on what it is given
        path.unlink(missing_ok=True)
        return f"test      submission.csv is not written: {error}"
    return None


def sample_ids(sample: Path) -> list[str]:
    """The first column of the sample, as text."""
    return list(_read(sample).iloc[:, 0])


def in_order(ids: Sequence[Any], probability: np.ndarray, order_ids: Sequence[str]) -> tuple[list[Any], np.ndarray]:
    """Ids and their (N, K) rows in the order of ``order_ids``, where those are the same ids; else as they are."""
    at = {str(i): position for position, i in enumerate(ids)}
    if set(at) != set(order_ids) or len(order_ids) != len(at):
        return list(ids), probability
    order = [at[i] for i in order_ids]
    return [ids[position] for position in order], probability[order]


def refuse_impossible(probability: np.ndarray, ids: Sequence[Any]) -> None:
    """UserError where a row of (N, K) probabilities holds NaN, is negative, or does not sum to 1 (to 1e-6)."""
    finite = np.isfinite(probability).all(axis=1)
    bad = np.flatnonzero(~finite)
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(ids)} predictions hold NaN, the first for id {ids[bad[0]]}; nothing is written: look "
            "at that file, and at the losses of the run's folds"
        )
    bad = np.flatnonzero((probability < 0).any(axis=1) | (np.abs(probability.sum(axis=1) - 1) > 1e-6))
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(ids)} predictions are no probabilities (negative, or their sum is not 1), the first "
            f"for id {ids[bad[0]]}; nothing is written"
        )


def refuse_other(submission: Path, sample: Path, source: Path) -> None:
    """UserError naming the first column, id or place in which a submission differs from its sample.

    ``source`` is the folder whose test files were predicted.
    """
    ours, theirs = _read(submission), _read(sample)
    if list(ours) != list(theirs):
        raise UserError(
            f"{sample} has the columns {', '.join(theirs)}, but the run's classes make {', '.join(ours)}; "
            "choose a run that was trained on these classes"
        )
    column = ours.columns[0]
    our_ids, required_ids = ours[column].tolist(), theirs[column].tolist()
    if our_ids == required_ids:
        return
    our_set, required_set = set(our_ids), set(required_ids)
    absent = [i for i in required_ids if i not in our_set]
    if absent:
        raise UserError(
            f"{sample} asks for {column} {absent[0]} (line {required_ids.index(absent[0]) + 2}) and {len(absent) - 1} "
            f"more that are not among the {len(our_ids)} test rows of {source}; download both again"
        )
    extra = [i for i in our_ids if i not in required_set]
    if extra:
        raise UserError(
            f"{sample} does not ask for {column} {extra[0]} and {len(extra) - 1} more of the {len(our_ids)} test rows "
            f"of {source}; download both again"
        )
    line = next(n for n in range(max(len(our_ids), len(required_ids))) if our_ids[n : n + 1] != required_ids[n : n + 1])
    raise UserError(
        f"{sample} and the submission part in line {line + 2}, where ids repeat or stand in another order; "
        "download it again"
    )


def write_excel(submission: Path, excel: Path) -> None:
    """The submission's table as a spreadsheet, numbers as numbers."""
    from openpyxl.utils.exceptions import IllegalCharacterError

    content = io.BytesIO()
    table = pd.read_csv(submission)
    with pd.ExcelWriter(content, engine="openpyxl") as book:
        try:
            table.to_excel(book, index=False)
        except IllegalCharacterError as error:
            raise UserError(f"excel=true: an id in {submission} holds a control character; leave excel out") from error
        for cells in book.sheets["Sheet1"].iter_rows():
            for cell in cells:
                if cell.data_type == "f":  # an id that begins with an equals sign is no formula
                    cell.data_type = "s"
    with replacing(excel) as temporary:
        temporary.write_bytes(content.getvalue())


def _read(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(bounded.table(path), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as CSV ({str(error).strip()}); download it again") from error
    return rows
