"""Folds as jobs of a queue (``folds.launcher=submitit|ray``): submitted, followed through their folders, collected.

A job trains one fold as a command that trains it alone would, and holds its claim. The command that submitted it may
go away: whichever process ends last collects the run, and the same command again attaches to what is still going.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import extensions
from bench.cli.elsewhere import Origin, deaf_to_ctrl_c
from bench.crossval import processes, tickets
from bench.crossval.claims import claimed
from bench.crossval.progress import Display, Lines
from bench.crossval.tickets import Ticket, alive, ticket
from bench.runs.facts import is_locked
from bench.runs.recipe import Recipe
from bench.runs.run import Fold, Run
from bench.spec import UserError
from bench.tell import say

POLL_S, WAITING_S = 0.5, 60.0
"""Seconds between looks at a fold's folder, and between the lines that say what is waited for."""
TIMEOUT_MIN, REQUEUED = 1440, 5
"""Minutes of a job unless ``folds.job`` says so, and how often one that took longer is queued again."""

Collect = Callable[[Recipe, Mapping[str, str]], Any]
"""What collects a run whose folds are trained: ``cross_validate``."""
Queue = Callable[["FoldJob"], Ticket]


@dataclass(frozen=True)
class FoldJob:
    """What a job runs: picklable, and for submitit one that may be queued again where it has been ended."""

    recipe: Recipe
    names: Mapping[str, str]
    folder: Path
    number: int
    origin: Origin
    own_devices: bool
    collect: Collect

    def __call__(self) -> None:
        """Trains the fold, and collects the run where nobody else will."""
        self.origin.settle(self.own_devices)
        run, failed = Run(self.folder), True
        fold = run.fold(self.number)
        with claimed(run, [self.number], queued=True) as mine:
            for number in mine:
                failed = bool(self._train(run, number))
            if mine and not failed and (job := ticket(fold)):
                job.ended(fold, None)
        if not failed:
            self._collect(run)

    def _train(self, run: Run, number: int) -> list[int]:
        from bench.crossval.length import intended
        from bench.training import device

        devices, folds = device.several(self.recipe.device), self.recipe.folds
        screen = Told(run, Lines("score", intended(run.recipe)))
        return processes.train(run, [number], folds.parallel, devices, self.recipe.compile, screen)

    def _collect(self, run: Run) -> None:
        """Collects the run where this was the last fold and no command holds the run."""
        wanted = self.recipe.folds.only or range(run.inputs.n_splits)
        if processes.missing(run, wanted, run.inputs.test) or is_locked(run.folder / ".lock"):
            return
        here = replace(self.recipe, folds=replace(self.recipe.folds, launcher="local"))
        with suppress(UserError):  # another that ended with this one collects
            self.collect(here, self.names)

    def checkpoint(self) -> Any:
        """The job again, as submitit asks for it before a time limit: it goes on from the last epoch."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Told:
    """A display that notes a failure on the fold's ticket, too."""

    def __init__(self, run: Run, screen: Display) -> None:
        self.run, self.screen = run, screen

    def start(self, fold: int) -> None:
        self.screen.start(fold)

    def event(self, fold: int, event: dict[str, Any]) -> None:
        if event["kind"] == "note":
            self.screen.event(fold, event)

    def finish(self, fold: int) -> None:
        self.screen.finish(fold)

    def fail(self, fold: int, why: str, last_lines: list[str], log: Path) -> None:
        self.screen.fail(fold, why, last_lines, log)
        if job := ticket(self.run.fold(fold)):
            job.ended(self.run.fold(fold), why)


def train(
    recipe: Recipe, names: Mapping[str, str], run: Run, numbers: Sequence[int], screen: Display, collect: Collect
) -> list[int]:
    """Trains the folds as jobs, attached to those that are going already; returns those that failed.

    KeyboardInterrupt leaves the jobs going. UserError where none could be queued.
    """
    going = {number: job for number in numbers if (job := alive(run.fold(number)))}
    for number, job in going.items():
        say(f"fold {number}    is trained by {job.name} already; this command attaches to it")
    missing = [number for number in numbers if number not in going]
    if missing:
        submit, own_devices = (_ray if recipe.folds.launcher == "ray" else _submitit)(recipe, run)
        origin = Origin.here((extensions.VARIABLE,))
        jobs = [FoldJob(recipe, dict(names), run.folder, number, origin, own_devices, collect) for number in missing]
        with deaf_to_ctrl_c():
            going |= {job.number: _queued(job, run.fold(job.number), submit) for job in jobs}
    try:
        return _followed(run, going, screen)
    except KeyboardInterrupt:
        left = [f"fold {number}: {job.name}" for number, job in going.items() if alive(run.fold(number))]
        say(f"folds     go on without this command ({', '.join(left)}); the same command attaches to them")
        raise


