"""Pictures of a run, from its folder: learning curves, confusion, reliability, score by fold.

Figures are made without pyplot, so no backend or style of the caller is touched. Colours are Okabe and Ito's, which
the colour-blind tell apart (https://jfly.uni-koeln.de/color/); line styles repeat what the colours say.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.atomic import read_json, replacing
from bench.runs.facts import short
from bench.runs.run import Fold, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, GREY, PALE = "#222222", "#6b6b6b", "#e6e6e6"
BINS = 15


def draw(run: Run) -> list[Path]:
    """Draws what the folder has the files for into ``<run>/plots``; returns the pictures' paths."""
    plots = run.folder / "plots"
    drawn = []
    histories = {fold.number: history for fold in run.folds if (history := fold.history())}
    if histories:
        drawn.append(_save(run, _learning_curves(run, histories), plots / "learning_curves.png"))
    scores: Any = run.scores()
    if scores and scores["folds"]:
        drawn.append(_save(run, _folds(run, scores), plots / "folds.png"))
    if (run.folder / "oof.parquet").exists():
        target, probability = _oof(run)
        drawn.append(_save(run, _confusion(run, target, probability), plots / "confusion.png"))
        drawn.append(_save(run, _reliability(run, target, probability), plots / "reliability.png"))
    made = [f for f in run.folds if all((f.folder / f"synthetic_examples{end}").exists() for end in (".npy", ".json"))]
    if made and (said := read_json(made[0].folder / "synthetic_examples.json"))["classes"]:
        drawn.append(_save(run, _synthetic(made[0], said), plots / "synthetic.png"))
    return drawn


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


def _oof(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions (N, K) of the rows that a finished fold has predicted."""
    import pyarrow.parquet as pq

    table = pq.read_table(run.folder / "oof.parquet")
    target, probability = (
        np.stack([table[f"{part}_{name}"].to_numpy().astype(np.float64) for name in run.spec.classes], axis=1)
        for part in ("target", "pred")
    )
    there = np.isfinite(probability).all(1)
    return target[there], probability[there]


def _learning_curves(run: Run, histories: dict[int, list[dict[str, float]]]) -> Figure:
    metric = run.inputs["metric"]
    figure = blank(9.6, 4.0)
    left, right = figure.subplots(1, 2)
    for axes, what, title in ((left, "loss", "Loss"), (right, metric, f"{metric}, {_better(run)} is better")):
        style(axes, title, "epoch", "")
        for part, color, line in (("train", BLUE, (0, (4, 2))), ("valid", VERMILLION, "-")):
            _curves(axes, histories, f"{part}/{what}", part, color, line)
        if axes.get_legend_handles_labels()[0]:
            _legend(axes)
        last = max(entry["epoch"] for history in histories.values() for entry in history)
        axes.set_xlim(min(0.5, 1 - 0.02 * last), last + max(0.02 * last, 0.5 if last < 10 else 0))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    _mark_best(run, right, histories, f"valid/{metric}")
    return figure


def _curves(axes: Axes, histories: dict[int, Any], key: str, label: str, color: str, line: Any) -> None:
    """A thin line a fold, and their mean as far as all of them go: a mean over fewer folds would jump."""
    curves = {k: {e["epoch"]: e[key] for e in history if key in e} for k, history in histories.items()}
    curves = {k: curve for k, curve in curves.items() if curve}
    if not curves:
        return
    alone = len(curves) == 1
    for curve in curves.values():
        dot = "o" if len(curve) == 1 else None
        axes.plot(list(curve), list(curve.values()), color=color, ls=line, lw=0.8, alpha=0.45, marker=dot, ms=3)
    shared = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    mean = [np.mean([curve[epoch] for curve in curves.values()]) for epoch in shared]
    label = f"{label}, fold {next(iter(curves))}" if alone else f"{label}, mean of {len(curves)} folds"
    axes.plot(shared, mean, color=color, ls=line, lw=2, marker="o" if len(shared) == 1 else None, ms=6, label=label)


def _mark_best(run: Run, axes: Axes, histories: dict[int, Any], key: str) -> None:
    """A ring at each fold's best epoch: the one whose weights are kept."""
    best = []
    for history in histories.values():
        entries = [e for e in history if np.isfinite(e.get(key, np.nan))]
        if entries:
            pick = min if run.inputs["direction"] == "min" else max
            best.append(pick(entries, key=lambda e: e[key]))
    if best:
        x, y = [e["epoch"] for e in best], [e[key] for e in best]
        axes.plot(x, y, "o", mfc="white", mec=INK, mew=1.1, ms=5, ls="none", label="best epoch of a fold", zorder=4)
        _legend(axes)


def _folds(run: Run, scores: dict[str, Any]) -> Figure:
    numbers, values = scores["fold_numbers"], scores["folds"]
    figure = blank(max(5.6, 2.6 + 0.62 * len(numbers)), 4.0)
    axes = figure.subplots()
    style(axes, f"Score by fold: {scores['metric']}, {_better(run)} is better", "fold", "")
    axes.grid(False, axis="x")
    mean, std = scores["mean"], scores.get("std")
    if std and len(values) > 1:
        axes.axhspan(mean - std, mean + std, color=BLUE, alpha=0.10, lw=0)
    spread = f" ± {short(std, 3)}" if std and len(values) > 1 else ""
    lines = (
        (mean, "mean", spread, BLUE, "-"),
        (scores.get("oof"), "out of fold", "", GREEN, (0, (5, 2))),
        (scores.get("baseline"), "baseline", "", ORANGE, (0, (1, 1.5))),
    )
    for value, name, more, color, line in lines:
        if value is not None and np.isfinite(value):
            axes.axhline(value, color=color, ls=line, lw=1.8, label=f"{name} {short(value)}{more}")
    positions = range(len(numbers))
    axes.plot(positions, values, "o", color=INK, ms=7, zorder=3)
    for at, value in zip(positions, values, strict=True):
        away = 9 if value >= mean else -9  # on the side where the lines are not
        box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75}
        axes.annotate(
            short(value), (at, value), (0, away), textcoords="offset points", ha="center", size=8.5, color=INK,
            va="bottom" if away > 0 else "top", bbox=box,
        )  # fmt: skip
    axes.set_xticks(list(positions), [str(number) for number in numbers])
    axes.set_xlim(-0.6, len(numbers) - 0.4)
    axes.margins(y=0.18)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5, columnspacing=1.4, handlelength=1.8)
    return figure


