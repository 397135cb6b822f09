"""split=none: one training on all rows, for final submissions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bench import load
from bench.comparison import reading
from bench.crossval.plan import make_plan
from bench.crossval.run import cross_validate
from bench.datasets.base import open_to
from bench.ensembling import members
from bench.runs import frames
from bench.runs.selection import problem
from bench.spec import UserError
from conftest import Composed, train_here

Small = Callable[..., Composed]


@pytest.mark.usefixtures("one_process", "one_thread")
def test_all_rows_are_trained_on_and_the_run_predicts_and_has_no_score(
    small: Small, capsys: pytest.CaptureFixture[str]
) -> None:
    command = small("split=none", "split.n_splits=null", "train.keep=train_loss")
    outcome = cross_validate(*command)
    run = outcome.run
    said = "".join(capsys.readouterr())
    assert "every row is trained on and none is validated" in said
    assert "score     none: all rows were trained on" in said
    assert (outcome.scores, outcome.failed, run.scores()) == (None, [], None)
    assert not (run.folder / "oof.parquet").exists()
    assert (run.state()["status"], len(run.folds)) == ("finished", 1)
    assert open_to(pd.read_parquet(run.folder / "splits.parquet"), 0).all()
    assert all("train/loss" in entry and "valid/loss" not in entry for entry in run.fold(0).history())
    test = pd.read_parquet(run.folder / "test.parquet")
    again = load(run.folder, device="cpu").predict(str(command[0].dataset["root"]))
    np.testing.assert_allclose(frames.predictions(again), frames.predictions(test), atol=1e-6)
    assert (run.folder / "submission.csv").exists()
    assert cross_validate(*command).run == run
    assert "0 of 1 folds to train" in "".join(capsys.readouterr())
    assert problem(run) is None
    other = train_here(*small())
    for read in (lambda: members.read([other, run], "arithmetic"), lambda: reading.read([run, other])):
        with pytest.raises(UserError, match=r"was trained on all rows \(split=none\), so it has no out-of-fold"):
            read()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["train.keep=loss"], "train.keep=loss asks validation rows, and split=none has none; choose train.keep=last"),
        (["scheduler=plateau"], "scheduler=plateau asks validation rows"),
        (["split.n_splits=5"], r"split.n_splits=5, and split=none trains once .* set split.n_splits=null"),
        (["folds.only=[1]"], r"folds.only=\[1\] must name folds from 0 to 0"),
    ],
)
def test_what_asks_validation_rows_is_refused(small: Small, overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make_plan(*small("split=none", "split.n_splits=null", *overrides))


def test_a_run_on_all_rows_may_not_teach_one_that_validates(small: Small) -> None:
    everything = train_here(*small("split=none", "split.n_splits=null"))
    with pytest.raises(UserError, match="trained on"):
        make_plan(*small("pseudo=teachers", "pseudo.rows=test", f"pseudo.runs=[{everything.folder}]", "folds.only=[0]"))
