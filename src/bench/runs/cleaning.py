"""Which runs may be deleted, and their deletion: renamed into a trash folder first, so half a run is never one.

Whatever is in doubt is kept. A folder is a run where its name, place and files say so; one is kept that another run
which stays names in its files, that some process holds, or that is the best of its model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import bounded
from bench.runs import inputs, inside, recipe, selection
from bench.runs.facts import CLAIM, LOCKS, elsewhere_since, holder, is_locked
from bench.runs.run import Fold, Run
from bench.runs.scores import Scores
from bench.spec import UserError

KINDS = ("failed", "partial", "damaged", "superseded", "finished")
"""What a run is: failed or broken off; some folds alone, as asked; finished once, but files are missing; finished, and
its command makes another run by now; finished."""
ALL = "all"
UNASKED = ("failed", "partial")
"""Kinds that need no query: no finished training is lost with them."""
IDENTITY = re.compile("[0-9a-f]{12}")
NAMED = re.compile(rb"(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])")
NAMING = (recipe.FILE, inputs.FILE, "blend.json")
"""A run's files that name the runs which it starts from, learns from or blends."""
REGISTERED = "registered.json"
"""In a run's folder: the models of MLflow's registry that were made of it."""

Waiting = Callable[[Fold], object]
"""Whether a job waits to train a fold, or does; UserError where that can't be known."""


@dataclass(frozen=True)
class Doomed:
    """A run that may go: its kind, how many of its folds are trained, and its state when that was decided."""

    run: Run
    kind: str
    trained: str
    changed: float
    seen: object


@dataclass
class Plan:
    """What would go, and what was meant, too, but stays, with why."""

    doomed: dict[Path, Doomed] = field(default_factory=dict)
    kept: dict[Path, str] = field(default_factory=dict)

    def keep(self, folder: Path, why: str) -> None:
        self.doomed.pop(folder, None)
        self.kept[folder] = why


def kinds_of(what: str, query: str | None) -> set[str]:
    """The kinds that ``what`` names; UserError for one that is none, and where finished runs would need a query."""
    words = [word.strip() for word in what.strip("[]").split(",") if word.strip()]
    if odd := [word for word in words if word not in (*KINDS, ALL)]:
        raise UserError(f"what={odd[0]} is not one of {', '.join((*KINDS, ALL))}")
    if not words:
        raise UserError(f"what= is empty; give one or more of {', '.join((*KINDS, ALL))}")
    chosen = set(KINDS) if ALL in words else set(words)
    if not query and (finished := [word for word in words if word not in UNASKED]):
        raise UserError(
            f"what={finished[0]} deletes runs that were finished, so it has to be said which: add runs=<query>, as "
            "runs=dataset=heartbeat,model=mlp"
        )
    return chosen


def plan(query: str | None, what: str, outputs: Path, waiting: Waiting) -> Plan:
    """What ``runs=query what=what`` would delete. Nothing is written."""
    kinds = kinds_of(what, query)
    named, met, unreadable = selection.meant(query, outputs) if query else ([], selection.everything(outputs), [])
    made = Plan({}, {Path(f"unreadable {at}"): text for at, text in enumerate(unreadable)})
    if not named and not met:
        return made
    newer = _newer(selection.everything(outputs)) if "superseded" in kinds else {}
    searching = _searching(outputs)
    for run in [*named, *met]:
        if why := _no_run(run.folder, outputs):
            made.keep(run.folder, why)
            continue
        try:
            kind = _kind(run, newer)
            if kind not in kinds:
                if run in named:
                    made.keep(run.folder, f"is {kind}; add what={kind}")
                continue
            if why := _held(run, waiting) or _of_use(run) or (searching if kind != "finished" else None):
                made.keep(run.folder, why)
                continue
            made.doomed[run.folder] = _doomed(run, kind)
        except (UserError, OSError) as error:
            made.keep(run.folder, f"is kept: {error}")
    _keep_best(made, {run.folder for run in named}, outputs)
    _keep_named_by_others(made, outputs)
    return made


def _no_run(folder: Path, outputs: Path) -> str | None:
    """Why a folder is not taken for a run of these outputs; links have been followed on the way to it."""
    if len(folder.parents) < 3 or folder.parents[2] != outputs.resolve():
        return f"does not lie in {outputs}/<dataset>/<model>, links followed; clean the outputs folder that it lies in"
    if not IDENTITY.fullmatch(folder.name):
        return "is no run's folder: its name is no identity"
    for name in (recipe.FILE, inputs.FILE):
        if not (folder / name).is_file():
            return f"is no whole run's folder: it has no {name}; look what it is, and delete it by hand"
    try:
        inside.refuse_links(folder)
        inputs.read(folder)
    except (UserError, OSError) as error:
        return f"is kept: {error}"
    return None


def _kind(run: Run, newer: Mapping[Path, Path]) -> str:
    """One of KINDS; whether a process works on it is another question."""
    try:
        whole = selection.problem(run) is None
        complete = _complete(run)
    except UserError:
        return "damaged"
    if whole:
        return "superseded" if run.folder in newer else "finished"
    if complete or run.state().get("status") == "finished":
        return "damaged"
    return "partial" if run.state().get("status") == "partial" else "failed"


def _complete(run: Run) -> bool:
    scores = run.scores()
    return bool(scores and scores.complete)


