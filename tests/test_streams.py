"""Whatever becomes of standard output and error, a command ends as it would have."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os, sys
from bench.cli.streams import safe
with safe():
    for _ in range(2000):
        print("0.5 ± 0.1 – ja, 日本")
    print("to stderr ±", file=sys.stderr)
    open("result", "w").write("done")
"""


@pytest.mark.parametrize(
    ("redirection", "encoding"),
    [("2>&-", "utf-8"), (">&-", "utf-8"), (">&- 2>&-", "utf-8"), ("2>&1 | head -1", "utf-8"), ("", "ascii")],
)
def test_no_stream_loses_the_work(redirection: str, encoding: str, tmp_path: object) -> None:
    script = f"{sys.executable} -c '{CODE}' {redirection}"
    environment = {"PYTHONIOENCODING": encoding, "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], cwd=str(tmp_path), env=environment, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    with open(f"{tmp_path}/result") as result:
        assert result.read() == "done"
    if encoding == "ascii":
        assert done.stdout.splitlines()[0] == b"0.5 +- 0.1 - ja, \\u65e5\\u672c"
        assert b"to stderr +-" in done.stderr
