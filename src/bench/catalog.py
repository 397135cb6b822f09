"""What there is to choose from: every option in conf/, what fits what, and models' parameter counts.

python -m bench.catalog
python -m bench.catalog dataset=heartbeat
python -m bench.catalog model=wavenet loss=focal
python -m bench.catalog dataset=heartbeat dataset.root=<folder> model=mlp
"""

from __future__ import annotations

import sys

from bench.cli.command import Command
from bench.cli.door import run

ABOUT = """Lists what a training command can choose from. The words are those of python -m bench.train, so a command's
own words tell what it would train on: without words everything, a line each; dataset= its files, features and each
model's parameter count; model= its options with their defaults, and the data sets it trains on; several at once.

Shapes and counts come from the files in dataset.root or data/<dataset>; where there are none, from a few simulated
ones in a temporary folder. Nothing is trained and nothing is kept.

Groups: {groups}."""


def work(words: list[str]) -> None:
    from bench.cli.pages import show

    show(words)


COMMAND = Command("catalog", ABOUT, work, config="train", composed=False, usage="[group=option …] [key=value …]")

if __name__ == "__main__":
    sys.exit(run(COMMAND))
