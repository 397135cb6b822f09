"""Finished runs blended into one, judged honestly: a run like any other, with a submission.

python -m bench.ensemble runs=outputs/hms/wavenet/1f3a90c2d4e5,outputs/hms/resnet1d/77aa01b2c3d4 blend=weights
python -m bench.ensemble runs=dataset=hms,model=wavenet
"""

from __future__ import annotations

import os
import sys

from bench.cli.door import main, run_job
from bench.paths import conf

ABOUT = """Blends finished runs of one data set and one split into a run of its own: means, weights or a stacked model
found on their out-of-fold predictions, and judged by folds that they were not fitted on. runs= takes folders,
identities, latest, or a query: runs=dataset=hms,model=wavenet; runs=group=<id> are a recipe's seeds."""


def door() -> None:
    import hydra
    from omegaconf import DictConfig

    os.environ["BENCH_CONF"] = str(conf())  # where conf/ensemble.yaml finds its groups
    sys.argv[1:] = [quoted(word) for word in sys.argv[1:]]

    @hydra.main(version_base="1.3", config_path=str(conf()), config_name="ensemble")
    def job(config: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf

        choices = HydraConfig.get().runtime.choices
        names = {
            str(k): v if isinstance(v, str) else ",".join(v) for k, v in choices.items() if "/" not in str(k) and v
        }

        def work():  # type: ignore[no-untyped-def]  # its type is a heavy import
            from bench.ensembling.blend import ensemble
            from bench.runs.recipe import EnsembleRecipe, composed

            plain = OmegaConf.to_container(config, resolve=True)
            return ensemble(composed(EnsembleRecipe, plain, "bench.ensemble"), names)

        run_job(work)

    job()


def quoted(word: str) -> str:
    """``runs=<text>`` so that Hydra takes the text as it is: it would stumble over a query's equals signs."""
    key, _, text = word.partition("=")
    if key != "runs" or not text or text[0] in "\"'":
        return word
    return 'runs="' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    main(door, "bench.ensemble", ABOUT, "ensemble")
