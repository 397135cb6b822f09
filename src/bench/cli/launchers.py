"""Hydra's launchers for sweeps whose jobs run side by side: joblib, submitit (local, SLURM), Ray.

The packages hydra-joblib-launcher, hydra-submitit-launcher and hydra-ray-launcher run one job each; starting and
awaiting them is done here, since theirs give up at the first job whose process was killed, and lose what the others do.
What became of a job is read from the record that it leaves (``sweep``), never from what an engine has pickled.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from bench.cli import follow
from bench.cli.elsewhere import deaf_to_ctrl_c
from bench.mistake import UserError

POLL_S = 0.25
PLUGINS = "hydra_plugins.bench"
"""The module that Hydra finds them in: it takes plugins from ``hydra_plugins`` alone."""


class Job(NamedTuple):
    number: int
    words: list[str]


class Started(Protocol):
    """A job that an engine has been given."""

    def done(self) -> bool:
        """Whether its process has ended, in whatever way."""

    def why(self) -> str:
        """The engine's word on how."""

    def cancel(self) -> None: ...


class Engine(Launcher):
    """What the launchers share. ``extra`` is what installs one, ``needs`` the modules it takes."""

    extra, needs = "", tuple[str, ...]()

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = {
            k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in options.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """UserError where the engine is not installed."""
        self.name = str(config.hydra.runtime.choices.get("hydra/launcher"))
        self.context, self.task, self.config = hydra_context, task_function, config
        for module in self.needs:
            try:
                import_module(module)
            except ImportError as error:
                raise UserError(
                    f"hydra/launcher={self.name} needs a package that is not here ({error}): "
                    f'pip install "bench[{self.extra}]"'
                ) from None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and waits for all; a job whose process was killed has its record, and harms no other."""
        jobs = [Job(initial_job_idx + i, list(words)) for i, words in enumerate(job_overrides)]
        names = {job.number: list(filter_overrides(job.words)) for job in jobs}
        with follow.followed(Path.cwd() / self.config.hydra.sweep.dir, self.name, names) as reasons:
            reasons |= self.run(jobs)
        return [JobReturn(overrides=job.words, status=JobStatus.COMPLETED) for job in jobs]

    def run(self, jobs: list[Job]) -> dict[int, str]:
        """Runs the jobs; returns the engine's word on each by its number, for those that have not even begun."""
        raise NotImplementedError

    def windowed(self, jobs: list[Job], start: Callable[[Job], Started]) -> dict[int, str]:
        """Keeps ``at_once`` jobs going, until all have ended; cancels them where this is interrupted."""
        waiting, at_once = list(jobs), int(self.options.get("at_once") or len(jobs))
        going, reasons = dict[int, Started](), dict[int, str]()
        try:
            while waiting or going:
                while waiting and len(going) < at_once:
                    job = waiting.pop(0)
                    going[job.number] = start(job)
                for number in [number for number, job in going.items() if job.done()]:
                    reasons[number] = going.pop(number).why()
                time.sleep(POLL_S)
        except BaseException:
            for started in going.values():
                with suppress(Exception):
                    started.cancel()
            raise
        return reasons


class Joblib(Engine):
    """Worker processes of joblib, which ends all when one is killed: those beside it are started once more, alone."""

    __module__ = PLUGINS
    extra, needs = "joblib", ("joblib", "hydra_plugins.hydra_joblib_launcher._core")

    def run(self, jobs: list[Job]) -> dict[int, str]:
        again: list[Job] = []
        while jobs:
            error = self._parallel(jobs, int(self.options["n_jobs"]))
            states = {job.number: follow.state(self._folder, job.number) for job in jobs}
            again += [job for job in jobs if states[job.number] == follow.BEGUN]
            left = [job for job in jobs if states[job.number] == follow.NOT_BEGUN]
            if error is not None and len(left) == len(jobs):
                raise error
            jobs = left
        for job in again:
            follow.tell_again(job.number)
            self._parallel([job], 2)
        return {}

    @property
    def _folder(self) -> Path:
        return Path.cwd() / str(self.config.hydra.sweep.dir)

    def _parallel(self, jobs: list[Job], at_once: int) -> Exception | None:
        """Runs the jobs; returns what cut them short, as a killed worker does. The jobs themselves raise nothing."""
        from hydra_plugins.hydra_joblib_launcher._core import execute_job
        from joblib import Parallel, delayed

        state = Singleton.get_state()
        calls = (delayed(execute_job)(*job, self.context, self.config, self.task, state) for job in jobs)
        try:
            Parallel(n_jobs=at_once, backend="loky", pre_dispatch="n_jobs")(calls)
        except Exception as error:
            return error
        return None


class Submitit(Engine):
    """Jobs of submitit, as its cluster takes them."""

    extra, needs = "slurm", ("submitit", "hydra_plugins.hydra_submitit_launcher.submitit_launcher")
    cluster, launcher = "", ""

    def executor(self, **parameters: Any) -> Any:
        """submitit's executor with the launcher's options and ``parameters``."""
        import submitit

        given = {k: v for k, v in {**self.options, **parameters}.items() if v is not None and k != "at_once"}
        shared = set(submitit.AutoExecutor._typed_parameters())
        timeouts = {f"{self.cluster}_max_num_timeout": given.pop("max_num_timeout")}
        executor = submitit.AutoExecutor(given.pop("submitit_folder"), self.cluster, **timeouts)
        executor.update_parameters(**{k if k in shared else f"{self.cluster}_{k}": v for k, v in given.items()})
        return executor

    def call(self) -> Any:
        """What runs a job: the plugin's launcher, which is pickled."""
        from hydra_plugins.hydra_submitit_launcher import submitit_launcher

        launcher = getattr(submitit_launcher, self.launcher)()
        launcher.setup(hydra_context=self.context, task_function=self.task, config=self.config)
        return launcher

    def arguments(self, job: Job) -> tuple[Any, ...]:
        return job.words, "hydra.sweep.dir", job.number, str(job.number), Singleton.get_state()


class Submitted:
    """A job of submitit's."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def done(self) -> bool:
        return bool(self.job.done())

    def why(self) -> str:
        return f"{self.job.state.lower()}, {self.job.paths.stderr}"

    def cancel(self) -> None:
        self.job.cancel()


class SubmittedHere(Submitted):
    """One of this machine."""

    def cancel(self) -> None:
        os.kill(int(self.job.job_id), signal.SIGTERM)  # submitit's own is a Ctrl-C, to which its processes are deaf


class SubmititLocal(Submitit):
    """Processes on this machine."""

    __module__ = PLUGINS
    cluster, launcher = "local", "LocalLauncher"

    def run(self, jobs: list[Job]) -> dict[int, str]:
        executor, call = self.executor(), self.call()

        def start(job: Job) -> Started:
            with deaf_to_ctrl_c():
                return SubmittedHere(executor.submit(call, *self.arguments(job)))

        return self.windowed(jobs, start)


class SubmititSlurm(Submitit):
    """One array of a SLURM cluster."""

    __module__ = PLUGINS
    cluster, launcher = "slurm", "SlurmLauncher"

    def run(self, jobs: list[Job]) -> dict[int, str]:
        import submitit

        at_once = self.options.pop("at_once")
        try:
            executor = self.executor(array_parallelism=int(at_once))
            array = executor.map_array(self.call(), *zip(*map(self.arguments, jobs), strict=True))
        except (RuntimeError, OSError, NameError, submitit.core.utils.FailedSubmissionError) as error:
            raise UserError(f"hydra/launcher={self.name}: no job was queued: {' '.join(str(error).split())}") from error
        submitted = {job.number: Submitted(given) for job, given in zip(jobs, array, strict=True)}
        return self.windowed(jobs, lambda job: submitted[job.number])


class Task:
    """A task of Ray's."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    def done(self) -> bool:
        import ray

        return bool(ray.wait([self.reference], timeout=0)[0])

    def why(self) -> str:
        import ray

        try:
            ray.get(self.reference)
        except Exception as error:
            return " ".join(str(error).split())[:300]
        return "it has ended"

    def cancel(self) -> None:
        import ray

        ray.cancel(self.reference, force=True)


class Ray(Engine):
    """Tasks of a Ray cluster."""

    __module__ = PLUGINS
    extra, needs = "ray", ("ray", "hydra_plugins.hydra_ray_launcher._launcher_util")

    def run(self, jobs: list[Job]) -> dict[int, str]:
        from hydra_plugins.hydra_ray_launcher._launcher_util import launch_job_on_ray, start_ray

        given = OmegaConf.create(self.options["ray"])
        try:
            start_ray(given.init)
        except Exception as error:
            raise UserError(f"hydra/launcher=ray: Ray does not start: {' '.join(str(error).split())}") from error

        def start(job: Job) -> Started:
            sweep = self.context.config_loader.load_sweep_config(self.config, job.words)
            OmegaConf.set_struct(sweep, False)
            sweep.hydra.job.id, sweep.hydra.job.num = str(job.number), job.number
            return Task(launch_job_on_ray(self.context, given.remote, sweep, self.task, Singleton.get_state()))

        return self.windowed(jobs, start)
