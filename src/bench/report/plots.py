"""Figures of a run: learning curves, scores by fold, confusion, reliability, synthetic rows beside real ones.

They are used by the run's page, its ``plots`` folder (and so MLflow), and the page of a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench import bounded
from bench.atomic import read_json
from bench.report.curves import Curves, curves
from bench.report.figures import (
    BLUE,
    GREEN,
    GREY,
    GROUND,
    INK,
    ORANGE,
    OVER,
    PALE,
    VERMILLION,
    WIDTH,
    Drawing,
    blank,
    cut,
    legend,
    style,
)
from bench.report.judged import Judged
from bench.runs.run import Fold, Run
from bench.runs.scores import Scores
from bench.spec import Direction, Metric
from bench.tell import amount, figure, percent, spread

BINS = 15
MANY = 12
"""A confusion matrix of more classes than this has small cells."""
BEHIND = {"boxstyle": "round,pad=0.1", "fc": GROUND, "ec": "none", "alpha": 0.75}
"""The box behind a number that lines may cross."""
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1.5))


def title(run: Run) -> str:
    """The heading of the run's figures: the run, and how many of its folds are in them."""
    inputs, done = run.inputs, sum(fold.done.exists() for fold in run.folds)
    name = f"{inputs.dataset} · {inputs.model} · {run.identity[:6]}"
    return f"{name} · {done} of {inputs.n_splits} folds" if done < inputs.n_splits else name


def drawings(run: Run, metric: Metric, judged: Judged | None) -> dict[str, Drawing]:
    """All figures that the run has files for, by name; ``judged`` is None if no fold has been collected."""
    drawn: dict[str, Drawing | None] = {}
    histories = [history for fold in run.folds if (history := fold.history())]
    if histories:
        sides = (("training", BLUE, "train", DASHED), ("validation", VERMILLION, "valid", "-"))
        for key, title, direction in (
            ("loss", "Loss", Direction.MIN),
            (metric.name, f"{metric.name}, {metric.direction.sentence}", metric.direction),
        ):
            sets = [Curves(label, color, histories, f"{part}/{key}", line) for label, color, part, line in sides]
            drawn[f"curves_{'loss' if key == 'loss' else 'metric'}"] = curves(title, sets, direction)
    scores = run.scores()
    if scores and scores.folds:
        drawn["folds"] = folds(scores, metric)
    if judged is not None:
        drawn["confusion"] = confusion(judged, run.spec.classes)
        drawn["reliability"] = reliability([("this run", BLUE, judged.probability)], judged.target)
    augmented = [
        f for f in run.folds if all((f.folder / f"synthetic_examples{end}").exists() for end in (".npy", ".json"))
    ]
    if augmented and (about := read_json(augmented[0].folder / "synthetic_examples.json"))["classes"]:
        drawn["synthetic"] = synthetic(augmented[0], about)
    return {name: drawing for name, drawing in drawn.items() if drawing}


def folds(scores: Scores, metric: Metric) -> Drawing:
    """Each fold's score, with the mean and its spread, the out-of-fold score and the baseline."""
    numbers, values, mean, std = scores.fold_numbers, scores.folds, scores.mean, scores.std
    several = std > 0 and len(values) > 1
    chart = blank()
    axes = chart.subplots()
    style(axes, f"Score by fold: {metric.name}, {metric.direction.sentence}", "fold", grid="y")
    if several:
        axes.axhspan(mean - std, mean + std, color=BLUE, alpha=0.10, lw=0)
    lines = (
        (mean, f"mean {spread(mean, std) if several else figure(mean)}", BLUE, "-"),
        (scores.oof, f"out of fold {figure(scores.oof)}", GREEN, (0, (5, 2))),
        (scores.baseline, f"baseline {figure(scores.baseline)}", ORANGE, DOTTED),
    )
    words = []
    for value, label, color, line in lines:
        if np.isfinite(value):
            words.append(label)
            axes.axhline(value, color=color, ls=line, lw=1.8, label=label)
    positions = range(len(numbers))
    axes.plot(positions, values, "o", color=INK, ms=6, zorder=3)
    longest = 0.08 * max(len(figure(value)) for value in values)  # inches
    for at, value in zip(positions, values, strict=True):
        if longest * len(values) > 0.85 * WIDTH:  # the numbers would overlap
            break
        away = 8 if value >= mean else -8  # on the side where the lines are not
        axes.annotate(
            figure(value), (at, value), (0, away), textcoords="offset points", ha="center", size=8.5, color=INK,
            va="bottom" if away > 0 else "top", bbox=BEHIND,
        )  # fmt: skip
    axes.set_xticks(list(positions), [str(number) for number in numbers])
    axes.set_xlim(-0.6, len(numbers) - 0.4)
    axes.margins(y=0.18)
    legend(chart)
    by_fold = ", ".join(f"{number}: {figure(value)}" for number, value in zip(numbers, values, strict=True))
    return Drawing(chart, f"{metric.name} by fold ({by_fold}); {', '.join(words)}")


