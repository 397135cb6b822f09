"""How every command runs: a fast --help, its words composed, one sentence and an exit code for whatever goes wrong."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench import extensions
from bench.cli.command import Command
from bench.cli.elsewhere import TRACEBACK
from bench.cli.errors import FAILED, INTERRUPTED, MISTAKE, code_of, say_mistake, sentence, unknown_key
from bench.cli.help import ALL, help_page
from bench.cli.streams import safe
from bench.cli.words import arranged, name_extensions
from bench.mistake import UserError

if TYPE_CHECKING:
    from bench.runs.outcome import Outcome


def run(command: Command, words: Sequence[str] | None = None) -> int:
    """Runs a command on ``words``, else on the process's own; returns the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    with safe(), _settings() as in_full:
        try:
            _refuse_torchrun(command)
            name_extensions(words)
            if {"-h", "--help"} & set(words):  # Hydra alone costs 0.7 s, and prints no more than this does
                print(help_page(command, ALL in words))
                return 0
            return _composed(command, words) if command.composed else int(command.work(words) or 0)
        except KeyboardInterrupt:
            print("bench: interrupted; the same command goes on from here", file=sys.stderr)
            return INTERRUPTED
        except Exception as error:
            if in_full:
                raise
            say_mistake(sentence(error, command))
            return code_of(error)


def _composed(command: Command, words: list[str]) -> int:
    """The words composed by Hydra, then the work: once, or once a job of a sweep."""
    flags, overrides = arranged(command, words)
    import hydra
    from omegaconf import DictConfig

    from bench.cli import compose, repeat, sweep

    if not {"-m", "--multirun"} & set(flags) and (named := [w for w in overrides if w.startswith("hydra/launcher=")]):
        raise UserError(f"{named[0]} runs the jobs of a sweep: add -m, or leave it out")
    config, repeated = str(command.config), {}
    if folder := repeat.run_of(flags):
        if config != "train":
            raise UserError(f"--config-path: a run is repeated by python -m bench.train alone; leave {folder} out")
        flags, repeated = repeat.without_folder(flags), repeat.register(folder, overrides)

    @hydra.main(
        version_base="1.3",
        config_path=str(extensions.primary(config).parent),
        config_name=repeat.NAME if repeated else config,
    )
    def job(composed: DictConfig) -> None:
        with sweep.joined(origin):
            _job(lambda: _work(command, *compose.plain(composed), repeated), command)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    compose.prepare(config)
    origin = sweep.begin()
    before, arguments = signal.signal(signal.SIGTERM, interrupt), sys.argv  # a scheduler's polite end is like Ctrl-C
    sys.argv = [arguments[0], *flags, *overrides]
    try:
        job()
    except Exception as error:
        if sweep.conclude(if_begun=True):  # a launcher that lost a worker, say
            say_mistake(f"the sweep was cut short ({type(error).__name__}: {error})")
            return FAILED  # whatever the jobs that began came to
        if code_of(error) == MISTAKE:
            raise
        raise UserError(_unexpected(error, overrides)) from error
    finally:
        sys.argv = arguments
        signal.signal(signal.SIGTERM, before)
    return sweep.exit_code()


def _work(command: Command, config: dict[str, Any], names: dict[str, str], repeated: dict[str, str]) -> Outcome | None:
    """One job's work, unless the config has keys that nothing reads."""
    from bench.cli.schema import SCHEMAS, unread

    for key in unread(config, SCHEMAS[str(command.config)]):
        raise UserError(unknown_key(key, command))
    extensions.add(config.get("extensions"))  # a launcher's process has not read the words
    outcome: Outcome | None = command.work(config, repeated | names)
    return outcome


def _unexpected(error: Exception, words: list[str]) -> str:
    """The sentence on what Hydra did not expect either."""
    calls = " ".join(word for word in words if "(" in word)
    if sys.flags.optimize and calls:  # its grammar's own steps stand in assertions
        return f"Hydra can't read {calls} where Python leaves assertions out; unset PYTHONOPTIMIZE, start without -O"
    return f"{error} ({type(error).__name__} while composing {' '.join(words)})"


def _job(work: Callable[[], Outcome | None], command: Command) -> None:
    """One job, and its outcome recorded; nothing but an interruption gets past it, so that a sweep goes on."""
    from bench.cli import sweep

    sweep.start()
    try:
        outcome = work()
    except Exception as error:
        if os.environ[TRACEBACK] == "1":
            import traceback

            traceback.print_exc()
        text = sentence(error, command)
        say_mistake(text)
        sweep.note(code_of(error), None, None, text)
    else:
        if outcome is None:
            sweep.note(0, None, None, None)
        else:
            code = FAILED if outcome.failed else 0
            sweep.note(code, outcome.run.folder, outcome.scores, outcome.sentence, outcome.dropped)


def _refuse_torchrun(command: Command) -> None:
    """Several processes of any other command would each do all of its work."""
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1" and command.config != "train":
        raise UserError(f"torchrun is for python -m bench.train alone; start {command.module} without it")


@contextmanager
def _settings() -> Iterator[bool]:
    """Hydra raises instead of printing, so that we can say it in our words; yields whether tracebacks are asked for.

    Cycles are collected after 100,000 new objects: after 700 it takes a fifth of the time of large imports.
    """
    often = gc.get_threshold()
    gc.set_threshold(100_000)
    before = {key: os.environ.get(key) for key in (TRACEBACK, "HYDRA_FULL_ERROR")}
    os.environ[TRACEBACK] = before[TRACEBACK] or before["HYDRA_FULL_ERROR"] or "0"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield os.environ[TRACEBACK] == "1"
    finally:
        gc.set_threshold(*often)
        for key, value in before.items():
            os.environ.pop(key)
            if value is not None:
                os.environ[key] = value
