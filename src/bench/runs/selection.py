"""Selects finished runs by folder, identity, ``latest``, ``best`` or a query over their configs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import bounded
from bench.runs import inputs, inside, recipe
from bench.runs.best import best
from bench.runs.facts import alive, holder, leaves
from bench.runs.inputs import Inputs
from bench.runs.run import Run
from bench.spec import UserError

ENSEMBLE = "ensemble"
"""An ensemble's name in place of a model, in its path and in tables."""
SEARCHES, SEARCH_RUNS = "searches", "runs.json"
"""Where searches lie in the outputs, and the file in one's folder that names its runs."""
HOW = "give a run's folder or identity, latest, best, best:3, or a query such as dataset=hms,model=wavenet"
BEST = re.compile(r"best(?::(\d+))?")
"""``best``, or ``best:3`` for the best three."""


@dataclass(frozen=True)
class Selected:
    """Finished runs as named (a query's by folder), and sentences on the runs that a query left out."""

    runs: list[Run]
    left_out: list[str]


def select(requested: str | Sequence[str], outputs: Path, key: str = "runs") -> Selected:
    """The runs that ``requested`` names; ``key`` is what the door calls it.

    A text is read as words with commas between them. A word is a folder, the first digits of an identity, or
    ``latest``; the words with an equals sign are one query, which every run of ``<outputs>/*/*/*`` has to meet that
    is not an ensemble (unless it says model=ensemble). ``best`` and ``best:3`` keep the best of the query's runs, and
    without a query of all runs that are no ensembles, by their out-of-fold scores. A key of a query is a group
    (dataset, model, loss), a dotted key of the config (optimizer.lr), or metric, simulated, identity, sweep: the runs
    of a search, or group: the runs that differ in their seed alone.

    Raises UserError for a run that is missing, unfinished or no longer whole, or named twice. Of a query's runs those
    are left out, and said.
    """
    names, conditions = _words(requested)
    counts = [int(word[1] or 1) for word in map(BEST.fullmatch, names) if word]
    runs: list[Run] = []
    for word in names:
        if BEST.fullmatch(word):
            continue
        run = _named(word, outputs, key)
        if trouble := problem(run):
            raise UserError(f"{key}: {run.folder} {trouble}")
        runs.append(run)
    left_out: list[str] = []
    if conditions:
        matching, left_out = _asked(conditions, outputs, key)
        runs += best(matching, max(counts), key, problem) if counts else matching
    elif counts:
        runs += best(_no_ensembles(outputs), max(counts), key, problem)
    if not runs:
        raise UserError(f"{key} names no run; {HOW}")
    if twice := [folder for folder, n in Counter(str(run.folder) for run in runs).items() if n > 1]:
        raise UserError(f"{key} names {twice[0]} more than once; name each run once")
    return Selected(runs, left_out)


def meant(requested: str, outputs: Path, key: str = "runs") -> tuple[list[Run], list[Run], list[str]]:
    """Runs named one by one, those that the query means, finished or not, and sentences on what can't be read."""
    names, conditions = _words(requested)
    named = list({run.folder: run for run in (_named(word, outputs, key) for word in names)}.values())
    met, unreadable = _met(conditions, outputs, key) if conditions else ({}, [])
    if not named and not conditions:
        raise UserError(f"{key} names no run; {HOW}")
    return named, [run for run in met if run not in named], unreadable


def everything(outputs: Path) -> list[Run]:
    """All runs and ensembles of the outputs, finished or not."""
    return _all(outputs)


def matching(query: str, outputs: Path, key: str = "runs") -> list[Run]:
    """The finished runs that a query means, or those named; a broken folder is no reason to refuse the others."""
    return select(query, outputs, key).runs


def whole_by(run: Run) -> str:
    """What makes an unfinished run whole, in words; ``folds.only`` in its command never would."""
    try:
        only = run.recipe.folds.only
    except UserError:  # an ensemble, or a broken config, which is named where it is read
        only = None
    if only is None:
        return "the command that trained it makes it whole"
    return "its command without folds.only makes it whole"


