"""Deletes failed and interrupted runs, or others that are named: shows which, asks, keeps what is in use.

python -m bench.clean
python -m bench.clean runs=dataset=heartbeat,model=mlp what=superseded dry_run=true
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.cli.command import RUNS, Command
from bench.cli.door import run

ABOUT = """Deletes runs from the outputs, after a table of them and a question. what=failed (failed, or broken off) and
what=partial (some folds alone, as was asked) take all such runs unless runs= says which; with runs=<query> also damaged
(finished once, files are missing), superseded (finished, but its command makes another run now, of other data or by a
later version), finished, or all. Several: what=failed,partial.
Never deleted: what is being trained or waits in a queue; what a run that stays starts from (init_from, pseudo) or
blends; what is exported or registered; the best run of a model on a data set, unless it is named itself; links, and
what is no run's folder. These outputs alone are looked through. MLflow's pages, features and sweeps' tables stay."""


def work(config: dict[str, Any], names: dict[str, str]) -> None:
    from bench.cli.clearing import clean
    from bench.cli.schema import Clean
    from bench.crossval.tickets import alive
    from bench.runs.records import parse

    keys = parse(Clean, config, None)
    clean(keys, Path(keys.outputs), alive)


WORDS = {**RUNS, "what": RUNS["runs"]}
COMMAND = Command("clean", ABOUT, work, config="clean", usage="[runs=<query>] [what=failed] [key=value …]", texts=WORDS)

if __name__ == "__main__":
    sys.exit(run(COMMAND))
