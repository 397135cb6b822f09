"""The run's page: its numbers are the run's, it needs nothing outside itself, and it is written whatever the run is."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.atomic import read_json, write_json
from bench.crossval import collect
from bench.metrics import AUC, KL, L1_20K, MAP3, kl_divergence, kl_terms, precision_3
from bench.report import examples, figures, plots, recipe, report
from bench.report.draw import draw
from bench.report.judged import judge
from bench.runs import frames
from bench.runs.run import Run
from bench.spec import Metric
from bench.tell import figure, spread
from bench.training.model_inputs import model_inputs
from conftest import Composed, train_here
from fake_run import epoch, rewrite, write_member
from page_reader import CHROMIUM, Page, assert_a_browser_shows, assert_nothing_outside


def member(outputs: Path, rows: int = 120, classes: int = 3, folds: int = 3, **inputs: Any) -> Run:
    """A collected run with groups of four rows and a history."""
    rng = np.random.default_rng(3)
    target = np.eye(classes)[rng.integers(classes, size=rows)]
    logits = 2 * target + rng.normal(size=target.shape)
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    group = np.arange(rows) // 4
    run = write_member(outputs, probability, target, group % folds, **inputs)
    table = pd.read_parquet(run.folder / "splits.parquet").assign(group=[f"patient {g}" for g in group])
    frames.write_frame(table, run.folder / "splits.parquet")
    for fold in run.folds:
        fold.write_history([epoch(e, fold.number, 5) for e in range(1, 6)])
        write_json(fold.done, {**read_json(fold.done), "kept_epoch": 4, "device": "cpu"})
    return run


def written(
    run: Run,
    shown: dict[int, np.ndarray] | None = None,
    lacking: str = "No features here.",
    metric: Metric = KL,
    drawn: bool = False,
) -> Page:
    judged = judge(run)
    pictures = figures.inline(plots.drawings(run, metric, judged)) if drawn else {}
    return Page(report.write(run, metric, judged, pictures, shown or {}, lacking))


def renamed(run: Run, names: dict[str, str]) -> None:
    """The run with other class names, everywhere it says them."""
    spec = {**asdict(run.spec), "classes": [names[name] for name in run.spec.classes]}
    rewrite(run, "inputs.json", spec=spec)
    both = {f"{part}_{old}": f"{part}_{new}" for old, new in names.items() for part in ("target", "pred")}
    for name in ("splits.parquet", "oof.parquet"):
        frame = pd.read_parquet(run.folder / name).rename(columns=both)
        frame.to_parquet(run.folder / name)


def test_every_score_is_in_the_page_to_the_last_digit(tmp_path: Path) -> None:
    run = member(tmp_path, dataset="heartbeat", metric="l1_20k")
    scores, page = run.scores(), written(run, metric=L1_20K)
    assert scores is not None
    found = [value for value, _ in page.values]
    single = [scores.oof, scores.mean, scores.std, scores.baseline, scores.accuracy]
    assert {*single, *scores.folds, scores.also["l1_sum"]} == set(found)
    assert all(text in (figure(value), figure(value, like=scores.mean)) for value, text in page.values)
    table = {row[0]: row[1:] for row in page.tables["scores"]}
    for k, score in enumerate(scores.folds):
        assert table[f"fold {k}"][:2] == ["40", figure(score)]
        assert table[f"fold {k}"][-1] == "4 of 5"
    assert table["mean ± std over folds"][1] == spread(scores.mean, scores.std)
    assert table["out of fold"][:3] == ["120", figure(scores.oof), figure(scores.accuracy)]
    assert table["baseline: training means"][1] == figure(scores.baseline)
    assert table["l1_sum, out of fold"][1] == figure(scores.also["l1_sum"])
    assert "l1_20k: lower is better" in page.text


def test_one_view_stands_beside_many(tmp_path: Path) -> None:
    run = member(tmp_path)
    plain = {"folds": [0.91, 0.92, 0.93], "mean": 0.92, "oof": 0.925}
    rewrite(run, "scores.json", without_tta=plain)
    table = {row[0]: row for row in written(run).tables["scores"]}
    column = table[""].index("kl, one view")
    assert [table[f"fold {k}"][column] for k in range(3)] == ["0.9100", "0.9200", "0.9300"]
    assert table["mean ± std over folds"][column] == "0.9200"
    assert table["out of fold"][column] == "0.9250"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A page with its figures and examples."""
    run = member(tmp_path_factory.mktemp("drawn"))
    return written(run, {p: np.zeros((8, 50), np.float32) + np.arange(50) for p in judge(run).worst()}, drawn=True)


