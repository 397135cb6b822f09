"""Learning curves: values by epoch, of the folds of a run or of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.report.figures import GROUND, INK, Drawing, blank, legend, style
from bench.spec import Direction

POINTS = 240
"""The most epochs drawn of a curve."""

History = list[dict[str, float]]


@dataclass(frozen=True)
class Curves:
    """The curves of one colour: one value of every fold's history, by epoch."""

    label: str
    color: str
    histories: Sequence[History]
    key: str
    line: Any = "-"

    def values(self) -> list[dict[float, float]]:
        """The value by epoch, of each fold that has it."""
        curves = [{e["epoch"]: e[self.key] for e in history if self.key in e} for history in self.histories]
        return [curve for curve in curves if curve]


def curves(title: str, sets: Sequence[Curves], best: Direction | None = None, points: int = POINTS) -> Drawing | None:
    """One thin line per fold, and in bold their mean over the epochs that all folds have.

    With ``best``, a ring marks each fold's best epoch on the last of the sets. None if there is nothing to draw.
    """
    drawn = [(part, values) for part in sets if (values := part.values())]
    known = [v for _, values in drawn for curve in values for v in curve.values() if np.isfinite(v)]
    if not known:
        return None
    chart = blank()
    axes = chart.subplots()
    style(axes, title, "epoch")
    for part, values in drawn:
        look: dict[str, Any] = {"color": part.color, "ls": part.line}
        for curve in values:
            marker = "o" if len(curve) == 1 else None
            axes.plot(*_thinned(curve, points), lw=0.8, alpha=0.45, marker=marker, ms=3, **look)
        shared = sorted(set.intersection(*(set(curve) for curve in values)))
        mean = {epoch: float(np.mean([curve[epoch] for curve in values])) for epoch in shared}
        label = f"{part.label}, mean of {len(values)} folds" if len(values) > 1 else part.label
        axes.plot(*_thinned(mean, points), lw=2, marker="o" if len(mean) == 1 else None, ms=6, label=label, **look)
    if best:
        at = [
            (list(curve)[i], list(curve.values())[i])
            for curve in drawn[-1][1]
            if (i := best.best(curve.values())) is not None
        ]
        ring: dict[str, Any] = {"mfc": GROUND, "mec": INK, "mew": 1.1, "ms": 4.5, "ls": "none", "zorder": 4}
        axes.plot(*zip(*at, strict=True), "o", label="best epoch of a fold", **ring)
    last = int(max(epoch for _, values in drawn for curve in values for epoch in curve))
    axes.set_xlim(min(0.5, 1 - 0.02 * last), last + max(0.02 * last, 0.5 if last < 10 else 0))
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    legend(chart)
    words = ", ".join(part.label for part, _ in drawn)
    return Drawing(chart, f"{title}, by epoch up to {last}: {words}")


def _thinned(curve: Mapping[float, float], points: int) -> tuple[list[float], list[float]]:
    xs, ys = list(curve), list(curve.values())
    kept = sorted({round(at) for at in np.linspace(0, len(xs) - 1, min(len(xs), points))})
    return [xs[i] for i in kept], [ys[i] for i in kept]