def _confusion(run: Run, target: np.ndarray, probability: np.ndarray) -> Figure:
    classes = run.spec.classes
    k = len(classes)
    counts = np.zeros((k, k), dtype=np.int64)
    np.add.at(counts, (target.argmax(1), probability.argmax(1)), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = float(np.clip(0.95 * k, 3.6, 9.5)) if k <= 12 else float(np.clip(0.32 * k, 7.5, 12.0))
    size = 9.5 if k <= 12 else float(np.clip(300 / k, 5.5, 9))
    names = [cut(name) for name in classes]
    longest = max(map(len, names)) * size * 0.0085  # inches
    turned = longest > 0.9 * side / k
    figure = blank(side + 1.7 + longest, side + 1.2 + turned * longest)
    axes = figure.subplots()
    style(axes, f"Confusion out of fold: {np.trace(counts) / counts.sum():.1%} of {counts.sum():,} right", "", "")
    axes.grid(False)
    # A fixed aspect would let long class names push the title out of the picture.
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(k), names, rotation=90 * turned, size=size, parse_math=False)
    axes.set_yticks(range(k), names, size=size, parse_math=False)
    axes.set_xlabel("predicted", size=10, color=INK)
    axes.set_ylabel("true", size=10, color=INK)
    axes.tick_params(length=0)
    for row, column in np.argwhere(counts > 0 if k <= 20 else share >= 0.05):  # of many cells only what stands out
        number, part = counts[row, column], share[row, column]
        text = f"{part:.0%}\n{number:,}" if k <= 12 else f"{number}"
        color = "white" if part > 0.55 else INK
        label = axes.text(column, row, text, ha="center", va="center", size=min(size, 9), color=color)
        label.set_in_layout(False)  # the layout measures every text: ten seconds for 41 classes
    axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    axes.grid(True, which="minor", color=PALE, lw=0.6)
    axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(
        image, ax=axes, shrink=0.6 if k <= 12 else 0.4, pad=0.02, format=lambda value, _: f"{value:.0%}"
    )
    bar.set_label("share of the true class's rows", size=9, color=GREY)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, colors=GREY)
    return figure


