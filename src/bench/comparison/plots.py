"""Figures of a comparison: scores by fold, intervals of the differences, curves, classes, reliability, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.comparison.comparison import Comparison, Pair
from bench.comparison.words import bounds, decimals, loss_name, signed
from bench.report import plots as run_plots
from bench.report.curves import POINTS, Curves, curves
from bench.report.figures import (
    BLUE,
    COLORS,
    INK,
    ORANGE,
    VERMILLION,
    WIDTH,
    Drawing,
    blank,
    cut,
    legend,
    style,
)
from bench.report.plots import BEHIND, DASHED
from bench.tell import figure, percent

MOST = len(COLORS)
"""The most runs in a figure with a colour per run: the best ones."""
ALL_POINTS = 20_000
"""The most points of a figure's learning curves in total."""


def drawings(compared: Comparison, names: Sequence[str]) -> dict[str, Drawing]:
    """All figures by name; ``names`` are the runs', best first."""
    short = [cut(name) for name in names]
    drawn: dict[str, Drawing | None] = {
        "folds": folds(compared, short),
        "differences": differences(compared, short),
        "classes": classes(compared, short),
        "reliability": run_plots.reliability(
            list(zip(short[:MOST], COLORS, compared.probabilities, strict=False)), compared.rows.target
        ),
        **learning(compared, short),
    }
    others = compared.pairs[: MOST - 1]
    for i, pair in enumerate(others, start=1):
        drawn["rows" if len(others) == 1 else f"rows_{i}"] = rows(compared, pair, short)
    return {name: drawing for name, drawing in drawn.items() if drawing}


def title(compared: Comparison, names: Sequence[str]) -> str:
    """The heading of the figures: the data set and the runs."""
    short = [cut(name, 24) for name in names[:MOST]] + ["…"] * (len(names) > MOST)
    return f"{compared.runs[0].inputs.dataset} · {' against '.join(short)}"


def folds(compared: Comparison, names: Sequence[str]) -> Drawing:
    """One line per fold, from run to run. Parallel lines mean that all folds show the same difference."""
    r, metric = len(names), compared.metric
    chart = blank(max(WIDTH, 1.2 * r), 4.0)
    axes = chart.subplots()
    style(axes, f"Score by fold: {metric.name}, {metric.direction.sentence}", grid="y")
    for k, scores in enumerate(compared.folds.T):
        color = BLUE if r > 2 or compared.pairs[0].gains[k] > 0 else VERMILLION
        axes.plot(range(r), scores, "o-", color=color, lw=1.1, ms=4.5, alpha=0.65)
    means = np.nanmean(compared.folds, axis=1)
    axes.plot(range(r), means, "D", color=INK, ms=6, zorder=4, label="mean of the folds")
    axes.plot(range(r), compared.scores, "_", color=ORANGE, ms=24, mew=2.6, zorder=3, label="out of fold")
    for i, mean in enumerate(means):
        axes.annotate(
            figure(mean), (i, mean), (-11, 0), textcoords="offset points", size=8.5, ha="right", va="center",
            color=INK, bbox=BEHIND,
        )  # fmt: skip
    if r == 2:
        axes.plot([], [], "o-", color=BLUE, lw=1.1, ms=4.5, label=f"fold where {names[0]} is better")
        if (compared.pairs[0].gains <= 0).any():
            axes.plot([], [], "o-", color=VERMILLION, lw=1.1, ms=4.5, label="fold where it is not")
    axes.set_xlim(-0.6, r - 0.6)
    turn: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if r > 4 else {}
    axes.set_xticks(range(r), names, size=9, parse_math=False, **turn)
    legend(chart)
    means_said = ", ".join(f"{name} {figure(mean)}" for name, mean in zip(names, means, strict=True))
    return Drawing(chart, f"{metric.name} by fold, a line a fold from run to run; means of the folds: {means_said}")


