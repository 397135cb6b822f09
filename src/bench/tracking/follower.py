"""Runs the mirror in its own process beside a training, so that it never slows down a fold."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.runs.run import Run
    from bench.runs.searched import Searched
    from bench.tracking.mirror import Mirror

EVERY = 2.0  # seconds between two looks at the folder
LONGEST_PAUSE = 30.0


class MirrorProcess:
    """A training's handle on its mirror process. Its methods never raise: tracking must not end a training."""

    def __init__(self, process: subprocess.Popen[bytes] | None, wait_s: float) -> None:
        self.process, self.wait_s = process, wait_s

    def finish(self, timeout: float | None = None) -> bool:
        """Waits while the mirror sends the rest, at most ``timeout`` (else ``wait_s``) seconds; True if all is sent."""
        if self.process is None:
            return False
        try:
            if self.process.stdin:
                self.process.stdin.close()  # tells the mirror to send the rest and exit
            return self.process.wait(self.wait_s if timeout is None else timeout) == 0
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
            return False


def start_mirror(run: Run, uri: str, wait_s: float = 30.0) -> MirrorProcess:
    """Starts ``bench.track --follow`` on a run's folder; it ends with ``finish``, or when the caller dies.

    After that it still sends for at most ``wait_s`` seconds. Its output goes to ``<run>/tracking.log``.
    """
    package = str(Path(__file__).resolve().parents[2])
    # With the fold's allocator settings the mirror would use several 100 MB more.
    environment = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "bench.track", str(run.folder), "--follow", "--uri", "-", "--wait", str(wait_s)]
    try:
        with (run.folder / "tracking.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        assert process.stdin is not None
        # Not as an argument: a URI may hold a password, and everybody on a machine sees arguments.
        process.stdin.write(uri.encode() + b"\n")
        process.stdin.flush()
    except OSError:
        return MirrorProcess(None, wait_s)
    return MirrorProcess(process, wait_s)


def send(folders: list[str], uri: str | None, follows: bool, wait_s: float, held: bool) -> bool:
    """Sends what MLflow does not have of the runs and searches, and prints it; False if a server or database failed.

    With ``follows`` it sends one run until that ends (see ``follow``). Raises UserError for a folder that is neither.
    """
    from bench.runs.run import Run
    from bench.runs.searched import Searched
    from bench.spec import UserError
    from bench.tracking.mirror import Mirror, TrackingError, page
    from bench.tracking.searches import SearchMirror

    runs = [Searched.read(folder) if Searched.is_in(folder) else Run.open(folder) for folder in folders]
    if follows and (len(runs) > 1 or isinstance(runs[0], Searched)):
        raise UserError("--follow takes one run; start one process for each")
    taken = True
    for run in runs:
        to = _address(run, uri)
        mirror: Mirror | SearchMirror
        if isinstance(run, Searched):
            mirror = SearchMirror(run, to)
        else:
            mirror = Mirror(run, to)
            if follows:
                return follow(mirror, wait_s, held) == 0
        try:
            complete = mirror.sync()
        except TrackingError as error:
            print(f"{run.folder}: {error}; start it or give another --uri, and run this again", file=sys.stderr)
            taken = False
            continue
        sent = ", ".join(f"{count} {what}" for what, count in mirror.sent.items()) or "nothing new"
        later = "" if complete else " (it goes on)"
        print(f"{run.folder}: sent {sent}{later}; {page(to, run.folder / 'tracking.json')}")
    return taken


def send_apart(folders: Sequence[str], uri: str, seconds: float) -> None:
    """Runs ``bench.track`` in its own process, so that a blocked call can be stopped and mlflow is not imported.

    Never raises: what is noted in the folders as sent says how far it came.
    """
    package = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.getenv("PYTHONPATH")]))}
    # The address through stdin: it may hold a password, and everybody on a machine sees arguments.
    command = [sys.executable, "-m", "bench.track", *folders, "--uri", "-"]
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, input=f"{uri}\n".encode(), capture_output=True, env=environment, timeout=seconds)


def _address(run: Run | Searched, uri: str | None) -> str:
    """Where to send a run; UserError where its folder names an address that the person has not."""
    from bench.addresses import public
    from bench.spec import UserError
    from bench.tracking import address

    if uri == address.RUN:
        return address.told_by(run, "--uri")
    to, told = address.chosen(uri, address.outputs_of(run), "--uri"), address.of_folder(run)
    if uri is None and told is not None and told != public(to):
        raise UserError(
            f"{run.folder} says that it is tracked at {public(told)}; --uri run sends it "
            "there, --uri <address> elsewhere"
        )
    return to


def follow(mirror: Mirror, wait_s: float, held: bool) -> int:
    """Mirrors until the run ends, or with ``held`` until the training closes stdin; 0 if everything was sent."""
    from bench.tracking.mirror import TrackingError

    closed = threading.Event()
    if held:
        threading.Thread(target=_watch_stdin, args=(closed, wait_s), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(10)  # folds first
    reported, pause, complete = "", EVERY, False
    while True:
        last = closed.is_set()
        status = mirror.run.state().get("status")
        try:
            complete = mirror.sync()
            if reported:
                print(f"{time.strftime('%H:%M:%S')} sending again", flush=True)
            reported, pause = "", EVERY
        except TrackingError as error:
            complete = False
            if str(error) != reported:
                print(f"{time.strftime('%H:%M:%S')} {error}; trying again, nothing is lost", flush=True)
            pause = min(LONGEST_PAUSE, pause * 2) if reported else 1.0
            reported = str(error)
        if last or (not held and complete and status != "running"):
            return 0 if complete else 1
        closed.wait(pause)


def _watch_stdin(closed: threading.Event, wait_s: float) -> None:
    while os.read(0, 4096):
        pass
    closed.set()
    time.sleep(wait_s)
    print(f"not everything was sent within {wait_s:g} s; python -m bench.track sends the rest", flush=True)
    os._exit(1)  # the only way to stop a blocked call; the note holds what was sent
