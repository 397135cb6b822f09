"""The compare door: what it tells and writes, what it refuses, what it draws."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import metrics
from bench.atomic import read_json
from bench.cli import door
from bench.compare import COMMAND
from bench.comparison import comparison, plots, reading, words
from bench.comparison.reading import Rows
from bench.report.figures import Drawing, blank
from bench.runs.run import Run
from bench.spec import UserError
from fake_predictions import compared, predicted, some_rows, two_runs, write_run
from fake_run import rewrite

pytestmark = pytest.mark.slow

PICTURES = {"folds", "differences", "classes", "reliability", "rows"}


def test_a_class_is_judged_by_its_share_of_the_targets() -> None:
    rows = some_rows(120, 4)
    soft = np.random.default_rng(1).dirichlet(np.ones(4), 120)
    found = compared(Rows(rows.table, soft, rows.classes, 0.25, False), (1.0, 1.1))
    for run in (0, 1):
        part = found.classes[found.classes["run"] == run]
        assert (part["share"] * part["score"]).sum() == pytest.approx(found.scores[run])
        assert part["rows"].sum() == 120
    hit = (found.probabilities[0].argmax(1) == soft.argmax(1)) & (soft.argmax(1) == 2)
    assert found.classes["accuracy"].iloc[2] == pytest.approx(hit.sum() / (soft.argmax(1) == 2).sum())


def test_the_rows_where_two_runs_disagree_most_come_with_both_predictions() -> None:
    rows = some_rows(50)
    same = predicted(rows, 1.0, 0)
    other = same.copy()
    other[17] = np.roll(same[17], 1)
    of = comparison.compare([Run(Path("/n/0")), Run(Path("/n/1"))], rows, [same, other], metrics.KL, 100)
    table = comparison.disagreements(of, 3)
    assert table["id"].iloc[0] == "r17"
    assert table["disagreement"].iloc[1] == 0
    columns = [f"{who}_class {k}" for who in ("best", "other") for k in range(3)]
    both = [[*same[17], *other[17]], [*other[17], *same[17]]]
    assert any(np.allclose(table[columns].iloc[0].to_numpy(float), b) for b in both)


def test_a_fold_without_a_score_is_left_out_of_the_test_and_said() -> None:
    rows = some_rows(200, 2)
    rows.target[rows.table["fold"] == 3] = [1, 0]
    found = compared(rows, (2.0, 1.0), metrics.AUC)
    assert np.isnan(found.folds[:, 3]).all()
    assert np.isfinite(found.pairs[0].p_folds)


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return two_runs(tmp_path, some_rows())


def table(run: Run, name: str) -> pd.DataFrame:
    return pd.read_parquet(run.folder / name)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("dataset", "other", "data sets differ: .*000000 has data, .*111111 other"),
        ("simulated", True, "simulated and real rows differ: .*000000 has real data, .*111111 simulated data"),
        ("metric", "map3", r"metrics differ: .*000000 has kl \(min\), .*111111 map3"),
        ("spec", {"channels": 1, "size": [64], "classes": ["x"], "sample_rate": None}, "classes .*: class 'class 0'"),
    ],
)  # fmt: skip
def test_runs_of_another_kind_are_refused(runs: list[Run], key: str, value: Any, sentence: str) -> None:
    rewrite(runs[1], "inputs.json", **{key: value})
    with pytest.raises(UserError, match=sentence):
        reading.read(runs)


def test_other_rows_targets_folds_or_groups_are_refused_by_the_first_id(runs: list[Run]) -> None:
    whole, splits = table(runs[1], "oof.parquet"), table(runs[1], "splits.parquet")
    for change, sentence in (
        (
            whole[whole["id"] != "r5"],
            "rows differ: .*000000 validates 200 and .*111111 199, id r5 is in .*000000 alone",
        ),
        (whole.assign(**{"target_class 0": 0.5}), "targets differ .*: of 200 rows, first id r0"),
        (whole.assign(fold=(whole["fold"] + 1) % 5), "folds differ .*: id r0 is validated by fold 0 and by fold 1"),
    ):
        change.to_parquet(runs[1].folder / "oof.parquet")
        with pytest.raises(UserError, match=sentence):
            reading.read(runs)
    whole.sample(frac=1, random_state=0).to_parquet(runs[1].folder / "oof.parquet")  # another order is no difference
    rows, given = reading.read(runs)
    assert metrics.KL.score(rows.target, given[1]) == pytest.approx(
        metrics.KL.score(some_rows().target, predicted(some_rows(), 1.0, 1))
    )
    splits.assign(group=splits["fold"]).to_parquet(runs[1].folder / "splits.parquet")
    with pytest.raises(UserError, match="groups differ"):
        reading.read(runs)


def test_one_run_or_one_twice_is_refused(runs: list[Run]) -> None:
    with pytest.raises(UserError, match="a comparison takes two or more"):
        reading.read(runs[:1])
    with pytest.raises(UserError, match="are one run"):
        reading.read([runs[0], Run(runs[0].folder.parent / ".." / "wavenet" / runs[0].identity)])


def test_validated_by_trained_rows_counts_what_folds_train_on(tmp_path: Path) -> None:
    rows = some_rows(100)
    runs = two_runs(tmp_path, rows)
    assert reading.read(runs)[0].ratio == pytest.approx(1 / 4)
    splits = table(runs[0], "splits.parquet")
    splits["weight"] = np.where(np.arange(100) < 50, 0.0, 1.0)
    splits.to_parquet(runs[0].folder / "splits.parquet")
    assert reading.read(runs)[0].ratio == pytest.approx(20 / 40)


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = door.run(COMMAND, words)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_tells_writes_and_ends_with_its_folder(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = f"runs=[{runs[1].folder},{runs[0].folder}]"
    code, out, err = called(capsys, named, f"outputs={tmp_path}", "resamples=300")
    assert (code, err) == (0, "")
    assert "wavenet is better than mlp on 5 of 5 folds, difference " in out
    folder = Path(out.splitlines()[-1].removeprefix("comparison "))
    assert folder.parent == tmp_path / "comparisons"
    said = read_json(folder / "comparison.json")
    assert said["pairs"][0]["verdict"] == "better"
    assert [run["name"] for run in said["runs"]] == ["wavenet", "mlp"]
    assert {path.name for path in (folder / "plots").iterdir()} == {f"{name}.png" for name in PICTURES}
    page = (folder / "report.html").read_bytes()
    assert [(run.folder / "comparisons" / f"{folder.name}.html").read_bytes() for run in runs] == [page, page]
    assert len(pd.read_csv(folder / "folds.csv")) == 5 + 3
    assert len(pd.read_csv(folder / "classes.csv")) == 2 * 3
    assert len(pd.read_csv(folder / "disagreements.csv")) == 100
    assert len(pd.read_parquet(folder / "rows.parquet")) == 200
    before = (folder / "comparison.json").read_bytes()
    again = called(capsys, f"runs={runs[0].folder},{runs[1].folder}", f"outputs={tmp_path}", "resamples=300")
    assert again[1] == out, "the order of naming changes nothing"
    assert (folder / "comparison.json").read_bytes() == before
    assert called(capsys, "runs=dataset=data", f"outputs={tmp_path}", "resamples=300")[1] == out


def test_equal_predictions_and_more_than_two_runs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = some_rows(groups=9)
    runs = two_runs(tmp_path, rows, (1.0, 1.02, 3.0))
    write_run(tmp_path, rows, predicted(rows, 3.0, 2), "cnn1d", "a" * 12)
    code, out, _ = called(capsys, "runs=dataset=data", f"outputs={tmp_path}", "resamples=200")
    assert code == 0
    assert "cnn1d 222222 and cnn1d aaaaaa predict the very same" in out
    assert "Holm-corrected over all 6 pairs" in out
    assert "only 9 groups to draw from" in out
    assert len(runs) == 3


@pytest.mark.parametrize("metric", ["map3", "auc"])
def test_simulated_data_is_marked_everywhere(
    tmp_path: Path, metric: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn: list[list[str]] = []
    original = Figure.savefig

    def note(self: Figure, *args: Any, **kwargs: Any) -> None:
        if kwargs["format"] == "png":  # a page says it by itself
            drawn.append([text.get_text() for text in self.texts])
        original(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", note)
    monkeypatch.setattr(plots, "drawings", lambda *_: {"folds": Drawing(blank(), "folds")})
    for simulated in (True, False):
        drawn.clear()
        outputs = tmp_path / str(simulated)
        two_runs(outputs, some_rows(120, 2 if metric == "auc" else 41), metric=metric, simulated=simulated)
        code, out, _ = called(capsys, "runs=metric=" + metric, f"outputs={outputs}", "resamples=100")
        assert code == 0
        assert [("simulated data" in texts) for texts in drawn] == [simulated]
        assert out.count("SIMULATED data") == 2 * simulated
        folder = Path(out.splitlines()[-1].removeprefix("comparison "))
        assert read_json(folder / "comparison.json")["simulated"] is simulated


def test_runs_that_differ_in_little_are_named_by_it(tmp_path: Path) -> None:
    rows = some_rows(20)
    runs = [write_run(tmp_path, rows, predicted(rows, 1, 0), "mlp", f"{i}" * 12) for i in (1, 2)]
    runs[1] = rewrite(runs[1], "config.yaml", seed=7, outputs="elsewhere")
    assert words.labels(runs) == ["mlp seed=0", "mlp seed=7"]
    assert words.differing(runs) == ["seed=0", "seed=7"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "runs is not given"),
        (["runs=/nowhere"], "/nowhere is not a folder"),
        (["runs=latest"], "runs names 1 run; a comparison takes two or more"),
        (["runs=dataset=data", "resamples=many"], "resamples=many can't be used: Value 'many'"),
        (["runs=dataset=data", "resamples=5"], "resamples=5 must be 100 or more"),
        (["runz=latest"], "there is no key runz here; did you mean runs?"),
        (["runs=dataset=data", "tracking.enabled=maybe"], "tracking.enabled=maybe can't be used"),
        (["runs=dataset=data", "tracking.wait=0"], "tracking.wait=0 must be 1 or more"),
        (["latest"], "latest is not written as key=value"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    runs: list[Run], tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = called(capsys, *words, f"outputs={tmp_path}")
    assert (code, out) == (2, "")
    assert err.startswith("bench: ")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "comparisons").exists()
    assert len(runs) == 2


def test_help_needs_no_heavy_import() -> None:
    code = "import sys; from bench import compare; compare.run(compare.COMMAND, ['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert "resamples=4000" in done.stdout
    loaded = done.stdout.splitlines()[-1]
    assert not [name for name in ("torch", "numpy", "pandas", "hydra", "matplotlib") if f"'{name}'" in loaded]


def test_figures_take_any_number_of_classes_and_runs(tmp_path: Path) -> None:
    runs = two_runs(tmp_path, some_rows(80, 41, folds=2), (3.0, 1.0, 2.0, 2.5))
    of = comparison.compare(runs, *reading.read(runs), metrics.KL, 100)
    drawn = plots.drawings(of, words.labels(of.runs))
    assert set(drawn) == (PICTURES - {"rows"}) | {"rows_1", "rows_2", "rows_3"}
    assert all(drawing.alt for drawing in drawn.values())
