"""A fold's process, or that of folds which train together, started by ``processes.py``; nobody types it.

Standard output carries JSON events, the rest goes to the fold's log.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from bench.spec import UserError


def main(words: Sequence[str] | None = None) -> int:
    """Trains the folds that ``words`` name, else those of the process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="bench.crossval.fold")
    parser.add_argument("run", type=Path)
    parser.add_argument("numbers", type=int, nargs="+")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", choices=("true", "graph", "auto"))
    parser.add_argument("--fused", choices=("true", "auto"))
    parser.add_argument("--ranks", type=json.loads, help="how this process meets the others that train the fold")
    arguments = parser.parse_args(words)
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints belongs in the log, from its import on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from bench.crossval.fold_training import Options, train_fold

    given = (arguments.device, arguments.threads, arguments.compile)
    options = Options(arguments.run, arguments.numbers[0], *given)
    try:
        if arguments.ranks:
            from bench.training import ranks
            from bench.training.device import choose

            ranks.join(device=choose(arguments.device), **arguments.ranks)
        if arguments.fused:
            from bench.crossval.fused import train_folds

            return min(1, train_folds(options, arguments.numbers, arguments.fused == "true", events, _sentence))
        train_fold(options, events)
        if arguments.ranks:
            ranks.leave()
    except Exception as error:
        told = _sentence(error)
        if told is None:
            raise
        print(told, file=sys.stderr)
        return 1
    return 0


def _sentence(error: BaseException) -> str | None:
    """An error that may be expected, in words; None for others, of which the whole traceback is wanted."""
    from bench.training.loop import LossIsNaN

    if isinstance(error, UserError | LossIsNaN):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{where}; free some space, the same command goes on from the last epoch"
    return None


def _end_with_parent() -> None:
    """Ends this process when its standard input closes: the parent is gone, and may be started again any moment."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
