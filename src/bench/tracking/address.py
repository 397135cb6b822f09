"""Which tracking address is used: the command's, the environment's, or the database in the outputs; never a folder's.

A run's folder may come from anybody, so what it says is used only where the person writes ``tracking.uri=run``.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from bench.addresses import DATABASES, HIDDEN, public
from bench.atomic import read_json
from bench.runs.run import Run
from bench.runs.searched import Searched
from bench.spec import UserError
from bench.tracking.waiting import SQLITE, in_time

VARIABLE = "MLFLOW_TRACKING_URI"
RUN = "run"
ANSWER_WITHIN = 5.0
"""Seconds that a server has to say whether it has a run."""
FORMS = (
    "write http://<host>:<port> for a server, sqlite:///<folder>/mlflow.db or "
    "postgresql://<user>:<password>@<host>/<database> for a database, or databricks"
)


def default_uri(outputs: Path) -> str:
    """The database beside the runs; absolute, since a job may change its working directory."""
    return f"{SQLITE}{Path(outputs).resolve() / 'mlflow.db'}"


def chosen(given: str | None, outputs: Path, key: str = "tracking.uri") -> str:
    """The person's address: ``given`` under ``key``, else that of the environment, else the outputs' database."""
    if given is not None:
        return checked(given, key)
    if uri := os.environ.get(VARIABLE):
        return checked(uri, VARIABLE)
    return default_uri(outputs)


def of_folder(run: Run | Searched) -> str | None:
    """What the run's folder, or a search's, says: where it was sent to, or meant to be sent."""
    note = run.folder / "tracking.json"
    content = read_json(note) if note.exists() else {}
    uri = content.get("uri") if isinstance(content, dict) else None
    if uri:
        return str(uri)
    return run.tracked_at if isinstance(run, Searched) else run.made_by.tracking.uri


def outputs_of(run: Run | Searched) -> Path:
    """The outputs that a run's folder, or a search's, lies in."""
    return run.folder.parents[1 if isinstance(run, Searched) else 2]


def told_by(run: Run | Searched, key: str) -> str:
    """The address in a run's folder, for who asks for it; UserError where there is none, or a part is hidden."""
    uri = of_folder(run)
    if uri is None:
        return default_uri(outputs_of(run))
    if HIDDEN in uri:
        raise UserError(f"{key}={RUN}: {run.folder} was tracked at {uri}, of which it keeps no secrets; write {key}=…")
    return checked(uri, key)


def checked(uri: str, key: str) -> str:
    """The address in its usual form; UserError with the forms that work for any other."""
    uri = uri.strip()
    scheme, separator, rest = uri.partition("://")
    if uri == "databricks" or (scheme == "databricks" and rest):
        return uri
    if uri.startswith(SQLITE) and uri.removeprefix(SQLITE).split("?")[0].strip("/"):
        path, query, values = uri.removeprefix(SQLITE).partition("?")
        return SQLITE + str(Path(path).resolve()) + query + values
    if (separator and _is_server(uri, scheme)) or (separator and _is_database(uri, scheme)):
        return uri
    hint = ""
    if not separator and "@" not in uri and uri.rpartition(":")[2].isdigit():
        hint = f" (http://{public(uri)}?)"
    raise UserError(f"{key}={public(uri)} is no address that is tracked to{hint}; {FORMS}")


def still_has(uri: str, run: Run) -> bool:
    """False where the run's page or its experiment was deleted, or a SQLite database removed; else True.

    True as well where a server does not answer within some seconds, and for other databases.
    """
    note = run.folder / "tracking.json"
    content = read_json(note) if note.exists() else {}
    if uri.startswith(("http://", "https://")):
        return _server_has(uri, str(content.get("run_id") if isinstance(content, dict) else None))
    if not uri.startswith(SQLITE):
        return True
    database = Path(uri.removeprefix(SQLITE).partition("?")[0])
    if not database.is_file() or not isinstance(content, dict):
        return False
    query = (
        "SELECT 1 FROM runs JOIN experiments USING (experiment_id) WHERE run_uuid = ? "
        "AND runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'"
    )
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query, [str(content.get("run_id"))]).fetchone() is not None
    except sqlite3.Error:  # it is locked, or of another version
        return True


def _server_has(uri: str, run_id: str) -> bool:
    """Asks the server itself: mlflow takes seconds to import. Deleting an experiment deletes its runs."""
    parts = urlsplit(uri)
    address = parts._replace(
        netloc=parts.netloc.rpartition("@")[2],
        path=f"{parts.path.rstrip('/')}/api/2.0/mlflow/runs/get",
        query=urlencode({"run_id": run_id}),
        fragment="",
    )
    request = Request(urlunsplit(address))
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or "")
    if user:
        word = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
        request.add_header("Authorization", f"Basic {word}")
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")

    def ask() -> bool:
        try:
            with urlopen(request, timeout=ANSWER_WITHIN) as answer:
                content = json.loads(answer.read(1 << 24))
                return bool(content["run"]["info"].get("lifecycle_stage", "active") == "active")
        except HTTPError as error:
            with error:
                return error.code != 404

    try:
        return in_time(ask, ANSWER_WITHIN)
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):  # it is down, or no MLflow
        return True


def _is_server(uri: str, scheme: str) -> bool:
    try:
        parts = urlsplit(uri)
        return scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in uri
    except ValueError:  # a port that is no number
        return False


def _is_database(uri: str, scheme: str) -> bool:
    from sqlalchemy.engine import make_url

    if scheme.partition("+")[0] not in set(DATABASES) - {"sqlite", "oracle", "mariadb"}:
        return False
    try:
        return bool(make_url(uri).database or make_url(uri).query)
    except Exception:  # its errors are of several types
        return False
