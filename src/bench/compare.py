"""Compares finished runs: by fold, by class and by row, in tables, figures and a verdict.

python -m bench.compare runs=[outputs/hms/wavenet/1f3a90c2d4e5,outputs/hms/mlp/77aa01be93fd]
"""

from __future__ import annotations

import sys
from typing import Any

from bench.cli.command import RUNS, Command
from bench.cli.door import run

ABOUT = """Says whether two or more finished runs on the same rows and folds are really different: scores by fold with a
corrected t-test, an interval of the out-of-fold difference from resampled rows (whole groups), scores by class, the
rows where the runs disagree most, and pictures; a verdict in a sentence; and report.html, a page with all of it. Each
run's folder gets a copy of the page, and so does its MLflow page where there is one. The last line names the folder
that holds it all. A run is a folder, an identity's first digits, latest, or a query: runs=dataset=hms,loss=kl; best:3
are the best three."""


def work(config: dict[str, Any], names: dict[str, str]) -> None:
    from bench.cli.schema import Compare
    from bench.comparison.command import compare
    from bench.runs.records import parse

    compare(parse(Compare, config, None))


COMMAND = Command("compare", ABOUT, work, config="compare", usage="runs=[<run>,<run>,…] [key=value …]", texts=RUNS)

if __name__ == "__main__":
    sys.exit(run(COMMAND))
