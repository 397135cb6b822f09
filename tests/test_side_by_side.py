"""Two commands that train different folds of one run work side by side, and whichever ends last collects all."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from filelock import FileLock

from bench.crossval.run import cross_validate
from bench.runs.facts import CLAIM
from bench.runs.outcome import Outcome
from bench.spec import UserError
from conftest import Composed
from mlflow_server import until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_process")]


def test_a_command_trains_folds_beside_another_and_collects_after_it(
    small: Callable[..., Composed], capsys: pytest.CaptureFixture[str]
) -> None:
    run = cross_validate(*small("folds.only=[0]")).run
    assert run.state()["status"] == "partial"
    outcomes: list[Outcome] = []
    second = threading.Thread(target=lambda: outcomes.append(cross_validate(*small())))
    with FileLock(run.folder / ".lock"):  # as a command that still works on the run
        second.start()
        until(run.fold(1).done.exists, 60)
        second.join(0.5)
        assert second.is_alive(), "it waits for its turn"
    second.join(60)
    assert outcomes[0].failed == []
    assert outcomes[0].scores is not None
    assert outcomes[0].scores.complete
    assert run.state()["status"] == "finished"
    told = capsys.readouterr().err
    assert "this command trains fold 1 beside it" in told
    assert "to end, and collects then" in told


def test_folds_that_another_command_trains_are_left_to_it(
    small: Callable[..., Composed], capsys: pytest.CaptureFixture[str]
) -> None:
    run = cross_validate(*small("folds.only=[0]")).run
    with FileLock(run.fold(1).folder / CLAIM):
        outcome = cross_validate(*small())
        assert outcome.scores is not None
        assert outcome.scores.fold_numbers == (0,)
        assert run.state()["status"] == "partial"
        assert "another command trains fold 1;" in capsys.readouterr().err
        with FileLock(run.folder / ".lock"), pytest.raises(UserError, match="is being trained by another command"):
            cross_validate(*small())
    assert not run.fold(1).done.exists()