def test_the_page_needs_nothing_outside_itself(drawn: Page) -> None:
    page = drawn
    assert_nothing_outside(page)
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    sections = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert [value.removeprefix("#") for value in links] == sections != []


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    run, evil = member(tmp_path), '<b>"x"&'
    renamed(run, {"class 0": evil, "class 1": "'; --", "class 2": "日本 </table>"})
    for name in ("splits.parquet", "oof.parquet"):
        frame = pd.read_parquet(run.folder / name)
        frame["id"] = [f"<i>{n}&" for n in frame["id"]]
        frame.to_parquet(run.folder / name)
    rows = pd.read_parquet(run.folder / "splits.parquet")
    rows.assign(group=[f'<u title="{g}">' for g in rows["group"]]).to_parquet(run.folder / "splits.parquet")
    worst = judge(run).worst()
    page = written(run, {p: np.ones((8, 20), np.float32) * np.arange(20) for p in worst}, drawn=True)
    assert '<b>"' not in page.html
    assert "<i>a" not in page.html
    assert "<u title" not in page.html
    assert [row[0] for row in page.tables["classes"][1:]] == [evil, "'; --", "日本 </table>"]
    assert f"<i>a{worst[0]}& " in page.text
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert f"example <i>a{worst[0]}&" in labels
    assert page.html.count('&lt;b&gt;"x"&amp;</text>') == 2, "both axes of the confusion"


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_is_said_where_it_is(tmp_path: Path, simulated: bool) -> None:
    page = written(member(tmp_path, simulated=simulated))
    assert ("SIMULATED" in page.text) == simulated


def test_the_worst_examples_are_those_of_the_largest_loss(tmp_path: Path) -> None:
    run = member(tmp_path)
    judged, oof = judge(run), pd.read_parquet(run.folder / "oof.parquet")
    own = [kl_divergence(judged.target[i : i + 1], judged.probability[i : i + 1]) for i in range(len(oof))]
    np.testing.assert_allclose(judged.loss, own)
    assert judged.worst() == np.argsort(-np.array(own), kind="stable")[:12].tolist()
    page = written(run, {judged.worst()[0]: np.random.default_rng(0).normal(size=(8, 100))})
    found = re.findall(r"(a\d+) loss ([\d.]+) · fold (\d) · group (patient \d+)", page.text)
    assert [float(loss) for _, loss, _, _ in found] == pytest.approx(sorted(own, reverse=True)[:12], abs=5e-5)
    assert [name for name, *_ in found] == [f"a{p}" for p in judged.worst()]
    assert page.html.count('class="drawn"') == 1
    assert "8\u00a0×\u00a02,000" in page.text


def test_rows_are_found_again_whatever_order_the_folds_left_them_in(tmp_path: Path) -> None:
    run = member(tmp_path)
    before, oof = judge(run), pd.read_parquet(run.folder / "oof.parquet")
    oof.iloc[::-1].to_parquet(run.folder / "oof.parquet")
    after = judge(run)
    assert after.worst() == before.worst()
    assert after.table["id"].tolist() == oof["id"][::-1].tolist()


def test_examples_that_can_not_be_drawn_are_named_with_a_sentence(tmp_path: Path) -> None:
    page = written(member(tmp_path), lacking="The store is <gone>.")
    assert "The store is <gone>." in page.text
    assert page.html.count('<article class="example">') == 12
    assert 'class="drawn"' not in page.html