def differences(compared: Comparison, names: Sequence[str]) -> Drawing:
    """The best run's gain over each other run, by rows and by folds, with 95 % intervals."""
    chart = blank(5.6, 1.5 + 0.62 * len(compared.pairs))
    axes = chart.subplots()
    style(axes, f"How much better {cut(names[0], 20)} is in {compared.metric.name}, with 95 % intervals", grid="x")
    axes.axvline(0, color=INK, lw=1.1)
    words, digits = [], decimals(compared)
    for at, pair in enumerate(compared.pairs):
        judged = pair.gains[np.isfinite(pair.gains)]
        named = (f"out of fold, {compared.unit}s resampled", "mean of the folds, corrected t-test", "a fold")
        by_rows, by_folds, one = named if at == 0 else (None, None, None)
        line: dict[str, Any] = {"lw": 2, "capsize": 4, "ms": 5.5}
        axes.errorbar(
            pair.gain, at - 0.05, xerr=_bars(pair.gain, pair.low, pair.high), fmt="o", color=BLUE, label=by_rows, **line
        )
        if t := pair.folds:
            across = _bars(t.mean, t.low, t.high)
            axes.errorbar(t.mean, at + 0.25, xerr=across, fmt="s", color=ORANGE, label=by_folds, **line)
        axes.plot(judged, np.full(len(judged), at + 0.25), "|", color=INK, ms=9, mew=1.2, zorder=3, label=one)
        text = f"{names[0]} over {names[pair.other]}"
        axes.annotate(
            text, (0.01, at - 0.36), xycoords=("axes fraction", "data"), size=8.5, color=INK, va="center", bbox=BEHIND,
            parse_math=False,
        )  # fmt: skip
        words.append(f"{text}: {signed(pair.gain, digits)}, {bounds(pair.low, pair.high, digits)}")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(compared.pairs) - 0.5, -0.6)
    axes.set_xlim(*_near(compared))
    axes.locator_params(axis="x", nbins=6)
    legend(chart)
    return Drawing(chart, f"Differences in {compared.metric.name} out of fold with 95 % intervals: {'; '.join(words)}")


def _near(compared: Comparison) -> tuple[float, float]:
    """The limits of the axis. The interval of a t-test on two folds may be too wide to show, so it is cut."""
    near = [0.0, *(v for p in compared.pairs for v in (p.gain, p.low, p.high, *p.gains[np.isfinite(p.gains)].tolist()))]
    tests = [v for p in compared.pairs if p.folds for v in (p.folds.low, p.folds.high)]
    room = (max(near) - min(near)) or 1.0
    low, high = max(min(near + tests), min(near) - room), min(max(near + tests), max(near) + room)
    edge = 0.04 * (high - low) or 1.0
    return low - edge, high + edge


