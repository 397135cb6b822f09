"""A search's trials as jobs of the sweep: whole, or fold by fold, with those that can no longer win dropped between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.cli import sweep
from bench.mistake import UserError
from bench.runs.scores import Scores
from bench.search import pruning, racing
from bench.search import space as spaces
from bench.tell import say

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from bench.search.study import Search

Launch = Callable[[list[list[str]], int], Any]
"""(each job's words, the first one's number): runs jobs, and waits for all."""
Record = dict[str, Any]
ONLY = "folds.only="


@dataclass
class Trials:
    """Runs trials and tells the search how they ended.

    ``folder`` is the sweep's, ``fixed`` the words that all trials have, ``metric`` their metric's name. ``race``: the
    folds that all candidates have before the first are dropped; None: each trial is judged by ``prune`` alone.
    """

    search: Search
    launch: Launch
    folder: Path
    fixed: list[str]
    metric: str
    prune: str | None = None
    race: int | None = None
    jobs: int = field(default=0, init=False)

    def run(self, trials: Sequence[FrozenTrial]) -> None:
        if not trials:
            return
        if self.prune is None and self.race is None:
            for number, job in self._launched(trials, None).items():
                self._tell(number, job)
        else:
            self._fold_by_fold({trial.number: trial for trial in trials}, self.race or 1)

    def _fold_by_fold(self, alive: dict[int, FrozenTrial], n: int) -> None:
        """Rounds of one fold more each, from ``n`` on, for the trials that are still in."""
        only = _only(self.fixed)
        n = min(n, len(only)) if only else n
        while alive:
            jobs = self._launched(list(alive.values()), n)
            for number, job in jobs.items():
                if self._scores(job) is None:
                    self._tell(number, job)
                    del alive[number]
            if not alive:
                return
            seen = {number: self._scores(jobs[number]) for number in alive}
            n_folds = len(only) if only else _n_splits(jobs[next(iter(alive))])
            if n >= n_folds:
                break
            for number in self._lagging(seen, n, n_folds):
                self._drop(number, jobs[number], f"after {n} of {n_folds} folds")
                del alive[number]
            if self.race:
                say(f"race      {len(alive)} of {len(seen)} candidates are in after {n} of {n_folds} folds")
            n = n_folds if self.race and len(alive) == 1 else n + 1  # nobody is left to race against
        for number in alive:
            self._tell(number, jobs[number])

    def _launched(self, trials: Sequence[FrozenTrial], n: int | None) -> dict[int, Record | None]:
        """Runs the trials' first ``n`` folds, None: all; what each job has left, by the trial's number."""
        words = [[*_first(self.fixed, n), *spaces.words(trial.params)] for trial in trials]
        first, self.jobs = self.jobs, self.jobs + len(trials)
        if self.prune:
            runs = {t.number: str(t.user_attrs["run"]) for t in self.search.ended() if t.user_attrs.get("run")}
            for job, trial in enumerate(trials, first):
                note = {"trial": trial.number, "prune": self.prune, "study": self.search.study.study_name}
                note |= {"direction": self.search.direction, "metric": self.metric, "earlier": runs}
                pruning.leave_note(sweep.records(self.folder), job, note)
        self.launch(words, first)
        return {trial.number: sweep.job_of(self.folder, job) for job, trial in enumerate(trials, first)}

    def _lagging(self, seen: dict[int, Scores | None], n: int, n_folds: int) -> list[int]:
        """The trials that are dropped after ``n`` folds."""
        wanted = (_only(self.fixed) or list(range(n_folds)))[:n]
        folds = {number: _folds(scores, wanted) for number, scores in seen.items() if scores}
        if not self.race:
            values = {number: scores.oof if len(scores.folds) == n else float(np.mean(folds[number]))
                      for number, scores in seen.items() if scores}  # fmt: skip
            return [number for number, value in values.items() if self.search.lags(number, value, n)]
        sign = 1 if self.search.direction == "maximize" else -1
        table = sign * np.array(list(folds.values()))
        return [number for number, out in zip(folds, racing.losers(table, 1 / (n_folds - 1)), strict=True) if out]

    def _scores(self, job: Record | None) -> Scores | None:
        """The scores of a job that has trained all it was to; None where it failed or a fold was given up."""
        if job is None or job["code"] != 0 or job.get("dropped"):
            return None
        scores: Scores | None = job["scores"]
        return scores

    def _tell(self, number: int, job: Record | None) -> None:
        if job is None:
            self.search.tell(number, None, error="it has left no record")
        elif job.get("dropped"):
            self._drop(number, job, job["dropped"])
        else:
            scores = self._scores(job)
            whole = scores is not None and (scores.complete or _only(self.fixed) is not None)
            value = scores.oof if scores is not None and whole else None
            self.search.tell(number, value, run=job["run"], error=job["error"], simulated=_simulated(job))

    def _drop(self, number: int, job: Record | None, when: str) -> None:
        run = job["run"] if job else None
        self.search.drop(number, run=run, dropped=when, simulated=_simulated(job))


def _simulated(job: Record | None) -> bool:
    return bool(job and job["scores"] is not None and job["scores"].simulated)


def _folds(scores: Scores, numbers: Sequence[int]) -> list[float]:
    """The scores of these folds; a run that an earlier command has trained may have others, too."""
    by_number = dict(zip(scores.fold_numbers, scores.folds, strict=True))
    return [by_number[number] for number in numbers]


def _only(fixed: Sequence[str]) -> list[int] | None:
    """The folds that the command names, if it does."""
    word = next((word for word in fixed if word.startswith(ONLY)), None)
    if word is None or word == f"{ONLY}null":
        return None
    try:
        return sorted({int(number) for number in word.removeprefix(ONLY).strip("[]").split(",")})
    except ValueError:
        raise UserError(f"{word} must name folds, as folds.only=[0,2]") from None


def _first(fixed: list[str], n: int | None) -> list[str]:
    """The words, with the first ``n`` folds that they name alone; None: as they are."""
    if n is None:
        return fixed
    numbers = (_only(fixed) or list(range(n)))[:n]
    words = [word for word in fixed if not word.startswith(ONLY)]
    return [*words, f"{ONLY}[{','.join(map(str, numbers))}]"]


def _n_splits(job: Record | None) -> int:
    from bench.runs.run import Run

    assert job is not None
    return Run.open(job["run"]).inputs.n_splits
