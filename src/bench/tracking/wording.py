"""Converts a run's folder to a tracking server's points, statuses and texts. Does not import mlflow."""

from __future__ import annotations

import base64
import getpass
import json
import math
import re
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bench.addresses import hidden_in, public
from bench.atomic import read_json
from bench.runs.facts import alive
from bench.runs.run import Fold, Run
from bench.runs.scores import Scores
from bench.spec import Direction
from bench.tell import figure

VIEW = "bench"
MAKE_UI = "make ui, then "
HOST = "mlflow.localhost"
"""This machine by a name that browsers know of themselves: under 127.0.0.1 MLflow opens its assistant's panel, too."""
FEW = ("model", "loss", "optimizer", "seed")  # the run's parameters that a fold's page repeats


class Point(NamedTuple):
    """One value of one metric; ``when`` in seconds since 1970."""

    name: str
    value: float
    when: float
    step: int


def points(values: dict[str, Any], when: float, step: int) -> list[Point]:
    """The numbers among ``values``, under names that a server accepts (it refuses @ [ ] ( ) %)."""
    return [
        # MLflow turns an infinity into 1.8e308, which flattens every chart it is in; NaN leaves a gap.
        Point(re.sub(r"[^\w./ :-]", "_", name), float(value) if math.isfinite(value) else math.nan, when, step)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]


def epoch_points(entry: dict[str, float], start: float) -> list[Point]:
    """The points of one epoch of a fold's history. Without a time it gets one that is the same at every send."""
    epoch = int(entry["epoch"])
    values = {key: value for key, value in entry.items() if key not in ("epoch", "time")}
    return points(values, entry.get("time", start + epoch / 1000), epoch)


def run_points(scores: Scores, when: float) -> list[Point]:
    """The run's metrics. Their names differ from those of folds: a chart would draw the run as one more fold."""
    metric = scores.metric
    single = {
        f"cv/{metric}_mean": scores.mean,
        f"cv/{metric}_std": scores.std if len(scores.folds) > 1 else None,
        f"oof/{metric}": scores.oof,
        "oof/accuracy": scores.accuracy,
        **{f"oof/{name}": score for name, score in scores.also.items()},
        f"oof/{metric}_one_view": scores.without_tta.oof if scores.without_tta else None,
        f"oof/{metric}_baseline": scores.baseline,
    }
    profile = [
        point
        for fold, score in zip(scores.fold_numbers, scores.folds, strict=True)
        for point in points({f"cv/{metric}_by_fold": score}, when, fold)
    ]
    return points(single, when, 0) + profile


def run_status(run: Run, living: bool) -> str:
    status = run.state().get("status")
    if status == "running":
        return "RUNNING" if living else "KILLED"
    return {"finished": "FINISHED", "partial": "FINISHED", "failed": "FAILED"}.get(str(status), "KILLED")


def fold_status(fold: Fold, state: dict[str, Any], living: bool) -> str:
    if fold.done.exists():
        return "FINISHED"
    if fold.number in state.get("failed", []):
        return "FAILED"
    return "RUNNING" if living else "KILLED"


def fold_table(run: Run, scores: Scores | None, known: Iterable[str], living: bool) -> list[tuple[str, ...]]:
    """A heading, and one row per fold: fold, status, score."""
    values = dict(zip(scores.fold_numbers, scores.folds, strict=True)) if scores else {}
    rows: list[tuple[str, ...]] = [("fold", "status", scores.metric if scores else "score")]
    for fold in run.folds:
        status = fold_status(fold, run.state(), living) if str(fold.number) in known else "waiting"
        value = values.get(fold.number)
        rows.append((str(fold.number), status.lower(), "" if value is None else figure(value)))
    return rows


def markdown(rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ("---",) * len(rows[0]), *rows[1:]])


def headline(scores: Scores | None) -> str:
    """The result in one line of Markdown; empty if no fold has finished."""
    if scores is None:
        return ""
    over = scores.part or f"over {len(scores.folds)} folds"
    rest = f" · out of fold {figure(scores.oof)} · baseline {figure(scores.baseline)}"
    return f"**{scores.metric} {scores.over_folds[1]}** {over}{rest}\n\n"


def run_name(run: Run, scores: Scores | None = None) -> str:
    """A run's name in lists; a run of some folds is told from whole ones."""
    part = f" ({scores.part})" if scores and scores.part else ""
    return f"{run.inputs.model} {run.identity[:6]}{part}"


