"""What a person sees: the address that a training prints, in a browser, against a real MLflow server."""

from __future__ import annotations

import re
import socket
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.runs import scores
from bench.runs.run import Run
from bench.tracking.mirror import Mirror
from bench.tracking.wording import comparison, headline
from fake_run import rewrite, write_run
from fake_run import scores as fake_scores
from mlflow_server import kill, serve
from page_reader import CHROMIUM


class Page(HTMLParser):
    """What MLflow's page of charts draws: texts in their order, and of each chart what it says of which colour."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.bars: dict[str, dict[str, str]] = {}
        """By chart: a bar's colour → the figure written on it."""
        self.legends: dict[str, dict[str, str]] = {}
        """By chart: a colour → its name."""
        self._chart, self._colour, self._to = "", "", self.bars
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "h4" and "title" in said:
            self._chart = said["title"]
        # A bar is a path with a fill, and a legend's line one with a stroke; its text comes next.
        if tag == "path" and (found := re.search(r"(fill|stroke): (rgb\([\d, ]+\))", said.get("style", ""))):
            self._colour, self._to = found[2], self.bars if found[1] == "fill" else self.legends

    def handle_data(self, data: str) -> None:
        if not (text := data.strip()):
            return
        self.texts.append(text)
        if self._chart and self._colour:
            self._to.setdefault(self._chart, {}).setdefault(self._colour, text)
            self._colour = ""

    def figures(self, chart: str) -> dict[str, str]:
        """What the chart's bars say, by the name that the legend gives their colour."""
        bars = self.bars.get(chart, {})
        return {name: bars[colour] for colour, name in self.legends.get(chart, {}).items() if colour in bars}


def drawn(address: str, profile: Path) -> Page:
    """The page after its scripts have run for 40 s of their own time, a few of ours."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    options += [
        "--window-size=2200,1600",
        "--virtual-time-budget=40000",
        "--dump-dom",
    ]  # charts out of sight stay empty
    done = subprocess.run([str(CHROMIUM), *options, address], capture_output=True, text=True, timeout=120, check=True)
    return Page(done.stdout)


def shifted(run: Run, by: float) -> float:
    """Moves the run's scores; their mean."""
    before = run.scores()
    assert before is not None
    folds = [score + by for score in before.folds]
    mean = sum(folds) / len(folds)
    rewrite(run, "scores.json", folds=folds, mean=mean, oof=mean + 0.01)
    return mean


@pytest.mark.parametrize(("std", "said"), [(163.5, "163.5"), (99.6, "99.6"), (1635.0, "1,635.0"), (0.0321, "0.0")])
def test_a_spread_of_any_size_is_written_out(std: float, said: str) -> None:
    found = scores.of(fake_scores(metric="l1_20k", mean=16636.5, std=std, folds=[0.0] * 5), "here")
    assert headline(found).startswith(f"**l1_20k 16,636.5 ± {said}** over 5 folds")


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chrome on the PATH")
def test_the_printed_address_opens_on_both_models_means_with_their_folds_grouped(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri, means = f"http://127.0.0.1:{port}", {}
    server = serve(tmp_path, port)
    try:
        for number, (model, by) in enumerate({"wavenet": 0.0, "mlp": 0.2345}.items()):
            run = write_run(tmp_path / "outputs", model=model, identity=f"{number}f3a90c2d4e5", folds=5)
            means[model] = shifted(run, by)
            assert Mirror(run, uri).sync()
        address = comparison(uri, run.folder / "tracking.json")
        for _ in range(3):  # a slow machine's first load may end before its charts
            page = drawn(address, tmp_path / "profile")
            if len(page.figures("cv/kl_mean")) == 2:
                break
    finally:
        kill(server)
    assert page.figures("cv/kl_mean") == {model: f"{mean:.2f}" for model, mean in means.items()}
    assert len(set(page.figures("cv/kl_mean").values())) == 2
    assert "By model" in page.texts, "the saved view is the one that is open"
    rows = [text for text in page.texts if re.fullmatch(r"Group: \w+|\w+ \w{6} fold \d", text)]
    wavenet, mlp = ([f"{name} fold {k}" for k in (4, 3, 2, 1, 0)] for name in ("wavenet 0f3a90", "mlp 1f3a90"))
    assert rows == ["Group: wavenet", *wavenet, "Group: mlp", *mlp], "the better model first, its folds below it"
