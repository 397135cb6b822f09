"""One fold's process, started by ``processes.py``; nobody types it.

Standard output carries JSON events, the rest goes to the fold's log.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from bench.spec import UserError


def main(words: Sequence[str] | None = None) -> int:
    """Trains the fold that ``words`` name, else those of the process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="bench.crossval.fold")
    parser.add_argument("run", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", choices=("true", "graph"))
    arguments = parser.parse_args(words)
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints belongs in the log, from its import on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from bench.crossval.fold_training import Options, train_fold
    from bench.training.loop import LossIsNaN

    try:
        train_fold(Options(**vars(arguments)), events)
    except (UserError, LossIsNaN) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = error.filename or arguments.run
        print(
            f"the disk is full ({where}); free some space, the same command goes on from the last epoch",
            file=sys.stderr,
        )
        return 1
    return 0


def _end_with_parent() -> None:
    """Ends this process when its standard input closes: the parent is gone, and may be started again any moment."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
