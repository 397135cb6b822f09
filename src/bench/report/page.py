"""The frame of a page that needs nothing outside itself: head, title, sections under a row of links."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("report.css")
SIMULATED = (
    '<p class="simulated"><strong>SIMULATED DATA</strong>: made by this program, not measured. These scores say '
    "nothing about the competition.</p>"
)


def page(
    tab: str,
    name: str,
    under: str,
    first: str,
    sections: Sequence[tuple[str, str, str]],
    footer: str,
    simulated: bool,
) -> str:
    """A whole document. ``tab`` and ``name`` (its title in a browser, and over the page) are text, all else is HTML.

    ``under`` stands below the name, ``first`` before the links; a section is (anchor, title, body), and one without a
    body is left out; ``simulated`` data are said to be that in a band above everything.
    """
    shown = [(anchor, title, body) for anchor, title, body in sections if body]
    links = " ".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in shown)
    bodies = "".join(f'<section id="{anchor}"><h2>{title}</h2>{body}</section>' for anchor, title, body in shown)
    mark = SIMULATED if simulated else ""
    title = escape(tab) + (" (SIMULATED)" if simulated else "")
    style = STYLE.read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body>{mark}<header><h1>{escape(name)}</h1>"
        f'<p class="under">{under}</p></header>{first}<nav>{links}</nav>{bodies}'
        f"<footer>{footer}</footer></body></html>\n"
    )
