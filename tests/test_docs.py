"""docs/adding.md is true: its listings, written into a copy of the project, train, submit and are catalogued."""

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
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
LISTINGS = re.findall(r"^`([\w./]+)`\n\n```(?:python|yaml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the page's listings in it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("src", "conf", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, text in LISTINGS:
        assert not (folder / path).exists(), f"{path} is there already"
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def run(copy: Path, command: str, *more: str) -> str:
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = subprocess.run(
        [sys.executable, *arguments, *more],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(module: str) -> str:
    return next(line for line in COMMANDS if f"-m {module} " in line)


def test_every_listing_is_found_and_reads() -> None:
    assert len(LISTINGS) == PAGE.count("```python") + PAGE.count("```yaml") >= 11
    for path, text in LISTINGS:
        assert path.startswith(("src/bench/", "conf/"))
        assert max(map(len, text.splitlines())) <= 120
        if path.endswith(".py"):
            compile(text, path, "exec")
        else:
            assert yaml.safe_load(text)


@pytest.mark.slow
def test_the_pages_training_leaves_scores_and_a_submission(copy: Path) -> None:
    small = ("train.epochs=1", "split.n_splits=2", "tracking.enabled=false", "device=cpu", "workers=1")
    folder = Path(run(copy, command("bench.train"), *small).splitlines()[-1].removeprefix("run "))
    assert folder.is_relative_to(copy / "outputs" / "bearings" / "smallcnn")
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert (scores["metric"], scores["simulated"], len(scores["folds"])) == ("accuracy", True, 2)
    submission = pd.read_csv(folder / "submission.csv")
    assert list(submission) == ["id", "state"]
    assert len(submission) == 24
    assert set(submission["state"]) <= {"loose", "sound", "worn"}


@pytest.mark.slow
def test_the_catalog_knows_what_the_page_added(copy: Path) -> None:
    said = run(copy, command("bench.catalog"))
    count = (9 * 16 + 16) + (16 * 9 * 16 + 16) + (16 * 3 + 3)
    assert re.search(rf"^smallcnn +{count:,} +bearings_waveform +1 × 256", said, re.MULTILINE), said
    assert "loss=ce, split=group (5 folds)" in said


@pytest.mark.slow
def test_the_walking_tests_take_the_additions_up(copy: Path) -> None:
    shortened = "smallcnn-bearings or bearings-smallcnn or brier or (bearings or smallcnn) and not through_compile"
    said = run(copy, command("pytest"), "-p", "no:cacheprovider", "-k", shortened)
    passed = int(re.search(r"(\d+) passed", said)[1])  # type: ignore[index]
    assert passed > 20
