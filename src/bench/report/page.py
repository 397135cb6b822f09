"""A page that needs nothing outside itself, from templates that escape whatever they are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench import tell
from bench.atomic import write_text

TEMPLATES = Path(__file__).with_name("templates")


def write(path: Path, template: Path, sections: Mapping[str, tuple[str, object]], **context: object) -> Path:
    """Writes a page to ``path`` and returns it.

    template is a file of macros: one a section, by its anchor, and ``under`` and ``first`` for what stands under the
    page's name and before the links. sections are, by anchor, a title and what the macro is given; one without
    anything is left out. context: tab and name (the title in a browser, and over the page), under, first, footer,
    simulated.
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