def problem(run: Run, known: Inputs | None = None) -> str | None:
    """Why a run cannot be used, to follow its folder's name in a sentence; None for a finished run.

    ``known`` is its inputs.json, where the caller has just read it.
    """
    if not (run.folder / inputs.FILE).exists():
        return "has not begun to train; wait for it"
    if alive(run):
        return f"is being worked on by {holder(run.folder)}; wait for it"
    scores, known = run.scores(), known or run.inputs
    unfinished = [fold for fold in map(run.fold, range(known.n_splits)) if not fold.finished]
    if unfinished:
        names = ", ".join(f"folds/{fold.number}" for fold in unfinished)
        if scores and scores.complete:
            lost = unfinished[0].oof if unfinished[0].done.exists() else unfinished[0].done
            return f"no longer has {lost}; {whole_by(run)}"
        return f"is not finished: {names} of {known.n_splits} not trained; {whole_by(run)}"
    if not known.validated:
        return None
    if not scores or not scores.complete or not (run.folder / "oof.parquet").exists():
        lacks = "it lacks a complete scores.json or oof.parquet"
        return f"has trained folds that were never collected: {lacks}; {whole_by(run)}"
    return None


def refuse_unvalidated(run: Run) -> None:
    """UserError for a run of split=none, where out-of-fold predictions are needed."""
    if not run.inputs.validated:
        raise UserError(
            f"{run.folder} was trained on all rows (split=none), so it has no out-of-fold predictions to compare or to "
            "blend by; name a run that was validated"
        )


def refuse_one_fold(run: Run) -> None:
    """UserError for predictions made elsewhere whose folds nobody told, where folds are held against each other."""
    if run.inputs.n_splits < 2:
        raise UserError(
            f"{run.folder} was adopted without folds, which is held against no other folds; adopt its file again "
            "with a column fold, or with folds=<a run of yours with the same folds>"
        )


