"""A comparison's page: what it says is what was found, it needs nothing outside itself, and it reaches MLflow."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import metrics
from bench.atomic import read_json, write_json
from bench.cli import door
from bench.compare import COMMAND
from bench.comparison import command, comparison, plots, reading, sending
from bench.comparison import page as comparison_page
from bench.comparison import rows as comparison_rows
from bench.comparison.comparison import Comparison
from bench.comparison.reading import Rows
from bench.comparison.rows import Inputs
from bench.comparison.words import labels, sentence
from bench.report import figures
from bench.runs.run import Run
from bench.spec import Metric
from bench.tell import figure
from bench.tracking import wording
from conftest import Composed, train_here
from fake_predictions import predicted, some_rows, two_runs, write_run
from fake_run import TRAIN, epoch, rewrite
from page_reader import CHROMIUM, Page, assert_a_browser_shows, assert_nothing_outside

pytestmark = pytest.mark.slow

NAME = "c0ffee123456"
NOWHERE = "http://127.0.0.1:9"  # a port where nobody listens


def compared(runs: list[Run], metric: Metric = metrics.KL) -> Comparison:
    return comparison.compare(runs, *reading.read(runs), metric, 200)


def written(of: Comparison, folder: Path, inputs: Inputs | None = None, drawn: bool = False) -> Page:
    pictures = figures.inline(plots.drawings(of, labels(of.runs))) if drawn else {}
    return Page(
        comparison_page.write(of, folder / NAME, pictures, inputs or Inputs(reason_missing="No features here."))
    )


def with_histories(runs: list[Run], epochs: int = 5) -> list[Run]:
    for i, run in enumerate(runs):
        for fold in run.folds:
            fold.write_history([epoch(e, fold.number + i, epochs) for e in range(1, epochs + 1)])
    return runs


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return with_histories(two_runs(tmp_path, some_rows(groups=20)))


def drawn(of: Comparison, shape: tuple[int, ...] = (1, 64)) -> Inputs:
    rng = np.random.default_rng(0)
    return Inputs(of.runs[0], {i: rng.normal(size=shape) for _, rows in comparison_rows.shown_rows(of) for i in rows})


def test_the_verdict_comes_first_in_the_words_of_the_terminal(runs: list[Run], tmp_path: Path) -> None:
    of = compared(runs)
    page = written(of, tmp_path)
    said = sentence(of, of.pairs[0])
    assert said.startswith("wavenet is better than mlp on 5 of 5 folds")
    assert 0 < page.text.index(said) < page.text.index("kl, out of fold")
    assert page.html.index('class="verdicts"') < page.html.index("<nav>")


def test_every_score_is_in_the_page_to_the_last_digit(runs: list[Run], tmp_path: Path) -> None:
    of = compared(runs)
    page = written(of, tmp_path)
    found = {value for value, _ in page.values}
    assert {*of.scores, *of.folds.ravel(), *of.folds.mean(1), *of.folds.std(1)} <= found
    assert set(of.classes["score"]) <= found
    rows = {row[0]: row[1:] for row in page.tables["scores"]}
    assert rows[""] == ["wavenet", "mlp", "difference"]
    assert rows["out of fold"][:2] == [figure(score) for score in of.scores]
    assert "kl: lower is better" in page.text


@pytest.mark.parametrize("metric", [metrics.KL, metrics.AUC])
def test_the_best_of_each_fold_is_marked_whichever_way_is_better(tmp_path: Path, metric: Metric) -> None:
    rows = some_rows(300, 2)
    name = "auc" if metric is metrics.AUC else "kl"
    of = compared(two_runs(tmp_path, rows, (1.0, 1.05, 0.95), metric=name), metric)
    html = written(of, tmp_path).html
    table = re.findall(r"<tr><td class=\"word\">fold (\d)</td>(.*?)</tr>", html)
    assert len(table) == 5
    winners = set()
    for k, line in table:
        marked = re.findall(r'<b class="best"><data value="([^"]+)">', line)
        best = of.folds[:, int(k)].max() if metric.direction == "max" else of.folds[:, int(k)].min()
        assert [float(value) for value in marked] == [best]
        winners.add(int(np.flatnonzero(of.folds[:, int(k)] == best)[0]))
    assert len(winners) > 1, "else the test shows little"
    assert f"{name}: {'higher' if metric.direction == 'max' else 'lower'} is better" in html


def test_both_tests_are_there_with_their_intervals_and_what_they_mean(runs: list[Run], tmp_path: Path) -> None:
    of = compared(runs)
    page = written(of, tmp_path)
    folds, rows = page.tables["differences"][1:]
    test = of.pairs[0].folds
    assert test is not None
    assert [float(v) for v in folds[2].split(" to ")] == pytest.approx([test.low, test.high], abs=0.006)
    assert [float(v) for v in rows[2].split(" to ")] == pytest.approx([of.pairs[0].low, of.pairs[0].high], abs=0.006)
    assert "Nadeau and Bengio" in page.text
    assert "rows, whole groups together (200 draws of the 20 groups)" in page.text


def test_the_page_needs_nothing_outside_itself(runs: list[Run], tmp_path: Path) -> None:
    of = compared(runs)
    page = written(of, tmp_path, drawn(of), drawn=True)
    assert_nothing_outside(page)
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    sections = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert [value.removeprefix("#") for value in links] == sections != []


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = '<b>"x"&'
    rows = some_rows(120, groups=20)
    table = rows.table.assign(id=[f"<i>{n}&" for n in rows.table["id"]], group="<u>" + rows.table["group"])
    rows = Rows(table, rows.target, (evil, "'; --", "日本 </table>"), rows.ratio, False)
    runs = with_histories([write_run(tmp_path, rows, predicted(rows, s, 0), "net", f"{s}" * 12) for s in (1, 3)])
    for run, model in zip(runs, ("<s>net", "<em>net"), strict=True):
        rewrite(run, "inputs.json", model=model, dataset="<h1>data", names={})
        rewrite(run, "config.yaml", note=f"<a>{model}", loss={"_target_": f"bench.losses.<q>{run.identity}"})
    of = compared([Run(run.folder) for run in runs])
    page = written(of, tmp_path, drawn(of))
    for tag in ('<b>"', "<i>r", "<u>", "<s>", "<em>", "<h1>data", "<a>", "<q>"):
        assert tag not in page.html
    assert [row[0] for row in page.tables["classes"] if row[0] != "class"] == 2 * [evil, "'; --", "日本 </table>"]
    assert page.tables["runs"][0][1:] == [run.inputs.model for run in of.runs]
    assert "<em>net is better than <s>net" in page.text
    assert "group <u>p" in page.text
    first = next(iter(comparison_rows.shown_rows(of)[0][1]))
    name = f"example {of.rows.table['id'][first]}"
    assert name in [value for tag, key, value in page.attributes if (tag, key) == ("svg", "aria-label")]


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_is_said_where_it_is(tmp_path: Path, simulated: bool) -> None:
    of = compared(two_runs(tmp_path, some_rows(), simulated=simulated))
    assert ("SIMULATED DATA" in written(of, tmp_path).text) == simulated


def test_the_rows_told_most_differently_come_with_target_and_both_predictions(runs: list[Run], tmp_path: Path) -> None:
    of = compared(runs)
    top = comparison.disagreements(of, 12)
    page = written(of, tmp_path, drawn(of))
    cards = re.findall(r'<article class="example">(.*?)</article>', page.html, re.DOTALL)
    assert [re.findall(r"<h3>(\S+) ", card)[0] for card in cards] == top["id"].tolist()
    columns = [f"{who}_class {k}" for k in range(3) for who in ("target", "best", "other")]
    for card, (_, row) in zip(cards, top.iterrows(), strict=True):
        assert [float(v) for v in re.findall(r"<td>([\d.]+)</td>", card)] == pytest.approx(row[columns], abs=0.0051)
        assert card.count('class="drawn"') == 1
    assert "Drawn as wavenet sees them, 1\u00a0×\u00a064 (channels × samples)." in page.text
    right = [p.argmax(1) == of.rows.target.argmax(1) for p in of.probabilities]
    counts = {row[0]: row[1] for row in page.tables["rows"] if len(row) == 3}
    assert counts["wavenet alone is right"] == str((right[0] & ~right[1]).sum())
    assert counts["both are right"] == str((right[0] & right[1]).sum())


def test_rows_that_can_not_be_drawn_are_named_with_a_sentence(runs: list[Run], tmp_path: Path) -> None:
    page = written(compared(runs), tmp_path, Inputs(reason_missing="The store is <gone>."))
    assert "The store is <gone>." in page.text
    assert page.html.count('<article class="example">') == 12
    assert 'class="drawn"' not in page.html


def test_runs_that_predict_the_same_have_a_page_too(tmp_path: Path) -> None:
    rows = some_rows()
    said = predicted(rows, 1.0, 0)
    of = compared([write_run(tmp_path, rows, said, model, model[0] * 12) for model in ("mlp", "wavenet")])
    page = written(of, tmp_path)
    assert "They predict the very same." in page.text
    assert "<article" not in page.html
    assert page.html.count('class="best"') == 2 * (len(of.numbers) + 2 + len(rows.classes)), "both share first place"


def test_curves_of_all_runs_share_their_axes_and_losses_are_drawn_where_they_are_one(
    runs: list[Run], tmp_path: Path
) -> None:
    drawn = plots.learning(compared(runs), ["wavenet", "mlp"])
    assert set(drawn) == {"curves_metric", "curves_loss"}
    for key, sides in (("curves_metric", 1), ("curves_loss", 2)):
        drawing = drawn[key]
        assert drawing is not None
        lines = drawing.figure.axes[0].lines
        assert len(lines) == sides * 2 * (5 + 1), "five folds and their mean, of two runs"
        assert [line.get_color() for line in lines[:: 5 + 1]] == [figures.BLUE, figures.VERMILLION] * sides
    rewrite(runs[0], "config.yaml", loss={"_target_": "a.b.focal"})
    of = compared([Run(run.folder) for run in runs])
    assert set(plots.learning(of, ["wavenet", "mlp"])) == {"curves_metric"}
    page = Page(comparison_page.write(of, tmp_path / NAME, {"curves_metric": "<svg></svg>"}, Inputs()))
    assert "The losses are not drawn: those that were trained on differ (focal, kl)." in page.text
    for fold in runs[1].folds:
        (fold.folder / "history.json").unlink()
    of = compared(runs)
    page = Page(comparison_page.write(of, tmp_path / NAME, {"curves_metric": "<svg></svg>"}, Inputs()))
    assert "Without epochs of their own: mlp." in page.text


def test_the_runs_are_listed_with_folder_seed_and_what_differs(tmp_path: Path) -> None:
    rows = some_rows()
    made = [write_run(tmp_path, rows, predicted(rows, i, 0), "mlp", f"{i}" * 12) for i in (1, 2)]
    rewrite(made[1], "config.yaml", seed=7, train={**TRAIN, "clip": 3.0})
    listed = {row[0]: row[1:] for row in written(compared([Run(r.folder) for r in made]), tmp_path).tables["runs"]}
    assert listed["folder"] == [str(made[1].folder), str(made[0].folder)]
    assert listed["seed"] == ["7", "0"]
    assert listed["train.clip"] == ["3.0", "–"]


def test_of_many_runs_each_is_held_against_the_best(tmp_path: Path) -> None:
    rows = some_rows(400, 41, folds=2)
    spec = {"channels": 1, "size": [300, 400], "classes": list(rows.classes), "sample_rate": None}
    runs = [write_run(tmp_path, rows, predicted(rows, 1 + i, i), f"net{i}", f"{i}" * 12, spec=spec) for i in range(8)]
    of = compared(with_histories(runs, 300))
    page = written(of, tmp_path, drawn(of, (1, 300, 400)), drawn=True)
    assert page.html.count("<strong>") == 7
    assert "Holm-corrected over all 28 pairs" in page.text
    assert len(page.tables["classes"]) == 2 * (41 + 1)
    assert "net7 against 7 others" in page.text
    assert "Of 8 runs the best 5 are shown." in page.text
    assert "Of 7 pairs the first 6 are shown." in page.text
    assert page.html.count('<article class="example">') == 12
    assert len(page.html) < 1_000_000
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize("size", [[2000], [640, 1920]])
def test_the_page_stays_below_a_megabyte(tmp_path: Path, size: list[int]) -> None:
    classes = [f"class {k}" for k in range(41)]
    spec = {"channels": 8 if len(size) == 1 else 1, "size": size, "classes": classes, "sample_rate": 40.0}
    runs = with_histories(two_runs(tmp_path, some_rows(2000, 41, folds=10), spec=spec), 200)
    of = compared(runs)
    page = written(of, tmp_path, drawn(of, of.runs[0].spec.shape), drawn=True)
    assert len(page.html) < 1_000_000


def test_a_fold_without_a_score_is_a_dash(tmp_path: Path) -> None:
    rows = some_rows(200, 2)
    rows.target[rows.table["fold"] == 3] = [1, 0]
    page = written(compared(two_runs(tmp_path, rows, metric="auc"), metrics.AUC), tmp_path)
    assert {row[0]: row[1:] for row in page.tables["scores"]}["fold 3"] == ["–", "–", "–"]
    assert "auc is not defined on the rows of folds [3]" in page.text


def test_a_copy_in_a_runs_folder_is_noticed_by_its_mirror_and_written_once(runs: list[Run], tmp_path: Path) -> None:
    page = comparison_page.write(compared(runs), tmp_path / NAME, {}, Inputs())
    before = [wording.fingerprint(run) for run in runs]
    assert sending.leave(page, runs) == []
    after = [wording.fingerprint(run) for run in runs]
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert (runs[0].folder / "comparisons" / "c0ffee123456.html").read_bytes() == page.read_bytes()
    assert sending.leave(page, runs) == []
    assert [wording.fingerprint(run) for run in runs] == after


def test_a_folder_that_takes_no_copy_costs_a_sentence(runs: list[Run], tmp_path: Path) -> None:
    page = comparison_page.write(compared(runs), tmp_path / NAME, {}, Inputs())
    (runs[0].folder / "comparisons").write_text("in the way")
    said = sending.leave(page, runs)
    assert len(said) == 1
    assert str(runs[0].folder / "comparisons") in said[0]
    assert (runs[1].folder / "comparisons" / "c0ffee123456.html").exists()


def called(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> tuple[int, str, str]:
    code = door.run(COMMAND, ["runs=dataset=data", f"outputs={tmp_path}", "resamples=200", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_nothing_is_sent_of_runs_that_were_never_mirrored_or_where_it_is_not_wanted(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(sending, "send_apart", lambda *given: started.append(given))
    monkeypatch.setattr(plots, "drawings", lambda *_: {})
    assert called(capsys, tmp_path)[::2] == (0, "")
    for run in runs:
        write_json(run.folder / "tracking.json", {"uri": NOWHERE, "token": "t", "files": {}, "folds": {}})
    assert called(capsys, tmp_path, "tracking.enabled=false")[::2] == (0, "")
    assert started == []
    code, _, err = called(capsys, tmp_path, "tracking.uri=http://me:secret@there", "tracking.wait=7")
    assert [(set(folders), uri) for folders, uri, _ in started] == [
        ({str(run.folder) for run in runs}, "http://me:secret@there")
    ]
    assert (code, "secret" in err) == (0, False)


def test_a_dead_server_costs_the_wait_and_a_sentence(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(runs[1].folder / "tracking.json", {"uri": NOWHERE, "token": "t", "files": {}, "folds": {}})
    began = time.perf_counter()
    page = comparison_page.write(compared(runs), tmp_path / NAME, {}, Inputs())
    assert sending.leave(page, runs) == []
    said = sending.send("c0ffee123456", runs, "run", 1.0, tmp_path)
    assert time.perf_counter() - began < 8
    assert len(said) == 1
    assert f"({NOWHERE}) has not taken the page; later: python -m bench.track {runs[1].folder}" in said[0]


def test_a_database_that_was_moved_is_not_made_anew(runs: list[Run], tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "mlflow.db"
    note = {"uri": f"sqlite:///{gone}", "token": "t", "files": {}, "folds": {}}
    write_json(runs[0].folder / "tracking.json", note)
    page = comparison_page.write(compared(runs), tmp_path / NAME, {}, Inputs())
    sending.leave(page, runs)
    assert "has not taken the page" in sending.send("c0ffee123456", runs, "run", 30.0, tmp_path)[0]
    assert not gone.parent.exists()


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_the_page_is_among_the_artifacts_of_each_run_that_mlflow_has(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    from bench.tracking.mirror import Mirror, default_uri

    assert Mirror(runs[0], default_uri(tmp_path)).sync()
    code, out, err = called(capsys, tmp_path)
    name = f"comparisons/{Path(out.splitlines()[-1]).name}.html"
    assert (code, err) == (0, f"tracking  MLflow has the page among the artifacts of the run: {name}\n")
    client = MlflowClient(default_uri(tmp_path))
    run_id = read_json(runs[0].folder / "tracking.json")["run_id"]
    assert [file.path for file in client.list_artifacts(run_id, "comparisons")] == [name]
    assert Mirror(runs[0], default_uri(tmp_path)).sync()
    assert called(capsys, tmp_path)[::2] == (0, ""), "sent once"


def test_a_comparison_is_not_lost_for_its_page(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Path:
        raise ZeroDivisionError("no page today")

    monkeypatch.setattr(comparison_page, "write", broken)
    code, out, err = called(capsys, tmp_path)
    assert (code, err) == (0, "report    not written: ZeroDivisionError: no page today\n")
    assert (Path(out.splitlines()[-1].removeprefix("comparison ")) / "comparison.json").exists()
    assert len(runs) == 2


def test_trained_runs_show_their_rows_as_the_best_model_sees_them(small: Callable[..., Composed]) -> None:
    from bench.crossval import collect
    from bench.datasets.heartbeat import Heartbeat

    made = [train_here(*small("train.epochs=1", f"seed={seed}")) for seed in (1, 2)]
    for run in made:
        collect.collect(run, Heartbeat.metric)
    of = compared(made, Heartbeat.metric)
    assert labels(of.runs) == [f"mlp seed={run.config['seed']}" for run in of.runs]
    found = command._inputs(of, made[0].folder.parents[2])
    rows = comparison_rows.shown_rows(of)[0][1]
    assert (found.run, list(found.by_row)) == (of.runs[0], list(rows))
    raw = pd.read_csv(Path(made[0].recipe.dataset["root"]) / "train.csv").set_index("id")["heartbeat_signals"]
    for row in rows:
        signal = np.array(raw[int(of.rows.table["id"][row])].split(","), dtype=np.float32)
        assert np.corrcoef(found.by_row[row].ravel(), signal)[0, 1] > 0.999
    shutil.rmtree(made[0].inputs.stores["train"])
    assert (
        "the computed features are not there any more" in command._inputs(of, made[0].folder.parents[2]).reason_missing
    )


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chrome on the PATH")
def test_a_browser_loads_it_light_and_dark_without_complaint(runs: list[Run], tmp_path: Path) -> None:
    of = compared(runs)
    written(of, tmp_path, drawn(of), drawn=True)
    assert_a_browser_shows(tmp_path / NAME / "report.html", tmp_path)
