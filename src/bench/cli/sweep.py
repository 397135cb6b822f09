"""A sweep's jobs: each leaves its outcome in the sweep's folder, and the sweep ends with a table of all of them."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from bench.addresses import word_without_secrets
from bench.runs.scores import Scores

_exit_code = 0


def exit_code() -> int:
    """What the process should end with, after the job or the whole sweep."""
    return _exit_code


def begin() -> None:
    """Forgets how the process's last command ended."""
    global _exit_code
    _exit_code = 0


def sweeping() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def job_name() -> str:
    from hydra.core.hydra_config import HydraConfig

    return " ".join(map(word_without_secrets, HydraConfig.get().overrides.task))


def note(code: int, run: Path | None, scores: Scores | None, error: str | None) -> None:
    """Records the job that has just ended: in the sweep's folder where there is one (any launcher may have run it)."""
    global _exit_code
    from hydra.core.hydra_config import HydraConfig

    if not sweeping():
        _exit_code = code
        return
    from bench.atomic import write_json
    from bench.runs.records import plain

    hydra, folder = HydraConfig.get(), str(run) if run else None
    outcome = {"job": job_name(), "code": code, "run": folder, "scores": plain(scores), "error": error}
    write_json(Path(hydra.sweep.dir) / f"job_{int(hydra.job.num):04d}.json", outcome)


def _seeds(jobs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The finished jobs that differ in their seed alone, two or more together."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        if job["scores"] and job["code"] == 0:
            groups.setdefault(job["scores"].group, []).append(job)
    return [group for group in groups.values() if len(group) > 1]


def _job(path: Path) -> dict[str, Any]:
    """What ``note`` wrote, with typed scores."""
    from bench.atomic import read_json
    from bench.runs import scores

    job: dict[str, Any] = read_json(path)
    return {**job, "scores": scores.of(job["scores"], str(path)) if job["scores"] else None}


class Summary(Callback):
    """Prints the table of jobs and scores when a sweep ends, and makes the command fail where a job did."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        global _exit_code
        from rich.console import Console
        from rich.table import Table

        from bench.tell import figure, spread

        jobs = [_job(path) for path in sorted(Path(config.hydra.sweep.dir).glob("job_*.json"))]
        shared = set.intersection(*(set(job["job"].split()) for job in jobs)) if len(jobs) > 1 else set()
        for job in jobs:  # what all jobs have in common stands in the command already
            job["job"] = " ".join(word for word in job["job"].split() if word not in shared)
        table = Table("job", "metric", "out-of-fold", "mean ± std", "baseline", "accuracy", "run", box=None)
        simulated = [bool(job["scores"] and job["scores"].simulated) for job in jobs]
        if any(simulated):
            table.title, table.title_justify = "SIMULATED data" + " in part" * (not all(simulated)), "left"
        for job in jobs:
            scores = job["scores"]
            figures = ["", "", "", "", ""]
            if scores:
                figures = [
                    scores.metric,
                    figure(scores.oof),
                    spread(scores.mean, scores.std),
                    figure(scores.baseline),
                    f"{scores.accuracy:.3f}",
                ]
            run = Path(job["run"]).name if job["run"] else ""
            table.add_row(job["job"], *figures, run if job["code"] == 0 else f"failed {run}".strip())
        for group in _seeds(jobs):
            seeds: list[Scores] = [job["scores"] for job in group]
            out_of_fold, mean = ([getattr(scores, key) for scores in seeds] for key in ("oof", "mean"))
            of_all = spread(statistics.mean(out_of_fold), statistics.pstdev(out_of_fold))
            table.add_row(f"mean of {len(seeds)} seeds", seeds[0].metric, of_all, figure(statistics.mean(mean)))
        console = Console(width=None if Console().is_terminal else 160, highlight=False)
        console.print()
        console.print(table)
        for job in jobs:
            if job["error"]:
                console.print(f"{job['job']}: {job['error']}", markup=False)
        failed = sum(job["code"] != 0 for job in jobs)
        console.print(f"{len(jobs) - failed} of {len(jobs)} jobs finished")
        _exit_code = 1 if failed else 0
