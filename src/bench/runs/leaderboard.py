"""The runs of an outputs folder in the order of their scores, seeds of one recipe together; reads no prediction."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.runs import recipe
from bench.runs.facts import leaves
from bench.runs.run import Run
from bench.runs.scores import Scores
from bench.spec import Direction, UserError

Place = tuple[str, str, bool]
"""What rows must share to be in one order: data set, metric, whether the data are simulated."""
ELSEWHERE = (
    "seed",
    "outputs",
    "data",
    "store",
    "device",
    "workers",
    "folds.",
    "compile",
    "verify",
    "dataset.simulator",
)


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed alone. ``score`` is the mean of their out-of-fold scores.

    ``spread`` is the standard deviation over the seeds, of one seed over its folds. ``folds`` are the fold scores of
    all seeds, ``n_folds`` the folds of one. ``seconds`` is what training has taken, ``size`` the bytes of the folders,
    ``words`` what their config has and others of the place have not.
    """

    model: str
    runs: tuple[Path, ...]
    score: float
    spread: float
    over: str
    baseline: float
    accuracy: float
    seconds: float
    size: int
    words: tuple[str, ...] = ()
    folds: tuple[float, ...] = ()
    n_folds: int = 0


def places(runs: Iterable[Run]) -> tuple[dict[Place, list[Row]], list[str]]:
    """The rows of each place, the best first, and sentences on the runs that have no score to show."""
    left_out: list[str] = []
    known: dict[Place, dict[str, list[tuple[Run, Scores]]]] = {}
    directions: dict[Place, Direction] = {}
    for run in runs:
        try:
            scores, inputs = run.scores(), run.inputs
        except UserError as error:
            left_out.append(str(error))
            continue
        if scores is None or not scores.complete:
            left_out.append(f"{run.folder} has {'a part of its folds alone' if scores else 'no score yet'}")
            continue
        place = inputs.dataset, scores.metric, scores.simulated
        directions[place] = scores.direction
        known.setdefault(place, {}).setdefault(scores.group or run.identity, []).append((run, scores))
    ordered: dict[Place, list[Row]] = {}
    for place, groups in sorted(known.items()):
        sign = -1 if directions[place] is Direction.MAX else 1
        described = {group: _config(members[0][0]) for group, members in groups.items()}
        shared = set.intersection(*(set(words) for words in described.values()))
        rows = [_row(members, [w for w in described[g] if w not in shared]) for g, members in groups.items()]
        ordered[place] = sorted(rows, key=lambda row: sign * row.score)
    return ordered, left_out


def _row(members: Sequence[tuple[Run, Scores]], words: Sequence[str]) -> Row:
    runs, scores = [run for run, _ in members], [scores for _, scores in members]
    several = len(scores) > 1
    return Row(
        model=runs[0].inputs.model,
        runs=tuple(run.folder for run in runs),
        score=statistics.mean(one.oof for one in scores),
        spread=statistics.stdev(one.oof for one in scores) if several else scores[0].std,
        over=f"{len(scores)} seeds" if several else f"{len(scores[0].folds)} folds",
        baseline=scores[0].baseline,
        accuracy=statistics.mean(one.accuracy for one in scores),
        seconds=sum(_seconds(run, len(one.folds)) for run, one in members),
        size=sum(size(run.folder) for run in runs),
        words=tuple(words),
        folds=tuple(score for one in scores for score in one.folds),
        n_folds=len(scores[0].folds),
    )


def _config(run: Run) -> list[str]:
    """The leaves of the run's config that may tell it from others, as words."""
    if not (run.folder / recipe.FILE).exists():
        return []
    config = leaves(run.config)
    return [
        f"{key}={value}" for key, value in config.items() if not key.startswith(ELSEWHERE) and "_target_" not in key
    ]


def _seconds(run: Run, n_folds: int) -> float:
    """Seconds that the folds' epochs have taken; 0 where that is not known, as of an ensemble."""
    try:
        return sum(entry.get("seconds", 0.0) for fold in map(run.fold, range(n_folds)) for entry in fold.history())
    except (OSError, ValueError, UserError):
        return 0.0


def size(folder: Path) -> int:
    """Bytes of a folder's files; no link is followed."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += size(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                total += entry.stat(follow_symlinks=False).st_size
    return total
