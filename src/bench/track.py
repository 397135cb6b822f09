"""Sends runs to MLflow from their folders: what a dead server missed, or as a training goes (--follow).

python -m bench.track outputs/hms/wavenet/1f3a90c2d4e5
"""

from __future__ import annotations

import argparse
import stat
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.track", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, as train printed it")
    parser.add_argument("--uri", help="where to; else the run's tracking.uri, else the database in its outputs folder")
    parser.add_argument("--follow", action="store_true", help="stay, and send what the run writes until it ends")
    parser.add_argument("--wait", type=float, default=30.0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    import os

    from bench.runs.run import Run
    from bench.spec import UserError
    from bench.tracking.follower import follow
    from bench.tracking.mirror import Mirror, TrackingError, default_uri, page

    held = False
    if options.uri == "-":  # a training that holds us by our stdin says it there
        options.uri, held = sys.stdin.readline().strip(), stat.S_ISFIFO(os.fstat(0).st_mode)
    try:
        runs = [Run.open(folder) for folder in options.runs]
        if options.follow and len(runs) > 1:
            raise UserError("--follow takes one run; start one process for each")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    code = 0
    for run in runs:
        uri = options.uri or run.made_by.tracking.uri or default_uri(run.folder.parents[2])
        mirror = Mirror(run, uri)
        if options.follow:
            return follow(mirror, options.wait, held)
        try:
            complete = mirror.sync()
        except TrackingError as error:
            print(f"{run.folder}: {error}; start it or give another --uri, and run this again", file=sys.stderr)
            code = 1
            continue
        sent = ", ".join(f"{count} {what}" for what, count in mirror.sent.items()) or "nothing new"
        later = "" if complete else " (it goes on)"
        print(f"{run.folder}: sent {sent}{later}; {page(uri, run.folder / 'tracking.json')}")
    return code


if __name__ == "__main__":
    sys.exit(main())
