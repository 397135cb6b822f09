"""The wheel alone, from an empty folder: all commands, options and experiments are in it, and it trains."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench.__main__ import COMMANDS
from bench.paths import conf

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but what the wheel holds, as pip would lay it out beside its dependencies."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert len(list(folder.glob("bench-*.tar.gz"))) == 1
    (wheel,) = folder.glob("bench-*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder / "site")
    return folder / "site"


def python(paths: list[Path], here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with these packages before all others, and without the folder it is started in."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONSAFEPATH": "1"}
    return subprocess.run([sys.executable, *words], cwd=here, env=environment, capture_output=True, text=True)


def test_every_option_and_experiment_is_in_the_wheel(installed: Path) -> None:
    def files(tree: Path) -> set[str]:
        folders = [tree, *(folder.resolve() for folder in tree.iterdir() if folder.is_symlink())]
        return {path.name for folder in folders for path in folder.rglob("*.yaml")}

    assert files(installed / "bench/conf") == files(conf())
    assert (installed / "bench/conf/experiments/hms_best.yaml").exists()
    assert not list(installed.rglob("tests"))


def test_all_commands_run_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    code = "import bench; from bench.__main__ import *; print(bench.__file__); [main([n, '--help']) for n in COMMANDS]"
    done = python([installed], tmp_path, "-c", code)
    assert done.stdout.startswith(str(installed)), done.stderr
    assert done.stdout.count("usage: python -m bench.") == len(COMMANDS)
    assert "did you mean" in python([installed], tmp_path, "-m", "bench.train", "+experiments=hms_bets").stderr
    assert list(tmp_path.iterdir()) == []


def test_it_trains_with_a_persons_own_model_and_options(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine/conf/model").mkdir(parents=True)
    (tmp_path / "mine/__init__.py").touch()
    (tmp_path / "mine/flat.py").write_text(
        "from torch import nn\n\n\nclass Flat(nn.Module):\n"
        '    takes = "sequence"\n\n'
        "    def __init__(self, spec, width=8):\n        super().__init__()\n"
        "        n = spec.shape[0] * spec.shape[1]\n"
        "        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n, width), nn.ReLU(),"
        " nn.Linear(width, len(spec.classes)))\n\n"
        "    def forward(self, x):\n        return self.layers(x)\n",
        encoding="utf-8",
    )
    (tmp_path / "mine/conf/model/flat.yaml").write_text("_target_: mine.flat.Flat\nwidth: 4\n", encoding="utf-8")
    words = ["+debug=quick", "dataset=heartbeat", "dataset.simulator.n_train=100", "extensions=[mine]", "model=flat"]
    done = python([installed, tmp_path], tmp_path, "-m", "bench.train", *words)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1].removeprefix("run "))
    assert folder.is_relative_to(tmp_path / "outputs/heartbeat/flat")
    assert (folder / "report.html").exists()
