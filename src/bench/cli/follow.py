"""A sweep's jobs in other processes, as the command tells of them: what their records say, as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.addresses import word_without_secrets
from bench.atomic import read_json
from bench.cli import sweep
from bench.mistake import UserError
from bench.tell import figure, say

NOT_BEGUN, BEGUN, ENDED = "not begun", "begun", "ended"
POLL_S = 0.5


def state(folder: Path, number: int) -> str:
    """How far a job of the sweep in ``folder`` is, by its record."""
    record = _record(sweep.records(folder), number)
    if record is None:
        return NOT_BEGUN
    return BEGUN if record["error"] is not None and record["code"] is None else ENDED


def tell_again(number: int) -> None:
    """Says that a job is started once more."""
    say(f"job {number}     its process has ended, or one beside it; it is started once more, alone")


@contextmanager
def followed(folder: Path, launcher: str, jobs: Mapping[int, Sequence[str]]) -> Iterator[dict[int, str]]:
    """Tells of each job as it begins and ends, while the block runs; ``jobs``: number → words.

    Jobs that have not begun when the block ends get a record, too: with the reason that the block leaves for their
    number in the dictionary that it gets.
    """
    records, reasons = sweep.records(folder), dict[int, str]()
    shared = set.intersection(*map(set, jobs.values())) if len(jobs) > 1 else set()
    names = {number: _name(words, shared) for number, words in jobs.items()}
    say(f"sweep     {len(jobs)} jobs by hydra/launcher={launcher}; what they print is in {records}/job_*.log")
    over, told = threading.Event(), dict[int, str]()

    def watch() -> None:
        while not over.wait(POLL_S):
            _tell(records, names, told)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield reasons
    finally:
        over.set()
        watching.join()
        _tell(records, names, told)
        if told or reasons:  # else nothing was started, and an error says why
            _record_others(records, jobs, reasons)


def _record_others(records: Path, jobs: Mapping[int, Sequence[str]], reasons: Mapping[int, str]) -> None:
    """A record for each job that has not begun."""
    for number, words in jobs.items():
        if _record(records, number) is None:
            error = f"it has not begun ({reasons.get(number, 'its launcher has given up')})"
            job = " ".join(map(word_without_secrets, words))
            sweep.write_record(records, number, {"job": job, "code": 1, "run": None, "scores": None, "error": error})


def _name(words: Sequence[str], shared: set[str]) -> str:
    return " ".join(word_without_secrets(word) for word in words if word not in shared) or "all as given"


def _tell(records: Path, names: Mapping[int, str], told: dict[int, str]) -> None:
    """A line for each job whose record has changed."""
    for number, name in names.items():
        if told.get(number) == ENDED or (record := _record(records, number)) is None:
            continue
        code, error, scores = record["code"], record["error"], record["scores"]
        if code is None and error is not None:
            if told.get(number) != BEGUN:
                say(f"job {number}     {name}: begins")
            told[number] = BEGUN
            continue
        told[number] = ENDED
        score = f", {scores['metric']} {figure(scores['oof'])}" if scores else ""
        say(f"job {number}     {name}: " + (f"failed: {error}" if code else f"finished{score}"))


def _record(records: Path, number: int) -> dict[str, Any] | None:
    """A job's record; None where it has not begun."""
    try:
        record: dict[str, Any] = read_json(records / f"job_{number:04d}.json")
    except (OSError, UserError):
        return None
    return record
