"""The style of all figures, and how they are saved: PNG for a folder and for MLflow, SVG for a page.

Figures are made without pyplot, so the caller's backend and style stay as they are. Colours are Okabe and Ito's, which
are safe for the colour-blind (https://jfly.uni-koeln.de/color/); line styles differ as well. In a page every colour is
a CSS variable and every text has the page's font, so that light and dark both work.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from bench.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, ORANGE, PINK = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"
INK, GREY, PALE, GROUND, OVER = "#222222", "#6b6b6b", "#e6e6e6", "#ffffff", "#fefefe"
COLORS = (BLUE, VERMILLION, GREEN, ORANGE, PINK)
VARIABLES = {
    BLUE: "var(--blue)", VERMILLION: "var(--vermillion)", GREEN: "var(--green)", ORANGE: "var(--orange)",
    PINK: "var(--pink)", INK: "var(--ink)", GREY: "var(--grey)", PALE: "var(--line)", GROUND: "var(--ground)",
    OVER: "var(--over)",
}  # fmt: skip
"""Each colour's CSS variable in a page. OVER is the text on a cell of BLUE, which is the same in light and dark."""
WIDTH = 4.8
"""Width in inches of a figure that fits a phone's screen without scaling its text."""
DPI = 144
HEADER = 0.32
"""Height in inches of the line above a saved figure that names its run."""


@dataclass(frozen=True)
class Drawing:
    """A figure and its alternative text."""

    figure: Figure
    alt: str


def blank(width: float = WIDTH, height: float = 3.4) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=GROUND)


def style(axes: Axes, title: str, x: str = "", y: str = "", grid: str = "both") -> None:
    """Styles axes; ``x`` and ``y`` are their labels, ``grid`` is both, x, y or none."""
    axes.set_facecolor("none")
    axes.set_title(title, loc="left", size=10.5, color=INK, pad=8, parse_math=False)
    axes.set_xlabel(x, size=9.5, color=INK, parse_math=False)
    axes.set_ylabel(y, size=9.5, color=INK, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(which="both", bottom=False, left=False, labelsize=9, pad=5, labelcolor=INK)
    axes.ticklabel_format(style="plain", useOffset=False)  # 5000, never 5 × 10³
    if grid != "none":
        axes.grid(True, axis=grid, color=PALE, lw=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def legend(figure: Figure) -> None:
    """Adds one legend for all axes, below them, in as many columns as fit."""
    labels = [label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]]
    columns = int(figure.get_figwidth() / (0.6 + 0.072 * max(map(len, labels), default=0)))
    entries = figure.legend(
        loc="outside lower center", ncols=max(1, min(columns, len(labels))), frameon=False, fontsize=8.5,
        labelcolor=INK, columnspacing=1.4, handlelength=2,
    )  # fmt: skip
    for text in entries.get_texts():
        text.set_parse_math(False)


def cut(name: object, longest: int = 28) -> str:
    """Shortens a name to ``longest`` characters, and replaces those that can't be drawn."""
    text = "".join(c if c.isprintable() else "�" for c in str(name))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def save(drawings: Mapping[str, Drawing], folder: Path, name: str, simulated: bool) -> list[Path]:
    """Writes each drawing to <folder>/<key>.png, below the heading ``name`` and a mark of simulated data."""
    from matplotlib.transforms import Bbox

    paths = []
    for key, drawing in drawings.items():
        figure, path = drawing.figure, folder / f"{key}.png"
        width, height = figure.get_size_inches()
        above: dict[str, Any] = {"y": 1 + 0.5 * HEADER / height, "va": "center"}
        figure.text(0.1 / width, s=name, size=8.5, color=GREY, parse_math=False, **above)
        if simulated:
            box = {"boxstyle": "round,pad=0.3", "fc": VERMILLION, "ec": "none"}
            look: dict[str, Any] = {"ha": "right", "size": 8, "color": GROUND, "weight": "bold", "bbox": box}
            figure.text(1 - 0.1 / width, s="simulated data", **look, **above)
        with replacing(path) as temporary, _any_script():
            figure.savefig(temporary, format="png", bbox_inches=Bbox([[0, 0], [width, height + HEADER]]))
        paths.append(path)
    return paths


def inline(drawings: Mapping[str, Drawing]) -> dict[str, str]:
    """Each drawing as an SVG element for a page, by key. Call it before ``save``, which adds a heading."""
    import matplotlib

    pictures = {}
    for key, drawing in drawings.items():
        buffer = io.StringIO()
        # The salt makes element ids reproducible, and the key makes them unique in a page.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}), _any_script():
            drawing.figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None})
        drawing.figure.set_layout_engine(None)  # keep this layout: measuring takes longer than drawing
        pictures[key] = _for_page(buffer.getvalue(), key, drawing.alt)
    return pictures


@contextmanager
def _any_script() -> Iterator[None]:
    """Silences the warning about characters that the font does not have, as in names of classes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def _for_page(svg: str, key: str, alt: str) -> str:
    """The SVG without styles, fonts, metadata and unused ids, which a page does not need."""
    root, used = ElementTree.fromstring(svg), set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    for waste in root[:2]:  # metadata, and a style that would be the whole page's
        root.remove(waste)
    for element in root.iter():
        element.tag, element.tail = element.tag.rpartition("}")[2], None
        element.text = element.text if element.tag == "text" else None
        attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        element.attrib.clear()
        element.attrib |= {name: _for_attribute(name, value, key) for name, value in attributes.items()}
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {"class": "chart", "viewBox": box, "role": "img", "aria-label": alt}
    root.set("style", f"max-width:{1.5 * float(box.split()[2]) / 16:.4g}rem")
    return ElementTree.tostring(root, encoding="unicode")


def _for_attribute(name: str, value: str, key: str) -> str:
    """Names are the page's, colours its variables, fonts its own; a number has as many decimals as are seen."""
    if name == "id":
        return f"{key}-{value}"
    if name == "style":
        value = re.sub(r" ?font-family: [^;]*;?", "", value)
        return re.sub(r"#[0-9a-f]{6}", lambda color: VARIABLES.get(color[0], color[0]), value)
    if name in ("href", "clip-path"):
        return "".join(value.replace("#", f"#{key}-").split())
    digits = 2 if name == "transform" else 1
    return " ".join(re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.{digits}f}", value).split())
