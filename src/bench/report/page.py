"""Writes a self-contained HTML page from templates that escape all content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench import tell
from bench.atomic import write_text

TEMPLATES = Path(__file__).with_name("templates")


def write(path: Path, template: Path, sections: Mapping[str, tuple[str, object]], **context: object) -> Path:
    """Writes a page to ``path`` and returns it.

    ``template`` is a file of macros: one per section, named by its anchor, and ``under`` and ``first`` for the parts
    below the page's name and before the links. ``sections`` are a title and the macro's argument, by anchor; a section
    with an empty argument is left out. ``context``: tab (the title in a browser), name (the heading), under, first,
    footer, simulated.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([TEMPLATES, template.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": tell.figure, "amount": tell.amount, "percent": tell.percent, "exact": _exact}
    filled = {anchor: section for anchor, section in sections.items() if section[1]}
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    page = environment.get_template("page.html")
    write_text(path, page.render(parts=template.name, sections=filled, style=style, **context))
    return path


def _exact(score: float) -> str:
    return repr(float(score))
