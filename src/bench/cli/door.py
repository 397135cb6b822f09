"""What every Hydra door shares: a fast --help, and a person's mistake told in one sentence with exit code 2."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.cli.errors import NOT_THERE, reword, say_mistake, word
from bench.cli.help import help_page

if TYPE_CHECKING:
    from bench.runs.outcome import Outcome

TRACEBACK = "BENCH_FULL_ERROR"  # what HYDRA_FULL_ERROR was before main() took it over
MISTAKE, FAILED, INTERRUPTED = 2, 1, 130


def main(door: Callable[[], None], module: str, about: str, config: str) -> None:
    """Runs a Hydra door and ends the process with its exit code."""
    if {"-h", "--help"} & set(sys.argv[1:]):  # Hydra alone costs 0.7 s, and prints no more than this does
        print(help_page(module, about, config))
        sys.exit(0)
    for flag in ("-m", "--multirun"):  # argparse takes it before the first override or after the last only
        if flag in sys.argv[1:]:
            sys.argv.remove(flag)
            sys.argv.insert(1, flag)
    os.environ.setdefault(TRACEBACK, os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that we can say it in our words
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from bench.cli.schema import register
    from bench.cli.sweep import exit_code

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    register()
    signal.signal(signal.SIGTERM, interrupt)  # a scheduler's polite end is an interruption like Ctrl-C
    try:
        door()
    except (HydraException, OmegaConfBaseException) as error:
        if os.environ[TRACEBACK] == "1":
            raise
        say_mistake(reword(error, module, config))
        sys.exit(MISTAKE)
    except Exception as error:  # Hydra's own, on overrides it does not expect
        if os.environ[TRACEBACK] == "1":
            raise
        say_mistake(f"{error} ({type(error).__name__} while composing {' '.join(sys.argv[1:])})")
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        print("bench: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(exit_code())


def run_job(work: Callable[[], Outcome]) -> None:
    """Runs one job of a door and records its outcome; nothing but an interruption gets past it, so a sweep goes on."""
    from bench.cli import sweep
    from bench.spec import UserError

    if sweep.sweeping():
        print(f"\njob       {sweep.job_name()}", file=sys.stderr, flush=True)
    try:
        outcome = work()
        sweep.note(FAILED if outcome.failed else 0, outcome.run.folder, outcome.scores, outcome.sentence)
    except Exception as error:
        if os.environ[TRACEBACK] == "1":
            traceback.print_exc()
        mistake = isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in NOT_THERE)
        sentence = word(error)
        say_mistake(sentence)
        sweep.note(MISTAKE if mistake else FAILED, None, None, sentence)
