"""Finished runs blended into one, judged honestly: a run like any other, with a submission.

python -m bench.ensemble runs=best:3,dataset=hms blend=weights
python -m bench.ensemble runs=1f3a90c2d4e5,77aa01b2c3d4
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.cli.command import RUNS, Command
from bench.cli.door import run

if TYPE_CHECKING:
    from bench.runs.outcome import Outcome

ABOUT = """Blends finished runs of one data set and one split into a run of its own: means, weights or a stacked model
found on their out-of-fold predictions, and judged by folds that they were not fitted on. runs= takes folders,
identities, latest, or a query: runs=dataset=hms,model=wavenet; best:3 keeps its best three; runs=group=<id> are a
recipe's seeds. members= are training commands, which are done first where they are not finished."""


def work(config: dict[str, Any], names: dict[str, str]) -> Outcome:
    from bench.cli.compose import compose
    from bench.ensembling.blend import ensemble
    from bench.ensembling.trained import with_members
    from bench.runs.recipe import EnsembleRecipe, Recipe, composed

    def training(overrides: Sequence[str]) -> tuple[Recipe, dict[str, str]]:
        member, member_names = compose("train", overrides)
        return composed(Recipe, member, "bench.train"), member_names

    recipe, failed = with_members(composed(EnsembleRecipe, config, COMMAND.module), training)
    return failed or ensemble(recipe, names)


COMMAND = Command("ensemble", ABOUT, work, config="ensemble", texts=RUNS)

if __name__ == "__main__":
    sys.exit(run(COMMAND))
