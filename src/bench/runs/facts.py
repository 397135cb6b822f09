"""Facts about a run's folder: whether its command lives, its config's leaves, short names and hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from bench.atomic import read_json
from bench.runs.run import Run
from bench.spec import UserError

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


LOCKS = (".lock",)
"""Files in a run's folder that a command which works on it holds locked."""
CLAIM = ".claim"
"""In a fold's folder; a command that trains the fold holds it locked, from before its process starts."""
HOLDER = ".holder.json"
"""Beside a lock, while a command holds it: its pid and host."""


def alive(run: Run) -> bool:
    """Whether a command works on the run: it says so, and holds the lock, which ends with it however it ends."""
    return run.state().get("status") == "running" and any(is_locked(run.folder / name) for name in LOCKS)


def holder(folder: Path) -> str:
    """The command that holds the folder's lock, with its process and host; without them where it has not said yet."""
    try:
        told = read_json(folder / HOLDER)
        return f"another command (pid {int(told['pid'])} on {told['host']!s:.80})"
    except (OSError, UserError, KeyError, TypeError, ValueError):
        return "another command"


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock, by asking for a shared one; False where the file is not there."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


DAY = 86_400
"""Seconds without a write after which a run that says it is trained elsewhere is not any more."""


def elsewhere_since(run: Run) -> str | None:
    """A sentence where the run says that it is being trained on another host, and its files changed within a day."""
    state = run.state()
    host = str(state.get("host") or "")
    if state.get("status") != "running" or host in ("", os.uname().nodename):
        return None
    paths = [run.folder / "state.json", *(run.folder / "folds").glob("*/*")]
    last = max(path.lstat().st_mtime for path in paths)
    if time.time() - last > DAY:
        return None
    return f"says that it is trained on {host:.80}, and has changed within a day; clean it there, or later"


def content(value: Any) -> str:
    """A short hash of bytes or of anything JSON takes."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return hashlib.sha256(data).hexdigest()[:16]
