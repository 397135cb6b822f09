"""The standard streams while a command runs: whatever is printed, printing raises nothing.

A stream may be closed (``>&-``), a pipe whose reader has gone, a file on a full disk, or ASCII. None of them is a
reason to lose a training, so what can't be written is left out.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

PLAIN = {
    "±": "+-", "−": "-", "–": "-", "—": "-", "…": "...", "×": "x", "·": "-", "→": "->", "✓": "+", "≤": "<=", "≥": ">=",
    "\u00a0": " ", "’": "'",
}  # fmt: skip
"""What stands for a character where the terminal's encoding lacks it."""
ERRORS = "bench"


class Lossy(io.FileIO):
    """A file descriptor that takes what it can; the rest is left out."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return len(data)


@contextmanager
def safe() -> Iterator[None]:
    """Standard output and error that never raise, while the block runs. Streams that someone has replaced stay."""
    codecs.register_error(ERRORS, _replaced)
    before = sys.stdout, sys.stderr
    _open_all()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _lossy(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lossy(2, sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError, OSError):
                stream.flush()
        sys.stdout, sys.stderr = before


def _lossy(number: int, stream: TextIO | None) -> TextIO:
    """The stream of the descriptor, in the encoding that it had."""
    if stream is not None:
        with suppress(ValueError, OSError):
            stream.flush()
    raw = Lossy(number, "w", closefd=False)
    encoding = (stream.encoding if stream is not None else None) or "utf-8"
    lines = number == 2 or raw.isatty()
    buffer = io.BufferedWriter(raw)  # type: ignore[type-var]  # its write has the narrower type of bytes
    return io.TextIOWrapper(buffer, encoding=encoding, errors=ERRORS, line_buffering=lines)


def _open_all() -> None:
    """Opens the closed ones of the first three descriptors: the next file would get their number otherwise."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """What is written in the place of a character that the encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = (PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text)
    return "".join(escaped), error.end
