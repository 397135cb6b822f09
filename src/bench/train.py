"""The main job: from raw files to out-of-fold predictions, scores, pictures and a submission.

python -m bench.train dataset=hms model=wavenet
python -m bench.train -m dataset=heartbeat model=resnet1d loss=l1,ce seed=1,2
torchrun --nproc-per-node=2 -m bench.train dataset=hms model=wavenet
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from bench.cli.command import Command
from bench.cli.door import run

if TYPE_CHECKING:
    from bench.runs.outcome import Outcome

ABOUT = """Trains k folds of a model on a competition's raw files (simulated ones where there are none), tracks them in
MLflow, and leaves out-of-fold predictions, scores, pictures and a submission in the run's folder. The same command
again goes on where the last one stopped."""


def work(config: dict[str, Any], names: dict[str, str]) -> Outcome:
    from bench.cli.compose import again
    from bench.crossval import stages
    from bench.runs.recipe import Recipe, composed
    from bench.search import pruning

    def with_more(overrides: list[str]) -> stages.Composed:
        more, more_names = again(overrides)
        return composed(Recipe, more, COMMAND.module), more_names

    return stages.train(composed(Recipe, config, COMMAND.module), names, with_more, pruning.judge())


OFTEN = ("train.epochs", "train.batch_size", "folds.only", "device", "seed", "tracking.enabled")
COMMAND = Command("train", ABOUT, work, config="train", often=OFTEN)


def main() -> int:
    """The command, or under torchrun its part in it."""
    from bench.crossval import torchrun

    return torchrun.run(lambda: run(COMMAND))


if __name__ == "__main__":
    sys.exit(main())
