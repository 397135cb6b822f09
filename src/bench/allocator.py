"""Settings of the system's memory allocator for processes that bench starts; it reads them at start-up only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Fresh arrays of several MB page-fault at every use under glibc's defaults, which cost WaveNet's step up to 4× (see
# benchmarks/wavenet_step.py) and the store of HMS's pictures a fifth. One arena that keeps what it has got helps both.
KEEPING = "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=20000000000"
ALLOCATOR = {"GLIBC_TUNABLES": f"{KEEPING}:glibc.malloc.top_pad=268435456:glibc.malloc.hugetlb=1"}
"""Environment of a fold's process; on another system than Linux with glibc it does nothing."""
WORKER = {"GLIBC_TUNABLES": f"{KEEPING}:glibc.malloc.top_pad=33554432"}
"""The same for one of many small ones."""


@contextmanager
def inherited(settings: dict[str, str]) -> Iterator[None]:
    """Processes that are started meanwhile find the settings in their environment."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
