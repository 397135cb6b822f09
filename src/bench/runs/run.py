"""A run: a folder on disk that is the truth about one training.

<outputs>/<dataset>/<model>/<identity>/
    config.yaml        the resolved recipe
    inputs.json        what the folds need besides it: input spec, stores, metric, marks
    environment.json   versions, machine, git state, command of the last call
    splits.parquet     one row an example: id, group, weight, target_<class>, fold
    state.json         status, pid and host of the command that holds the run
    checksums.json     of config.yaml, inputs.json, the tables, scores.json, submission.csv and blend.json
    folds/<k>/         checkpoint.pt, weights.safetensors, history.json, oof.parquet, test.parquet, log.txt,
                       done.json (written last)
    oof.parquet  test.parquet  scores.json  submission.csv  plots/  report.html  tracking.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.atomic import read_json, write_json
from bench.runs import checksums, inputs, inside, recipe, records, scores
from bench.runs.inputs import Inputs
from bench.runs.recipe import AdoptedRecipe, AnyRecipe, EnsembleRecipe, Recipe
from bench.runs.scores import Scores
from bench.spec import InputSpec, UserError


def identity(deciding: dict[str, Any]) -> str:
    """Twelve hex digits of what decides a result; equal dictionaries give equal identities on any machine."""
    canonical = json.dumps(_plain(deciding), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    """The same with whole floats as integers: 0 and 0.0 on a command line mean the same."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unreadable(tables: list[Path]) -> str | None:
    """The first table that can't be read, in a sentence: what is said of one without a checksum."""
    import pyarrow.parquet as pq

    for path in tables:
        try:
            pq.read_table(path)
        except (OSError, ValueError) as error:
            return f"{path} can't be read ({str(error).splitlines()[0]})"
    return None


FOLD_FILES = ("weights.safetensors", "features.safetensors", "history.json", "oof.parquet", "test.parquet")
"""What a finished fold leaves; each is optional but for the out-of-fold predictions."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A fold's done.json: the digest of the test files that it predicted, their rows, checksums of what it left."""

    test: str
    test_rows: int
    checksums: Mapping[str, str] = field(default_factory=dict)


SIGNED = "checksum"
"""The key in done.json of the checksum of all its other keys."""


@dataclass(frozen=True)
class Fold:
    """One fold's folder."""

    folder: Path
    number: int

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def features(self) -> Path:
        """The fitted state of the features' device half; absent where nothing is fitted."""
        return self.folder / "features.safetensors"

    @property
    def oof(self) -> Path:
        return self.folder / "oof.parquet"

    @property
    def test(self) -> Path:
        return self.folder / "test.parquet"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def done(self) -> Path:
        return self.folder / "done.json"

    @property
    def finished(self) -> bool:
        """Whether the fold is done and its predictions still exist."""
        return self.done.exists() and self.oof.exists()

    def outcome(self) -> Done:
        """What done.json says; UserError naming it where it is not whole."""
        content = records.read(self.done, read_json)
        if isinstance(content, dict) and content.pop(SIGNED, None) not in (None, checksums.of_json(content)):
            raise UserError(f"{self.done} is damaged: its content is not what was written; {records.AGAIN}")
        return records.parse(Done, content, str(self.done))

    def mark_done(self, **content: Any) -> None:
        """Writes done.json with checksums of the fold's files and of its own content."""
        content["checksums"] = checksums.of_files(self.folder, FOLD_FILES)
        write_json(self.done, {**content, SIGNED: checksums.of_json(content)})

    def checked(self, path: Path) -> Path:
        """The path of one of the fold's files; UserError where done.json has another checksum of it."""
        return checksums.hold(path, self.outcome().checksums if self.done.exists() else {})

    def trouble(self) -> str | None:
        """What is missing or damaged of a fold that is done, in a sentence; None where it is whole."""
        try:
            done = self.outcome()
        except UserError as error:
            return str(error)
        required = [self.oof] + [self.test] * bool(done.test_rows)
        if absent := [path for path in required if not path.is_file()]:
            return f"{absent[0]} is not there any more"
        paths = [self.folder / name for name in done.checksums]
        if trouble := next(filter(None, (checksums.trouble(path, done.checksums) for path in paths)), None):
            return trouble
        return None if done.checksums else _unreadable(required)

    def history(self) -> list[dict[str, float]]:
        """One entry an epoch: epoch (from 1), step, seconds, lr, train/loss, valid/loss, valid/<metric>, …"""
        path = self.folder / "history.json"
        return read_json(path) if path.exists() else []

    def write_history(self, history: list[dict[str, float]]) -> None:
        write_json(self.folder / "history.json", history)

    def status(self) -> str:
        """``finished``, ``started`` (it has a history) or ``missing``; the run's state says whether it is alive."""
        if self.done.exists():
            return "finished"
        return "started" if self.history() else "missing"


@dataclass(frozen=True)
class Run:
    """One run's folder; opening one that is not a run is a UserError."""

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        run = cls(Path(folder).resolve())
        if not (run.folder / "config.yaml").exists():
            raise UserError(f"{folder} is not a run's folder: it has no config.yaml; give what train printed")
        inside.refuse_links(run.folder)
        return run

    @property
    def identity(self) -> str:
        return self.folder.name

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml in plain containers, for listing; ``recipe`` is its typed form."""
        return recipe.mapping(self.folder)

    @cached_property
    def made_by(self) -> AnyRecipe:
        """What the run was asked for: a training's recipe, an ensemble's, or that of predictions made elsewhere."""
        return recipe.read(self.folder)

    @property
    def recipe(self) -> Recipe:
        """A trained run's; UserError for an ensemble, and for predictions made elsewhere."""
        if isinstance(self.made_by, Recipe):
            return self.made_by
        if isinstance(self.made_by, AdoptedRecipe):
            raise UserError(f"{self.folder} was made elsewhere: its predictions are here, its model is not")
        raise UserError(f"{self.folder} is an ensemble, which was not trained itself; name one of its members")

    @property
    def ensemble(self) -> EnsembleRecipe:
        """An ensemble's recipe; UserError for a trained run."""
        if isinstance(self.made_by, EnsembleRecipe):
            return self.made_by
        raise UserError(f"{self.folder} is no ensemble; name a run that python -m bench.ensemble made")

    @property
    def inputs(self) -> Inputs:
        """Read anew each time: the folder is the truth."""
        return inputs.read(self.folder)

    @property
    def spec(self) -> InputSpec:
        return self.inputs.spec

    @property
    def scores_path(self) -> Path:
        return self.folder / scores.FILE

    def checked(self, name: str) -> Path:
        """The path of one of the run's files; UserError where its content is not what was written."""
        if name not in scores.TABLES:
            return checksums.held(self.folder / name)
        collected = self.scores()
        return checksums.hold(self.folder / name, collected.checksums if collected else {})

    def scores(self) -> Scores | None:
        """None while no fold is collected."""
        return scores.read(self.folder)

    def fold(self, number: int) -> Fold:
        return Fold(self.folder / "folds" / str(number), number)

    @property
    def folds(self) -> list[Fold]:
        return [self.fold(k) for k in range(self.inputs.n_splits)]

    def state(self) -> dict[str, Any]:
        """status: running, finished, partial (asked for some folds only), failed or killed; pid, host, command."""
        path = self.folder / "state.json"
        return read_json(path) if path.exists() else {"status": "running"}

    def write_state(self, **state: Any) -> None:
        write_json(self.folder / "state.json", {**self.state(), **state})
