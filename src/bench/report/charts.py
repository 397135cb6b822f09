"""Charts of a report as SVG that lies in the page: it takes the page's font and its colours, light and dark.

Every function returns a piece of HTML. Lines are thinned to what a screen shows, pictures are small PNGs in the page.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

from bench.report.plots import (
    BINS,
    calibration,
    cut,  # what else a report cuts, it cuts alike
    wilson,
)

LINES = 20
"""Channels up to which a sequence is drawn as lines; more of them are a picture."""
BUCKETS = 220
"""Columns of a drawn signal: of each its lowest and highest sample."""
POINTS = 240
"""Epochs of a learning curve that are drawn."""
WIDEST, HIGHEST, HEAVIEST = 480, 384, 36_000
"""A picture's largest width and height in pixels, and its bytes."""
CHARACTER = 6.4  # of the charts' text, mean width


@dataclass(frozen=True)
class Frame:
    """A chart's rectangle: data coordinates to those of the SVG."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 460
    height: int = 280
    left: int = 52
    bottom: int = 36

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        inner = self.height - self.bottom - 12
        return round(self.left + across * (self.width - self.left - 18), 1), round(12 + (1 - up) * inner, 1)

    def line(self, xs: Iterable[float], ys: Iterable[float], kind: str) -> str:
        """A line that breaks where a value is not finite; a piece of one point is a dot."""
        pieces: list[list[str]] = [[]]
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(y):
                pieces[-1].append("{:g} {:g}".format(*self.at(x, y)))
            elif pieces[-1]:
                pieces.append([])
        drawn = []
        for piece in filter(None, pieces):
            if len(piece) > 1:
                drawn.append(f'<path class="{kind}" d="M{"L".join(piece)}"/>')
            else:
                x_at, y_at = piece[0].split()
                drawn.append(f'<circle class="{kind}" cx="{x_at}" cy="{y_at}" r="3"/>')
        return "".join(drawn)

    def axes(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_name: str, y_name: str = "") -> str:
        """Horizontal grid lines with their numbers, the numbers below, and names."""
        low, right = self.at(self.x[0], self.y[0]), self.at(self.x[1], self.y[0])[0]
        parts = []
        for tick, text in zip(y_ticks, labels(y_ticks), strict=True):
            y = self.at(self.x[0], tick)[1]
            parts.append(f'<path class="grid" d="M{low[0]:g} {y:g}H{right:g}"/>')
            parts.append(f'<text x="{low[0] - 6:g}" y="{y + 4:g}" text-anchor="end">{text}</text>')
        for tick, text in zip(x_ticks, labels(x_ticks), strict=True):
            x = self.at(tick, self.y[0])[0]
            parts.append(f'<text x="{x:g}" y="{low[1] + 16:g}" text-anchor="middle">{text}</text>')
        middle = (low[0] + right) / 2
        if x_name:
            parts.append(f'<text x="{middle:g}" y="{self.height - 4}" text-anchor="middle">{escape(x_name)}</text>')
        if y_name:
            up = (12 + low[1]) / 2
            parts.append(f'<text transform="translate(12 {up:g}) rotate(-90)" text-anchor="middle">{y_name}</text>')
        return "".join(parts)

    def svg(self, name: str, *content: str) -> str:
        return svg(self.width, self.height, name, "".join(content))


def svg(width: float, height: float, name: str, content: str, kind: str = "chart") -> str:
    """A picture that is as wide as its column, and no wider than it was drawn for."""
    box = f'viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}px"'
    return f'<svg class="{kind}" {box} role="img" aria-label="{escape(name)}">{content}</svg>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high, in steps of 1, 2 or 5."""
    if not high > low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(k for k in (1, 2, 5, 10) if (high - low) / (k * step) <= about + 0.5)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """The numbers with as many decimals as tell them apart."""
    step = min((b - a for a, b in pairwise(values)), default=1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{digits}f}".replace("-", "−") for value in values]


def curves(histories: Mapping[int, list[dict[str, float]]], what: str, name: str) -> str:
    """train/<what> and valid/<what> by epoch: a thin line a fold, and their mean as far as all of them go."""
    return epochs([(part, by_epoch(histories, f"{part}/{what}")) for part in ("train", "valid")], name)


def by_epoch(histories: Mapping[int, list[dict[str, float]]], key: str) -> list[dict[float, float]]:
    """Of each fold that has it, ``key``'s value by epoch."""
    found = [{entry["epoch"]: entry[key] for entry in history if key in entry} for history in histories.values()]
    return [curve for curve in found if curve]


