"""A data set's raw files on their way to the store: got from where they are, and each of them looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.cli.schema import Prepare
from bench.datasets import inspected, kaggle
from bench.datasets.base import Dataset, several
from bench.datasets.inspected import Inspection
from bench.datasets.root import Files, is_simulated
from bench.features.base import Features
from bench.spec import Part, UserError
from bench.tell import amount, console, say
from bench.training import parts

PARTS: tuple[Part, ...] = ("train", "test")
MOST = 10
"""Files of a kind that are told by name."""


def obtain(keys: Prepare) -> Path:
    """The folder of the files: where they are, downloaded first with ``source=kaggle``, or simulated ones."""
    files, kind = parts.files(keys.dataset, keys.data, keys.store), parts.dataset_class(keys.dataset)
    if keys.source == "kaggle":
        if (folder := files.placed()) is not None and folder.exists():
            say(f"download  {folder} is there already, and is left as it is")
        elif kind.kaggle is None:
            raise UserError(f"{kind.name}'s files are not on Kaggle. {' '.join(by_hand(kind, files))}")
        else:
            kaggle.download(kind.kaggle, files.requested or files.usual)
    elif keys.source is not None:
        raise UserError(f"source={keys.source} is not known; write source=kaggle, or leave it out for files by hand")
    folder = files.find()
    if is_simulated(folder) and keys.dataset.get("root") is None:
        for line in by_hand(kind, files):
            say(f"          {line}")
    return folder


def by_hand(kind: type[Dataset], files: Files) -> list[str]:
    """What to click, and where to put the files."""
    page = kaggle.rules(kind.kaggle) if kind.kaggle else kind.page
    if not page:
        return [f"put the files into {files.usual}, or give dataset.root=<folder>"]
    by_client = "; or: python -m bench.prepare source=kaggle" if kind.kaggle else ""
    return [
        f"The real files: 1. open {page}, join, and accept the rules{by_client}.",
        "2. Download all files, and unpack them.",
        f"3. Put them into {files.usual} (or give dataset.root=<folder>), then run the same command again.",
    ]


def check_files(dataset: Dataset, named: Mapping[str, Features]) -> None:
    """A table of all raw files of both parts, and what is odd about them; UserError for those that can't be used."""
    seen = {}
    for part in PARTS:
        also = [x for f in named.values() for x in dataset.also_read(part, **f.reads) if isinstance(x, Path)]
        seen[part] = inspected.inspect(dataset, part, also)
    _show(seen)
    if broken := [sentence for one in seen.values() for sentence in one.broken]:
        raise several(broken, f"{len(broken)} of {sum(one.files for one in seen.values())} files can't be used")


def _show(seen: Mapping[Part, Inspection]) -> None:
    from rich.table import Table

    table = Table("part", box=None)
    for head in ("files", "GB", "missing", "empty", "unreadable", "unlike others", "without a row"):
        table.add_column(head, justify="right")
    table.add_column("they hold", overflow="fold")
    for part, one in seen.items():
        holds = "; ".join(f"{amount(n)} × {text}" for text, n in one.holds.most_common(2))
        counts = (one.missing, one.empty, one.unreadable, one.unlike, one.unused)
        more = len(one.holds) - 2
        table.add_row(
            *(part, amount(one.files), f"{one.nbytes / 1e9:.2f}"),
            *(amount(len(paths)) for paths in counts),
            holds + (f"; {more} others" if more > 0 else ""),
        )
    console(120, markup=False).print(table)
    _name("unlike", (f"{path}: {text}" for one in seen.values() for path, text in one.unlike))
    _name("unused", (f"{path} has no row in its table" for one in seen.values() for path in one.unused))


def _name(label: str, lines: Iterable[str]) -> None:
    listed = list(lines)
    for line in listed[:MOST]:
        say(f"{label:10}{line}")
    if len(listed) > MOST:
        say(f"{label:10}and {len(listed) - MOST} more")
