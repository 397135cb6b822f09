"""What a search has come to, in a file of its folder: ``<outputs>/searches/<name>/search.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from bench.atomic import write_json
from bench.runs import inside, records
from bench.runs.selection import SEARCH_RUNS
from bench.spec import Direction

FILE, PAGE, TABLE = "search.json", "search.html", "trials.csv"
FILES = (FILE, PAGE, TABLE, SEARCH_RUNS)
"""What a search leaves for people and for MLflow."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """A search's outcome so far. ``best`` is its best trial's out-of-fold score, ``command`` trains that trial;
    ``began`` and ``ended`` are in seconds since 1970; ``space`` has a text for each key that is searched."""

    name: str
    dataset: str
    metric: str
    direction: Direction
    simulated: bool
    complete: int
    dropped: int
    failed: int
    best: float
    command: str
    began: float
    ended: float
    space: Mapping[str, str]
    uri: str | None = None
    """Where it is meant to be sent, without secrets; None: the database in the outputs."""


@dataclasses.dataclass(frozen=True)
class Searched:
    """A search's folder that has an outcome."""

    folder: Path
    outcome: SearchOutcome

    @property
    def tracked_at(self) -> str | None:
        return self.outcome.uri

    @classmethod
    def is_in(cls, folder: str | Path) -> bool:
        return (Path(folder) / FILE).is_file()

    @classmethod
    def read(cls, folder: str | Path) -> Searched:
        """UserError naming the file where it is not whole, or a name in it is none."""
        path = Path(folder).resolve()
        inside.refuse_links(path)
        outcome = records.from_json(SearchOutcome, path / FILE)
        inside.refuse_no_names({"name": outcome.name, "dataset": outcome.dataset}, str(path / FILE))
        return cls(path, outcome)

    def write(self) -> None:
        write_json(self.folder / FILE, records.plain(self.outcome))
