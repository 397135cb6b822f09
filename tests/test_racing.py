"""Candidates of a search that are dropped: between folds by a race or a pruner, within a fold by epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from bench.cli.door import run
from bench.crossval.dropped import Dropped, Judged
from bench.crossval.progress import Lines
from bench.runs.run import Run
from bench.runs.scores import Scores
from bench.search import pruning, racing, results, space, study
from bench.search.trials import _first, _folds, _only
from bench.spec import Direction, UserError
from bench.train import COMMAND
from conftest import small_overrides


def test_a_race_of_two_is_the_corrected_paired_test() -> None:
    """With two candidates the pooled residuals are the paired differences', so the paired test decides."""
    from bench.comparison.significance import corrected_t_test

    rng, dropped = np.random.default_rng(0), []
    for _ in range(200):
        scores = rng.normal(0, 1, (2, 5)) + rng.normal(0, 2, 5)
        scores[1] -= 1.2
        test = corrected_t_test(scores[0] - scores[1], 1 / 4)
        one_sided = test.p / 2 if test.mean > 0 else 1 - test.p / 2
        expected = [test.mean < 0 and 1 - one_sided < racing.LEVEL, one_sided < racing.LEVEL]
        assert racing.losers(scores, 1 / 4).tolist() == expected
        dropped.append(any(expected))
    assert 0.1 < np.mean(dropped) < 0.9, "both ends of the test were seen"


def test_equal_candidates_are_rarely_dropped_and_far_ones_always() -> None:
    rng, wrongly = np.random.default_rng(1), []
    for _ in range(200):
        scores = rng.normal(0, 1, (10, 4)) + rng.normal(0, 3, 4)
        scores[7] -= 30
        out = racing.losers(scores, 1 / 9)
        assert out[7]
        assert not out[np.argmax(scores.mean(axis=1))], "the best stays"
        wrongly.append(out[np.arange(10) != 7].mean())
    assert np.mean(wrongly) < 0.2


def test_a_candidate_far_off_hides_nobody() -> None:
    """Its own variance would hide the second worst; it is dropped first, and the test repeated."""
    scores = np.array([[1.0, 1.1, 0.9], [0.8, 0.9, 0.7], [-90.0, 40.0, -80.0]])
    assert racing.losers(scores, 1 / 9).tolist()[:2] == [False, False]
    scores[2] = [-90.0, -40.0, -80.0]
    assert racing.losers(scores, 1 / 9).tolist() == [False, True, True]


def test_equal_scores_drop_nobody() -> None:
    assert not racing.losers(np.full((4, 3), 0.1 + 0.2), 0.25).any()


