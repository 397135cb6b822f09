"""Mirrors a run's folder to MLflow. Only this module and ``registry.py``, which registers models, import mlflow.

Training only writes files. A separate process (``follower.py``) reads them and sends what is new, so a slow or dead
server does not delay a fold, and anything not sent can be sent later from the same folder. Each send is noted in
``<run>/tracking.json``. After a crash between the two, the same points are sent again with the same step, value and
time, and MLflow keeps them once.
"""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import sqlite3
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.addresses import public
from bench.atomic import read_json, write_json
from bench.runs import facts, inside, records
from bench.runs.run import Fold, Run
from bench.runs.scores import Scores
from bench.tracking import artifacts, waiting, wording
from bench.tracking.address import default_uri
from bench.tracking.waiting import SQLITE, InTurns, in_time, turn
from bench.tracking.wording import Point, comparison, page

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Mirror", "TrackingError", "comparison", "default_uri", "page", "quiet"]

FILES = ("config.yaml", "environment.json", "scores.json", "submission.csv", "report.html", "blend.json")
# A dead server is tried twice for 5 s; MLflow's own defaults block a call for 246 s.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
TOKEN = "mlflow.bench.token"  # MLflow's page hides tags that begin with mlflow
BLANK = {"sent": 0, "prefix": facts.content([])}


class TrackingError(RuntimeError):
    """The tracking server or database failed; the message is one sentence. The run's folder still has everything."""


