"""Draws a model's inputs for a page: lines for few channels, else a picture in false colours."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

LINES = 20
"""A sequence with at most this many channels is drawn as lines, else as a picture."""
BUCKETS = 220
"""Columns of a drawn signal; each shows its lowest and highest sample."""
LARGEST, HEAVIEST = (480, 384), 30_000
"""A picture's largest width and height in pixels, and its largest size in bytes."""


@dataclass(frozen=True)
class Lines:
    """A sequence's channels as SVG paths in a box of ``width`` by ``height``."""

    width: int
    height: int
    paths: list[str]


@dataclass(frozen=True)
class Picture:
    """A PNG in base64. ``shape`` is width / height on the page; ``crisp`` means that its pixels are shown large."""

    data: str
    shape: float
    crisp: bool


def example(x: np.ndarray) -> Lines | Picture:
    """One input of a model: (C, T) with few channels as lines, else, and (C, H, W), as a picture."""
    return signal(x) if x.ndim == 2 and len(x) <= LINES else picture(np.atleast_3d(x.T).T)


def signal(x_ct: np.ndarray) -> Lines:
    """Draws (C, T) as lines, one channel below another, on one scale, each around its median."""
    channels, length = x_ct.shape
    x_ct = np.where(np.isfinite(x_ct), x_ct, 0)
    x_ct = x_ct - np.median(x_ct, axis=1, keepdims=True)
    low, high = np.percentile(x_ct, [0.5, 99.5])
    reach = max(high, -low) or 1.0
    apart = max(26, 220 // channels) if channels > 1 else 120
    scale = apart / 2 / reach * (1.2 if channels > 1 else 0.9)
    edges = np.unique(np.linspace(0, length, min(length, BUCKETS) + 1).round().astype(int))
    paths = []
    for c, line in enumerate(x_ct):
        lows, highs = (envelope.reduceat(line, edges[:-1]) for envelope in (np.minimum, np.maximum))
        middle, bound = (c + 0.5) * apart, 0.5 * apart if channels == 1 else 0.8 * apart
        pairs = np.stack([highs, lows], 1).ravel() if length > BUCKETS else line
        xs = np.repeat(edges[:-1], 2) if length > BUCKETS else np.arange(length)
        ys = np.clip(-scale * pairs, -bound, bound) + middle
        at = np.stack([xs * 400 / max(1, length - 1), ys], 1).round().astype(int)
        steps = "".join(f"{a} {b} ".replace(" -", "-") for a, b in np.diff(at, axis=0).tolist())
        paths.append(f"M{at[0, 0]} {at[0, 1]}l{steps.strip()}")
    return Lines(400, apart * channels, paths)


def picture(x_chw: np.ndarray) -> Picture:
    """Draws (C, H, W) in false colours, one channel below another, between the 0.5 and 99.5 % quantiles."""
    from matplotlib import colormaps
    from PIL import Image

    flat = np.asarray(x_chw, np.float32).reshape(-1, x_chw.shape[-1])
    known = flat[np.isfinite(flat)]
    some = known[:: max(1, known.size // 100_000)]  # enough for these quantiles
    low, high = np.percentile(some, [0.5, 99.5]) if known.size else (0.0, 1.0)
    if not high > low:  # most pixels have one value, such as thin lines on a background
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    levels = np.nan_to_num(np.clip((flat - low) / ((high - low) or 1.0), 0, 1)) * 255
    image = Image.fromarray(levels.round().astype(np.uint8))
    palette = (np.asarray(colormaps["viridis"](np.arange(256))[:, :3]) * 255).round().astype(np.uint8)
    width, height = min(image.width, LARGEST[0]), min(image.height, LARGEST[1])
    while True:
        small = image.resize((width, height), Image.Resampling.BOX)
        small.putpalette(palette.tobytes())
        file = io.BytesIO()
        small.save(file, "PNG", optimize=True)
        if file.tell() <= HEAVIEST or min(width, height) < 24:
            break
        smaller = min(0.9, 0.95 * (HEAVIEST / file.tell()) ** 0.5)  # bytes are roughly proportional to pixels
        width, height = int(width * smaller), int(height * smaller)
    shape = float(np.clip(flat.shape[1] / flat.shape[0], 1.4, 4))
    return Picture(base64.b64encode(file.getvalue()).decode(), shape, image.width <= LARGEST[0] / 2)
