"""Looks at this machine: versions, GPU, disk, stores, runs, tracking, and trains a small model; for a bug report.

python -m bench.doctor
python -m bench.doctor self_test=false outputs=/data/outputs
"""

from __future__ import annotations

import sys
from typing import Any

from bench.cli.command import Command
from bench.cli.door import run

ABOUT = """Says what bench needs to know of a machine, a line each: versions, processors, GPU, disk, stores, runs and
tracking; and trains a small model on simulated data, which takes some 20 seconds. Its output is made to be pasted into
a bug report: it holds neither passwords nor names of users. Ends with 2 where something would keep a training from
ending well."""


def work(config: dict[str, Any], names: dict[str, str]) -> None:
    from bench.cli.schema import Doctor
    from bench.crossval.health import examine
    from bench.runs.records import parse

    examine(parse(Doctor, config, None))


COMMAND = Command("doctor", ABOUT, work, config="doctor", usage="[key=value …]")

if __name__ == "__main__":
    sys.exit(run(COMMAND))
