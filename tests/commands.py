"""Commands composed without a process: what several tests predict and blend with."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.command import RUNS
from bench.cli.compose import compose
from bench.cli.schema import Predict
from bench.cli.words import quoted
from bench.ensembling import blend
from bench.runs import recipe as recipes
from bench.runs.recipe import EnsembleRecipe
from bench.runs.records import parse
from bench.runs.run import Run


def command(folder: Path, *overrides: str) -> Predict:
    """The keys of ``python -m bench.predict <overrides>``, everything but a run named by its path below ``folder``."""
    named = next((Path(word.removeprefix("run=")) for word in overrides if word.startswith("run=/")), None)
    outputs = named.parents[2] if named and named.parent.parent.parent.is_dir() else folder / "outputs"
    here = [f"outputs={outputs}", f"data={folder}/data", f"store={folder}/store", "device=cpu", "workers=1"]
    return parse(Predict, compose("predict", [*here, *overrides])[0], None)


def made(capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder that the last line on standard output names."""
    return Path(capsys.readouterr().out.splitlines()[-1].removeprefix("predictions "))


def write_sample(new: Path, ids: list[int], columns: str = "id,label_0,label_1,label_2,label_3") -> None:
    lines = [columns, *(f"{i},0.25,0.25,0.25,0.25" for i in ids)]
    (new / "sample_submit.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def composed(*overrides: str) -> tuple[EnsembleRecipe, dict[str, str]]:
    """The recipe and the groups' choices of ``python -m bench.ensemble <overrides>``."""
    config, names = compose("ensemble", [quoted(word, RUNS) for word in overrides])
    return recipes.composed(EnsembleRecipe, config, "bench.ensemble"), names


def blended(outputs: Path, *overrides: str) -> Run:
    done = blend.ensemble(*composed(f"outputs={outputs}", "tracking.enabled=false", *overrides))
    return done.run