def _words(requested: str | Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The words that name runs, and the conditions of the query."""
    texts = [requested] if isinstance(requested, str) else [str(text) for text in requested]
    words = [word.strip() for text in texts for word in text.strip().removeprefix("[").removesuffix("]").split(",")]
    conditions = [word for word in words if "=" in word and "/" not in word]
    pairs = [(name, value) for name, _, value in (word.partition("=") for word in conditions)]
    return [word for word in words if word and word not in conditions], pairs


def folders(outputs: Path, onerror: Callable[[OSError], None] | None = None) -> list[Path]:
    """What lies in ``<outputs>/*/*/*`` and is a folder; hidden names are none, so what a cleaning threw away is not.

    ``onerror`` is told what can't be listed.
    """
    level = [outputs]
    for _ in range(3):
        level = [path for folder in level for path in _subfolders(folder, onerror)]
    return level


def _subfolders(folder: Path, onerror: Callable[[OSError], None] | None) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name[:1] != "." and _is_folder(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if onerror:
            onerror(error)
        return []
    return [folder / name for name in names]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _all(outputs: Path) -> list[Run]:
    """One that is reached by links, too, is there once."""
    runs = (folder.resolve() for folder in folders(outputs) if os.path.exists(folder / inputs.FILE))
    return [Run(folder) for folder in dict.fromkeys(runs)]


def _no_ensembles(outputs: Path) -> list[Run]:
    return [run for run in _all(outputs) if run.folder.parent.name != ENSEMBLE]


def _named(word: str, outputs: Path, key: str) -> Run:
    if word == "latest":
        states = [(state.stat().st_mtime_ns, state) for state in outputs.glob("*/*/*/state.json")]
        if not states:
            raise UserError(f"{key}=latest: there is no run in {outputs}; {HOW}")
        return Run.open(max(states)[1].parent)
    if Path(word).is_dir():
        return Run.open(word)
    if BEST.fullmatch(word):
        raise UserError(f"{key}={word}: that is for commands that use a run; {HOW.replace('best, best:3, ', '')}")
    if re.fullmatch("[0-9a-f]{4,12}", word):
        matching = [run for run in _all(outputs) if run.identity.startswith(word)]
        if len(matching) == 1:
            return Run.open(matching[0].folder)
        if matching:
            raise UserError(f"{key}: {word} begins the identities of {len(matching)} runs; give more of its digits")
        raise UserError(f"{key}: no run in {outputs} has the identity {word}; {HOW}")
    raise UserError(f"{key}: {word} is not a folder; {HOW}")


def _asked(conditions: list[tuple[str, str]], outputs: Path, key: str) -> tuple[list[Run], list[str]]:
    """The finished runs that meet the conditions, and sentences on the others."""
    met, unreadable = _met(conditions, outputs, key)
    troubles = [(run, problem(run, known)) for run, known in met.items()]
    usable = [run for run, trouble in troubles if trouble is None]
    left_out = [f"{run.folder} {trouble}" for run, trouble in troubles if trouble]
    if not usable:
        query = ",".join("=".join(pair) for pair in conditions)
        raise UserError(f"{key}: no run that meets {query} is finished: {left_out[0]}")
    return usable, unreadable + left_out


def _met(conditions: list[tuple[str, str]], outputs: Path, key: str) -> tuple[dict[Run, Inputs], list[str]]:
    """The runs that meet the conditions, finished or not, with their inputs; sentences on those that can't be read."""
    query = ",".join("=".join(pair) for pair in conditions)
    everything: dict[Run, tuple[Inputs, dict[str, str]]] = {}
    unreadable = []
    searched = [_searched(value, outputs, key) for name, value in conditions if name == "sweep"]
    for run in _all(outputs):
        if any(run.folder not in folders for folders in searched):
            continue
        try:
            everything[run] = _facts(run, {name for name, _ in conditions})
        except UserError as error:  # one broken folder is no reason to refuse all the others
            unreadable.append(str(error))
    if ("model", ENSEMBLE) not in conditions:
        everything = {run: facts for run, facts in everything.items() if facts[1]["model"] != ENSEMBLE}
    conditions = [(name, value) for name, value in conditions if name != "sweep"]
    for name, _ in conditions:
        if everything and not any(name in facts for _, facts in everything.values()):
            raise UserError(f"{key}: no run in {outputs} has {name}, which {query} asks for; {HOW}")
    met = {
        run: known
        for run, (known, facts) in everything.items()
        if all(_same(facts.get(name), value) for name, value in conditions)
    }
    if not met:
        raise UserError(f"{key}: none of the {len(everything)} runs in {outputs} meets {query}; {HOW}")
    return met, unreadable


def _searched(name: str, outputs: Path, key: str) -> set[Path]:
    """The folders of the runs of a search."""
    path = outputs / SEARCHES / name / SEARCH_RUNS
    if Path(name).name != name or not path.is_file():
        raise UserError(f"{key}: there is no search {name} in {outputs / SEARCHES}; {HOW}")
    return {Path(str(folder)).resolve() for folder in bounded.read_json(path)}


def _facts(run: Run, asked: set[str]) -> tuple[Inputs, dict[str, str]]:
    """A run's inputs, and what a query can ask of it.

    A group's chosen option goes before what stands under it in the config. The config, which takes most of the time,
    is read where it alone can answer.
    """
    inside.refuse_links(run.folder)
    known = run.inputs
    input_facts = {name: str(getattr(known, name)) for name in ("dataset", "model", "metric", "simulated", "group")}
    facts = {**known.names, **input_facts, "identity": run.identity}
    if asked <= {*facts, "sweep"} or not (run.folder / recipe.FILE).exists():
        return known, facts
    return known, {**leaves(run.config), **facts}


def _same(fact: str | None, value: str) -> bool:
    if fact is None:
        return False
    try:
        return fact == value or float(fact) == float(value)  # 1e-3 is 0.001
    except ValueError:
        return fact.lower() == value.lower()
