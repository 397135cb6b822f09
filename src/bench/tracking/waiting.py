"""What tracking waits for, and how long: a turn at a database, and a server's answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

SQLITE = "sqlite:///"
LONGEST_TURN = 600.0
"""Seconds that a writer of a database waits for the others."""
STALLED = 120.0
"""Seconds without anything sent after which a server is given up."""


@contextmanager
def turn(uri: str) -> Iterator[None]:
    """The turn of this process to write to a database: others wait, since two writers of SQLite disturb each other.

    Above all two that create its tables. A server orders its writers itself.
    """
    if not uri.startswith(SQLITE):
        yield
        return
    from filelock import FileLock

    database = Path(uri.removeprefix(SQLITE).split("?")[0])
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=LONGEST_TURN):
        yield


class InTurns:
    """A client each of whose calls takes its turn at the database: no run waits for all that another one sends."""

    def __init__(self, client: Any, uri: str) -> None:
        self._client, self._uri = client, uri

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method

        def call(*args: Any, **options: Any) -> Any:
            with turn(self._uri):
                return method(*args, **options)

        return call


def in_time(work: Callable[[], Result], seconds: float, progress: Callable[[], int] = lambda: 0) -> Result:
    """What ``work`` returns. TimeoutError after ``seconds`` in which ``progress`` stayed the same.

    A server that trickles answers every read in time and never ends; ``work`` then stays behind in its thread.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # it is raised where the work was asked for
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    before, since = progress(), time.monotonic()
    while thread.is_alive():
        thread.join(0.05)
        if (now := progress()) != before:
            before, since = now, time.monotonic()
        elif thread.is_alive() and time.monotonic() - since > seconds:
            raise TimeoutError(f"no whole answer within {seconds:.0f} s")
    if errors:
        raise errors[0]
    return results[0]
