"""The documentation's site builds without a dead link, and has a page for everything there is to choose from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from bench.__main__ import COMMANDS
from bench.cli.options import groups, options

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as make docs builds it: strictly, so that a dead link is an error."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(ROOT)
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
        assert config.strict
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
    return folder


def text(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


def test_every_command_and_option_has_its_place(site: Path) -> None:
    reference = site / "reference"
    assert {path.stem for path in (reference / "commands").glob("*.html")} == set(COMMANDS)
    for group in groups():
        if group in ("experiments", "recipe", "hydra", "ensemble"):
            continue
        for option in options(group):
            alone, together = reference / group / f"{option.name}.html", reference / f"{group}.html"
            if option.name != "default":  # that stands for another
                assert alone.exists() or option.name in text(together), option
    assert "dilations" in text(reference / "model" / "wavenet.html")
    assert "probability that an example is changed" in text(reference / "augment.html")


def test_pages_that_the_navigation_does_not_name_are_in_it(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    for path in (ROOT / "docs").rglob("*.md"):
        assert path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() in front, path


def test_the_picture_is_architectures_own(site: Path) -> None:
    source = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawn = (site / "concepts.html").read_text(encoding="utf-8")
    assert 'class="mermaid"' in drawn
    arrows = re.findall(r"^    \w+ --&gt; \w+", drawn, re.MULTILINE)
    assert len(arrows) == len(re.findall(r"^    \w+ --> \w+", source, re.MULTILINE)) > 10


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\s\">]+)", html)
        assert not loaded, page