def _reliability(run: Run, target: np.ndarray, probability: np.ndarray) -> Figure:
    mean, frequency, count, error = calibration(target, probability)
    figure = blank(5.4, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    style(upper, f"Reliability out of fold: calibration error {error:.3f}", "", "observed frequency")
    style(lower, "", "probability of the predicted class", "rows")
    there = count > 0
    bounds = wilson(frequency[there], count[there])
    upper.plot([0, 1], [0, 1], color=GREY, ls=(0, (4, 2)), lw=1.2, label="perfectly calibrated")
    upper.errorbar(
        mean[there], frequency[there], bounds, color=BLUE, marker="o", ms=5, lw=1.8, elinewidth=1, capsize=2.5,
        label="this run, 95 % interval",
    )  # fmt: skip
    upper.axvline(1 / probability.shape[1], color=ORANGE, ls=(0, (1, 1.5)), lw=1.4, label="chance")
    upper.set_xlim(0, 1)
    upper.set_ylim(-0.02, 1.02)
    _legend(upper)
    lower.bar((np.arange(BINS) + 0.5) / BINS, count, 0.9 / BINS, color=BLUE, alpha=0.75)
    lower.yaxis.get_major_locator().set_params(nbins=3, integer=True)
    return figure


def _synthetic(fold: Fold, said: dict[str, Any]) -> Figure:
    """Real rows above those made of them, class by class; a class's rows share their axes."""
    shown = np.load(fold.folder / "synthetic_examples.npy", allow_pickle=False)  # (classes, 2, rows, *stored shape)
    picture = shown.ndim == 6 or (shown.ndim == 5 and shown.shape[3] > 32)  # else a sequence of few channels
    figure = blank(11, 1.1 + len(shown) * (2.6 if picture else 1.7))
    grid = figure.subplots(2 * len(shown), shown.shape[2], squeeze=False)
    figure.supxlabel(f"Rows made by {said['way']} below real ones, fold {fold.number}", size=11, color=INK)
    grid[0, 0].set_title(" ", size=11, pad=8)  # room for what every picture says above it
    for (line, column), axes in np.ndenumerate(grid):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(PALE)
        of, side = divmod(line, 2)
        if column == 0:
            name = "synthetic" if side else f"{cut(said['classes'][of], 14)}\nreal"
            axes.set_ylabel(name, size=9, color=INK, parse_math=False)
        x, known = shown[of, side, column], shown[of][np.isfinite(shown[of])]
        if not np.isfinite(x).any():  # a class of fewer rows than there is room for
            continue
        low, high = np.percentile(known, [0.5, 99.5])
        room = (high - low) or 1.0
        if picture:  # the channels one under the other
            axes.imshow(x.reshape(-1, x.shape[-1]), cmap="viridis", vmin=low, vmax=high, aspect="auto")
        else:
            apart = room * np.arange(np.atleast_2d(x).shape[0])[::-1, None]
            axes.plot((np.atleast_2d(x) + apart).T, color=(BLUE, VERMILLION)[side], lw=0.7)
            axes.set_ylim(low - 0.1 * room, high + apart[0, 0] + 0.1 * room)
    return figure


def wilson(share: np.ndarray, count: np.ndarray, z: float = 1.96) -> np.ndarray:
    """Distances (2, N) down and up to Wilson's 95 % interval; unlike the normal one it has a width at 0 and 1."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return np.maximum(np.stack([share - middle + half, middle + half - share]), 0)


def blank(width: float, height: float) -> Figure:
    """An empty picture, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")


def style(axes: Axes, title: str, x: str, y: str) -> None:
    """What all axes look like; ``x`` and ``y`` are their names."""
    axes.set_title(title, loc="left", size=11, color=INK, pad=8)
    axes.set_xlabel(x, size=10, color=INK)
    axes.set_ylabel(y, size=10, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=9, colors=GREY, labelcolor=INK)
    axes.grid(True, color=PALE, lw=0.7)
    axes.set_axisbelow(True)


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=8.5, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=INK)


def save(figure: Figure, path: Path, name: str, simulated: bool) -> Path:
    """Writes ``name`` over the picture, marks simulated data, and writes the file whole; returns its path."""
    figure.suptitle(name, x=0.01, ha="left", size=9, color=GREY, parse_math=False)
    if simulated:
        box = {"boxstyle": "round,pad=0.35", "fc": VERMILLION, "ec": "none"}
        figure.text(0.99, 0.985, "simulated data", ha="right", va="top", size=9, color="white", weight="bold", bbox=box)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a class named in a script the font lacks
        figure.savefig(temporary, format="png")
    return path


def _save(run: Run, figure: Figure, path: Path) -> Path:
    """The picture under the run's name, with how many folds are in it."""
    inputs = run.inputs
    done = sum(fold.done.exists() for fold in run.folds)
    name = f"{inputs['dataset']} · {inputs['model']} · {run.identity[:6]}"
    if done < inputs["n_splits"]:
        name += f" · {done} of {inputs['n_splits']} folds"
    return save(figure, path, name, bool(inputs.get("simulated")))


def _better(run: Run) -> str:
    return "lower" if run.inputs["direction"] == "min" else "higher"


def cut(name: object, longest: int = 28) -> str:
    text = str(name)
    return text if len(text) <= longest else text[: longest - 1] + "…"
