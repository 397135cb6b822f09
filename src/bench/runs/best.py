"""The best of several runs by their out-of-fold scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.runs.run import Run
from bench.runs.scores import Scores
from bench.spec import Direction, UserError


def best(runs: Sequence[Run], count: int, key: str, problem: Callable[[Run], str | None]) -> list[Run]:
    """The ``count`` runs with the best out-of-fold score among the finished ones, the best first.

    ``problem`` tells why a run can't be used. UserError, which calls the command's key ``key``, where the scores can't
    be held against each other or fewer runs than ``count`` are finished.
    """
    if count < 1:
        raise UserError(f"{key}=best:{count} names no run; write best, or best:3 for the best three")
    scored: list[tuple[Run, Scores]] = []
    for run in runs:
        try:
            scores = run.scores()
        except UserError:  # one broken folder is no reason to refuse all the others
            continue
        if scores is not None and scores.complete:
            scored.append((run, scores))
    places = {(run.inputs.dataset, scores.metric, scores.simulated): scores.direction for run, scores in scored}
    if len(places) > 1:
        names = ", ".join(f"{d} by {m}{' (simulated)' * simulated}" for d, m, simulated in sorted(places))
        raise UserError(
            f"{key}: the best of which? The runs are of {names}; name one, as {key}=best,dataset={min(places)[0]}"
            f"{',simulated=false' * (len({d for d, _, _ in places}) == 1)}"
        )
    sign = -1 if Direction.MAX in places.values() else 1
    ordered = sorted(scored, key=lambda pair: sign * pair[1].oof)
    usable: list[Run] = []
    for run, _ in ordered:
        if len(usable) < count and problem(run) is None:
            usable.append(run)
    if len(usable) < count:
        asked = "best" if count == 1 else f"best:{count}"
        raise UserError(
            f"{key}={asked}: of the {len(runs)} runs that are meant, {len(usable)} can be used, finished and with a "
            "score; python -m bench.train makes more"
        )
    return usable