def _followed(run: Run, going: Mapping[int, Ticket], screen: Display) -> list[int]:
    """Tells of the folds what their folders say, until all have ended; returns those that failed."""
    left, failed, seen = dict(going), list[int](), dict[int, int]()
    looked = time.monotonic()
    while left:
        for number in list(left):
            fold = run.fold(number)
            over = alive(fold) is None  # before the folder is looked at: what it then holds is all
            _tell_epochs(fold, seen, screen)
            if fold.finished and not processes.missing(run, [number], run.inputs.test):
                del left[number]
                screen.finish(number)
            elif over:
                failed.append(number)
                _tell_failure(fold, left.pop(number), screen)
        if left and time.monotonic() - looked > WAITING_S:
            looked = time.monotonic()
            if queued := [f"fold {number} ({job.name})" for number, job in left.items() if number not in seen]:
                say(f"folds     waits for the queue to start {', '.join(queued)}")
        time.sleep(POLL_S if left else 0)
    return sorted(failed)


def _tell_failure(fold: Fold, job: Ticket, screen: Display) -> None:
    """Why a job has failed: by its ticket, else what is known of one that could not say."""
    known = ticket(fold) or job
    why = known.why or f"has ended without a word ({job.name} was killed or cancelled; see {job.log})"
    known.ended(fold, why)
    screen.fail(fold.number, why, processes.tail(fold), fold.log)


def _tell_epochs(fold: Fold, seen: dict[int, int], screen: Display) -> None:
    """Tells of the epochs that are new in the fold's history."""
    try:
        history = fold.history()
    except UserError:
        return
    if history and fold.number not in seen:
        screen.start(fold.number)
    for entry in history[seen.get(fold.number, 0) :]:
        screen.event(fold.number, {"kind": "epoch", **entry})
    if history:
        seen[fold.number] = len(history)


def _submitit(recipe: Recipe, run: Run) -> tuple[Queue, bool]:
    """submitit's queue, SLURM where it is, else processes here; and whether it gives a job GPUs of its own."""
    try:
        import submitit
    except ImportError:
        raise UserError('folds.launcher=submitit needs submitit: pip install "bench[slurm]"') from None
    options = {"name": f"bench-{run.folder.name}", "timeout_min": TIMEOUT_MIN, **(recipe.folds.job or {})}
    logs = Path(recipe.outputs).resolve() / "jobs" / run.folder.name
    try:
        cluster = submitit.AutoExecutor.which()
        executor = submitit.AutoExecutor(logs / "%j", cluster, **{f"{cluster}_max_num_timeout": REQUEUED})
        executor.update_parameters(**options)
    except (NameError, AssertionError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise UserError(f"folds.job: submitit refuses {options}: {_line(error)}") from error

    def submit(job: FoldJob) -> Ticket:
        queued = executor.submit(job)
        kind: tickets.Cluster = "slurm" if cluster == "slurm" else "local"
        return Ticket(cluster=kind, id=queued.job_id, host=os.uname().nodename, log=str(queued.paths.stderr))

    return submit, cluster == "slurm" or bool(options.get("gpus_per_node"))


def _ray(recipe: Recipe, run: Run) -> tuple[Queue, bool]:
    """The same of Ray; ``folds.job`` are a task's options, and ``address`` the cluster's."""
    try:
        import ray
    except ImportError:
        raise UserError('folds.launcher=ray needs Ray: pip install "bench[ray]"') from None
    options = {"num_cpus": 1, "max_retries": 0, **(recipe.folds.job or {})}
    address = options.pop("address", None)
    try:
        if not ray.is_initialized():
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        task = ray.remote(**options)(_call)
    except Exception as error:
        raise UserError(f"folds.launcher=ray: Ray refuses (folds.job={recipe.folds.job}): {_line(error)}") from error

    def submit(job: FoldJob) -> Ticket:
        reference = task.remote(job)
        tickets.going[reference.hex()] = lambda: not ray.wait([reference], timeout=0)[0]
        log = str(run.fold(job.number).log)
        return Ticket(cluster="ray", id=reference.hex(), host=os.uname().nodename, log=log)

    return submit, bool(options.get("num_gpus"))


def _call(job: FoldJob) -> None:
    job()


def _queued(job: FoldJob, fold: Fold, submit: Queue) -> Ticket:
    """The fold's job in the queue, and its ticket; UserError where the queue refuses it."""
    fold.folder.mkdir(parents=True, exist_ok=True)
    try:
        queued = submit(job)
    except Exception as error:
        raise UserError(f"folds.launcher: the queue refuses fold {fold.number}: {_line(error)}") from error
    queued.write(fold)
    say(f"fold {fold.number}    is queued: {queued.name}, log {queued.log}")
    return queued


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
