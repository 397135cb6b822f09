"""Two stages in one command: a run that is trained first, and the run whose folds start from its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.crossval.run import cross_validate
from bench.runs.outcome import Outcome
from bench.spec import UserError
from bench.tell import say

Composed = tuple[dict[str, Any], dict[str, str]]


def train(config: dict[str, Any], names: dict[str, str], composed: Callable[[list[str]], Composed]) -> Outcome:
    """Trains what ``config`` describes, first the run of its ``pretrain``, if it names one.

    ``pretrain`` are overrides that turn the command into its first stage; ``composed`` is the command with more
    overrides. Each fold starts from the weights of its own number; of a first stage that trains one fold alone
    (``folds.only=[0]``: the others' rows are its hold-out), all start from that one.
    """
    overrides = config["pretrain"]
    if not overrides:
        return cross_validate(config, names)
    if config["init_from"]:
        raise UserError("pretrain and init_from both say what the folds start from; give one")
    say(f"stage 1   {' '.join(overrides)}")
    first_config, first_names = composed([*overrides, "pretrain=null"])
    first = cross_validate(first_config, first_names)
    if first.failed:
        return first
    only = first_config["folds"]["only"]
    source = first.run.folder
    if only is not None:
        if len(only) != 1:
            raise UserError(f"pretrain: folds.only={only} must name one fold, or be left out")
        source = first.run.fold(only[0]).folder
    say(f"stage 2   from {source}")
    return cross_validate({**config, "init_from": str(source)}, names)
