"""Folds of a trial that are given up by epoch: Optuna's pruners, asked in the job that trains, wherever it runs.

The sweep leaves a note for each job: which trial it is, and which runs earlier trials have left. The job plays their
epochs to a study in memory and asks its pruner about its own: no database, and the same on every launcher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.atomic import read_json, write_json
from bench.cli import sweep
from bench.mistake import UserError

if TYPE_CHECKING:
    import optuna

Note = dict[str, Any]
PRUNERS = ("median", "hyperband")


def pruner(name: str | None) -> optuna.pruners.BasePruner:
    """Optuna's pruner of that name, None: none; UserError for another."""
    from optuna import pruners

    if name is None:
        return pruners.NopPruner()
    if name not in PRUNERS:
        raise UserError(f"hydra.sweeper.prune={name} is not one of {', '.join(PRUNERS)}")
    return pruners.MedianPruner() if name == "median" else pruners.HyperbandPruner()


def leave_note(folder: Path, job: int, note: Note) -> None:
    """``folder``: of the sweep's records. A note has the trial's number, the pruner, the study's name and direction,
    the metric, and the runs of earlier trials by their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(_note(folder, job), note)


def _note(folder: Path, job: int) -> Path:
    return folder / f"trial_{job:04d}.json"


def judge() -> Callable[[int, Mapping[str, Any]], bool] | None:
    """What says of a fold's epoch, in the sweep's job that this process runs, whether to go on; None where it isn't one
    or folds are not pruned.
    """
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized() or not sweep.sweeping():
        return None
    hydra = HydraConfig.get()
    folder, job = sweep.records(Path(hydra.runtime.cwd) / hydra.sweep.dir), int(hydra.job.num)
    path = _note(folder, job)
    return _Judge(read_json(path), _earlier(folder)) if path.exists() else None


def _earlier(folder: Path) -> dict[int, str]:
    """The runs of this sweep's trials whose jobs have ended, by the trials' numbers."""
    runs = {}
    for path in sorted(folder.glob("trial_*.json")):
        record = folder / path.name.replace("trial_", "job_")
        run = read_json(record).get("run") if record.exists() else None
        if run:
            runs[int(read_json(path)["trial"])] = str(run)
    return runs


class _Judge:
    def __init__(self, note: Note, earlier: Mapping[int, str]) -> None:
        self.note, self.folds = note, dict[int, "optuna.Trial"]()
        self.runs = {int(number): run for number, run in note["earlier"].items()} | dict(earlier)

    def __call__(self, fold: int, epoch: Mapping[str, Any]) -> bool:
        value = epoch.get(f"valid/{self.note['metric']}")
        if value is None or value != value:
            return True
        if fold not in self.folds:
            self.folds[fold] = self._trial(fold)
        self.folds[fold].report(float(value), int(epoch["epoch"]))
        return not self.folds[fold].should_prune()

    def _trial(self, fold: int) -> optuna.Trial:
        """This trial, in a study to which the fold's epochs in earlier trials have been told."""
        import optuna
        from optuna.trial import TrialState

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=self.note["study"], direction=self.note["direction"], pruner=pruner(self.note["prune"])
        )
        for number in range(int(self.note["trial"])):  # all of them: a trial's number chooses Hyperband's bracket
            trial = study.ask()
            values = _values(self.runs.get(number), fold, self.note["metric"])
            for epoch, value in values:
                trial.report(value, epoch)
                trial.should_prune()  # it notes which rung the trial has reached
            if values:
                study.tell(trial, values[-1][1])
            else:
                study.tell(trial, state=TrialState.FAIL)
        return study.ask()


def _values(run: str | None, fold: int, metric: str) -> list[tuple[int, float]]:
    """A fold's score by epoch; empty where there is none, or no more."""
    from bench.runs.run import Run

    if run is None:
        return []
    try:
        history = Run(Path(run)).fold(fold).history()
    except (UserError, OSError, ValueError):  # another run's damage is no matter of this one
        return []
    key = f"valid/{metric}"
    return [(int(entry["epoch"]), float(entry[key])) for entry in history if entry.get(key) == entry.get(key, object())]
