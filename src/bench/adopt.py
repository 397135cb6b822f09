"""Makes a run of predictions made elsewhere: a team mate's out-of-fold file, and the test predictions.

python -m bench.adopt oof=theirs.csv test=theirs_sub.csv dataset=hms name=anna_b0
python -m bench.adopt oof=theirs.csv dataset=hms name=anna_b0 folds=1f3a90c2d4e5
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from bench.cli.command import Command
from bench.cli.door import run

if TYPE_CHECKING:
    from bench.runs.outcome import Outcome

ABOUT = """Makes a run of predictions made elsewhere, which blending, comparing and the leaderboard take like any other.
A file has a column of ids and a column of probabilities a class, in any order; columns= names them where they are not
called as the classes are. The folds are those of the file's column fold, or folds=<run> says that a run of yours has
the same. Ids, sums and folds are checked as a training's are."""


def work(config: dict[str, Any], names: dict[str, str]) -> Outcome:
    from bench.ensembling.adopting import adopt
    from bench.runs.recipe import AdoptedRecipe, composed

    return adopt(composed(AdoptedRecipe, config, COMMAND.module), names)


COMMAND = Command("adopt", ABOUT, work, config="adopt", usage="oof=<file> [test=<file>] name=<name> [key=value …]")

if __name__ == "__main__":
    sys.exit(run(COMMAND))
