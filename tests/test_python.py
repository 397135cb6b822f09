"""``bench.compose``, ``fit`` and ``scores``: the training command in Python, with types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.runs.scored import COLUMNS
from bench.spec import UserError
from conftest import small_overrides
from fake_run import rewrite, write_member


def test_composing_reads_nothing_and_has_types(tmp_path: Path) -> None:
    job = bench.compose("dataset=hms", "model=wavenet", "train.epochs=3", f"data={tmp_path}/nowhere")
    assert job.recipe.train.epochs == 3
    assert job.names["loss"] == "kl", "the data set's own"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model=wavnet"], "did you mean wavenet?"),
        (["train.epoch=3"], r"there is no key train\.epoch here; did you mean train\.epochs"),
        (["+surplus=1"], "there is no key surplus here"),
        (["train.epochs=many"], "can't be used"),
    ],
)
def test_a_mistake_is_the_commands_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        bench.compose(*words)


@pytest.mark.slow
def test_a_job_is_trained_once_and_scored(beats: Path, tmp_path: Path) -> None:
    words = [*small_overrides(beats, tmp_path), "train.epochs=1"]
    done = bench.fit(bench.compose(*words))
    assert done.scores is not None
    epochs = [fold.done.stat().st_mtime_ns for fold in done.run.folds]
    again = bench.fit(bench.compose(*words))
    assert again.run.folder == done.run.folder
    assert [fold.done.stat().st_mtime_ns for fold in again.run.folds] == epochs, "nothing is trained anew"
    table = bench.scores(outputs=done.run.folder.parents[2])
    assert table["score"].tolist() == [done.scores.oof]
    assert table["folder"].tolist() == [str(done.run.folder)]


def test_the_best_runs_come_first_in_the_table_of_scores(tmp_path: Path) -> None:
    target = np.eye(2)[np.arange(12) % 2]
    for name, oof in (("a", 0.5), ("b", 0.3)):
        run = write_member(tmp_path, np.full((12, 2), 0.5), target, np.arange(12) % 3, identity=name * 12)
        rewrite(run, "scores.json", oof=oof)
    run = write_member(tmp_path, np.full((12, 2), 0.5), target, np.arange(12) % 3, identity="c" * 12)
    rewrite(run, "scores.json", complete=False)
    table = bench.scores(outputs=tmp_path)
    assert tuple(table.columns) == COLUMNS
    assert table["identity"].str[0].tolist() == ["b", "a"]
    assert bench.scores("best,dataset=hms", tmp_path)["identity"].str[0].tolist() == ["b"]
    assert len(bench.scores(outputs=tmp_path / "nowhere")) == 0


def test_importing_bench_imports_nothing_heavy() -> None:
    code = "import sys, bench; print([name for name in ('torch', 'pandas', 'hydra', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