def test_the_classes_parts_add_up_to_the_metric(tmp_path: Path) -> None:
    run = member(tmp_path)
    judged, page, scores = judge(run), written(run), run.scores()
    assert scores is not None
    shown = [float(row[-1].replace("−", "-")) for row in page.tables["classes"][1:]]
    assert sum(shown) == pytest.approx(scores.oof, abs=2e-4)
    assert shown == pytest.approx(kl_terms(judged.target, judged.probability).mean(0), abs=5e-5)
    assert "The parts add up to the kl of all rows." in page.text


def test_a_metric_by_rows_shows_its_mean_on_each_class(tmp_path: Path) -> None:
    run = member(tmp_path)
    judged = judge(run)
    head, *rows = written(run, metric=MAP3).tables["classes"]
    scores = precision_3(judged.target, judged.probability)
    assert head[-1] == "map3"
    assert [row[-1] for row in rows] == [figure(scores[judged.true == k].mean()) for k in range(3)]


def test_a_metric_of_ranks_shows_average_precision(tmp_path: Path) -> None:
    from sklearn.metrics import average_precision_score

    run = member(tmp_path, classes=2)
    judged = judge(run)
    head, *rows = written(run, metric=AUC).tables["classes"]
    assert head[-1] == "average precision"
    own = [average_precision_score(judged.target[:, k], judged.probability[:, k]) for k in (0, 1)]
    assert [row[-1] for row in rows] == [figure(value) for value in own]


def test_counts_shares_and_accuracy_of_a_class_are_its_rows(tmp_path: Path) -> None:
    run = member(tmp_path)
    judged = judge(run)
    for k, row in enumerate(written(run).tables["classes"][1:]):
        here = judged.target.argmax(1) == k
        expected = [here.mean(), judged.probability[:, k].mean(), judged.right[here].mean()]
        assert row[1] == str(here.sum())
        assert [float(cell.removesuffix("\u00a0%")) for cell in row[2:5]] == pytest.approx(
            [100 * e for e in expected], abs=0.051
        )


def test_groups_are_listed_from_both_ends_by_their_mean_loss(tmp_path: Path) -> None:
    run = member(tmp_path)
    judged = judge(run)
    mean = pd.Series(judged.loss).groupby(judged.table["group"].to_numpy()).mean().sort_values(ascending=False)
    rows = [row for row in written(run).tables["groups"] if row[0] != "group"]
    assert [row[0] for row in rows] == [*mean.index[:8], *mean.index[::-1][:8]]
    assert [row[1] for row in rows] == ["4"] * 16
    assert [row[2] for row in rows] == [figure(mean[row[0]]) for row in rows]
    table = pd.read_parquet(run.folder / "splits.parquet").drop(columns="group")
    frames.write_frame(table, run.folder / "splits.parquet")
    assert "groups" not in written(run).tables


def test_a_group_in_two_folds_is_told(tmp_path: Path) -> None:
    run = member(tmp_path)
    assert "No group lies in two folds." in written(run).text
    table = pd.read_parquet(run.folder / "splits.parquet")
    table.loc[0, "fold"] = 2
    frames.write_frame(table, run.folder / "splits.parquet")
    assert "1 group lies in several folds." in written(run).text


def test_most_mixed_up_pairs_are_the_largest_off_the_diagonal(tmp_path: Path) -> None:
    run = member(tmp_path)
    judged = judge(run)
    pairs = pd.crosstab(judged.target.argmax(1), judged.probability.argmax(1)).to_numpy(copy=True)
    np.fill_diagonal(pairs, 0)
    first = written(run).tables["confusion"][1]
    true, predicted = (int(name.split()[1]) for name in first[:2])
    assert pairs[true, predicted] == pairs.max() == int(first[2])


@pytest.mark.parametrize(("classes", "folds"), [(2, 2), (41, 3)])
def test_any_number_of_classes_and_folds_will_do(tmp_path: Path, classes: int, folds: int) -> None:
    run = member(tmp_path, rows=400, classes=classes, folds=folds)
    run.fold(0).write_history([{**epoch(1), "train/loss": float("nan")}])
    page = written(run)
    assert len(page.tables["classes"]) == classes + 1
    assert "nan" not in page.text.lower()


