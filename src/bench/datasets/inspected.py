"""Every file behind a part of a data set, looked at by its header: is it there, how large, of which shape."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.datasets import folders
from bench.datasets.base import MEND, Dataset
from bench.spec import Part

USUAL = 0.9
"""Share of the files of one type that a description must have for the others to be unlike it."""
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Inspection:
    """What the files of a part are like. ``holds``: description → how many files. The lists are of paths."""

    files: int
    nbytes: int
    holds: Counter[str]
    missing: list[Path]
    empty: list[Path]
    unreadable: list[tuple[Path, str]]
    unlike: list[tuple[Path, str]]
    unused: list[Path]

    @property
    def broken(self) -> list[str]:
        """Sentences on the files that can't be used."""
        problems = [f"{path} is not there" for path in self.missing] + [f"{path} is empty" for path in self.empty]
        problems += [f"{path} can't be read ({why})" for path, why in self.unreadable]
        return [f"{problem}; {MEND}" for problem in problems]


def inspect(dataset: Dataset, part: Part, also: Iterable[Path] = ()) -> Inspection:
    """Looks at all files that ``Dataset.files`` names, and at ``also``; a header a file, some 50 µs."""
    paths = list(dict.fromkeys([*dataset.files(part), *also]))
    missing, empty, unreadable, described = list[Path](), list[Path](), list[tuple[Path, str]](), dict[Path, str]()
    nbytes = 0
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError:
            missing.append(path)
            continue
        nbytes += size
        if not size:
            empty.append(path)
            continue
        try:
            described[path] = describe(path)
        except Exception as error:  # a broken header raises what its reader has
            unreadable.append((path, " ".join(str(error).split())[:120]))
    return Inspection(
        files=len(paths),
        nbytes=nbytes,
        holds=Counter(described.values()),
        missing=missing,
        empty=empty,
        unreadable=unreadable,
        unlike=_unlike(described),
        unused=_unused(paths),
    )


def describe(path: Path) -> str:
    """What a file holds, from its header: shape and type, or rate and channels, or columns."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        import numpy as np

        values = np.load(path, mmap_mode="r", allow_pickle=False)
        return f"{' × '.join(map(str, values.shape))} {values.dtype}"
    if suffix in SOUNDS:
        import soundfile

        info = soundfile.info(str(path))
        return f"{info.samplerate} Hz, {info.channels} channel{'s' * (info.channels > 1)}, {info.subtype}"
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        return f"{pq.read_metadata(path).num_columns} columns"
    return suffix.removeprefix(".") or "no suffix"


def _unlike(described: dict[Path, str]) -> list[tuple[Path, str]]:
    """The files that are not like nearly all others of their folder and type."""
    kinds: dict[tuple[Path, str], Counter[str]] = {}
    for path, text in described.items():
        kinds.setdefault((path.parent, path.suffix), Counter())[text] += 1
    odd = []
    for path, text in described.items():
        counts = kinds[path.parent, path.suffix]
        usual, n = counts.most_common(1)[0]
        if text != usual and n >= USUAL * counts.total():
            odd.append((path, f"{text} where others have {usual}"))
    return odd


def _unused(paths: list[Path]) -> list[Path]:
    """Files that lie among those of the part, and that no row of its table names."""
    parents = Counter(path.parent for path in paths)
    named = set(paths)
    unused = []
    for folder in (folder for folder, n in parents.items() if n > 1 and folder.is_dir()):
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if not (e.name.startswith(".") or e.name in folders.IGNORED or e.is_dir())]
        unused += [folder / name for name in sorted(names) if folder / name not in named]
    return unused
