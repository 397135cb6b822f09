"""Where a run is, in MLflow and on disk; and where MLflow's database keeps files that a run leaves there."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from bench.runs.run import Run

if TYPE_CHECKING:
    from rich.console import Console

ARTIFACTS = "mlartifacts"
"""The folder of MLflow's files, beside its database."""


def tell_where(run: Run, uri: str | None, console: Console) -> None:
    """Prints the run's page in MLflow, and on the last line its folder."""
    if uri is not None:
        from bench.tracking.wording import before_looking, comparison, page

        tracking = run.folder / "tracking.json"
        if tracking.exists():
            console.print(f"MLflow    {before_looking(uri)}{page(uri, tracking)}", soft_wrap=True)
            console.print(f"          by model: {comparison(uri, tracking)}", soft_wrap=True)
    print(f"run {run.folder}", flush=True)


def follow_move(connection: sqlite3.Connection, artifacts: Path) -> None:
    """Names the folder of files beside the database in all that it says, where both were moved or copied together.

    MLflow notes whole paths: it would send files to the old place, and make it again.
    """
    address = artifacts.as_uri()
    try:
        locations = [row[0] for row in connection.execute("SELECT DISTINCT artifact_location FROM experiments")]
    except sqlite3.OperationalError:  # its tables are not made yet
        return
    for before in locations:
        moved = str(before).startswith("file://") and str(before).endswith(f"/{ARTIFACTS}") and before != address
        if moved and (artifacts.is_dir() or not Path(unquote(urlsplit(before).path)).is_dir()):
            with connection:
                connection.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", [address, before]
                )
                connection.execute(
                    "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?",
                    [address, len(before) + 1, len(before) + 1, f"{before}/"],
                )
