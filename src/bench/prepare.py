"""Gets a data set's files, checks every one, tells what storing its features costs, and stores them.

python -m bench.prepare dataset=hms source=kaggle
python -m bench.prepare dataset=seti model=cnn2d --check
python -m bench.prepare -m dataset=seti features=seti_stacked shard.count=8 'shard.index=range(0,8)'
"""

from __future__ import annotations

import sys
from typing import Any

from bench.cli.command import Command
from bench.cli.door import run

ABOUT = """Takes a person from nothing to a built store: gets a competition's raw files, looks at every one of them,
measures on a few examples what storing their features costs, and stores them. What stands is not done again.
shard.count= parts the rows: each job of -m fills one part, under any launcher, and the one that ends last joins them
into the store that training finds."""


def work(config: dict[str, Any], names: dict[str, str]) -> None:
    from bench.cli.schema import Prepare
    from bench.crossval.prepared import prepare
    from bench.runs.records import parse

    prepare(parse(Prepare, config, None), names)


COMMAND = Command("prepare", ABOUT, work, config="prepare")

if __name__ == "__main__":
    sys.exit(run(COMMAND))
