"""Two stages in one command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.crossval import stages
from bench.runs.run import Run
from bench.spec import UserError
from conftest import Composed

pytestmark = pytest.mark.slow


def train(small: Callable[..., Composed], *overrides: str) -> Run:
    config, names = small(*overrides)
    outcome = stages.train(config, names, lambda more: small(*overrides, *more))
    assert not outcome.failed
    return outcome.run


@pytest.mark.usefixtures("one_process")
def test_each_fold_of_the_second_stage_starts_from_the_same_fold_of_the_first(
    small: Callable[..., Composed],
) -> None:
    run = train(small, "optimizer.lr=0.01", "pretrain=['loss=ce']")
    first = Path(run.recipe.init_from or "")
    assert Run.open(first).recipe.loss["_target_"] == "bench.losses.ce.ce"
    still = train(small, "optimizer.lr=0.01", f"init_from={first}")
    assert still.folder == run.folder  # the same run, asked for in two commands


@pytest.mark.usefixtures("one_process")
def test_a_first_stage_of_one_fold_is_what_all_start_from_unless_it_saw_their_rows(
    small: Callable[..., Composed],
) -> None:
    with pytest.raises(UserError, match=r"folds/0: its weights were trained on \d+ rows that fold 1 validates"):
        train(small, "pretrain=['folds.only=[0]']")
    run = train(small, "pretrain=['folds.only=[0]']", "folds.only=[0]")
    assert str(run.recipe.init_from).endswith("folds/0")


def test_two_sources_are_one_too_many(small: Callable[..., Composed]) -> None:
    with pytest.raises(UserError, match="pretrain and init_from both say"):
        train(small, "init_from=x", "pretrain=['loss=ce']")
