"""A sweep's jobs: each leaves its outcome in the sweep's folder, and the sweep ends with a table of all of them.

A job's record is written before its work and again after it, so that one whose process was killed is in the table,
too. Every record names its sweep: a folder that two sweeps share, or that an earlier one has used, mixes no tables.
"""

from __future__ import annotations

import os
import statistics
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from bench import extensions
from bench.addresses import word_without_secrets
from bench.cli.elsewhere import TRACEBACK, Origin, logged
from bench.runs.scores import Scores

if TYPE_CHECKING:
    from rich.table import Table

TOKEN = "BENCH_SWEEP"
"""The environment variable that names a command's sweep to its jobs, in whatever process they run."""
CUT_OFF = "its process ended before it did"

_exit_code = 0
_folder: Path | None = None


def exit_code() -> int:
    """What the process should end with, after the job or the whole sweep."""
    return _exit_code


def begin() -> Origin:
    """Forgets how the process's last command ended; returns what the new one's jobs have to know of it."""
    global _exit_code, _folder
    _exit_code, _folder = 0, None
    os.environ[TOKEN] = uuid.uuid4().hex[:8]
    return Origin.here((TOKEN, TRACEBACK, extensions.VARIABLE))


@contextmanager
def joined(origin: Origin) -> Iterator[None]:
    """A job of the command, in whatever process it runs: elsewhere than in the command's own it writes to a log."""
    from hydra.core.hydra_config import HydraConfig

    if origin.is_here or not sweeping():
        yield
        return
    hydra = HydraConfig.get()
    origin.settle(own_devices=_own_devices(hydra.launcher))
    os.chdir(hydra.runtime.cwd)
    with logged(log_of(records(Path(hydra.sweep.dir)), int(hydra.job.num))):
        yield


def _own_devices(launcher: Any) -> bool:
    """Whether the launcher gives each job GPUs of its own."""
    remote = launcher.get("ray", {}).get("remote", {})
    return bool("slurm" in launcher._target_.lower() or launcher.get("gpus_per_node") or remote.get("num_gpus"))


def log_of(folder: Path, number: int) -> Path:
    """What a job that is not in the command's process prints; ``folder``: the sweep's records."""
    return folder / f"job_{number:04d}.log"


def sweeping() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def job_name() -> str:
    from hydra.core.hydra_config import HydraConfig

    return " ".join(map(word_without_secrets, HydraConfig.get().overrides.task))


def start() -> None:
    """Records that a sweep's job has begun, and prints its name; a job works where the command was typed."""
    import sys

    from hydra.core.hydra_config import HydraConfig

    os.chdir(HydraConfig.get().runtime.cwd)  # hydra.job.chdir would give relative paths another meaning in each job
    if not sweeping():
        return
    print(f"\njob       {job_name()}", file=sys.stderr, flush=True)
    _record(None, None, None, CUT_OFF)


def note(code: int, run: Path | None, scores: Scores | None, error: str | None, dropped: str | None = None) -> None:
    """Records the job that has just ended: in the sweep's folder where there is one (any launcher may have run it)."""
    global _exit_code
    if sweeping():
        _record(code, run, scores, error, dropped)
    else:
        _exit_code = code


def _record(
    code: int | None, run: Path | None, scores: Scores | None, error: str | None, dropped: str | None = None
) -> None:
    from hydra.core.hydra_config import HydraConfig

    from bench.runs.records import plain

    hydra, folder = HydraConfig.get(), str(run) if run else None
    outcome = {"job": job_name(), "code": code, "run": folder, "scores": plain(scores), "error": error}
    outcome |= {"dropped": dropped} if dropped else {}
    write_record(records(Path(hydra.runtime.cwd) / hydra.sweep.dir), int(hydra.job.num), outcome)


def write_record(folder: Path, number: int, outcome: dict[str, Any]) -> None:
    """The record of a job, in the folder of its sweep's; whole or not at all."""
    from bench.atomic import write_json

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"job_{number:04d}.json", outcome)


