"""hydra/sweeper=optuna: spaces in Hydra's words, trials that fail, searches that go on, and what they leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bench.cli.door import run
from bench.paths import conf
from bench.runs.selection import select
from bench.search import results, space, study
from bench.spec import UserError
from bench.train import COMMAND
from bench.training import parts
from conftest import compose, small_overrides
from tiny import options

Small = Callable[[], list[str]]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a=1,2", CategoricalDistribution(["1", "2"])),
        ("a=choice([1,2],[3])", CategoricalDistribution(["[1,2]", "[3]"])),
        ("a=range(1,6,2)", IntDistribution(1, 5, step=2)),
        ("a=range(0.5,2.0,0.5)", CategoricalDistribution(["0.5", "1.0", "1.5"])),
        ("a=interval(0,1)", FloatDistribution(0, 1)),
        ("a=int(interval(1,4))", IntDistribution(1, 4)),
        ("a=tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
    ],
)
def test_hydras_syntax_spans_a_space(word: str, expected: object) -> None:
    fixed, spanned = space.parsed(["b=3", word, "b=4"])
    assert (fixed, spanned) == (["b=4"], {"a": expected})


def test_a_later_word_takes_a_key_out_of_the_space() -> None:
    assert space.parsed(["a=1,2", "a=3"]) == (["a=3"], {})


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("a=interval(2,1)", "interval.2.0,1.0. is empty"),
        ("a=tag(log,interval(0,1))", "must begin above 0"),
        ("a=range(3,3)", "has no value"),
        ("a=interval(", "interval"),
    ],
)
def test_a_space_that_is_none_is_one_sentence(word: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        space.parsed([word])


@pytest.mark.parametrize("model", [path.stem for path in sorted((conf() / "sweep").glob("*.yaml"))])
def test_the_space_of_each_model_names_keys_that_it_has(model: str) -> None:
    config, _ = compose(f"model={model}"), None
    lines = [line for line in (conf() / "sweep" / f"{model}.yaml").read_text().splitlines() if not line.startswith("#")]
    _, spanned = space.parsed([line.replace(": ", "=", 1) for line in lines])
    keys = {key.removeprefix("model.") for key in spanned if key.startswith("model.")}
    assert keys <= set(config[0].model)
    rate = set() if parts.solved(config[0].model) else {"optimizer.lr"}
    assert set(spanned) - {f"model.{key}" for key in keys} == rate


def test_every_model_has_a_space() -> None:
    assert options("sweep") == options("model")


@pytest.fixture
def words(beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    few = ["train.epochs=1", "train.min_steps=1", "hydra.sweeper.name=s", "pictures=false"]
    return ["-m", "hydra/sweeper=optuna", *small_overrides(beats, tmp_path), *few]


def runs(folder: Path) -> list[Path]:
    return sorted(folder.glob("outputs/heartbeat/mlp/*/scores.json"))


@pytest.mark.slow
@pytest.mark.usefixtures("one_process", "one_thread")
def test_a_search_survives_what_fails_goes_on_and_names_its_runs(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [*words, "hydra.sweeper.sampler=grid", "hydra.sweeper.n_trials=9"]
    assert run(COMMAND, [*grid, "optimizer.lr=choice(0.01,-1,0.001)"]) == 0, "a trial that fails is not fatal"
    said = capsys.readouterr().out
    assert "2 trials complete, 1 failed" in said
    assert "Invalid learning rate" in said
    best = said.partition("best      ")[2].splitlines()[0]
    assert best.startswith("python -m bench.train dataset=heartbeat")
    assert "-m " not in best.removeprefix("python -m bench.train")
    folder = tmp_path / "outputs" / "searches" / "s"
    page = (folder / "search.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert "SIMULATED" not in page + said
    assert page.count("data:image/png") >= 2
    named = select("sweep=s", tmp_path / "outputs").runs
    assert sorted(one.folder for one in named) == [path.parent.resolve() for path in runs(tmp_path)]
    times = [path.stat().st_mtime_ns for path in runs(tmp_path)]
    assert run(COMMAND, [*grid, "optimizer.lr=choice(0.01,-1,0.001)"]) == 0
    assert [path.stat().st_mtime_ns for path in runs(tmp_path)] == times, "all of the grid has been tried"
    assert run(COMMAND, [*grid, "optimizer.lr=choice(0.01,0.02)"]) == 2
    assert "looks in another space" in capsys.readouterr().err
    with pytest.raises(UserError, match="there is no search other"):
        select("sweep=other", tmp_path / "outputs")


@pytest.mark.slow
@pytest.mark.usefixtures("one_process", "one_thread")
def test_parameters_that_a_finished_trial_had_are_answered_from_it(words: list[str], tmp_path: Path) -> None:
    assert run(COMMAND, [*words, "hydra.sweeper.n_trials=3", "optimizer.lr=choice(0.01)"]) == 0
    assert len(runs(tmp_path)) == 1
    with study.opened(tmp_path / "outputs/searches/s", None, "s", "minimize", "tpe", 0, _space(choices=["0.01"])) as s:
        assert len({trial.value for trial in s.of("COMPLETE")}) == 1
        assert len(s.of("COMPLETE")) == 3


def _space(choices: list[str]) -> dict[str, CategoricalDistribution]:
    return {"optimizer.lr": CategoricalDistribution(choices)}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["optimizer.lr=0.1"], "no key is searched"),
        (["optimizer.nope=1,2"], "no key optimizer.nope"),
        (["optimizer.lr=0.1,0.2", "hydra.sweeper.sampler=best"], "not one of tpe, cmaes, random, grid, qmc"),
        (["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.sampler=grid"], "has no end of values"),
        (["optimizer.lr=0.1,0.2", "hydra.sweeper.n_trials=0"], "must be 1 or more"),
        (["optimizer.lr=0.1,0.2", "hydra.sweeper.storage=nowhere://u:secret@h/d"], "can't be opened"),
        (["optimizer.lr=0.1,0.2", "hydra.sweeper.name=../up"], "is no name of a folder"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(
    words: list[str], more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(COMMAND, [*words, *more]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "secret" not in said


def test_what_a_dead_process_left_is_tried_again_with_the_same_parameters(tmp_path: Path) -> None:
    spanned = {"a": FloatDistribution(0.0, 1.0)}
    opened: tuple[str, study.Direction, str, int, dict[str, FloatDistribution]]
    opened = ("s", "minimize", "random", 1, spanned)
    with study.opened(tmp_path, None, *opened) as search:
        left = search.ask()
        search.tell(search.ask().number, float("nan"), error="not a number")
    with study.opened(tmp_path, None, *opened) as search:
        assert [trial.number for trial in search.of("FAIL")] == [0, 1]
        assert search.counted() == 1, "the broken one does not count"
        assert search.ask().params == left.params
        with study.opened(tmp_path, None, *opened) as beside:
            assert [trial.number for trial in beside.of("RUNNING")] == [2], "its process lives"
            assert beside.ask().number == 3
    assert json.loads(search.study.user_attrs[study.SPACE]).keys() == {"a"}


@pytest.mark.parametrize("simulated", [True, False])
def test_scores_on_simulated_data_are_marked_in_table_and_page(tmp_path: Path, simulated: bool) -> None:
    spanned = {"a": FloatDistribution(0.0, 1.0)}
    with study.opened(tmp_path, None, "s", "minimize", "random", 0, spanned) as search:
        for value in (0.5, 0.4):
            search.tell(search.ask().number, value, run="r", simulated=simulated)
        best = results.ranked(search)
        assert ("SIMULATED data" in results.page(search, best, "kl", "command")) is simulated
        assert (results._table(best, "kl").title == "SIMULATED data") is simulated


@pytest.mark.parametrize("how", study.SAMPLERS)
def test_every_sampler_asks(how: str, tmp_path: Path) -> None:
    spanned = {"a": IntDistribution(1, 3), "b": CategoricalDistribution(["x", "y"])}
    with study.opened(tmp_path, None, "s", "maximize", how, 0, spanned) as search:
        for number in range(3):
            search.tell(search.ask().number, float(number))
        assert len(search.of("COMPLETE")) == 3