def epochs(sets: Sequence[tuple[str, list[dict[float, float]]]], name: str, points: int = POINTS) -> str:
    """Curves by epoch, set by set with its class of lines: thin each, bold their mean as far as all of them go."""
    values = [v for _, found in sets for curve in found for v in curve.values() if math.isfinite(v)]
    if not values:
        return ""
    last = int(max(epoch for _, found in sets for curve in found for epoch in curve))
    room = 0.05 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 1.0
    frame = Frame((1 - 0.4 * (last < 2), last + 0.4 * (last < 2)), (min(values) - room, max(values) + room))
    thin, bold = [], []
    for kind, found in filter(lambda of: of[1], sets):
        thin += [frame.line(*_thinned(list(c), list(c.values()), points), f"fold {kind}") for c in found]
        shared = sorted(set.intersection(*map(set, found)))
        mean = [float(np.mean([curve[epoch] for curve in found])) for epoch in shared]
        bold.append(frame.line(*_thinned(shared, mean, points), f"mean {kind}"))
    whole = [t for t in ticks(1, last) if t == int(t)] if last > 1 else [1]
    across = sorted({1, *whole} if whole and whole[0] > 1 + 0.06 * last else set(whole))
    return frame.svg(name, frame.axes(across, ticks(*frame.y), "epoch"), *thin, *bold)


def _thinned(xs: Sequence[float], ys: Sequence[float], points: int) -> tuple[list[float], list[float]]:
    every = sorted(set(np.linspace(0, len(xs) - 1, min(len(xs), points)).round().astype(int).tolist()))
    return [xs[i] for i in every], [ys[i] for i in every]


def confusion(counts: np.ndarray, classes: Sequence[str]) -> str:
    """The (K, K) counts, true by predicted, shaded by their share of the true class's rows."""
    k = len(classes)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [cut(name, 22) for name in classes]
    left = 24 + CHARACTER * max(map(len, names))
    cell = float(np.clip((860 - left) / k, 14, 66))
    high = min(cell, 42.0)
    turned = CHARACTER * max(map(len, names)) > cell - 4
    top = 40 + (0.75 * CHARACTER * max(map(len, names)) if turned else 0)
    slant = 0.72 * CHARACTER * len(names[-1]) if turned else 0  # how far the last name reaches past its column
    parts = [f'<text x="{left + k * cell / 2:g}" y="12" text-anchor="middle">predicted</text>']
    parts.append(f'<text transform="translate(12 {top + k * high / 2:g}) rotate(-90)" text-anchor="middle">true</text>')
    for i, name in enumerate(names):
        x, y = left + (i + 0.5) * cell, top + (i + 0.5) * high
        parts.append(f'<text class="ink" x="{left - 8:g}" y="{y + 4:g}" text-anchor="end">{escape(name)}</text>')
        how = f'transform="translate({x + 4:g} {top - 6:g}) rotate(-45)"' if turned else f'x="{x:g}" y="{top - 8:g}"'
        anchor = "start" if turned else "middle"
        parts.append(f'<text class="ink" {how} text-anchor="{anchor}">{escape(name)}</text>')
    shown = counts > 0 if k <= 12 else share >= 0.1
    for row, column in np.argwhere(counts > 0):
        x, y, part = left + column * cell, top + row * high, share[row, column]
        parts.append(
            f'<path class="cell" fill-opacity="{max(part, 0.02):.2f}" d="M{x:g} {y:g}h{cell:g}v{high:g}h-{cell:g}z"/>'
        )
        if not shown[row, column]:
            continue
        dark = ' class="over"' if part > 0.5 else ' class="ink"'
        middle, number = x + cell / 2, counts[row, column]
        if k <= 12:
            parts.append(f'<text{dark} x="{middle:g}" y="{y + high / 2 - 2:g}" text-anchor="middle">{part:.0%}</text>')
            y += 13
        size = ' font-size="9"' if k > 12 else ' font-size="11"'
        if len(f"{number:,}") * 5.2 < cell:
            parts.append(
                f'<text{dark}{size} x="{middle:g}" y="{y + high / 2 + 3:g}" text-anchor="middle">{number:,}</text>'
            )
    lines = [
        f"M{left:g} {top + i * high:g}h{k * cell:g}M{left + i * cell:g} {top:g}v{k * high:g}" for i in range(k + 1)
    ]
    parts.append(f'<path class="grid" d="{"".join(lines)}"/>')
    return svg(left + k * cell + slant + 4, top + k * high + 4, "confusion", "".join(parts))


