"""Lists finished runs, the best first: scores, seeds together, cost and disk.

python -m bench.leaderboard
python -m bench.leaderboard runs=dataset=heartbeat,model=mlp top=5
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.cli.command import RUNS, Command
from bench.cli.door import run

ABOUT = """Lists the finished runs of the outputs, a table for each data set and metric, simulated data apart. Runs that
differ in their seed alone are one row: their mean and its deviation over seeds; a single run's is over its folds. The
95 % interval is that of the mean fold score, over folds and seeds: a t-interval, corrected for folds that share rows
(Nadeau and Bengio); a heuristic, and no test: python -m bench.compare says whether two runs differ. Time is what epochs
have taken, MB the folders' size. runs= takes a query over configs, as bench.compare does: runs=dataset=hms,loss=kl, or
runs=sweep=<name> for a search. The best score of many flatters: confirm it."""


def work(config: dict[str, Any], names: dict[str, str]) -> None:
    from bench.cli.schema import Leaderboard
    from bench.cli.standings import show
    from bench.comparison.significance import over_folds
    from bench.runs.records import parse

    keys = parse(Leaderboard, config, None)
    show(keys.runs, Path(keys.outputs), keys.top, keys.to, over_folds)


COMMAND = Command("leaderboard", ABOUT, work, config="leaderboard", usage="[runs=<query>] [key=value …]", texts=RUNS)

if __name__ == "__main__":
    sys.exit(run(COMMAND))
