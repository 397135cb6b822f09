"""Pictures of a comparison: scores by fold, intervals of the differences, classes, losses row by row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.comparison.comparison import DISTANCE, Comparison
from bench.report.plots import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION, blank, cut, save, style
from bench.runs.facts import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (BLUE, VERMILLION, GREEN, ORANGE, "#CC79A7", "#56B4E9")
MOST = 4
"""Runs that the pictures of classes and of rows show beside the best one."""
DISCRETE = 12
"""A loss with as few values (MAP@3 has four) is drawn as circles that count rows."""


def draw(of: Comparison, names: list[str], folder: Path) -> list[Path]:
    """Draws all pictures into ``folder``; ``names`` are the runs', best first."""
    drawn = {"folds": _folds(of, names), "differences": _differences(of, names), "classes": _classes(of, names)}
    drawn["rows"] = _rows(of, names)
    return [_save(of, names, figure, folder / f"{name}.png") for name, figure in drawn.items()]


def _folds(of: Comparison, names: list[str]) -> Figure:
    """A line a fold from run to run: parallel lines are a difference that every fold shows."""
    r = len(names)
    figure = blank(max(5.4, 1.6 + 1.7 * r), 4.4)
    axes = figure.subplots()
    style(axes, f"Score by fold: {of.metric.name}, {_better(of.metric.direction)} is better", "", "")
    axes.grid(False, axis="x")
    for k, scores in enumerate(of.folds.T):
        color = BLUE if r > 2 else BLUE if of.pairs[0].gains[k] > 0 else VERMILLION
        axes.plot(range(r), scores, "o-", color=color, lw=1.1, ms=4.5, alpha=0.65)
    for numbers, score in _beside(of):
        away = {"xytext": (17, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(numbers, (r - 1, score), size=8, color=GREY, **away)  # type: ignore[arg-type]
    means = np.nanmean(of.folds, axis=1)
    axes.plot(range(r), means, "D", color=INK, ms=7, zorder=4, label="mean of the folds")
    axes.plot(range(r), of.scores, "_", color=ORANGE, ms=26, mew=2.6, zorder=3, label="out of fold")
    for i, mean in enumerate(means):
        axes.annotate(
            short(float(mean)), (i, mean), (-11, 0), textcoords="offset points", size=8.5, ha="right", va="center",
            color=INK, bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip
    if r == 2:
        axes.plot([], [], "o-", color=BLUE, lw=1.1, ms=4.5, label=f"fold where {names[0]} is better")
        if (of.pairs[0].gains <= 0).any():
            axes.plot([], [], "o-", color=VERMILLION, lw=1.1, ms=4.5, label="fold where it is not")
    _figures(axes.yaxis)
    axes.set_xlim(-0.55, r - 0.45)
    axes.set_xticks(range(r), [cut(n) for n in names], size=10, rotation=0 if r <= 5 else 20, parse_math=False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    return figure


def _beside(of: Comparison) -> list[tuple[str, float]]:
    """The folds' numbers with the last run's score, those that would be written over each other together."""
    found: list[tuple[list[str], float]] = []
    close = 0.032 * (np.nanmax(of.folds) - np.nanmin(of.folds))
    for at in np.argsort(of.folds[-1]):
        score = float(of.folds[-1, at])
        if not np.isfinite(score):
            continue
        if found and score - found[-1][1] < close:
            found[-1][0].append(str(of.numbers[at]))
        else:
            found.append(([str(of.numbers[at])], score))
    return [(" ".join(n) if len(n) < 4 else f"{len(n)} folds", score) for n, score in found]


def _differences(of: Comparison, names: list[str]) -> Figure:
    """How far the best is ahead of each other run: by rows and by folds, with their 95 % intervals."""
    figure = blank(8.4, 1.9 + 0.62 * len(of.pairs))
    axes = figure.subplots()
    style(axes, f"How much better {cut(names[0])} is: {of.metric.name}", "", "")
    axes.grid(False, axis="y")
    axes.axvline(0, color=INK, lw=1.2)
    for at, pair in enumerate(of.pairs):
        judged = pair.gains[np.isfinite(pair.gains)]
        named = (f"out of fold, {of.unit}s resampled", "mean of the folds, corrected t-test", "a fold")
        rows, folds, fold = named if at == 0 else (None, None, None)
        line: dict[str, Any] = {"lw": 2, "capsize": 4}
        across = _bars(pair.gain, pair.low, pair.high)
        axes.errorbar(pair.gain, at - 0.17, xerr=across, fmt="o", color=BLUE, ms=6, label=rows, **line)
        if t := pair.folds:
            across = _bars(t.mean, t.low, t.high)
            axes.errorbar(t.mean, at + 0.17, xerr=across, fmt="s", color=ORANGE, ms=6, label=folds, **line)
        axes.plot(judged, np.full(len(judged), at + 0.17), "|", color=INK, ms=10, mew=1.2, zorder=3, label=fold)
    verdicts = [f"{cut(names[p.other])}\n{p.verdict.replace('better', 'worse')}" for p in of.pairs]
    axes.set_yticks(range(len(of.pairs)), verdicts, size=9, parse_math=False)
    axes.set_ylim(len(of.pairs) - 0.5, -0.5)
    axes.set_xlabel(f"{_fewer(of.metric.direction)} {of.metric.name} than the other, with 95 % intervals", size=10)
    axes.xaxis.label.set_color(INK)
    _figures(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    return figure


def _classes(of: Comparison, names: list[str]) -> Figure:
    """Each class's loss under every run, and how far the best is ahead on it."""
    shown, k = range(min(len(names), MOST + 1)), len(of.rows.classes)
    thick = 0.8 / len(shown)
    each = 0.26 + 0.11 * len(shown) if k <= 12 else 0.12 + 0.07 * len(shown)
    figure = blank(9.6, 1.6 + max(k * each, 1.8))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1))
    what = "distance from the target" if of.loss == DISTANCE else of.loss
    style(left, f"By class: {what}, {_better(of.loss_direction)} is better", "mean on the class's rows", "")
    style(right, f"How far {cut(names[0], 18)} is ahead", "difference, with 95 % interval", "")
    right.axvline(0, color=INK, lw=1.2)
    for i in shown:
        frame = of.classes[of.classes["run"] == i]
        at = np.arange(k) + (i - (len(shown) - 1) / 2) * thick
        left.barh(at, frame["score"], 0.92 * thick, color=COLORS[i], label=cut(names[i]))
        if i:
            gain = frame["gain"].to_numpy()
            bars = _bars(gain, frame["low"].to_numpy(), frame["high"].to_numpy())
            right.errorbar(gain, at, xerr=bars, fmt="o", color=COLORS[i], ms=4, lw=1.4, capsize=2)
    count = of.classes[of.classes["run"] == 0]["rows"]
    ticks = [f"{cut(c, 22)} ({n:,})" for c, n in zip(of.rows.classes, count, strict=True)]
    left.set_yticks(range(k), ticks, size=9 if k <= 20 else 7.5, parse_math=False)
    left.set_ylim(k - 0.4, -0.6)
    for axes in (left, right):
        axes.grid(False, axis="y")
        axes.xaxis.get_major_locator().set_params(nbins=6)
        _figures(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=len(shown), frameon=False, fontsize=8.5)
    return figure


def _rows(of: Comparison, names: list[str]) -> Figure:
    """Each row's loss under the best run and under another: what lies off the diagonal, one of them knows better."""
    others = of.pairs[:MOST]
    figure = blank(1.0 + 4.2 * len(others), 5.1)
    what = "distance from the target" if of.loss == DISTANCE else of.loss
    drawn = _Cloud(of.losses[:, [0, *(pair.other for pair in others)]])
    for axes, pair in zip(figure.subplots(1, len(others), squeeze=False)[0], others, strict=True):
        x, y = of.losses[:, pair.best], of.losses[:, pair.other]
        ahead = (y - x) * (1.0 if of.loss_direction == "min" else -1.0)
        shares = f"better on {(ahead > 0).mean():.0%} of rows, worse on {(ahead < 0).mean():.0%}"
        style(axes, shares, f"{what} of {cut(names[0])}", f"{what} of {cut(names[pair.other])}")
        drawn.draw(axes, x, y, ahead)
    words = [(BLUE, f"{cut(names[0])} better"), (VERMILLION, "worse")]
    if any((of.losses[:, 0] == of.losses[:, pair.other]).any() for pair in others):
        words.append((GREY, "the same"))
    for color, word in words:
        axes.scatter([], [], s=36, color=color, label=word)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    return figure


class _Cloud:
    """Rows about a diagonal, one range for all panels: circles that count where there are few values, else points.

    Logarithms where a few rows' losses would squeeze all others into a corner.
    """

    def __init__(self, losses: np.ndarray) -> None:
        self.values = np.unique(losses.round(9))
        self.few = len(self.values) <= DISCRETE
        low, high = float(losses.min()), float(losses.max())
        middle = float(np.median(losses[losses > 0])) if (losses > 0).any() else 0.0
        self.logarithms = not self.few and low >= -1e-9 and 0 < 10 * middle < high
        room = (0.2 if self.few else 0.03) * ((high - low) or 1.0)
        self.low, self.high = low - room, high + room
        if self.logarithms:
            self.low, self.high = max(float(np.quantile(losses, 0.002)), 1e-3 * middle) / 1.2, 1.2 * high

    def draw(self, axes: Axes, x: np.ndarray, y: np.ndarray, ahead: np.ndarray) -> None:
        from matplotlib.ticker import LogLocator

        if self.few:
            at, count = np.unique(np.stack([x, y, np.sign(ahead)], 1).round(9), axis=0, return_counts=True)
            for (a, b, side), n in zip(at, count, strict=True):
                color = {1.0: BLUE, -1.0: VERMILLION}.get(side, GREY)
                axes.scatter(a, b, s=160 + 1000 * np.sqrt(n / len(x)), color=color, alpha=0.4, lw=0, zorder=2)
                axes.annotate(f"{n:,}", (a, b), ha="center", va="center", size=8, color=INK, zorder=3)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_ticks(self.values, [f"{value:.3g}" for value in self.values])
        else:
            x, y = np.maximum(x, self.low), np.maximum(y, self.low)
            see_through = float(np.clip(30 / np.sqrt(len(x)), 0.1, 0.35))
            for side, color in ((ahead > 0, BLUE), (ahead < 0, VERMILLION), (ahead == 0, GREY)):
                axes.scatter(x[side], y[side], s=9, color=color, alpha=see_through, lw=0, rasterized=True)
            if self.logarithms:
                axes.set_xscale("log")
                axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):
                if self.logarithms:
                    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if self.high < 1e3 * self.low else (1,)))
                _figures(axis)
        axes.plot([self.low, self.high], [self.low, self.high], color=INK, lw=0.9, zorder=1)
        axes.set_xlim(self.low, self.high)
        axes.set_ylim(self.low, self.high)
        axes.set_aspect("equal", "box")


def _figures(axis: Any) -> None:
    """Ticks as a person writes numbers: 5,000, never 5 × 10³."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _bars(middle: float | np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """Distances (2, N) down and up; a percentile interval may leave its middle on one side by a hair."""
    middle, low, high = np.atleast_1d(middle), np.atleast_1d(low), np.atleast_1d(high)
    return np.maximum(np.stack([middle - low, high - middle]), 0)


def _better(direction: str) -> str:
    return "lower" if direction == "min" else "higher"


def _fewer(direction: str) -> str:
    return "less" if direction == "min" else "more"


def _save(of: Comparison, names: list[str], figure: Figure, path: Path) -> Path:
    shown = [cut(name, 24) for name in names[:MOST]] + ["…"] * (len(names) > MOST)
    return save(figure, path, f"{of.runs[0].inputs['dataset']} · {' against '.join(shown)}", of.rows.simulated)
