"""``hydra/sweeper=optuna``: Hydra's sweeper that asks Optuna which jobs to run next.

Optuna's own plugin for Hydra takes versions before 3 alone, and ends with the first trial that fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from bench.addresses import word_without_secrets
from bench.atomic import write_text
from bench.cli import sweep
from bench.cli.launchers import PLUGINS
from bench.mistake import UserError
from bench.runs import inside
from bench.search import space as spaces

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from bench.search import results, study


class Optuna(Sweeper):
    """Searches the space that the words and ``params`` span, ``n_jobs`` trials at a time, until there are ``n_trials``.

    ``name`` is the search's, and of its folder below ``folder``; the same command goes on with it. None: the data set's
    and the model's. ``race`` starts all trials, and after ``burn_in`` folds drops those that can no longer win;
    ``prune`` drops them by Optuna's pruner, within a fold and, without a race, between folds.
    """

    __module__ = PLUGINS

    def __init__(
        self,
        name: str | None,
        folder: str,
        n_trials: int,
        n_jobs: int,
        sampler: str | None,
        seed: int | None,
        storage: str | None,
        params: Mapping[str, Any],
        race: bool = False,
        burn_in: int = 3,
        prune: str | None = None,
    ) -> None:
        if n_trials < 1 or n_jobs < 1:
            raise UserError("hydra.sweeper.n_trials and hydra.sweeper.n_jobs must be 1 or more")
        if race and burn_in < 3:
            raise UserError("hydra.sweeper.burn_in must be 3 or more: fewer folds can't tell how much they differ")
        self.race, self.prune = burn_in if race else None, prune
        self.name, self.folder, self.n_trials, self.n_jobs = name, Path(folder), n_trials, n_jobs
        self.sampler = sampler or ("qmc" if race else "tpe")
        self.seed, self.storage, self.params = seed, storage, dict(params)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """UserError where Optuna is not installed."""
        try:
            import optuna  # noqa: F401 (whether it is there)
        except ImportError:
            raise UserError('hydra/sweeper=optuna needs Optuna: pip install "bench[optuna]"') from None
        self.hydra_context = self.context = hydra_context
        self.config = self.composed = config
        chosen = config.hydra.runtime.choices
        self.study = self.name or f"{chosen.get('dataset')}_{chosen.get('model')}"
        if not inside.is_name(self.study) or "'" in self.study:
            raise UserError(f"hydra.sweeper.name={self.study} is no name of a folder")
        self.launcher = self.jobs = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from bench.search import results, sending, study
        from bench.search.trials import Trials
        from bench.training import parts

        typed = [f"{key}={value}" for key, value in self.params.items()]
        fixed, space = spaces.parsed([*typed, *arguments], self.context.config_loader)
        fixed = [word for word in fixed if not word.startswith("+sweep=")]  # its keys are among the typed ones
        if not space:
            raise UserError(
                "hydra/sweeper=optuna: no key is searched; give one, as 'optimizer.lr=tag(log,interval(1e-4,1e-1))', "
                "or a space of conf/sweep, as +sweep=mlp"
            )
        examples = {key: _example(distribution) for key, distribution in space.items()}
        self.validate_batch_is_legal([[*fixed, *spaces.words(examples)]])
        config = self._example([*fixed, *spaces.words(examples)])
        metric = parts.metric(config["dataset"])
        self._refuse_race(config["split"].get("n_splits"))
        task = self._task(config, metric.name)
        direction: study.Direction = "maximize" if metric.direction.name == "MAX" else "minimize"
        folder = Path(self.composed.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "multirun.yaml", OmegaConf.to_yaml(_without_secrets(self.composed)))
        with study.opened(
            self.folder / self.study, self.storage, self.study, direction, self.sampler, self.seed, space, self.prune
        ) as search:
            trials = Trials(search, self._launch, folder, fixed, metric.name, self.prune, self.race)
            try:
                while (left := self._most(space) - search.counted()) > 0:
                    trials.run(self._asked(search, left if self.race else min(self.n_jobs, left)))
            finally:
                for trial in search.of("RUNNING"):
                    if trial.user_attrs.get(study.OWNER) == search.owner:
                        search.try_again(trial)
                any_complete = results.leave(search, fixed, task)
                sweep.concluded(0 if any_complete else 1)
            if any_complete:
                sending.send(search.folder, task.tracking, task.outputs)

    def _most(self, space: Mapping[str, Any]) -> int:
        """Trials in all; a grid has no more than its points."""
        if self.sampler != "grid":
            return self.n_trials
        points = 1
        for distribution in space.values():
            points *= len(getattr(distribution, "choices", ())) or 1 + (
                (distribution.high - distribution.low) // distribution.step
            )
        return min(self.n_trials, points)

    def _asked(self, search: study.Search, n: int) -> list[FrozenTrial]:
        """The next trials, but for those whose parameters an earlier one had, which end as it did."""
        trials = []
        for trial in [search.ask() for _ in range(n)]:
            before = search.finished_with(trial.params)
            if before is None:
                trials.append(trial)
            elif before.state.name == "PRUNED":
                search.drop(trial.number, **before.user_attrs)
            else:  # the run is there: training it again would end in the same bits
                search.tell(trial.number, before.value, **before.user_attrs)
        return trials

    def _launch(self, words: list[list[str]], first: int) -> None:
        """Runs the trials, each with the search's name for MLflow."""
        self.jobs.launch([[*trial, f"tracking.sweep='{self.study}'"] for trial in words], initial_job_idx=first)

    def _example(self, words: list[str]) -> Any:
        """What the trials share: the data set, its option, the split, where they are tracked, the outputs."""
        config = self.context.config_loader.load_sweep_config(self.composed, words)
        shared = {key: OmegaConf.to_container(config[key], resolve=True) for key in ("dataset", "split", "tracking")}
        return {**shared, "name": str(config.hydra.runtime.choices.dataset), "outputs": str(config.outputs)}

    def _refuse_race(self, n_splits: int | None) -> None:
        if self.race and n_splits is not None and n_splits <= self.race:
            raise UserError(
                f"hydra.sweeper.race=true drops nobody before {self.race} folds (burn_in), and "
                f"split.n_splits={n_splits} makes no more; give more folds, as split.n_splits=10, or leave race out"
            )

    def _task(self, config: Mapping[str, Any], metric: str) -> results.Task:
        """What the trials are judged by; a mistake in where they go is told before the first, not after the last."""
        from bench.runs import records
        from bench.runs.recipe import Tracking
        from bench.search import results
        from bench.tracking import address

        tracking = records.parse(Tracking, config["tracking"], None, "tracking.")
        if tracking.enabled:
            address.chosen(tracking.uri, Path(config["outputs"]))
        return results.Task(config["name"], metric, tracking, Path(config["outputs"]))


def _without_secrets(config: Any) -> Any:
    """The same in plain containers: an address may hold a password, and this is written to a file."""
    plain = OmegaConf.to_container(config) if OmegaConf.is_config(config) else config
    if isinstance(plain, dict):
        return {key: _without_secrets(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_without_secrets(value) for value in plain]
    return word_without_secrets(plain) if isinstance(plain, str) else plain


def _example(distribution: Any) -> Any:
    """A value of a distribution: its first."""
    return distribution.choices[0] if hasattr(distribution, "choices") else distribution.low