def last_sign(folder: Path, names: Iterable[str]) -> float:
    """The time of the last write to the files that match ``names``; the current time if there is none."""
    return max((p.stat().st_mtime for name in names for p in folder.glob(name)), default=time.time())


def fingerprint(run: Run) -> object:
    """Changes whenever a file in the folder does. Takes 1 ms; reading 200 epochs of five folds would take 18."""
    ours = ("tracking.json", "tracking.log", ".tracking.lock")
    files = [path for path in run.folder.rglob("*") if path.name not in ours and path.suffix != ".tmp"]
    return alive(run), {path: path.stat().st_mtime_ns for path in files if path.is_file()}


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def sentence(uri: str, error: Exception) -> str:
    """A sentence for an error of a tracking URI, without its password."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "Max retries exceeded" in text or "timed out" in text.lower() or "Connection" in text:
        return f"the tracking server {public(uri)} does not answer"
    return f"{public(uri)} did not take it: {hidden_in(text, uri)[:200]}"


def page(uri: str, tracking_json: Path) -> str:
    """The address of a run's page, or of the server if nothing was sent yet."""
    note = _note(uri, tracking_json)
    # Without workflowType the page opens in its mode for language models.
    return _address(uri, note, f"runs/{note['run_id']}?workflowType=machine_learning" if "run_id" in note else "")


def comparison(uri: str, tracking_json: Path) -> str:
    """The address of the page that compares the runs of one dataset, grouped by model."""
    note = _note(uri, tracking_json)
    return _address(uri, note, f"runs?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={VIEW}")


def before_looking(uri: str) -> str:
    """The command that starts MLflow's pages for a database, followed by ", then "; empty for a server."""
    if uri.startswith(("http://", "https://")):
        return ""
    makefile = Path("Makefile")  # of a checkout, whose make ui shows the database of outputs/
    usual = uri == f"sqlite:///{Path('outputs').resolve() / 'mlflow.db'}"
    text = makefile.read_text(encoding="utf-8", errors="replace") if usual and makefile.is_file() else ""
    if "\nui:" in text and "outputs/mlflow.db" in text:
        return MAKE_UI
    return f"mlflow server --port 5000 --backend-store-uri {public(uri)}, then "


def _note(uri: str, tracking_json: Path) -> dict[str, Any]:
    """What was noted of this very address; of another one nothing, as its pages are not there."""
    note = read_json(tracking_json) if tracking_json.exists() else {}
    return note if isinstance(note, dict) and note.get("uri") in (uri, public(uri)) else {}


def front(outputs: Path, port: int) -> str:
    """The address that ``make ui`` tells: the comparison of the data set that was sent last, else MLflow's own page."""
    notes = sorted(outputs.glob("*/*/*/tracking.json"), key=lambda path: path.stat().st_mtime)
    uri = f"sqlite:///{outputs.resolve() / 'mlflow.db'}"
    address = comparison(uri, notes[-1]) if notes else server(uri)
    return address.replace(":5000", f":{port}", 1)


def server(uri: str) -> str:
    """The address that a browser opens for ``uri``."""
    web = uri.startswith(("http://", "https://"))
    if web:
        return public(uri).rstrip("/")
    return f"http://{HOST}:5000" if before_looking(uri) == MAKE_UI else "http://127.0.0.1:5000"


def _address(uri: str, note: dict[str, Any], rest: str) -> str:
    return f"{server(uri)}/#/experiments/{note['experiment_id']}/{rest}" if "experiment_id" in note else server(uri)


def view(metric: str, direction: Direction) -> tuple[str, str]:
    """Name and value of the experiment tag that adds a view "By model" (undocumented, as of MLflow 3.17)."""
    metrics = (f"cv/{metric}_mean", f"cv/{metric}_std", f"oof/{metric}", f"valid/{metric}")
    columns = [f"metrics.`{point.name}`" for point in points(dict.fromkeys(metrics, 0), 0, 0)]
    state = {
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "group"}]},
        "useGroupedValuesInCharts": True,
        "selectedColumns": [*columns, "tags.`loss`"],
        "orderByKey": columns[0],
        "orderByAsc": direction is Direction.MIN,
    }
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    now = int(time.time() * 1000)
    value = {"name": "By model", "createdAt": now, "updatedAt": now, "state": packed}
    return f"mlflow.sharedViewState.{VIEW}", json.dumps(value)
