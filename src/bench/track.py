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
from bench.spec import UserError

ABOUT = """Sends runs to MLflow from their folders: what a dead server missed, or, as a training goes, all of it.

  RUN         a run's folder, as train printed it
  --uri URI   where to; else the run's tracking.uri, else the database in its outputs folder
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
    return send(options.runs, options.uri, options.follow, options.wait, held)


def send(folders: list[str], uri: str | None, follows: bool, wait: float, held: bool) -> int:
    """Sends what MLflow lacks of the runs; FAILED where a server or database did not take it."""
    from bench.runs.run import Run
    from bench.tracking.follower import follow
    from bench.tracking.mirror import Mirror, TrackingError, default_uri, page

    runs, code = [Run.open(folder) for folder in folders], 0
    if follows and len(runs) > 1:
        raise UserError("--follow takes one run; start one process for each")
    for one in runs:
        to = uri or (one.config.get("tracking") or {}).get("uri") or default_uri(one.folder.parents[2])
        mirror = Mirror(one, to)
        if follows:
            return follow(mirror, wait, held)
        try:
            complete = mirror.sync()
        except TrackingError as error:
            print(f"{one.folder}: {error}; start it or give another --uri, and run this again", file=sys.stderr)
            code = FAILED
            continue
        sent = ", ".join(f"{count} {what}" for what, count in mirror.sent.items()) or "nothing new"
        later = "" if complete else " (it goes on)"
        print(f"{one.folder}: sent {sent}{later}; {page(to, one.folder / 'tracking.json')}")
    return code


COMMAND = Command("track", ABOUT, work, usage="[--uri URI] [--follow] RUN [RUN …]")

if __name__ == "__main__":
    sys.exit(run(COMMAND))
