"""A page as a reader finds it, and in a browser: what the tests of pages share."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Page(HTMLParser):
    """What a reader finds: tables by section, exact values, texts, and every attribute."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.section, self.text = "", ""
        self.attributes: list[tuple[str, str, str]] = []
        self.values: list[tuple[float, str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        said = dict(attrs)
        self.open.append(tag)
        if tag == "section":
            self.section = said["id"] or ""
        elif tag == "tr":
            self.tables.setdefault(self.section, []).append([])
        elif tag in ("td", "th"):
            self.tables[self.section][-1].append("")
        elif tag == "data":
            self.values.append((float(said["value"] or ""), ""))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "data" in self.open:
            self.values[-1] = (self.values[-1][0], self.values[-1][1] + data)
        if "td" in self.open or "th" in self.open:
            self.tables[self.section][-1][-1] += data


def assert_a_browser_shows(page: Path, folder: Path) -> None:
    """In dark and in light, without a word on the console."""
    from PIL import Image

    grounds = []
    for dark, preferred in ((True, 0), (False, 1)):
        shot = folder / f"{preferred}.png"
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--hide-scrollbars"]
        options += [f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={preferred}"]
        command = [str(CHROMIUM), *options, "--window-size=600,900", f"--screenshot={shot}", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in done.stderr
        picture = np.asarray(Image.open(shot).convert("L"))
        grounds.append(int(picture[0, 0]))
        assert picture.std() > 10, "something is drawn"
        assert (grounds[-1] < 60) == dark
    assert grounds[1] == 255


def assert_nothing_outside(page: Page) -> None:
    """The page asks no network for anything, and runs nothing."""
    sources = [value for _, name, value in page.attributes if name in ("src", "srcset", "data", "poster", "action")]
    links = [value for _, name, value in page.attributes if name in ("href", "xlink:href")]
    assert not [value for value in sources if not value.startswith("data:image/png;base64,")]
    assert not [value for value in links if not value.startswith(("#", "data:image/png;base64,"))]
    assert not re.search(r"https?:|url\((?!#)|@import|<script|<link|<iframe|<object", page.html)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