def learning(compared: Comparison, names: Sequence[str]) -> dict[str, Drawing | None]:
    """Validation metric by epoch, and the loss if all runs have the same one. Ensembles have no epochs."""
    histories = {
        i: histories
        for i, run in enumerate(compared.runs[:MOST])
        if (histories := [history for fold in run.folds if (history := fold.history())])
    }
    if not histories:
        return {}
    points = max(40, min(POINTS, ALL_POINTS // sum(map(len, histories.values())) // 2))
    metric = compared.metric

    def sets(side: str, key: str, line: Any = "-") -> list[Curves]:
        return [Curves(names[i], COLORS[i], h, f"{side}/{key}", line) for i, h in histories.items()]

    name = f"{metric.name} of the validation rows, {metric.direction.sentence}"
    drawn = {"curves_metric": curves(name, sets("valid", metric.name), points=points)}
    if len({str(compared.runs[i].made_by.loss) for i in histories}) == 1:
        both = [*sets("valid", "loss"), *sets("train", "loss", DASHED)]
        drawn["curves_loss"] = curves("Loss (dashed: of the training rows)", both, points=points)
    return drawn


def classes(compared: Comparison, names: Sequence[str]) -> Drawing:
    """Each class's loss under every run, and the best run's gain on it."""
    positions, k = range(min(len(names), MOST)), len(compared.rows.classes)
    thick = 0.8 / len(positions)
    each = 0.26 + 0.11 * len(positions) if k <= 12 else 0.12 + 0.07 * len(positions)
    chart = blank(8.4, 1.6 + max(k * each, 1.6))
    score_axes, gain_axes = chart.subplots(1, 2, sharey=True, width_ratios=(1, 1))
    style(
        score_axes,
        f"By class: {loss_name(compared)}, {compared.loss_direction.sentence}",
        "mean on the class's rows",
        grid="x",
    )
    style(gain_axes, f"How far {cut(names[0], 18)} is ahead", "difference, with 95 % interval", grid="x")
    gain_axes.axvline(0, color=INK, lw=1.1)
    for i in positions:
        table = compared.classes[compared.classes["run"] == i]
        at = np.arange(k) + (i - (len(positions) - 1) / 2) * thick
        score_axes.barh(at, table["score"], 0.92 * thick, color=COLORS[i], label=names[i])
        if i:
            gain, low, high = (table[name].to_numpy() for name in ("gain", "low", "high"))
            gain_axes.errorbar(gain, at, xerr=_bars(gain, low, high), fmt="o", color=COLORS[i], ms=4, lw=1.4, capsize=2)
    count = compared.classes[compared.classes["run"] == 0]["rows"]
    ticks = [f"{cut(c, 22)} ({n:,})" for c, n in zip(compared.rows.classes, count, strict=True)]
    score_axes.set_yticks(range(k), ticks, size=9 if k <= 20 else 7.5, parse_math=False)
    score_axes.set_ylim(k - 0.4, -0.6)
    for axes in (score_axes, gain_axes):
        axes.locator_params(axis="x", nbins=5)
        legend(chart)
    return Drawing(
        chart, f"{loss_name(compared)} of each of {k} classes under {', '.join(names[i] for i in positions)}"
    )


def rows(compared: Comparison, pair: Pair, names: Sequence[str]) -> Drawing:
    """Each row's loss under the best run and under another one, as a density of points."""
    from matplotlib.colors import LinearSegmentedColormap

    chart = blank(WIDTH, 4.6)
    axes = chart.subplots()
    x, y, what = compared.losses[:, pair.best], compared.losses[:, pair.other], loss_name(compared)
    ahead = compared.loss_direction.sign * (x - y)
    shares = f"better on {percent((ahead > 0).mean())} of rows, worse on {percent((ahead < 0).mean())}"
    style(axes, f"{cut(names[0], 18)}: {shares}", f"{what} of {names[0]}", f"{what} of {names[pair.other]}")
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    middle = float(np.median(np.r_[x, y]))
    shade = LinearSegmentedColormap.from_list("shade", [f"{BLUE}40", f"{BLUE}ff"])
    cells: dict[str, Any] = {"gridsize": 48, "mincnt": 1, "bins": "log", "cmap": shade, "lw": 0, "rasterized": True}
    if low >= 0 and 0 < 10 * middle < high:  # else a few rows would squeeze all others into a corner
        low = max(low, 1e-3 * middle)
        axes.set(xscale="log", yscale="log")
        axes.hexbin(np.maximum(x, low), np.maximum(y, low), xscale="log", yscale="log", **cells)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
    else:
        axes.hexbin(x, y, **cells)
        axes.locator_params(nbins=5)
    axes.plot([low, high], [low, high], color=INK, lw=0.9)
    axes.set_aspect("equal", "box")
    return Drawing(chart, f"{what} of each row under {names[0]} and {names[pair.other]}: {names[0]} is {shares}")


def _bars(middle: float | np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """Error bar lengths (2, N), down and up, never negative: a percentile interval may just miss its middle."""
    middle, low, high = np.atleast_1d(middle), np.atleast_1d(low), np.atleast_1d(high)
    return np.asarray(np.maximum(np.stack([middle - low, high - middle]), 0))