def test_a_score_that_is_not_defined_is_a_dash(tmp_path: Path) -> None:
    run = member(tmp_path)
    scores = run.scores()
    assert scores is not None
    rewrite(run, "scores.json", folds=[math.nan, *scores.folds[1:]], mean=math.nan)
    table = {row[0]: row for row in written(run).tables["scores"]}
    assert table["fold 0"][2] == "–"


def test_folds_that_are_missing_and_a_run_below_its_baseline_are_told(tmp_path: Path) -> None:
    run = member(tmp_path)
    assert "no better than" not in written(run).text
    scores = run.scores()
    assert scores is not None
    rewrite(run, "scores.json", complete=False, baseline=scores.oof - 0.1)
    rewrite(run, "inputs.json", n_splits=5)
    said = written(run).text
    assert "3 of 5 folds are in these numbers." in said
    assert "no better than always predicting the training means" in said


def test_the_recipe_says_what_was_chosen_and_how_to_run_it_again(tmp_path: Path) -> None:
    run = member(tmp_path)
    command = "/some/where/bin/python3 -m bench.train dataset=hms 'folds.only=[0]' a=<b>"
    write_json(run.folder / "environment.json", {"command": command, "python": "3.11.7", "packages": {"torch": "2.11"}})
    rewrite(run, "inputs.json", names={"model": "wavenet", "augment": "none"})
    wavenet = {"_target_": "bench.models.wavenet.WaveNet", "filters": [8, 16]}
    run = rewrite(run, "config.yaml", model=wavenet, augment={}, seed=7, tracking={"uri": "http://secret"})
    page = written(run)
    assert ["model", "wavenet", "filters = [8, 16]"] in page.tables["recipe"]
    assert ["seed", "7", ""] in page.tables["recipe"]
    groups = {"dataset", "model", "features", "loss", "split", "optimizer", "scheduler", "train"}
    assert {row[0] for row in page.tables["recipe"]} == {"", "seed", *groups}, "neither none nor where it ran"
    assert "python -m bench.train dataset=hms 'folds.only=[0]' a=<b>" in page.text
    assert "secret" not in page.html
    assert ["packages", "torch 2.11"] in page.tables["environment"]
    assert ["device", "cpu"] in page.tables["environment"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [[2000], [640, 1920]])
def test_the_page_stays_below_a_megabyte(tmp_path: Path, size: list[int]) -> None:
    spec = {"channels": 8 if len(size) == 1 else 1, "size": size, "classes": [f"class {k}" for k in range(41)]}
    run = member(tmp_path, rows=4000, classes=41, folds=5, spec={**spec, "sample_rate": 40.0})
    rng = np.random.default_rng(0)
    page = written(run, {p: rng.normal(size=run.spec.shape).astype("f4") for p in judge(run).worst()}, drawn=True)
    assert len(page.html) < 1_000_000


def test_the_page_is_the_same_for_the_same_run(drawn: Page, tmp_path: Path) -> None:
    run = member(tmp_path)
    shown = {p: np.zeros((8, 50), np.float32) + np.arange(50) for p in judge(run).worst()}
    assert written(run, shown, drawn=True).html == drawn.html


def test_a_picture_shows_what_it_was_given() -> None:
    from PIL import Image

    x = np.zeros((1, 30, 60), np.float32)
    x[0, :15, :30] = 1
    picture = examples.example(x)
    assert isinstance(picture, examples.Picture)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.data))).convert("RGB"), np.int64)
    assert shown.shape == (30, 60, 3)
    assert (shown[:15, :30] == shown[0, 0]).all()
    assert (shown[15:] == shown[-1, -1]).all()
    assert shown[0, 0].sum() > shown[-1, -1].sum()


def test_few_channels_are_lines_and_many_are_a_picture() -> None:
    x = np.random.default_rng(0).normal(size=(64, 300))
    lines = examples.example(x[:8])
    assert isinstance(lines, examples.Lines)
    assert len(lines.paths) == 8
    assert isinstance(examples.example(x), examples.Picture)


