"""What the site is made of besides the pages in docs/: the project's own pages, the reference, and their links.

MkDocs calls the ``on_…`` functions (mkdocs.yml names this file). Nothing is written into docs/: the pages of the
reference are made at each build, from docstrings and the comments of ``conf/`` (``reference.py``), the source of
``bench.catalog``.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
import reference  # noqa: E402  (it lies beside this file, which MkDocs loads by its path)

PROJECT = {
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "experiments/README.md": "project/experiments.md",
    "experiments/racing.md": "project/racing.md",
    "benchmarks/README.md": "project/benchmarks.md",
    **{f"benchmarks/results/{path.name}": f"project/results/{path.name}"
       for path in sorted((ROOT / "benchmarks" / "results").glob("*.md"))},
}  # fmt: skip
"""Pages that lie elsewhere in the project → where the site has them."""
PICTURE = "<!-- picture of ARCHITECTURE.md -->"
LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)\s#]*)(#[^)\s]*)?\)")
ELSEWHERE = re.compile(r"[a-z]+:|#|/")


def on_config(config: Any) -> Any:
    """Pages of docs/ that the navigation doesn't name yet come last among its guides."""
    named = set(re.findall(r"[\w/]+\.md", str(config.nav)))
    files = {path.relative_to(HERE).as_posix() for path in HERE.rglob("*.md")}
    guides = next(part["Guides"] for part in config.nav if "Guides" in part)
    guides.extend(sorted(files - named))
    part = next(part["Reference"] for part in config.nav if "Reference" in part)
    part.extend(reference.navigation())
    return config


def on_files(files: Files, config: Any) -> Files:
    """The project's own pages and the reference join those of docs/."""
    for path, uri in PROJECT.items():
        files.append(File.generated(config, uri, content=(ROOT / path).read_text(encoding="utf-8")))
    for uri, text in reference.pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links between pages as the repository has them, made links of the site; to other files, their names alone."""
    uri = page.file.src_uri
    if uri.startswith("reference/"):
        return markdown
    source = next((path for path, own in PROJECT.items() if own == uri), f"docs/{uri}")
    markdown = markdown.replace(PICTURE, picture())
    return LINK.sub(lambda match: _link(match, source, uri), markdown)


def picture() -> str:
    """The diagram of ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    start = text.index("```mermaid")
    return text[start : text.index("```", start + 3) + 3]


def _link(match: re.Match[str], source: str, uri: str) -> str:
    text, target, anchor = match[1], match[2], match[3] or ""
    if not target or ELSEWHERE.match(target):
        return match[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path in PROJECT or path.startswith("docs/"):
        here = PROJECT.get(path, path.removeprefix("docs/"))
        return f"[{text}]({posixpath.relpath(here, posixpath.dirname(uri) or '.')}{anchor})"
    if (ROOT / path).exists():
        return text if text.startswith("`") else f"`{path}`" if text == path else text
    return match[0]  # dead: MkDocs says so
