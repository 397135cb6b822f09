"""A search's study in Optuna's storage: opened under a lock, resumable, shared by several processes.

A trial belongs to the process that asked for it, which holds a lock for as long as it lives. What a process leaves
unfinished when it dies is tried again by whoever comes next.
"""

from __future__ import annotations

import json
import math
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from bench.addresses import public
from bench.mistake import UserError
from bench.search import pruning
from bench.search import space as spaces

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

Direction = Literal["minimize", "maximize"]
SAMPLERS = ("tpe", "cmaes", "random", "grid", "qmc")
SPACE, OWNER, AGAIN = "space", "owner", "again"
WAIT = 60  # seconds that one process waits for another at the database
ANSWER_WITHIN = 10  # seconds that a PostgreSQL server has to take a connection


def sampler(name: str, seed: int | None, space: Mapping[str, BaseDistribution]) -> optuna.samplers.BaseSampler:
    """Optuna's sampler of that name; UserError for another, or for a space that it can't search."""
    from optuna import samplers
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if name == "grid":
        grid: dict[str, Any] = {}
        for key, distribution in space.items():
            if isinstance(distribution, CategoricalDistribution):
                grid[key] = distribution.choices
            elif isinstance(distribution, IntDistribution) and not distribution.log:
                grid[key] = list(range(distribution.low, distribution.high + 1, distribution.step))
            else:
                raise UserError(f"hydra.sweeper.sampler=grid: {key} has no end of values; give choice(…) or range(…)")
        return samplers.GridSampler(grid, seed=seed)
    made: dict[str, Callable[[], samplers.BaseSampler]] = {
        "tpe": lambda: samplers.TPESampler(seed=seed),
        "cmaes": lambda: samplers.CmaEsSampler(seed=seed),
        "random": lambda: samplers.RandomSampler(seed=seed),
        "qmc": lambda: _quasi_random(seed),
    }
    if name not in made:
        raise UserError(f"hydra.sweeper.sampler={name} is not one of {', '.join(SAMPLERS)}")
    return made[name]()


def _quasi_random(seed: int | None) -> optuna.samplers.BaseSampler:
    """Optuna calls it experimental, and says so each time."""
    from optuna import samplers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return samplers.QMCSampler(seed=seed, warn_independent_sampling=False)


class Search:
    """A study and who works on it. ``owner`` names this process among its trials."""

    def __init__(self, study: optuna.Study, space: dict[str, BaseDistribution], folder: Path, owner: str) -> None:
        self.study, self.space, self.folder, self.owner = study, space, folder, owner

    @property
    def direction(self) -> Direction:
        return "maximize" if self.study.direction.name == "MAXIMIZE" else "minimize"

    def ask(self) -> FrozenTrial:
        """The next trial to run."""
        trial = self.study.ask(self.space)
        trial.set_user_attr(OWNER, self.owner)
        return self.study.trials[trial.number]

    def finished_with(self, params: Mapping[str, Any]) -> FrozenTrial | None:
        """A trial with these parameters that is complete or was dropped."""
        return next((t for t in self.of("COMPLETE", "PRUNED") if t.params == params), None)

    def of(self, *states: str) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.name in states]

    def ended(self) -> list[FrozenTrial]:
        """Those that have left a run."""
        return self.of("COMPLETE", "PRUNED")

    def counted(self) -> int:
        """Trials that have ended or are at work; not those that are to be tried again."""
        return sum(AGAIN not in t.user_attrs for t in self.of("COMPLETE", "FAIL", "RUNNING", "PRUNED"))

    def tell(self, number: int, value: float | None, **facts: Any) -> None:
        """How a trial has ended; without a finite ``value`` it has failed."""
        self._end(number, value, "FAIL", facts)

    def drop(self, number: int, **facts: Any) -> None:
        """A trial that can no longer win."""
        self._end(number, None, "PRUNED", facts)

    def lags(self, number: int, value: float, folds: int) -> bool:
        """Reports a trial's score on its first ``folds``; whether the study's pruner would drop it."""
        from optuna.trial import Trial

        trial = Trial(self.study, self.study.trials[number]._trial_id)
        trial.report(value, folds)
        return trial.should_prune()

    def _end(self, number: int, value: float | None, otherwise: str, facts: Mapping[str, Any]) -> None:
        from optuna.samplers import GridSampler
        from optuna.trial import TrialState

        trial = self.study.trials[number]
        for key, fact in facts.items():
            self.study._storage.set_trial_user_attr(trial._trial_id, key, fact)
        # at a grid's end its sampler stops Optuna's own loop, and raises where a study is asked and told, as here
        grid = isinstance(self.study.sampler, GridSampler)
        with suppress(RuntimeError) if grid else nullcontext():
            if value is None or not math.isfinite(value):
                self.study.tell(number, state=TrialState[otherwise])
            else:
                self.study.tell(number, value)

    def try_again(self, trial: FrozenTrial) -> None:
        """Ends a trial that was broken off; the next one asked for has its parameters."""
        self.tell(trial.number, None, **{AGAIN: True, "error": "it was broken off, and is tried again"})
        self.study.enqueue_trial(trial.params)

    def take_over(self) -> None:
        """Trials of processes that have died are tried again."""
        for trial in self.of("RUNNING"):
            owner = trial.user_attrs.get(OWNER)
            if owner and owner != self.owner and not _lives(self.folder, owner):
                self.try_again(trial)