class Mirror:
    """Sends one run's folder to one tracking URI; ``sent`` counts what was sent, by kind."""

    def __init__(self, run: Run, uri: str) -> None:
        self.run, self.uri = run, uri
        if uri.startswith(SQLITE):
            self.uri = SQLITE + str(Path(uri.removeprefix(SQLITE).split("?")[0]).resolve())
        self.sent: Counter[str] = Counter()
        self.note: dict[str, Any] = {}
        self._client: MlflowClient | None = None
        self._complete: object = None  # the folder's fingerprint when everything was sent
        self._digests: dict[Path, tuple[tuple[int, int], str]] = {}

    def sync(self) -> bool:
        """Sends everything not yet sent; True if nothing is left to send. Raises TrackingError."""
        from filelock import FileLock

        if not (self.run.folder / "inputs.json").exists():
            return False  # the training has only just begun
        try:
            if (now := wording.fingerprint(self.run)) == self._complete:
                return True
            # Without the lock, two mirrors of one folder would create every run twice.
            with quiet(), FileLock(self.run.folder / ".tracking.lock", timeout=60):
                for _ in range(3):  # a fold may write while we send: look again until there is nothing new
                    before = self.sent.total()
                    if self.uri.startswith(SQLITE):
                        self._send()
                    else:
                        in_time(self._send, waiting.STALLED, self.sent.total)
                    if self.sent.total() == before:
                        self._complete = now  # taken before reading: a later write changes it
                        return True
                return False
        except Exception as error:
            self._client = None  # the next sync connects again and checks what the server has
            raise TrackingError(wording.sentence(self.uri, error)) from error

    def _send(self) -> None:
        run, self.note = self.run, self._read_note()
        self.inputs, self.state, self.alive = run.inputs, run.state(), facts.alive(run)
        if self._client is None:
            with turn(self.uri):
                client = self._connect()
            self._client = cast("MlflowClient", InTurns(client, self.uri))
        note, scores, leaves = self.note, run.scores(), facts.leaves(run.config)
        if "run_id" not in note:
            began = (run.folder / "config.yaml").stat().st_mtime
            note["run_id"] = self._create(wording.run_name(run), began, {})
            self._save("runs")
        self._params(note, note["run_id"], leaves)
        for fold in run.folds:
            if fold.status() != "missing" or fold.number in self.state.get("failed", []):
                self._fold(fold, leaves)
        if scores and note.get("scores") != (digest := self._digest(run.scores_path)):
            self._points(note["run_id"], wording.run_points(scores, run.scores_path.stat().st_mtime))
            self.client.set_tag(note["run_id"], "mlflow.runName", wording.run_name(run, scores))
            note["scores"] = digest
            self._save("scores")
        pages = [*sorted(run.folder.glob("plots/*.png")), *sorted(run.folder.glob("comparisons/*.html"))]
        for path in [*(run.folder / name for name in FILES), *pages]:
            if path.is_file() and inside.within(path, run.folder):
                self._artifact(note["run_id"], path, None if path.parent == run.folder else path.parent.name)
        self._table(scores)
        ended = wording.last_sign(run.folder, ["state.json", "folds/*/done.json", "folds/*/history.json"])
        self._status(note, note["run_id"], wording.run_status(run, self.alive), ended)

    def _fold(self, fold: Fold, leaves: dict[str, str]) -> None:
        known, history = self.note["folds"].get(str(fold.number)), fold.history()
        if known and known["prefix"] != facts.content(history[: known["sent"]]):
            # A fold that was trained again gets a new page: old and new points would mix.
            self.client.delete_run(known["run_id"])
            known = None
        if known is None:
            first = history[0] if history else {}  # its time is the first epoch's end
            began = first.get("time", time.time()) - first.get("seconds", 0)
            tags = {"fold": str(fold.number), "mlflow.parentRunId": self.note["run_id"]}
            known = {"run_id": self._create(f"{wording.run_name(self.run)} fold {fold.number}", began, tags), **BLANK}
            self.note["folds"][str(fold.number)] = known
            self._save("runs")
        few = {key: value for key, value in leaves.items() if key.split(".")[0] in wording.FEW}
        self._params(known, known["run_id"], {**few, "fold": str(fold.number)})
        if new := history[known["sent"] :]:
            start = self.client.get_run(known["run_id"]).info.start_time / 1000
            self._points(known["run_id"], [point for entry in new for point in wording.epoch_points(entry, start)])
            known.update(sent=len(history), prefix=facts.content(history))
            self._save("epochs", len(new))
        status = wording.fold_status(fold, self.state, self.alive)
        if status != "RUNNING" and fold.log.is_file() and inside.within(fold.log, self.run.folder):
            self._artifact(known["run_id"], fold.log, None)
        self._status(known, known["run_id"], status, wording.last_sign(fold.folder, ["done.json", "history.json"]))

    @property
    def client(self) -> MlflowClient:
        assert self._client is not None, "_connect comes first"
        return self._client

    def _connect(self) -> MlflowClient:
        """Connects a client, creates the experiment if needed, and removes from the note what the server has lost."""
        os.environ.update(QUIET | {name: os.environ.get(name, value) for name, value in PATIENCE.items()})
        from mlflow import MlflowClient

        if self.uri.startswith(SQLITE):
            database = Path(self.uri.removeprefix(SQLITE))
            connection = sqlite3.connect(database, timeout=60)
            connection.execute("PRAGMA journal_mode=WAL")  # readers and a writer no longer stop each other
            artifacts.follow_move(connection, database.parent / artifacts.FOLDER)
            connection.close()
            client = MlflowClient(f"{self.uri}?timeout=60")
            experiment = self._experiment(client, (database.parent / artifacts.FOLDER).as_uri())
        else:
            client = MlflowClient(self.uri)
            experiment = self._experiment(client, None)
        self._reconcile(client, experiment)
        return client

    def _experiment(self, client: MlflowClient, artifacts: str | None) -> str:
        # Simulated runs have their own experiment, so that nobody takes them for real ones.
        name = self.inputs.dataset + (" (simulated)" if self.inputs.simulated else "")
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                client.create_experiment(name, artifacts)
            except Exception:  # another process may have made it meanwhile
                if client.get_experiment_by_name(name) is None:
                    raise
            experiment = client.get_experiment_by_name(name)
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        key, view = wording.view(self.inputs.metric, self.inputs.direction)
        if key not in experiment.tags:
            with suppress(Exception):  # a convenience that MLflow does not document
                client.set_experiment_tag(experiment.experiment_id, key, view)
        return str(experiment.experiment_id)

    def _reconcile(self, client: MlflowClient, experiment: str) -> None:
        """Removes deleted runs from the note, and adds runs created just before a crash that were not noted."""
        existing = {
            run.data.tags.get("fold", "parent"): run.info.run_id
            for run in client.search_runs([experiment], f"tags.`{TOKEN}` = '{self.note['token']}'")
        }
        parent = existing.pop("parent", None)
        if parent is None:  # remaining folds belong to a deleted run: a new token leaves them behind
            token = {} if existing else {"token": self.note["token"]}
            self.note, existing = self._new_note() | token, {}
        elif parent != self.note.get("run_id"):
            self.note = {**self._new_note(), "token": self.note["token"], "run_id": parent}
        noted = {known["run_id"]: known for known in self.note["folds"].values()}
        self.note["folds"] = {k: noted.get(run_id, {"run_id": run_id, **BLANK}) for k, run_id in existing.items()}
        self.note["experiment_id"] = experiment
        write_json(self.run.folder / "tracking.json", self.note)  # the token is on disk before a run has it

    def _create(self, name: str, began: float, tags: dict[str, str]) -> str:
        made_by = self.run.made_by
        common = {
            TOKEN: self.note["token"],
            "group": self.inputs.model,
            "model": self.inputs.model,
            "dataset": self.inputs.dataset,
            "loss": facts.short_name(made_by.loss),
            "identity": self.run.identity,
            "seed": "" if made_by.seed is None else str(made_by.seed),
            "seeds": self.inputs.group,  # of the runs that differ in their seed alone
            "simulated": str(self.inputs.simulated).lower(),
            "folder": f"{socket.gethostname()}:{self.run.folder}",
            "mlflow.user": wording.user(),
            "mlflow.source.name": str(self.state.get("command") or "bench.train"),
            "mlflow.source.type": "LOCAL",
        }
        run = self.client.create_run(
            self.note["experiment_id"], start_time=int(began * 1000), tags={**common, **tags}, run_name=name
        )
        return str(run.info.run_id)

    def _params(self, known: dict[str, Any], run_id: str, leaves: dict[str, str]) -> None:
        """Sends parameters once per run: they are immutable, and a resumed run may have another device or folder."""
        from mlflow.entities import Param

        if known.get("params"):
            return
        existing = self.client.get_run(run_id).data.params
        new = [Param(key, value) for key, value in leaves.items() if key not in existing]
        for at in range(0, len(new), 100):
            self.client.log_batch(run_id, params=new[at : at + 100])
        known["params"] = True
        self._save("parameters", len(new))

    def _points(self, run_id: str, points: list[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(point.name, point.value, int(point.when * 1000), point.step) for point in points]
        for at in range(0, len(metrics), 1000):
            self.client.log_batch(run_id, metrics=metrics[at : at + 1000])

    def _artifact(self, run_id: str, path: Path, folder: str | None) -> None:
        name, digest = str(path.relative_to(self.run.folder)), self._digest(path)
        if self.note["files"].get(name) != [run_id, digest]:
            self.client.log_artifact(run_id, str(path), folder)
            self.note["files"][name] = [run_id, digest]
            self._save("files")

    def _table(self, scores: Scores | None) -> None:
        """Sends the score and the fold table, as the description of the run's page and as a file."""
        rows = wording.fold_table(self.run, scores, self.note["folds"], self.alive)
        if self.note.get("table") != (digest := facts.content([rows, records.plain(scores)])):
            self.client.log_text(self.note["run_id"], "".join(",".join(row) + "\n" for row in rows), "folds.csv")
            text = wording.headline(scores) + wording.markdown(rows)
            self.client.set_tag(self.note["run_id"], "mlflow.note.content", text)
            self.note["table"] = digest
            self._save("files")

    def _status(self, known: dict[str, Any], run_id: str, status: str, ended: float) -> None:
        if known.get("status") == status:
            return
        if status == "RUNNING":
            self.client.update_run(run_id, status)
        else:
            self.client.set_terminated(run_id, status, int(ended * 1000))
        known["status"] = status
        self._save("statuses")

    def _digest(self, path: Path) -> str:
        """Hash of a file's content, computed again only if its time or size has changed."""
        stat = path.stat()
        key = (stat.st_mtime_ns, stat.st_size)
        if path not in self._digests or self._digests[path][0] != key:
            self._digests[path] = key, facts.content(path.read_bytes())
        return self._digests[path][1]

    def _new_note(self) -> dict[str, Any]:
        return {"uri": public(self.uri), "token": uuid.uuid4().hex, "files": {}, "folds": {}}

    def _read_note(self) -> dict[str, Any]:
        path = self.run.folder / "tracking.json"
        note = read_json(path) if path.exists() else self._new_note()
        if not _is_note(note):  # of another version, or of somebody who would have us name what is not ours
            return self._new_note()
        return note if note["uri"] == public(self.uri) else {**self._new_note(), "token": note["token"]}

    def _save(self, what: str, count: int = 1) -> None:
        write_json(self.run.folder / "tracking.json", self.note)
        self.sent[what] += count


def _is_note(note: Any) -> bool:
    """Whether it is what ``_new_note`` makes; the token goes into a query."""
    if not isinstance(note, dict) or not re.fullmatch("[0-9a-f]{32}", str(note.get("token"))):
        return False
    return all(isinstance(note.get(key), kind) for key, kind in (("uri", str), ("files", dict), ("folds", dict)))


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the log lines, warnings and links of MLflow and its database tools."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
