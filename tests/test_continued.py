"""resume_from: more epochs than before, in the bits of a training from the beginning; refused where it could not be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.crossval.continued import advise, obstacle, take_over
from bench.crossval.plan import Plan, make_plan
from bench.runs.frames import read_frame
from bench.runs.run import Run
from bench.spec import UserError
from conftest import compose, small_overrides, train_here

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def trained(beats: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Run]:
    """Words, and the run of two epochs that they train."""
    words = small_overrides(beats, tmp_path_factory.mktemp("trained"))
    return words, train_here(*compose(*words, "train.epochs=2"))


def planned(*words: str) -> Plan:
    return make_plan(*compose(*words))


def test_going_on_ends_in_the_bits_of_training_from_the_beginning(
    trained: tuple[list[str], Run], beats: Path, tmp_path: Path
) -> None:
    words, before = trained
    straight = train_here(*compose(*small_overrides(beats, tmp_path), "train.epochs=4"))
    more = [*words, "train.epochs=4", f"resume_from={before.folder}"]
    take_over(planned(*more))
    run = train_here(*compose(*more))
    assert run.identity == straight.identity, "how a run was begun is no part of what it is"
    for fold, other in zip(run.folds, straight.folds, strict=True):
        assert fold.history()[:2] == before.fold(fold.number).history(), "the first epochs were not trained again"
        assert [e["train/loss"] for e in fold.history()] == [e["train/loss"] for e in other.history()]
        mine, its = (torch.load(f.checkpoint, weights_only=True)["model"] for f in (fold, other))
        assert all(torch.equal(mine[name], its[name]) for name in its)
        assert read_frame(fold.oof).equals(read_frame(other.oof))
        assert before.fold(fold.number).finished, "the shorter run stays as it was"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("optimizer.lr=0.01", r"more than its epochs: optimizer\.lr \(0\.001 there, 0\.01 here\); init_from="),
        ("seed=1", r"more than its epochs: seed \(0 there, 1 here\)"),
        ("train.epochs=1", "it has 2 epochs, and this one 1; set train.epochs above 2"),
    ],
)
def test_what_is_another_training_is_refused(word: str, sentence: str, trained: tuple[list[str], Run]) -> None:
    words, before = trained
    plan = planned(*words, "train.epochs=3", word, f"resume_from={before.folder}")
    with pytest.raises(UserError, match=sentence):
        take_over(plan)
    assert not plan.run.folder.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["scheduler=cosine"], "the learning rate of scheduler=cosine depends on the number of epochs"),
        (["augment=mixup", "augment.mixup.until=0.5"], "an augmentation ends at a share of the epochs"),
        (["scheduler=plateau", "augment=mixup"], None),
    ],
)
def test_what_depends_on_the_number_of_epochs_is_an_obstacle(
    words: list[str], sentence: str | None, beats: Path, tmp_path: Path
) -> None:
    here = [*small_overrides(beats, tmp_path), *words]
    why = obstacle(planned(*here, "train.epochs=2"), planned(*here, "train.epochs=1").recipe)
    assert why is None if sentence is None else sentence in str(why)


def test_a_shorter_run_is_offered(trained: tuple[list[str], Run], capsys: pytest.CaptureFixture[str]) -> None:
    words, before = trained
    plan = planned(*words, "train.epochs=3")
    capsys.readouterr()
    advise(plan)
    assert f"resume_from={before.identity} goes on from there" in capsys.readouterr().err
    advise(planned(*words, "train.epochs=3", "seed=3"))
    assert "resume_from" not in capsys.readouterr().err
