"""Facts about a run's folder: whether its command lives, its config's leaves, short names and hashes."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from typing import Any

from bench.runs.run import Run

LONGEST_NAME, LONGEST_PARAMETER = 250, 6000
"""Characters that MLflow takes."""


def leaves(config: Any, prefix: str = "") -> dict[str, str]:
    """The short leaves of a config under dotted keys. Tracking is left out: it may hold a password."""
    if isinstance(config, dict):
        texts: dict[str, str] = {}
        for key, value in config.items():
            if prefix or key not in ("tracking", "hydra"):
                texts |= leaves(value, f"{prefix}.{key}" if prefix else str(key))
        return texts
    text = json.dumps(config) if isinstance(config, (list, bool)) else str(config)
    if config is None or not text or len(text) > LONGEST_PARAMETER:
        return {}
    return {re.sub(r"[^\w./ :-]", "_", prefix)[:LONGEST_NAME]: text}


def short_name(part: Any) -> str:
    """A config group's choice in a word: the last name of its ``_target_``."""
    if isinstance(part, dict):
        part = str(part.get("_target_", "")).split(".")[-1]
    return str(part or "")


def alive(run: Run) -> bool:
    """False where the command that held the run is known to be dead: a kill leaves ``running`` behind."""
    state = run.state()
    if state.get("status") != "running" or state.get("host") != socket.gethostname() or "pid" not in state:
        return state.get("status") == "running"
    import psutil

    try:
        process = psutil.Process(int(state["pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # Born after it wrote the state (a minute for clocks that moved): another process under the same number.
        return process.create_time() < (run.folder / "state.json").stat().st_mtime + 60
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def content(value: Any) -> str:
    """A short hash of bytes or of anything JSON takes."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return hashlib.sha256(data).hexdigest()[:16]