def records(folder: Path) -> Path:
    """Where the jobs of this command's sweep leave their records; ``folder``: the sweep's."""
    return folder / f"jobs-{os.environ[TOKEN]}"


def _seeds(jobs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The finished whole runs that differ in their seed alone, two or more together; a run counts once."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for job in jobs:
        if job["scores"] and job["code"] == 0 and job["scores"].complete:
            groups.setdefault(job["scores"].group, {})[job["run"]] = job
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _job(path: Path) -> dict[str, Any]:
    """What ``note`` wrote, with typed scores."""
    from bench.atomic import read_json
    from bench.runs import scores

    job: dict[str, Any] = read_json(path)
    return {**job, "scores": scores.of(job["scores"], str(path)) if job["scores"] else None}


def job_of(folder: Path, number: int) -> dict[str, Any] | None:
    """The record of a job of this command's sweep, with typed scores; None where it left none."""
    path = records(folder) / f"job_{number:04d}.json"
    return _job(path) if path.exists() else None


class Summary(Callback):
    """Prints the table of jobs and scores when a sweep ends, and makes the command fail where a job did."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        global _folder
        _folder = Path.cwd() / config.hydra.sweep.dir

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        conclude()


def concluded(code: int) -> None:
    """A sweep that prints its own table ends with this exit code."""
    global _exit_code, _folder
    _exit_code, _folder = code, None


def conclude(if_begun: bool = False) -> bool:
    """Prints what the sweep's jobs have left, unless that is done or there is no sweep; sets the exit code first.

    ``if_begun``: only where a job has begun. Returns whether it printed.
    """
    global _exit_code, _folder
    if _folder is None or (if_begun and not any(records(_folder).glob("job_*.json"))):
        return False
    from bench.tell import console

    folder, _folder = _folder, None
    _exit_code = 1  # until it is known that all went well
    jobs = [_job(path) for path in sorted(records(folder).glob("job_*.json"))]
    failed = sum(job["code"] != 0 for job in jobs)
    _exit_code = int(failed > 0 or not jobs)
    screen = console(160, markup=False)
    screen.print()
    screen.print(_table(jobs))
    for job in jobs:
        if job["error"]:
            screen.print(f"{job['job']}: {job['error']}", soft_wrap=True)
    screen.print(f"{len(jobs) - failed} of {len(jobs)} jobs finished" if jobs else f"no job has begun in {folder}")
    return True


def _table(jobs: list[dict[str, Any]]) -> Table:
    """A row a job, and one for each group of seeds."""
    from rich.table import Table
    from rich.text import Text

    from bench.tell import figure, spread

    shared = set.intersection(*(set(job["job"].split()) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:  # what all jobs have in common stands in the command already
        job["job"] = " ".join(word for word in job["job"].split() if word not in shared)
    table = Table("job", "metric", "out-of-fold", "mean ± std", "baseline", "accuracy", "run", box=None)
    simulated = [bool(job["scores"] and job["scores"].simulated) for job in jobs]
    if any(simulated):
        table.title, table.title_justify = "SIMULATED data" + " in part" * (not all(simulated)), "left"
    for job in jobs:
        scores, figures = job["scores"], ["", "", "", "", ""]
        if scores:
            over = scores.over_folds[1] + (f" ({scores.part})" if scores.part else "")
            figures = [scores.metric, figure(scores.oof), over, figure(scores.baseline), f"{scores.accuracy:.3f}"]
        run = Path(job["run"]).name if job["run"] else ""
        table.add_row(Text(job["job"]), *figures, run if job["code"] == 0 else f"failed {run}".strip())
    for group in _seeds(jobs):
        seeds: list[Scores] = [job["scores"] for job in group]
        out_of_fold, mean = ([getattr(scores, key) for scores in seeds] for key in ("oof", "mean"))
        of_all = spread(statistics.mean(out_of_fold), statistics.pstdev(out_of_fold))
        table.add_row(f"mean of {len(seeds)} seeds", seeds[0].metric, of_all, figure(statistics.mean(mean)))
    return table