@contextmanager
def opened(
    folder: Path,
    storage: str | None,
    name: str,
    direction: Direction,
    how: str,
    seed: int | None,
    space: Any,
    prune: str | None = None,
) -> Iterator[Search]:
    """The study ``name`` in the storage, None: a database in ``folder``; made where it is not there.

    ``how`` names its sampler, ``prune`` its pruner.

    UserError for storage that can't be reached, and for a study of that name with another space.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    owner = uuid.uuid4().hex[:12]
    address = storage or f"sqlite:///{folder / 'study.db'}"
    chosen, pruner = sampler(how, seed, space), pruning.pruner(prune)
    with FileLock(_lock(folder, owner)):
        try:
            with FileLock(folder / ".lock", timeout=WAIT):
                database = optuna.storages.RDBStorage(address, engine_kwargs=_options(address))
                study = optuna.create_study(
                    study_name=name,
                    storage=database,
                    sampler=chosen,
                    pruner=pruner,
                    direction=direction,
                    load_if_exists=True,
                )
        except Timeout:
            raise UserError(f"{folder / '.lock'} is held for {WAIT} s: another search makes its database") from None
        except Exception as error:  # whatever a database's driver makes of its address
            reason = (str(error).splitlines() or [""])[0]  # where an address was given, it may hold a password
            told = f": {reason:.120}" if storage is None or isinstance(error, ImportError) else ""
            raise UserError(
                f"hydra.sweeper.storage={public(address)} can't be opened ({type(error).__name__}{told}); give an "
                "address that SQLAlchemy takes, or leave it out"
            ) from None
        described = json.dumps(spaces.described(space))
        before = study.user_attrs.get(SPACE)
        if before is not None and before != described:
            raise UserError(
                f"the search {name} in {folder} looks in another space ({', '.join(json.loads(before))}); "
                "give this one another name: hydra.sweeper.name=…"
            )
        study.set_user_attr(SPACE, described)
        search = Search(study, space, folder, owner)
        search.take_over()
        yield search
    _lock(folder, owner).unlink(missing_ok=True)


def _options(address: str) -> dict[str, Any]:
    """SQLAlchemy's: how long is waited. A server's connection is tried before it is used, as trials take hours."""
    if address.startswith("sqlite"):
        return {"connect_args": {"timeout": WAIT}}
    if address.startswith("postgresql"):
        return {"connect_args": {"connect_timeout": ANSWER_WITHIN}, "pool_pre_ping": True}
    return {}


def _lock(folder: Path, owner: str) -> Path:
    return folder / f".{owner}.lock"


def _lives(folder: Path, owner: str) -> bool:
    try:
        with FileLock(_lock(folder, owner), timeout=0):
            return False
    except Timeout:
        return True
