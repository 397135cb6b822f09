"""README.md and every page of docs/: links lead somewhere, commands compose, quoted errors are the source's own."""

from __future__ import annotations

import ast
import re
import shlex
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from bench.__main__ import COMMANDS
from bench.cli.compose import compose
from bench.cli.options import asked

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(
    r"^(?:    )?((?:[A-Z_]+=\S+ )?(?:torchrun [^#\n]*|python )-m bench\.[a-z]+.*|bench [a-z].*)$", re.MULTILINE
)
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s#]*)(?:#([^)\s]*))?\)")
LAUNCHERS = {path.stem for path in (ROOT / "conf" / "hydra").rglob("*.yaml")}


def code(page: Path) -> str:
    """The blocks of a page that are shown as code, fenced with sh or indented."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"^    .+$", plain, re.MULTILINE)])


def commands(page: Path) -> list[str]:
    return [re.sub(r"\s+#.*", "", line).strip() for line in COMMAND.findall(code(page))]


EVERY = sorted({command for page in PAGES for command in commands(page)})


def first(word: str) -> str | None:
    """An override as the first job of a sweep has it; None for one of Hydra's own."""
    if word.lstrip("+").startswith("hydra"):
        name = word.partition("=")[2]
        assert not word.startswith("hydra/") or name in LAUNCHERS, f"{word}: conf/hydra has no such option"
        return None
    (override,) = OverridesParser.create().parse_overrides([word])
    if not override.is_sweep_override():
        return word
    if override.is_choice_sweep() or override.is_range_sweep():
        return f"{override.key_or_group}={next(iter(override.sweep_string_iterator()))}"
    return None  # an interval, of which a search draws


def words(command: str) -> tuple[str, list[str]]:
    """The command's name and its words, with what stands for a person's own replaced by something."""
    parts = shlex.split(re.sub(r"<[^>]+>|…", "thing", command), comments=True)
    if parts[0] == "bench":
        return parts[1], parts[2:]
    name = next(part for part in parts if part.startswith("bench."))
    return name.removeprefix("bench."), parts[parts.index(name) + 1 :]


def test_the_pages_name_many_commands() -> None:
    assert len(PAGES) >= 12
    assert len(EVERY) > 60
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_pages_composes(name: str) -> None:
    for command in EVERY:
        told, given = words(command)
        assert told in COMMANDS, command
        if told != name or "--help" in given:
            continue
        described = import_module(f"bench.{name}").COMMAND
        if name == "track":
            assert given, command
        elif name == "catalog":
            asked([word for word in given if own(word)])
        elif "--config-path" not in given:
            text = set(described.texts)
            kept = [w for w in given if w != "-m" and w.partition("=")[0] not in text]
            flat = [f"{w.removeprefix('--')}=true" if w.startswith("--") else w for w in kept]
            used = [value for word in flat if own(word) and (value := first(word)) is not None]
            try:
                composed(described.config, tuple(used))
            except Exception as error:
                raise AssertionError(f"{command}: {error}") from error


def own(word: str) -> bool:
    """Whether bench has the option: those that a page adds with its listings are tested by test_docs.py."""
    if space := re.fullmatch(r"\+sweep=(\w+)", word):
        assert (ROOT / "conf" / "sweep" / f"{space[1]}.yaml").exists(), word
    return not re.search(r"bearings|smallcnn|brier|polarity|sign_sgd|=hold|extensions=|\+sweep=", word)


@lru_cache(maxsize=512)
def composed(config: str, used: tuple[str, ...]) -> object:
    return compose(config, used)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in LINK.findall(re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)):
        if re.match(r"[a-z]+:", target):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name}: {target} is not there"
        if anchor:
            assert anchor in anchors(path), f"{page.name}: {target}#{anchor} is no heading there"


def anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@lru_cache(maxsize=1)
def sentences() -> str:
    """Every text of the source, a line each, with … for what is filled in."""
    texts: set[str] = set()
    for path in (ROOT / "src" / "bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
                texts.add("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
    return "\n".join(re.sub("…+", "…", text.replace("\n", " ")) for text in texts)


QUOTED = re.findall(r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_sentence_is_still_in_the_source(quoted: str) -> None:
    assert quoted.strip("… ") in sentences(), f"the source no longer says: {quoted}"


def test_there_are_thirty_sentences() -> None:
    assert len(QUOTED) >= 30
