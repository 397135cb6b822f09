"""A training in Python: the words of a command composed into a job, and the job done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import extensions
from bench.cli.command import Command
from bench.cli.errors import code_of, sentence, unknown_key
from bench.cli.words import name_extensions
from bench.runs.outcome import Outcome
from bench.runs.recipe import Recipe, composed
from bench.spec import UserError

COMMAND = Command("train", "", lambda: None, config="train")


@dataclass(frozen=True)
class Job:
    """What ``python -m bench.train <words>`` would train. ``recipe`` is what it was asked for, in types;
    ``names``: group → the option chosen."""

    words: tuple[str, ...]
    recipe: Recipe = field(repr=False)
    names: dict[str, str] = field(repr=False)

    def fit(self) -> Outcome:
        """Trains and collects as the command does; a job that was done before trains nothing anew.

        Raises UserError for a mistake in the words or in the files, RuntimeError where a fold failed.
        """
        from bench.crossval import stages

        def with_more(overrides: list[str]) -> stages.Composed:
            more = compose([*self.words, *overrides])
            return more.recipe, more.names

        outcome = stages.train(self.recipe, self.names, with_more)
        if outcome.failed:
            raise RuntimeError(f"{outcome.sentence} ({outcome.run.folder})")
        return outcome


def compose(words: Sequence[str]) -> Job:
    """The job of these words, which are those of ``python -m bench.train``; UserError for one that it would refuse."""
    from bench.cli import compose as composing
    from bench.cli.schema import SCHEMAS, unread

    name_extensions(words)
    try:
        config, names = composing.compose("train", words)
    except Exception as error:
        if code_of(error) == 1:  # no mistake of a person
            raise
        raise UserError(sentence(error, COMMAND)) from error
    for key in unread(config, SCHEMAS["train"]):
        raise UserError(unknown_key(key, COMMAND))
    extensions.add(config.get("extensions"))
    return Job(tuple(words), composed(Recipe, config, COMMAND.module), names)
