"""Sends runs to MLflow from their folders: what a dead server missed, or as a training goes (--follow).

python -m bench.track outputs/hms/wavenet/1f3a90c2d4e5
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from typing import NoReturn

from bench.cli.command import Command
from bench.cli.door import run
from bench.cli.errors import FAILED
from bench.mistake import UserError

ABOUT = """Sends runs to MLflow from their folders: what a dead server missed, or, as a training goes, all of it.

  RUN         a run's folder, as train printed it, or a search's
  --uri URI   where to, or run: where its folder says; without it
              MLFLOW_TRACKING_URI, else the database in its outputs
  --follow    stay, and send what the run writes until it ends"""


class Words(argparse.ArgumentParser):
    """A parser whose complaints are a sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; python -m bench.track --help shows how it is written")


def work(words: list[str]) -> int:
    parser = Words(prog="python -m bench.track", add_help=False)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--uri")
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--wait", type=float, default=30.0)
    options = parser.parse_args(words)
    held = False
    if options.uri == "-":  # a training that holds us by our stdin says it there
        options.uri, held = sys.stdin.readline().strip(), stat.S_ISFIFO(os.fstat(0).st_mode)
    from bench.tracking.follower import send

    return FAILED if not send(options.runs, options.uri, options.follow, options.wait, held) else 0


COMMAND = Command("track", ABOUT, work, composed=False, usage="[--uri URI] [--follow] RUN [RUN …]")

if __name__ == "__main__":
    sys.exit(run(COMMAND))
