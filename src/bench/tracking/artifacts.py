"""Where MLflow's database keeps the files of its runs: in a folder beside it, wherever both are moved."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

FOLDER = "mlartifacts"


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
        moved = str(before).startswith("file://") and str(before).endswith(f"/{FOLDER}") and before != address
        if moved and (artifacts.is_dir() or not Path(unquote(urlsplit(before).path)).is_dir()):
            with connection:
                connection.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", [address, before]
                )
                connection.execute(
                    "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?",
                    [address, len(before) + 1, len(before) + 1, f"{before}/"],
                )