@pytest.mark.parametrize("shape", [(3, 1), (3,)])
def test_one_fold_is_no_race(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2 folds"):
        racing.losers(np.zeros(shape), 0.25)


def test_a_round_trains_the_first_of_the_folds_that_the_command_names() -> None:
    assert _first(["a=1"], 2) == ["a=1", "folds.only=[0,1]"]
    assert _first(["folds.only=[4,2,0]", "a=1"], 2) == ["a=1", "folds.only=[0,2]"]
    assert _first(["a=1", "folds.only=[4]"], None) == ["a=1", "folds.only=[4]"]
    assert _only(["folds.only=null"]) is None
    with pytest.raises(UserError, match="must name folds"):
        _only(["folds.only=all"])


def test_folds_are_compared_by_their_numbers() -> None:
    """A run that an earlier command has trained has more folds than this round's."""
    known = _scores(fold_numbers=(0, 1, 2, 4), folds=(0.1, 0.9, 0.3, 0.5))
    assert _folds(known, [0, 2, 4]) == [0.1, 0.3, 0.5]


def _scores(**facts: tuple[float, ...]) -> Scores:
    rest = {"oof": 0.5, "mean": 0.5, "std": 0.0, "baseline": 1.0, "rows": 9, "accuracy": 0.5}
    return Scores(metric="kl", direction=Direction.MIN, complete=False, simulated=True, identity="0", **rest, **facts)  # type: ignore[arg-type]


Words = Callable[..., list[str]]


@pytest.fixture
def words(beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Words:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "_pictures", lambda search, metric: [])  # test_search looks at them

    def command(*more: str) -> list[str]:
        few = ["train.min_steps=1", "split.n_splits=5", "hydra.sweeper.name=s", "tracking.enabled=false"]
        few += ["pictures=false"]
        return ["-m", "hydra/sweeper=optuna", *small_overrides(beats, tmp_path), *few, *more]

    return command


def folds(tmp_path: Path) -> dict[str, int]:
    """Finished folds by learning rate."""
    runs = [Run(path.parent) for path in tmp_path.glob("outputs/heartbeat/mlp/*/config.yaml")]
    return {str(run.recipe.optimizer["lr"]): sum(fold.finished for fold in run.folds) for run in runs}


@pytest.mark.slow
@pytest.mark.usefixtures("one_process", "one_thread")
def test_a_race_drops_what_cannot_win_after_three_folds_and_goes_on_after_a_kill(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    race = words("train.epochs=2", "hydra.sweeper.race=true", "hydra.sweeper.sampler=grid")
    race += ["optimizer.lr=choice(0.01,1e-9,-1)"]
    test_of_losers = racing.losers
    monkeypatch.setattr(racing, "losers", lambda scores, ratio: _interrupt())
    assert run(COMMAND, race) == 130
    assert folds(tmp_path) == {"0.01": 3, "1e-09": 3}
    monkeypatch.setattr(racing, "losers", test_of_losers)
    capsys.readouterr()
    assert run(COMMAND, race) == 0
    said = capsys.readouterr()
    assert "1 of 2 candidates are in after 3 of 5 folds" in said.err
    assert "1 trials complete, 1 dropped, 1 failed" in said.out
    assert "epochs    16 of about 20 (20% saved)" in said.out
    assert folds(tmp_path) == {"0.01": 5, "1e-09": 3}
    assert run(COMMAND, race) == 0
    assert folds(tmp_path) == {"0.01": 5, "1e-09": 3}, "nobody is started again"


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_pruned_fold_ends_early_and_goes_on_without_the_search(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "pruner", lambda name: _impatient())
    grid = ["hydra.sweeper.sampler=grid", "hydra.sweeper.seed=1", "optimizer.lr=choice(0.01,1e-9)"]
    few = ["train.epochs=200", "folds.only=[0,1]"]
    assert run(COMMAND, words(*few, "hydra.sweeper.prune=median", *grid)) == 0
    _, spanned = space.parsed(grid[2:])
    with study.opened(tmp_path / "outputs/searches/s", None, "s", "minimize", "random", 0, spanned) as search:
        better, worse = search.study.trials
    assert better.params["optimizer.lr"] == "0.01", "the grid's seed puts it first"
    assert (better.state.name, worse.state.name) == ("COMPLETE", "PRUNED")
    assert worse.user_attrs["dropped"] == "fold 0 at epoch 1"
    dropped = Run(Path(worse.user_attrs["run"]))
    assert 1 <= len(dropped.fold(0).history()) < 200
    assert dropped.state()["status"] == "partial"
    alone = [word for word in words(*few)[2:] if not word.startswith("hydra.")]
    assert run(COMMAND, [*alone, "optimizer.lr=1e-9"]) == 0
    assert [len(dropped.fold(number).history()) for number in (0, 1)] == [200, 200]


def _impatient() -> object:
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=1)


@pytest.mark.parametrize("name", pruning.PRUNERS)
def test_the_judge_plays_earlier_trials_to_optuna(tmp_path: Path, name: str) -> None:
    """Ten good runs; a bad one is given up, a good one is not. What can't be read of a run is left out."""
    runs = {}
    for number in range(10):
        folder = tmp_path / str(number)
        fold = Run(folder).fold(0)
        fold.folder.mkdir(parents=True)
        if number == 3:
            (fold.folder / "history.json").write_text("{")
        else:
            fold.write_history([{"epoch": e, "valid/kl": 1.0 / e} for e in range(1, 10)])
        runs[number] = str(folder)
    note = {"trial": 11, "prune": name, "study": "s", "direction": "minimize", "metric": "kl", "earlier": runs}

    def epochs(value: float) -> int:
        judge = pruning._Judge(note, {})
        return next((e for e in range(1, 10) if not judge(0, {"epoch": e, "valid/kl": value / e})), 10)

    assert epochs(5.0) < 10
    assert epochs(0.5) == 10
    assert pruning._Judge(note, {})(0, {"epoch": 1}), "folds that validate nothing are not judged"


def test_a_display_passes_on_what_the_judge_has_not_ended(tmp_path: Path) -> None:
    seen: list[int] = []
    judged = Judged(Lines("kl", 3), lambda fold, event: seen.append(event["epoch"]) or event["epoch"] < 2)  # type: ignore[func-returns-value]
    event = {"kind": "epoch", "train/loss": 1.0, "seconds": 1.0}
    judged.event(4, {"kind": "note", "text": "here"})
    judged.event(4, event | {"epoch": 1})
    with pytest.raises(Dropped, match="fold 4 at epoch 2"):
        judged.event(4, event | {"epoch": 2})
    assert seen == [1, 2]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["hydra.sweeper.race=true", "hydra.sweeper.burn_in=2"], "burn_in must be 3 or more"),
        (["hydra.sweeper.prune=best"], "prune=best is not one of median, hyperband"),
        (["hydra.sweeper.race=true", "split.n_splits=3"], "split.n_splits=3 makes no more"),
    ],
)
def test_what_is_no_race_is_one_sentence(
    words: Words, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(COMMAND, words(*more, "optimizer.lr=0.1,0.2")) == 2
    assert sentence in capsys.readouterr().err


def test_a_dropped_trial_answers_for_equal_parameters(tmp_path: Path) -> None:
    spanned = {"a": FloatDistribution(0.0, 1.0)}
    with study.opened(tmp_path, None, "s", "minimize", "random", 0, spanned) as search:
        trial = search.ask()
        search.lags(trial.number, 0.5, 3)
        search.drop(trial.number, run="r", dropped="after 3 of 5 folds")
        same = search.finished_with(trial.params)
    assert same is not None
    assert (same.state.name, same.value, same.user_attrs["dropped"]) == ("PRUNED", 0.5, "after 3 of 5 folds")