def confusion(judged: Judged, classes: Sequence[str]) -> Drawing:
    """Rows by true and predicted class, shaded by their share of the true class's rows."""
    counts, k = judged.counts(), len(classes)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = max(0.62, 3.4 / k) if k <= MANY else float(np.clip(12 / k, 0.1, 0.2))  # inches
    high, size = (min(cell, 0.45), 9.0) if k <= MANY else (cell, min(9.0, 45 * cell))
    names = [cut(name, 22) for name in classes]
    longest = max(map(len, names)) * size * 0.0085  # inches
    turned = longest > 0.95 * cell
    left, below = 0.45 + longest, 0.5 + (longest if turned else 0.1)
    width, height = k * cell + left + 0.1, k * high + below + 0.4
    chart = blank(width, height)
    chart.set_layout_engine(None)  # measuring hundreds of texts takes longer than drawing them
    chart.subplots_adjust(left / width, below / height, 1 - 0.1 / width, 1 - 0.4 / height)
    axes = chart.subplots()
    right = f"{percent(judged.right.mean())} of {amount(counts.sum())} right"
    style(axes, f"Confusion out of fold: {right}", "predicted", "true", grid="none")
    shade = np.empty((k, k, 4), np.uint8)
    shade[..., :3], shade[..., 3] = [int(BLUE[i : i + 2], 16) for i in (1, 3, 5)], (255 * share).round()
    axes.imshow(shade, aspect="auto", interpolation="none")
    turn: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "rotation_mode": "anchor"} if turned else {}
    axes.set_xticks(range(k), names, size=size, parse_math=False, **turn)
    axes.set_yticks(range(k), names, size=size, parse_math=False)
    for row, column in np.argwhere(counts > 0 if k <= MANY else share >= 0.05):  # of many cells only the large ones
        number, part = amount(counts[row, column]), share[row, column]
        text = f"{part:.0%}\n{number}" if k <= MANY else number
        room = min(0.72 * size, 72 * 0.85 * cell / (0.6 * len(number))) if k > MANY else 8.5
        label = axes.text(
            column, row, text, ha="center", va="center", size=room, linespacing=1.1, color=OVER if part > 0.5 else INK
        )
        label.set_in_layout(False)  # the layout measures every text: ten seconds for 41 classes
    edges = np.arange(k + 1) - 0.5
    axes.hlines(edges, edges[0], edges[-1], color=PALE, lw=0.6)
    axes.vlines(edges, edges[0], edges[-1], color=PALE, lw=0.6)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(edges[-1], edges[0]))
    axes.spines[:].set_visible(False)
    return Drawing(chart, f"Confusion of {k} classes out of fold, true by predicted: {right}")


