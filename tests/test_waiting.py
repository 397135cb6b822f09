"""No server and no other writer keeps a command for ever."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.tracking import address, waiting
from bench.tracking.mirror import Mirror, TrackingError
from fake_run import write_run


@pytest.fixture
def trickling() -> Iterator[str]:
    """A server that sends a byte of its answer every tenth of a second, and never ends."""
    over = threading.Event()

    def serve(listening: socket.socket) -> None:
        while not over.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with closing(connection):
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not over.is_set():
                    connection.sendall(b" ")
                    time.sleep(0.1)
            except OSError:
                return

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        over.set()


def test_a_server_that_trickles_is_given_up(trickling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "outputs")
    monkeypatch.setattr(address, "ANSWER_WITHIN", 0.5)
    monkeypatch.setattr(waiting, "STALLED", 0.5)
    began = time.monotonic()
    assert address.still_has(trickling, run), "nobody knows, so nothing is sent anew"
    assert time.monotonic() - began < 5
    with pytest.raises(TrackingError, match=r"within|answer"):
        Mirror(run, trickling).sync()
    assert time.monotonic() - began < 30


def test_a_call_is_in_time_while_it_gets_on() -> None:
    steps: list[int] = []

    def slow() -> str:
        for step in range(6):
            time.sleep(0.2)
            steps.append(step)
        return "done"

    assert waiting.in_time(slow, 0.6, lambda: len(steps)) == "done"
    with pytest.raises(ZeroDivisionError):
        waiting.in_time(lambda: 1 // 0, 1)


def test_each_call_takes_its_turn(tmp_path: Path) -> None:
    uri, order = f"sqlite:///{tmp_path}/mlflow.db", []

    class Client:
        name = "client"

        def log(self, text: str) -> str:
            order.append(text)
            return text

    client = waiting.InTurns(Client(), uri)
    with waiting.turn(uri):
        other = threading.Thread(target=client.log, args=("second",))
        other.start()
        time.sleep(0.2)
        order.append("first")
    other.join(5)
    assert order == ["first", "second"]
    assert client.name == "client"
