"""The last sections of a report: the split, the recipe, the command to run it again, and the environment."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import Any

import numpy as np

from bench.atomic import read_json
from bench.report.tables import Table
from bench.runs.facts import leaves, short_name
from bench.runs.frames import read_frame
from bench.runs.records import plain
from bench.runs.run import Run
from bench.tell import amount, percent

FEW = 8
"""With at most this many classes the split's table has a column for each."""


def split(run: Run) -> dict[str, object]:
    """Rows, groups and classes of every fold, and whether any group is in several folds."""
    rows = read_frame(run.checked("splits.parquet"))
    target = rows[[f"target_{name}" for name in run.spec.classes]].to_numpy(np.float64)
    fold, classes = rows["fold"].to_numpy(), run.spec.classes
    judged = rows["validated"].to_numpy(bool) if "validated" in rows else np.ones(len(rows), bool)
    overall = target[judged].mean(0)
    head: list[str] = ["fold", "rows", *["groups"] * ("group" in rows)]
    head += list(classes) if len(classes) <= FEW else ["largest difference of a class's share"]
    cells = []
    for k in range(run.inputs.n_splits):
        in_fold = judged & (fold == k)
        if not in_fold.any():
            continue
        share = target[in_fold].mean(0)
        groups = [amount(rows["group"][in_fold].nunique())] if "group" in rows else []
        shares = [percent(s) for s in share] if len(classes) <= FEW else [percent(np.abs(share - overall).max())]
        cells.append([str(k), amount(in_fold.sum()), *groups, *shares])
    sentences = [f"{amount(judged.sum())} rows are validated, each in the fold that did not train on it."]
    if not judged.all():
        sentences.append(f"{amount((~judged).sum())} more are not validated.")
    if "group" in rows:
        crossing = int((rows.groupby("group")["fold"].nunique() > 1).sum())
        several = "1 group lies" if crossing == 1 else f"{amount(crossing)} groups lie"
        sentences.append(f"{several} in several folds." if crossing else "No group lies in two folds.")
    return {"sentences": sentences, "table": Table(head, cells), "notes": run.inputs.notes}


def recipe(run: Run) -> dict[str, object]:
    """The chosen options by group, and the command."""
    names, made_by = run.inputs.names, run.made_by
    rows, single = [], []
    for key, node in plain(made_by).items():
        if key in made_by.elsewhere or node is None:
            continue
        if not isinstance(node, dict):
            single.append([key, ", ".join(map(str, node)) if isinstance(node, list) else str(node), ""])
            continue
        target = short_name(node)
        choice = names.get(key, target)
        choice = target if choice == "default" else choice
        if choice == "none" or not node:
            continue
        hidden = () if run.inputs.simulated else ("simulator.",)
        options = {
            k: v for k, v in leaves(node).items() if not k.endswith("_target_") and not k.startswith((*hidden, "root"))
        }
        text = ", ".join(f"{name} = {value}" for name, value in options.items())
        rows.append([key, choice, text])
    return {"table": Table(["", "chosen", "options"], rows + single, 3, kind="recipe"), "command": _command(run)}


def _command(run: Run) -> str:
    """The command of the last call, with ``python`` instead of this machine's path."""
    path = run.folder / "environment.json"
    command = (read_json(path) if path.exists() else {}).get("command") or run.state().get("command") or ""
    words = command if isinstance(command, list) else command.split(" ")
    if words and PurePath(words[0]).name.startswith("python"):
        words = ["python", *words[1:]]
    return shlex.join(words) if isinstance(command, list) else " ".join(words)


def environment(run: Run, histories: dict[int, list[dict[str, float]]]) -> Table | None:
    """Machine, code, versions, time and memory."""
    path = run.folder / "environment.json"
    record: dict[str, Any] = read_json(path) if path.exists() else {}
    done = [read_json(fold.done) for fold in run.folds if fold.done.exists()]
    rows = []
    if devices := {str(d["device"]) for d in done if d.get("device")}:
        rows.append(["device", ", ".join(sorted(devices))])
    seconds = [sum(entry.get("seconds", 0) for entry in history) for history in histories.values()]
    if any(seconds):
        most = f", {_duration(max(seconds))} the longest fold" if len(seconds) > 1 else ""
        rows.append(["time in epochs", _duration(sum(seconds)) + most])
    if peaks := [d["peak_memory_mb"] for d in done if d.get("peak_memory_mb")]:
        rows.append(["memory of a fold", f"{amount(max(peaks))} MB at most"])
    code = record.get("git") or {}
    if code.get("commit"):
        changed = " with changes that are not in it" if code.get("changed") else ""
        rows.append(["code", f"commit {code['commit'][:12]}{changed}"])
    rows += [[key, str(record[key])] for key in ("python", "platform", "cpus") if record.get(key)]
    packages = [f"{name} {version}" for name, version in (record.get("packages") or {}).items() if version]
    if packages:
        rows.append(["packages", ", ".join(packages)])
    return Table(["", ""], rows, 2) if rows else None


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
