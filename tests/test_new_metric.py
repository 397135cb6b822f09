"""A metric of one's own is one function: nothing else knows its name, and everything that scores takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.atomic import read_json
from bench.cli import door
from bench.compare import COMMAND
from bench.datasets.hms import HMS
from bench.report.draw import draw
from bench.runs.run import Run
from bench.spec import Direction, Metric
from fake_run import epoch, write_member
from page_reader import Page

pytestmark = pytest.mark.slow


def brier(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(N, K) squared distances, the mean of whose sums is the Brier score."""
    return np.asarray((target - probability) ** 2)


def median(target: np.ndarray, probability: np.ndarray) -> float:
    """The median of what the truth was given: no mean over rows."""
    return float(np.median((target * probability).sum(axis=1)))


BRIER = Metric("brier", Direction.MIN, terms=brier)
MEDIAN = Metric("median", Direction.MAX, whole=median)


def member(outputs: Path, metric: Metric, model: str, skill: float) -> Run:
    rng = np.random.default_rng(0)
    target, fold = np.eye(3)[rng.integers(3, size=120)], np.arange(120) % 3
    logits = skill * target + rng.normal(size=target.shape)
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    run = write_member(outputs, probability, target, fold, model=model, identity=model[0] * 12, metric=metric.name)
    for k in run.folds:
        k.write_history([{**epoch(e, k.number), f"valid/{metric.name}": 1 / e} for e in (1, 2, 3)])
    return run


@pytest.mark.parametrize("metric", [BRIER, MEDIAN], ids=lambda m: m.name)
def test_a_new_metric_is_collected_reported_and_compared(
    tmp_path: Path, metric: Metric, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(HMS, "metric", metric)
    runs = [member(tmp_path, metric, model, skill) for model, skill in (("mlp", 1.0), ("wavenet", 3.0))]
    scores = [run.scores() for run in runs]
    one, other = scores
    assert one is not None
    assert other is not None
    assert [(s.metric, s.direction) for s in (one, other)] == [(metric.name, metric.direction)] * 2
    assert metric.better(other.oof, one.oof)

    draw(runs[0], metric)
    assert (runs[0].folder / "plots" / "curves_metric.png").exists()
    page = Page(runs[0].folder / "report.html")
    assert f"{metric.name}: {metric.direction.sentence}" in page.text
    assert one.oof in [value for value, _ in page.values]
    head, *rows = page.tables["classes"]
    if metric is BRIER:
        assert head[-1] == "part in brier"
        assert sum(float(row[-1]) for row in rows) == pytest.approx(one.oof, abs=2e-4)
    else:
        assert head[-1] == "average precision"

    assert door.run(COMMAND, ["runs=dataset=hms", f"outputs={tmp_path}", "resamples=200"]) == 0
    out = capsys.readouterr().out
    assert f"{metric.name} ({metric.direction.sentence})" in out
    found = read_json(Path(out.splitlines()[-1].removeprefix("comparison ")) / "comparison.json")
    assert [run["name"] for run in found["runs"]] == ["wavenet", "mlp"]
    assert (found["metric"], found["row_loss"]) == (metric.name, "brier" if metric is BRIER else "distance")
    assert found["pairs"][0]["verdict"].startswith("better")
    assert found["pairs"][0]["oof"]["low"] > 0


def test_no_room_names_a_metric_but_the_one_that_makes_them() -> None:
    """Report and comparison know metrics by what they are: no name or formula of one stands there."""
    from bench import metrics

    names = {m.name for m in vars(metrics).values() if isinstance(m, Metric)} - {"accuracy"}
    source = Path(metrics.__file__).parent
    for path in [*source.glob("report/**/*.py"), *source.glob("comparison/**/*.py"), *source.glob("tracking/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not [name for name in names if f'"{name}"' in text or f"'{name}'" in text], path
        assert "HEARTBEAT_ROWS" not in text
