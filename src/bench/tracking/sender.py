"""Sends a folder to MLflow: a run's (``mirror.py``) or a search's (``searches.py``), once and whole.

Only this module and ``registry.py``, which registers models, import mlflow. Each send is noted in
``<folder>/tracking.json``. After a crash between the two, the same points are sent again with the same step, value and
time, and MLflow keeps them once.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sqlite3
import uuid
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.addresses import public
from bench.atomic import read_json, write_json
from bench.runs import facts
from bench.spec import Direction
from bench.tracking import artifacts, waiting, wording
from bench.tracking.waiting import SQLITE, InTurns, in_time, turn
from bench.tracking.wording import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A dead server is tried twice for 5 s; MLflow's own defaults block a call for 246 s.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
TOKEN = "mlflow.bench.token"  # MLflow's page hides tags that begin with mlflow
PARENT = "parent"


class TrackingError(RuntimeError):
    """The tracking server or database failed; the message is one sentence. The folder still has everything."""


class Sender(ABC):
    """Sends one folder to one tracking URI; ``sent`` counts what was sent, by kind."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.uri = folder, uri
        if uri.startswith(SQLITE):
            self.uri = SQLITE + str(Path(uri.removeprefix(SQLITE).split("?")[0]).resolve())
        self.sent: Counter[str] = Counter()
        self.note: dict[str, Any] = {}
        self._client: MlflowClient | None = None
        self._complete: object = None  # the folder's fingerprint when everything was sent
        self._digests: dict[Path, tuple[tuple[int, int], str]] = {}

    @abstractmethod
    def _fingerprint(self) -> object:
        """What changes whenever there may be something to send; None while there is nothing yet."""

    @abstractmethod
    def _send_new(self) -> None:
        """Sends what is new, through ``client``, and notes it."""

    @abstractmethod
    def _judged(self) -> tuple[str, bool, str, Direction]:
        """The data set, whether it is simulated, the metric and its direction."""

    @abstractmethod
    def _kept(self, server_runs: dict[str, str]) -> dict[str, Any]:
        """What of the note is kept, and added to it: ``server_runs`` are this folder's runs on the server."""

    def sync(self) -> bool:
        """Sends everything not yet sent; True if nothing is left to send. Raises TrackingError."""
        from filelock import FileLock

        try:
            if (now := self._fingerprint()) is None:
                return False
            if now == self._complete:
                return True
            # Without the lock, two mirrors of one folder would create every run twice.
            with quiet(), FileLock(self.folder / ".tracking.lock", timeout=60):
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
        self.note = self._read_note()
        if self._client is None:
            with turn(self.uri):
                client = self._connect()
            self._client = cast("MlflowClient", InTurns(client, self.uri))
        self._send_new()

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
        dataset, simulated, metric, direction = self._judged()
        name = dataset + (" (simulated)" if simulated else "")
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
        key, view = wording.view(metric, direction)
        if key not in experiment.tags:
            with suppress(Exception):  # a convenience that MLflow does not document
                client.set_experiment_tag(experiment.experiment_id, key, view)
        return str(experiment.experiment_id)

    def _reconcile(self, client: MlflowClient, experiment: str) -> None:
        """Removes deleted runs from the note, and adds runs created just before a crash that were not noted."""
        existing = {
            run.data.tags.get("fold", PARENT): run.info.run_id
            for run in client.search_runs([experiment], f"tags.`{TOKEN}` = '{self.note['token']}'")
        }
        self.note = self._kept(existing)
        self.note["experiment_id"] = experiment
        write_json(self.folder / "tracking.json", self.note)  # the token is on disk before a run has it

    def _created(self, name: str, began: float, tags: Mapping[str, str]) -> str:
        """The id of a new run, which began at ``began``, in seconds since 1970."""
        run = self.client.create_run(
            self.note["experiment_id"],
            start_time=int(began * 1000),
            tags={TOKEN: self.note["token"], "mlflow.user": wording.user(), **tags},
            run_name=name,
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
        name, digest = str(path.relative_to(self.folder)), self._digest(path)
        if self.note["files"].get(name) != [run_id, digest]:
            self.client.log_artifact(run_id, str(path), folder)
            self.note["files"][name] = [run_id, digest]
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
        path = self.folder / "tracking.json"
        note = read_json(path) if path.exists() else self._new_note()
        if not _is_note(note):  # of another version, or of somebody who would have us name what is not ours
            return self._new_note()
        return note if note["uri"] == public(self.uri) else {**self._new_note(), "token": note["token"]}

    def _save(self, what: str, count: int = 1) -> None:
        write_json(self.folder / "tracking.json", self.note)
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
