"""The notebooks of examples/ run from an empty folder, cell by cell, and hold no outputs of an earlier time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
RUN = """
import json, os, sys, time
for path in sys.argv[1:]:
    cells, names = json.load(open(path, encoding="utf-8"))["cells"], {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path}, cell {number}", "exec"), names)
    print(names["done"].run.folder)
"""
"""A kernel's part, without its packages: the cells in their order, in one namespace a notebook."""


def test_there_is_a_notebook_for_each_competition() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["freesound", "heartbeat", "hms", "seti"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert all(not cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert "SIMULATED" in "".join(notebook["cells"][0]["source"])


@pytest.mark.slow
def test_every_notebook_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, NOTEBOOKS)], cwd=tmp_path, env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    folders = [Path(line) for line in done.stdout.splitlines() if line.startswith(str(tmp_path))]
    assert [folder.parts[-3] for folder in folders] == ["freesound", "heartbeat", "hms", "seti"]
    assert all((folder / "submission.csv").exists() for folder in folders)
