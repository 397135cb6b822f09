"""A server on loopback that plays the part of Kaggle's service which a download asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Service:
    """What it serves, and what it was asked. ``refuses`` is a status for every call; ``cut`` ends the first download of
    the archive after so many bytes."""

    archive: bytes = b""
    total_bytes: int | None = None
    refuses: int | None = None
    cut: int | None = None
    calls: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)


@contextmanager
def serving(service: Service) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            service.calls.append(self.path.rpartition("/")[2])
            service.tokens.add(str(self.headers.get("Authorization")))
            if service.refuses:
                self._json({"code": service.refuses, "message": "refused"}, service.refuses)
            elif self.path.endswith("ListDataFiles"):
                size = len(service.archive) if service.total_bytes is None else service.total_bytes
                self._json({"files": [{"name": "train.csv", "totalBytes": size}], "nextPageToken": ""}, 200)
            else:
                self.send_response(302)
                self.send_header("Location", "/storage/archive.zip?signature=1")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def do_GET(self) -> None:
            span = self.headers.get("Range", "")
            service.ranges.append(span)
            start = int(span.removeprefix("bytes=").partition("-")[0] or 0) if span else 0
            body = service.archive[start:]
            self.send_response(206 if span else 200)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{hashlib.sha256(service.archive).hexdigest()}"')
            self.send_header("Last-Modified", "Fri, 27 Nov 2020 10:00:00 GMT")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if service.cut is not None:
                body, service.cut = body[: service.cut], None
                self.close_connection = True
            self.wfile.write(body)

        do_HEAD = do_GET

        def _json(self, content: object, status: int) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