@pytest.mark.parametrize("fill", [0.0, 3.5, np.nan])
def test_a_flat_or_empty_example_is_drawn(fill: float) -> None:
    with np.errstate(all="raise"):
        assert isinstance(examples.example(np.full((2, 40), fill)), examples.Lines)
        assert isinstance(examples.example(np.full((1, 40, 40), fill)), examples.Picture)


def test_a_spike_outlives_the_thinning_of_a_long_signal() -> None:
    x = np.zeros((1, 100_000))
    x[0, 50_001] = 1.0
    x[0, ::2] += 0.01
    steps = examples.signal(x).paths[0].partition("l")[2]
    ups = [int(step) for step in re.findall(r"-?\d+", steps)[1::2]]
    assert min(ups) < -20


def test_seconds_are_told_as_a_person_does() -> None:
    assert [recipe._duration(s) for s in (4.25, 61, 3725)] == ["4.2 s", "1 min 1 s", "1 h 2 min"]


def test_an_ensemble_shows_its_members(tmp_path: Path) -> None:
    run = member(tmp_path)
    for fold in run.folds:
        (fold.folder / "history.json").unlink()
    members = [{"name": "wavenet 1f3a", "oof": 0.4, "weight": 0.75}, {"name": "mlp 77", "oof": 0.5, "weight": None}]
    write_json(run.folder / "blend.json", {"metric": "kl", "members": members})
    page = written(run)
    assert page.tables["members"][1:] == [["wavenet 1f3a", "0.4000", "0.750"], ["mlp 77", "0.5000", ""]]
    assert 'id="curves"' not in page.html


@pytest.mark.slow
def test_a_training_writes_the_page_with_its_worst_rows_as_the_model_sees_them(
    small: Callable[..., Composed], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.data.store import Store
    from bench.datasets.heartbeat import Heartbeat

    monkeypatch.setattr(plots, "drawings", lambda *_: {})
    run = train_here(*small("features=heartbeat_scalogram", "model=cnn2d", "train.epochs=1"), folds=[0])
    collect.collect(run, Heartbeat.metric)
    draw(run, Heartbeat.metric)
    page = Page(run.folder / "report.html")
    worst = judge(run).worst()
    assert page.html.count("<img") == len(worst) == 12
    shown, lacking = model_inputs(run, worst)
    assert (list(shown), lacking) == (worst, "")
    assert {x.shape for x in shown.values()} == {run.spec.shape}
    store = Store(Path(run.inputs.stores["train"]))
    assert {np.float32(x).shape for x in store.gather(np.array(worst))} != {run.spec.shape}, "the device half is seen"

    shutil.rmtree(run.inputs.stores["train"])
    draw(run, Heartbeat.metric)
    page = Page(run.folder / "report.html")
    assert "<img" not in page.html
    assert "the computed features are not there any more" in page.text

    (run.folder / "report.html").unlink()
    (run.folder / "oof.parquet").write_bytes(b"broken")
    draw(run, Heartbeat.metric)  # a run is not lost for it
    assert "report    not written: " in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chrome on the PATH")
def test_a_browser_loads_it_light_and_dark_without_complaint(tmp_path: Path) -> None:
    run = member(tmp_path)
    rng = np.random.default_rng(0)
    written(run, {p: rng.normal(size=(8, 2000)) for p in judge(run).worst()}, drawn=True)
    assert_a_browser_shows(run.folder / "report.html", tmp_path)


def test_figures_are_in_the_page_in_its_own_colours_and_font_each_with_words_for_it(drawn: Page) -> None:
    page, figures = drawn, re.findall(r'<svg class="chart".*?</svg>', drawn.html, re.DOTALL)
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert [label.split()[0] for label in labels[:5]] == ["kl", "Loss,", "kl,", "Confusion", "Observed"]
    assert len(figures) == 5
    for svg in figures:
        assert not re.search(r"#[0-9a-f]{6}\b|font-family|<style|<metadata|xmlns", svg)
        assert "var(--ink)" in svg
    identities = re.findall(r' id="([^"]+)"', page.html)
    assert len(set(identities)) == len(identities)
    referred = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page.html))
    assert {one or other for one, other in referred} <= set(identities)
