"""Pictures of a run: all of them, for any number of classes, folds and epochs, without a caller's state."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from bench.metrics import KL
from bench.report import figures, plots
from bench.report.judged import judge
from bench.runs.run import Run
from fake_run import epoch, rewrite, write_run

ALL = {"curves_loss.png", "curves_metric.png", "confusion.png", "reliability.png", "folds.png"}


def draw(run: Run) -> list[Path]:
    judged = judge(run) if (run.folder / "oof.parquet").exists() else None
    drawings = plots.drawings(run, KL, judged)
    return figures.save(drawings, run.folder / "plots", plots.title(run), run.inputs.simulated)


@pytest.mark.parametrize("classes", [2, 6, 41])
def test_every_picture_is_drawn_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    run = write_run(tmp_path, classes=classes, rows=300)
    drawn = draw(run)
    assert {path.name for path in drawn} == ALL
    assert {path.name for path in (run.folder / "plots").iterdir()} == ALL  # and nothing temporary is left
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_one_fold_of_one_epoch_is_enough(tmp_path: Path) -> None:
    assert len(draw(write_run(tmp_path, folds=5, finished=1, epochs=1))) == 5


def test_a_run_without_a_finished_fold_has_learning_curves_only(tmp_path: Path) -> None:
    drawn = draw(write_run(tmp_path, finished=0))
    assert [path.name for path in drawn] == ["curves_loss.png", "curves_metric.png"]


def test_a_run_that_has_not_begun_has_no_pictures(tmp_path: Path) -> None:
    assert draw(write_run(tmp_path, finished=0, epochs=1)) == []


def test_a_loss_that_is_nan_and_folds_that_stop_at_different_epochs_are_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path, epochs=5)
    run.fold(0).write_history([epoch(1), epoch(2), {**epoch(3), "train/loss": float("nan"), "valid/kl": float("nan")}])
    assert len(draw(run)) == 5


def test_class_names_may_be_anything(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    renamed = dict(zip(run.spec.classes, ["$x_1", "日本語\x00", "a" * 60], strict=True))
    import pandas as pd

    both = {f"{part}_{old}": f"{part}_{new}" for old, new in renamed.items() for part in ("target", "pred")}
    for name in ("oof.parquet", "splits.parquet"):
        pd.read_parquet(run.folder / name).rename(columns=both).to_parquet(run.folder / name)
    rewrite(run, "inputs.json", spec={**asdict(run.spec), "classes": list(renamed.values())})
    assert len(draw(run)) == 5


def test_simulated_data_is_marked_on_every_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    marked: list[list[str]] = []
    monkeypatch.setattr(figures, "replacing", lambda path: contextlib.nullcontext(path))
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: marked.append([t.get_text() for t in self.texts]))
    draw(write_run(tmp_path, simulated=True))
    assert len(marked) == 5
    assert all("simulated data" in texts for texts in marked)
    marked.clear()
    draw(write_run(tmp_path, identity="ab" * 6))
    assert len(marked) == 5
    assert not any("simulated data" in texts for texts in marked)


def test_calibration_error_is_the_distance_of_confidence_from_accuracy() -> None:
    probability = np.tile([0.8, 0.2], (100, 1))
    target = np.eye(2)[(np.arange(100) >= 60).astype(int)]  # right in 60 of 100, sure to 0.8
    mean, frequency, count, error = plots.calibration(target, probability)
    assert error == pytest.approx(0.2)
    assert count.sum() == 100
    assert mean[count > 0] == pytest.approx([0.8])
    assert frequency[count > 0] == pytest.approx([0.6])


def test_certain_and_perfect_predictions_have_no_calibration_error() -> None:
    target = np.eye(3)[np.arange(30) % 3]
    assert plots.calibration(target, target)[3] == 0


def test_soft_targets_count_by_their_share() -> None:
    target = np.tile([0.7, 0.3], (10, 1))
    assert plots.calibration(target, target)[3] == pytest.approx(0)


def test_drawing_imports_no_pyplot() -> None:
    code = (
        "import sys; from bench.report import figures; figures.blank(1, 1); print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
