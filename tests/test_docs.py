"""The pages on parts of one's own are true: their listings, a package in an empty folder, train and submit."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "adding.md", *sorted((ROOT / "docs" / "adding").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
LISTINGS = re.findall(r"^`([\w./]+)`\n\n```(?:python|yaml)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
INSIDE = ("datasets", "features", "simulators", "models", "losses", "augment", "conf")
"""Folders of the pages' package that bench has as well. Inside bench a scheduler joins the others' module."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the pages' package in it."""
    folder = tmp_path_factory.mktemp("own")
    for path, text in LISTINGS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the pages' listings in it, as its own parts."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("src", "conf", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, text in LISTINGS:
        room, _, rest = path.removeprefix("machines/").partition("/")
        if room in INSIDE and rest and rest.partition("/")[0] not in ("scheduler", "optimizer"):
            place = folder / ("conf" if room == "conf" else f"src/bench/{room}") / rest
            assert not place.exists(), f"{place} is there already"
            place.write_text(text.replace("machines.", "bench."), encoding="utf-8")
    return folder


def run(folder: Path, command: str, *more: str, source: Path = ROOT / "src") -> str:
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = subprocess.run(
        [sys.executable, *arguments, *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(module: str) -> str:
    return next(line for line in COMMANDS if f"-m {module} " in line)


def test_every_listing_is_found_and_reads() -> None:
    assert len(LISTINGS) == TEXT.count("```python") + TEXT.count("```yaml") >= 17
    for path, text in LISTINGS:
        assert path.startswith("machines/")
        assert max(map(len, text.splitlines())) <= 120
        if path.endswith(".py"):
            compile(text, path, "exec")
        else:
            assert yaml.safe_load(text)


@pytest.mark.slow
def test_the_pages_training_leaves_scores_and_a_submission(package: Path) -> None:
    small = ("train.epochs=1", "split.n_splits=2", "tracking.enabled=false", "device=cpu", "workers=1")
    folder = Path(run(package, command("bench.train"), *small).splitlines()[-1].removeprefix("run "))
    assert folder.is_relative_to(package / "outputs" / "bearings" / "smallcnn")
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert (scores["metric"], scores["simulated"], len(scores["folds"])) == ("mean_recall", True, 2)
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    for part in ("models.smallcnn.SmallCNN", "losses.brier.brier", "optimizers.SignSGD", "schedules.hold"):
        assert f"machines.{part}" in config
    submission = pd.read_csv(folder / "submission.csv")
    assert list(submission) == ["id", "state"]
    assert len(submission) == 24
    assert set(submission["state"]) <= {"loose", "sound", "worn"}


@pytest.mark.slow
def test_the_catalog_knows_what_the_pages_added(package: Path) -> None:
    said = run(package, command("bench.catalog"))
    count = (9 * 16 + 16) + (16 * 9 * 16 + 16) + (16 * 3 + 3)
    assert re.search(rf"^smallcnn +{count:,} +bearings_waveform +1 × 256", said, re.MULTILINE), said
    assert "loss=ce, split=group (5 folds)" in said


@pytest.mark.slow
def test_the_walking_tests_take_the_additions_up(copy: Path) -> None:
    shortened = "smallcnn-bearings or bearings-smallcnn or brier or (bearings or smallcnn) and not through_compile"
    told = run(copy, command("pytest"), "-p", "no:cacheprovider", "-k", shortened, source=copy / "src")
    passed = int(re.search(r"(\d+) passed", told)[1])  # type: ignore[index]
    assert passed > 20