def _held(run: Run, waiting: Waiting) -> str | None:
    """Who works on the run, or may."""
    folders = [path for path in (run.folder / "folds").glob("*") if path.is_dir()]
    if any(is_locked(run.folder / name) for name in LOCKS):
        return f"is being worked on by {holder(run.folder)}"
    if taken := [path for path in folders if is_locked(path / CLAIM)]:
        return f"is being trained: another command holds {taken[0].relative_to(run.folder)}"
    if is_locked(run.folder / ".tracking.lock"):
        return "is being sent to MLflow; wait for it"
    for path in folders:
        if path.name.isdigit() and waiting(run.fold(int(path.name))):
            return f"waits in a queue: {path.relative_to(run.folder)} has a job"
    return elsewhere_since(run)


def _of_use(run: Run) -> str | None:
    """Why its own folder says that it is used."""
    if (run.folder / REGISTERED).exists():
        return "is registered as a model"
    exports = run.folder / "exports"
    if exports.is_dir() and any(exports.iterdir()):
        return "has an exported model in exports/; move it out, or delete it first"
    return None


def _searching(outputs: Path) -> str | None:
    """Whether a search is going on: it may go on with any run that is not finished."""
    for lock in outputs.glob(f"{selection.SEARCHES}/*/.*.lock"):
        if is_locked(lock):
            return f"may be of the search {lock.parent.name}, which is going on"
    return None


def _doomed(run: Run, kind: str) -> Doomed:
    folds = run.folds
    done = sum(fold.done.exists() for fold in folds)
    changed = max((run.folder / name).stat().st_mtime for name in os.listdir(run.folder))
    return Doomed(run, kind, f"{done} of {len(folds)}", changed, seen(run))


def seen(run: Run) -> object:
    """Changes when a command begins to work on the run, or has."""
    state = run.folder / "state.json"
    dones = [path.stat().st_mtime_ns for path in sorted((run.folder / "folds").glob("*/done.json"))]
    return state.read_bytes() if state.exists() else b"", dones


def _recipe(run: Run) -> str | None:
    """The run's recipe, and where its data are, in one text: what its command would do again."""
    try:
        made_by, known = run.made_by, run.inputs
    except UserError:
        return None
    data = made_by.dataset.get("root"), made_by.dataset.get("simulator"), made_by.data
    return repr((known.dataset, known.model, known.simulated, data, recipe.deciding(made_by)))


def _newer(runs: Iterable[Run]) -> dict[Path, Path]:
    """A finished run → the one of the same recipe that its command has made, or found finished, last."""
    alike: dict[str, list[tuple[int, Path]]] = {}
    for run in runs:
        try:
            if selection.problem(run) is None and (key := _recipe(run)):
                at = (run.folder / inputs.FILE).stat().st_mtime_ns
                alike.setdefault(key, []).append((at, run.folder))
        except (UserError, OSError):
            continue
    last = {key: max(group)[1] for key, group in alike.items()}
    return {folder: last[key] for key, group in alike.items() for _, folder in group if folder != last[key]}


def _keep_best(made: Plan, named: set[Path], outputs: Path) -> None:
    """Keeps the best run of each data set, metric and model, unless a person has named that very run."""
    scored = [folder for folder in made.doomed if (folder / "scores.json").exists()]
    if not scored:
        return
    best: dict[tuple[str, str, bool, str], tuple[Scores, Path]] = {}
    for run in selection.everything(outputs):
        try:
            scores, known = run.scores(), run.inputs
        except UserError:
            continue
        if scores is None or not scores.complete or (run.folder in named and run.folder in made.doomed):
            continue
        place = known.dataset, scores.metric, scores.simulated, known.model
        if place not in best or scores.direction.better(scores.oof, best[place][0].oof):
            best[place] = scores, run.folder
    for (_, metric, _, model), (_, folder) in best.items():
        if folder in made.doomed:
            made.keep(folder, f"is the best {model} by {metric}; name it (runs=<its folder>) if it is meant")


def _keep_named_by_others(made: Plan, outputs: Path) -> None:
    """Keeps runs that others which stay start from, learn from or blend; those that stay for it keep others in turn."""
    if not made.doomed:
        return
    names = {folder.name.encode(): folder for folder in made.doomed}
    named_by: dict[Path, set[Path]] = {}
    for folder in selection.folders(outputs, _unknown):
        for file in NAMING:
            for identity in set(NAMED.findall(_content(folder / file))) & set(names):
                named_by.setdefault(names[identity], set()).add(folder.resolve())
    again = True
    while again:
        again = False
        for folder in list(made.doomed):
            stays = [other for other in named_by.get(folder, ()) if other != folder and other not in made.doomed]
            if stays:
                made.keep(folder, f"is what {stays[0]} starts from, learns from or blends")
                again = True


def _content(path: Path) -> bytes:
    """A file's; empty where there is none. UserError where it is there and can't be read."""
    try:
        return bounded.text(path, bounded.LARGEST_JSON).encode() if path.is_file() else b""
    except OSError as error:
        _unknown(error)
    except ValueError:  # no text
        return path.read_bytes()
    return b""


def _unknown(error: OSError) -> None:
    if Path(error.filename or "").name == "lost+found":
        return
    raise UserError(
        f"{error.filename} can't be read ({error.strerror}), so what runs there start from is not known, and "
        "nothing is deleted; see who may read it, or take it out of the outputs"
    )