def reliability(target: np.ndarray, probability: np.ndarray) -> tuple[str, float]:
    """Observed frequency by confidence with 95 % intervals above each bin's rows; and the calibration error."""
    mean, frequency, count, error = calibration(target, probability)
    there = np.flatnonzero(count)
    bounds = wilson(frequency[there], count[there])
    upper = Frame((0, 1), (0, 1), height=300, bottom=24, left=62)
    parts = [upper.axes(ticks(0, 1), ticks(0, 1), "", "observed frequency"), upper.line([0, 1], [0, 1], "diagonal")]
    for i, low, high in zip(there, *bounds, strict=True):
        parts.append(upper.line([mean[i]] * 2, [frequency[i] - low, min(frequency[i] + high, 1)], "interval"))
    parts.append(upper.line(mean[there], frequency[there], "mean blue"))
    dots = [upper.at(mean[i], frequency[i]) for i in there]
    parts += [f'<circle cx="{x:g}" cy="{y:g}" r="3.5"/>' for x, y in dots]
    lower = Frame((0, 1), (0, float(count.max()) * 1.05), height=120, left=62)
    bars = [lower.axes(ticks(0, 1), ticks(0, count.max(), 2), "probability of the predicted class", "rows")]
    for i in there:
        (x, y), (right, base) = lower.at(i / BINS, count[i]), lower.at((i + 1) / BINS, 0)
        bars.append(f'<path class="bar" d="M{x + 1:g} {base:g}V{y:g}H{right - 1:g}V{base:g}z"/>')
    name = "reliability"
    return upper.svg(name, *parts) + lower.svg("rows by confidence", *bars), error


def example(x: np.ndarray, kind: str, name: str) -> str:
    """One input of a model: ``sequence`` (C, T) as a line a channel, where they are few, else, and ``image``, a PNG."""
    return signal(x, name) if kind == "sequence" and len(x) <= LINES else picture(np.atleast_3d(x.T).T, name)


def signal(x_ct: np.ndarray, name: str) -> str:
    """Channels under each other on one scale, each about its own median."""
    channels, length = x_ct.shape
    x_ct = np.where(np.isfinite(x_ct), x_ct, 0)
    x_ct = x_ct - np.median(x_ct, axis=1, keepdims=True)
    low, high = np.percentile(x_ct, [0.5, 99.5])
    reach = max(high, -low) or 1.0
    apart = max(26, 220 // channels) if channels > 1 else 120
    scale = apart / 2 / reach * (1.2 if channels > 1 else 0.9)
    edges = np.unique(np.linspace(0, length, min(length, BUCKETS) + 1).round().astype(int))
    parts = []
    for c, line in enumerate(x_ct):
        lows, highs = (fold.reduceat(line, edges[:-1]) for fold in (np.minimum, np.maximum))
        middle, bound = (c + 0.5) * apart, 0.5 * apart if channels == 1 else 0.8 * apart
        pairs = np.stack([highs, lows], 1).ravel() if length > BUCKETS else line
        xs = np.repeat(edges[:-1], 2) if length > BUCKETS else np.arange(length)
        ys = np.clip(-scale * pairs, -bound, bound) + middle
        at = np.stack([xs * 400 / max(1, length - 1), ys], 1).round().astype(int)
        steps = np.diff(at, axis=0)
        path = "".join(f"{a} {b} ".replace(" -", "-") for a, b in steps.tolist())
        parts.append(f'<path class="signal" d="M{at[0, 0]} {at[0, 1]}l{path.strip()}"/>')
    return svg(400, apart * channels, name, "".join(parts), "drawn")


def picture(x_chw: np.ndarray, name: str) -> str:
    """Channels under each other in false colours, between their half per cent quantiles."""
    from matplotlib import colormaps
    from PIL import Image

    flat = np.asarray(x_chw, np.float32).reshape(-1, x_chw.shape[-1])
    known = flat[np.isfinite(flat)]
    low, high = np.percentile(known, [0.5, 99.5]) if len(known) else (0.0, 1.0)
    if not high > low:  # mostly one value, such as thin lines on a ground
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    levels = np.nan_to_num(np.clip((flat - low) / ((high - low) or 1.0), 0, 1)) * 255
    whole = Image.fromarray(levels.round().astype(np.uint8))
    palette = (np.asarray(colormaps["viridis"](np.arange(256))[:, :3]) * 255).round().astype(np.uint8)
    size = (min(whole.width, WIDEST), min(whole.height, HIGHEST))
    while True:
        small = whole.resize(size, Image.Resampling.BOX)
        small.putpalette(palette.tobytes())
        file = io.BytesIO()
        small.save(file, "PNG", optimize=True)
        if file.tell() <= HEAVIEST or min(size) < 24:
            break
        size = (int(size[0] * 0.85), int(size[1] * 0.85))
    shape = float(np.clip(flat.shape[1] / flat.shape[0], 1.4, 4))
    crisp = ' class="crisp"' if whole.width <= WIDEST / 2 else ""
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img{crisp} alt="{escape(name)}" style="aspect-ratio:{shape:.3g}" src="data:image/png;base64,{data}">'
