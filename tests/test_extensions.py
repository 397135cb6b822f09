"""A package of a person's own: trained, predicted, compared and blended when it is named, refused when it is not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
import own_package
from bench import build, catalog, compare, ensemble, extensions, predict, train
from bench.cli.compose import compose
from bench.cli.door import run as run_command
from bench.crossval.collect import collect
from bench.runs.recipe import Recipe, composed
from bench.runs.run import Run
from bench.spec import UserError
from conftest import small_overrides, train_here

NAMED = "extensions=[my_signals]"
LINEAR = {"_target_": "my_signals.parts.Linear"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_package.write(tmp_path_factory.mktemp("own"))


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """The package can be imported, here and in processes that are started, and nobody has named it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        patched.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patched.setenv(extensions.VARIABLE, "")
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_signals"]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def forgotten(package: Path) -> Iterator[None]:
    with importable(package):
        yield


@pytest.fixture(scope="module")
def runs(package: Path, beats: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """Two seeds of the package's own parts: a whole command, whose folds are processes, and one trained here."""
    folder = tmp_path_factory.mktemp("runs")
    words = [word for word in small_overrides(beats, folder) if not word.startswith(("dataset=", "model=", "train."))]
    parts = ["dataset=pulses", "model=own_linear", "augment=[blended]", "model.scale=2", "train.epochs=1", NAMED]
    with importable(package):
        assert run_command(train.COMMAND, [*parts, *words]) == 0
        config, names = compose("train", [*parts, *words, "seed=1"])
        other = train_here(composed(Recipe, config, "bench.train"), names)
        collect(other, build.locate(other.recipe.dataset, "dataset").metric)  # type: ignore[attr-defined]
        other.write_state(status="finished")
    first = next(path.parent for path in (folder / "outputs/pulses/own_linear").glob("*/report.html"))
    return folder, [Run(first), other]


@pytest.mark.slow
def test_own_parts_train_predict_compare_and_blend_by_name_alone(
    runs: tuple[Path, list[Run]], beats: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, made = runs
    scores = made[0].scores()
    assert scores is not None
    assert scores.metric == "brier"
    assert made[0].config["train"]["batch_size"] == 16, "its recipe is taken with its pair"
    assert made[0].inputs.names["features"] == "pulses_wave"
    both = [f"runs={made[0].folder},{made[1].folder}", f"outputs={folder}/outputs", "tracking.enabled=false"]
    for command, words in (
        (predict.COMMAND, [f"run={made[0].folder}", f"input={beats}", f"store={folder}/store", "device=cpu"]),
        (compare.COMMAND, [*both, "resamples=100"]),
        (ensemble.COMMAND, [*both, "blend=mean"]),
    ):
        monkeypatch.setenv(extensions.VARIABLE, "")
        assert run_command(command, words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "if you trust the package my_signals, name it: extensions=[my_signals]" in err
        assert run_command(command, [*words, NAMED]) == 0
        kind, _, path = capsys.readouterr().out.splitlines()[-1].partition(" ")
        if kind == "predictions":
            again, before = (pd.read_parquet(Path(f) / "test.parquet").iloc[:, 1:] for f in (path, made[0].folder))
            np.testing.assert_allclose(again, before, atol=1e-6)


@pytest.mark.slow
def test_a_run_is_loaded_where_the_person_names_what_it_needs(runs: tuple[Path, list[Run]]) -> None:
    folder = runs[1][0].folder
    with pytest.raises(UserError, match=r"name it: extensions=\[my_signals\]"):
        bench.load(folder, device="cpu")
    assert bench.load(folder, device="cpu", extensions=["my_signals"]).predict([np.zeros((1, 64))]).shape == (1, 4)


def test_a_runs_folder_can_not_name_an_extension(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("extensions: [my_signals]\nmodel: {_target_: my_signals.parts.Linear}\n")
    with pytest.raises(UserError, match="is refused"):
        build.locate(Run.open(tmp_path).config["model"], "model")
    assert "my_signals.parts" not in sys.modules, "nothing of it was imported"


def test_of_an_extension_a_group_takes_its_own_kind_alone() -> None:
    extensions.add(["my_signals"])
    assert build.locate(LINEAR, "model").__name__ == "Linear"
    for name, group in (
        ("Linear", "loss"),
        ("helper", "loss"),
        ("torch", "model"),
        ("Heartbeat", "dataset"),
        ("np.load", "loss"),
    ):
        with pytest.raises(UserError, match=r"is refused|can't be found"):
            build.locate({"_target_": f"my_signals.parts.{name}"}, group)
    with pytest.raises(UserError, match="is refused"):
        build.locate({"_target_": "my_signals_2.parts.Linear"}, "model")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("torch", "is not a package of your own"), ("os", "is not a package of your own"), ("no_such", "there is no"),
        ("my-signals", "is not the name of a package"), ("my_signals.conf.nope", "there is no package"),
    ],
)  # fmt: skip
def test_what_can_not_be_an_extension_is_told(name: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(train.COMMAND, ["dataset=heartbeat", f"extensions=[{name}]"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"bench: extensions={name}")
    assert sentence in error


def test_an_option_with_the_name_of_another_is_told(tmp_path: Path) -> None:
    own_package.write(tmp_path)
    (tmp_path / "my_signals/conf/model/mlp.yaml").write_text("_target_: my_signals.parts.Linear\n")
    with importable(tmp_path), pytest.raises(UserError, match=r"model/mlp.yaml has the name of .*; give it another"):
        extensions.add(["my_signals"])


def test_an_installed_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("signals", "my_signals", extensions.GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry] if group == extensions.GROUP else [])
    extensions._installed.cache_clear()
    try:
        assert build.locate(LINEAR, "model").__name__ == "Linear"
        assert compose("train", ["dataset=pulses", "model=own_linear"])[1]["loss"] == "squared"
    finally:
        extensions._installed.cache_clear()


def test_the_catalog_and_the_help_show_its_options(beats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(catalog.COMMAND, [NAMED, "model=own_linear", "dataset=pulses", f"dataset.root={beats}"]) == 0
    page = capsys.readouterr().out
    assert "One layer." in page
    assert "brier, lower is better" in page
    assert "pulses_wave" in page
    assert run_command(train.COMMAND, ["--help", "all", NAMED]) == 0
    assert "wavenet" in (page := capsys.readouterr().out)
    assert "own_linear" in page


def test_without_simulator_and_files_it_says_where_they_belong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(train.COMMAND, [NAMED, "dataset=pulses", "model=own_linear", f"data={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'pulses'}" in error
    assert "dataset.root=" in error
    assert "simulator" in error