def calibration(target: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Mean confidence, observed frequency and count of each of ``BINS`` equal bins of confidence, and the ECE.

    Confidence is the probability of the predicted class; what is observed is that class's share of the target, which
    for one-hot targets is accuracy. The expected calibration error is the count-weighted mean of their distance
    (Guo et al. 2017, https://arxiv.org/abs/1706.04599, with 15 bins as there). Empty bins are NaN.
    """
    predicted = probability.argmax(1)
    rows = np.arange(len(predicted))
    confidence, observed = probability[rows, predicted], target[rows, predicted]
    at = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    count = np.bincount(at, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(at, confidence, BINS) / count
        frequency = np.bincount(at, observed, BINS) / count
    return mean, frequency, count, float(np.nansum(np.abs(mean - frequency) * count) / count.sum())


def reliability(runs: Sequence[tuple[str, str, np.ndarray]], target: np.ndarray) -> Drawing:
    """Observed frequency by confidence with 95 % intervals, above each bin's rows; runs are (name, color, (N, K))."""
    chart = blank(WIDTH, 4.6)
    upper, lower = chart.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    style(upper, "Reliability out of fold", "", "observed frequency")
    style(lower, "", "probability of the predicted class", "rows")
    upper.plot([0, 1], [0, 1], color=GREY, ls=DASHED, lw=1.2, label="perfectly calibrated")
    upper.axvline(1 / target.shape[1], color=ORANGE if len(runs) == 1 else GREY, ls=DOTTED, lw=1.4, label="chance")
    words = []
    for name, color, probability in runs:
        mean, frequency, count, error = calibration(target, probability)
        some = count > 0
        words.append(f"{cut(name)}, calibration error {error:.3f}")
        upper.errorbar(
            mean[some], frequency[some], wilson(frequency[some], count[some]), color=color, marker="o", ms=4, lw=1.6,
            elinewidth=1, capsize=2.5, label=words[-1],
        )  # fmt: skip
        if len(runs) == 1:
            lower.bar((np.arange(BINS) + 0.5) / BINS, count, 0.9 / BINS, color=color, alpha=0.75)
        else:
            lower.stairs(count, np.linspace(0, 1, BINS + 1), color=color, lw=1.6)
    upper.set_xlim(0, 1)
    upper.set_ylim(-0.02, 1.02)
    lower.locator_params(axis="y", nbins=3, integer=True)
    legend(chart)
    return Drawing(chart, f"Observed frequency by confidence out of fold: {'; '.join(words)}")


def wilson(share: np.ndarray, count: np.ndarray, z: float = 1.96) -> np.ndarray:
    """Distances (2, N) down and up to Wilson's 95 % interval; unlike the normal one it has a width at 0 and 1."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return np.asarray(np.maximum(np.stack([share - middle + half, middle + half - share]), 0))


def synthetic(fold: Fold, about: dict[str, Any]) -> Drawing:
    """Real rows above the synthetic rows made of them, by class; the rows of a class share their scale."""
    # (classes, 2, rows, *stored shape)
    path = fold.folder / "synthetic_examples.npy"
    examples = bounded.array(path, f"delete {path.with_suffix('.json')} to leave the picture out")
    picture = examples.ndim == 6 or (examples.ndim == 5 and examples.shape[3] > 32)  # else a sequence of few channels
    chart = blank(11, 1.1 + len(examples) * (2.6 if picture else 1.7))
    grid = chart.subplots(2 * len(examples), examples.shape[2], squeeze=False)
    title = f"Rows made by {about['way']} below real ones, fold {fold.number}"
    chart.supxlabel(title, size=11, color=INK)
    grid[0, 0].set_title(" ", size=11, pad=8)  # room for the heading
    for (line, column), axes in np.ndenumerate(grid):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(PALE)
        k, side = divmod(line, 2)
        if column == 0:
            name = "synthetic" if side else f"{cut(about['classes'][k], 14)}\nreal"
            axes.set_ylabel(name, size=9, color=INK, parse_math=False)
        x, known = examples[k, side, column], examples[k][np.isfinite(examples[k])]
        if not np.isfinite(x).any():  # a class with fewer rows than columns
            continue
        low, high = np.percentile(known, [0.5, 99.5])
        room = (high - low) or 1.0
        if picture:  # the channels one under the other
            axes.imshow(x.reshape(-1, x.shape[-1]), cmap="viridis", vmin=low, vmax=high, aspect="auto")
        else:
            apart = room * np.arange(np.atleast_2d(x).shape[0])[::-1, None]
            axes.plot((np.atleast_2d(x) + apart).T, color=(BLUE, VERMILLION)[side], lw=0.7)
            axes.set_ylim(low - 0.1 * room, high + apart[0, 0] + 0.1 * room)
    return Drawing(chart, title)
