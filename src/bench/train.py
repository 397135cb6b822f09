"""The main job: from raw files to out-of-fold predictions, scores, pictures and a submission.

python -m bench.train dataset=hms model=wavenet
python -m bench.train -m dataset=heartbeat model=resnet1d loss=l1,ce seed=1,2
"""

from __future__ import annotations

from typing import Any

from bench.cli.door import main, run_job
from bench.paths import conf

ABOUT = """Trains k folds of a model on a competition's raw files (simulated ones where there are none), tracks them in
MLflow, and leaves out-of-fold predictions, scores, pictures and a submission in the run's folder. The same command
again goes on where the last one stopped."""


def door() -> None:
    import hydra
    from omegaconf import DictConfig

    @hydra.main(version_base="1.3", config_path=str(conf()), config_name="train")
    def job(config: DictConfig) -> None:
        from hydra import compose
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf, open_dict

        from bench.crossval import stages
        from bench.runs import recipe

        def resolved(config: DictConfig, hydra: Any) -> stages.Composed:
            choices = hydra.runtime.choices.items()
            names = {k: v if isinstance(v, str) else ",".join(v) for k, v in choices if "/" not in k and v is not None}
            return recipe.composed(recipe.Recipe, OmegaConf.to_container(config, resolve=True), "bench.train"), names

        def composed(overrides: list[str]) -> stages.Composed:
            here = HydraConfig.get()
            again = compose("train", [*here.overrides.task, *overrides], return_hydra_config=True)
            with open_dict(again):
                return resolved(again, again.pop("hydra"))

        run_job(lambda: stages.train(*resolved(config, HydraConfig.get()), composed))

    job()


if __name__ == "__main__":
    main(door, "bench.train", ABOUT, "train")
