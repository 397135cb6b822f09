"""The main job: from raw files to out-of-fold predictions, scores, pictures and a submission.

python -m bench.train dataset=hms model=wavenet
python -m bench.train -m dataset=heartbeat model=resnet1d loss=l1,ce seed=1,2
"""

from __future__ import annotations

from bench.cli import conf, main, run_job

ABOUT = """Trains k folds of a model on a competition's raw files (simulated ones where there are none), tracks them in
MLflow, and leaves out-of-fold predictions, scores, pictures and a submission in the run's folder. The same command
again goes on where the last one stopped."""


def door() -> None:
    import hydra
    from omegaconf import DictConfig

    @hydra.main(version_base="1.3", config_path=str(conf()), config_name="train")
    def job(config: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf

        from bench.crossval import cross_validate

        choices = HydraConfig.get().runtime.choices.items()
        names = {k: v if isinstance(v, str) else ",".join(v) for k, v in choices if "/" not in k and v is not None}
        run_job(lambda: cross_validate(OmegaConf.to_container(config, resolve=True), names))  # type: ignore[arg-type]

    job()


if __name__ == "__main__":
    main(door, "bench.train", ABOUT, "train")
