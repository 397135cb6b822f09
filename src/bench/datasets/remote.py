"""Raw files at an address (``s3://…``, any of fsspec's): read as if they lay here, each fetched when it is opened.

    <store>/raw/<name>-<hash>/
        listing.json    relative name → size in bytes, time in nanoseconds
        tree/           an empty stand-in of each file's size and time: what is listed, asked for size, and named
        content/        the files that were opened lately, LIMIT bytes of them

A ``Mirrored`` path is one of the stand-ins. Whoever opens it gets the content: ``open``, numpy, pandas, Arrow and
soundfile all ask a path for its name by ``os.fspath``, and that is where it is fetched. Printed, it is its address.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path, PosixPath, PurePosixPath
from threading import Thread
from typing import Any, ClassVar

from bench.addresses import ADDRESS, hidden_in, public
from bench.atomic import read_json, replacing, write_json
from bench.spec import UserError
from bench.tell import say

LIMIT = 8 << 30
"""Bytes of content that are kept; beyond them the files fetched first go."""
GRACE_S = 60.0
"""Nobody's file goes sooner than this after it was fetched: it may not have been opened yet."""
ANSWER_S, FILE_S = 30.0, 600.0
"""How long an address may take to answer at all, and to give one file or a listing."""
EXTRAS = {"s3": "s3", "s3a": "s3"}
"""protocol → the extra that installs what it takes."""
TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
"""What file systems call the time of a file."""


class Source:
    """The files below an address; ``folder`` has the mirror. The address itself, with its secrets, is only held."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address.rstrip("/"), folder
        self.tree, self.content = folder / "tree", folder / "content"
        self._since_trim = 0

    @cached_property
    def files(self) -> dict[str, list[int]]:
        """relative name → [size, time]."""
        files: dict[str, list[int]] = read_json(self.folder / "listing.json")
        return files

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """fsspec's file system, and the address's path in it."""
        import fsspec

        protocol = self.address.partition("://")[0].rpartition("::")[2]
        try:
            system, path = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            extra = EXTRAS.get(protocol)
            package = f'pip install "bench[{extra}]"' if extra else str(error).split(". ")[-1]
            raise UserError(f"{protocol}:// needs a package that is not here: {package}") from None
        except Exception as error:
            raise self._unreadable(error) from None
        return system, str(path).rstrip("/")

    def list(self) -> None:
        """Brings the stand-ins up to date with the address; content of changed files goes."""
        from filelock import FileLock

        system, root = self._opened
        self._within(ANSWER_S, lambda: system.ls(root, detail=False))
        listed = self._within(FILE_S, lambda: system.find(root, detail=True))
        files = {}
        for path, info in listed.items():
            name = str(path).removeprefix(root).lstrip("/")
            if name and not name.endswith("/"):
                files[_safe(name, self)] = [self._size(name, info), _time_ns(info)]
        if not files:
            raise UserError(f"{public(self.address)} holds no files; give the address of the folder that has them")
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.folder}.lock"):
            before = self.files if (self.folder / "listing.json").exists() else {}
            for name in before.keys() - files.keys():
                (self.tree / name).unlink(missing_ok=True)
                (self.content / name).unlink(missing_ok=True)
            for name, (size, time_ns) in files.items():
                if before.get(name) != [size, time_ns]:
                    (self.content / name).unlink(missing_ok=True)
                    self._stand_in(name, size, time_ns)
            if files != before:
                write_json(self.folder / "listing.json", files)
        self.files = files
        total = sum(size for size, _ in files.values())
        say(f"data      {public(self.address)}: {len(files)} files ({total / 1e6:.0f} MB), fetched as they are opened")

    def fetched(self, name: str) -> Path:
        """The content of a file; UserError where it can't be had."""
        place = self.content / name
        if place.exists():
            return place
        size = self.files[name][0]
        system, root = self._opened
        with replacing(place) as temporary:
            self._within(FILE_S, lambda: system.get_file(f"{root}/{name}", str(temporary)))
            if temporary.stat().st_size != size:
                raise UserError(
                    f"{self.public(name)} has {temporary.stat().st_size} bytes and had {size} when it was listed; run "
                    "the command again when nobody changes the files"
                )
        self._since_trim += size
        if self._since_trim > LIMIT // 8:
            self._since_trim = 0
            self._trim()
        return place

    def public(self, name: str) -> str:
        """A file's address, for a person."""
        return public(self.address) + (f"/{name}" if name not in ("", ".") else "")

    def _stand_in(self, name: str, size: int, time_ns: int) -> None:
        place = self.tree / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(place, "wb") as file:
                file.truncate(size)
        except OSError as error:
            raise UserError(f"{self.public(name)} can't be listed in {self.tree} ({error.strerror})") from None
        os.utime(place, ns=(time_ns, time_ns))

    def _trim(self) -> None:
        """Deletes the content that was fetched first, until four fifths of LIMIT are left."""
        kept = [(s.st_mtime, s.st_size, p) for p in self.content.rglob("*") if p.is_file() and (s := p.stat())]
        total = sum(size for _, size, _ in kept)
        for fetched_at, size, path in sorted(kept):
            if total <= LIMIT * 4 // 5 or fetched_at > time.time() - GRACE_S:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _size(self, name: str, info: dict[str, Any]) -> int:
        size = info.get("size")
        if not isinstance(size, int):
            raise UserError(f"{self.public(name)}: its server does not tell its size; copy the files to a folder first")
        return size

    def _within(self, seconds: float, work: Callable[[], Any]) -> Any:
        """The work's result; UserError where it fails or takes longer. A file system's own patience is minutes."""
        result: list[Any] = []
        failed: list[Exception] = []

        def run() -> None:
            try:
                result.append(work())
            except Exception as error:  # any of a file system's, and of what lies under it
                failed.append(error)

        worker = Thread(target=run, daemon=True)
        worker.start()
        worker.join(seconds)
        if failed:
            raise self._unreadable(failed[0]) from None
        if not result:
            raise UserError(
                f"{public(self.address)} has not answered within {seconds:.0f} s; check address and network"
            )
        return result[0]

    def _unreadable(self, error: Exception) -> UserError:
        """The sentence on an address that answers with an error, or not at all."""
        shown = public(self.address)
        if shown.startswith("memory://"):
            return UserError(
                f"{shown} lies in the memory of one process, and this one has no such files; set workers=1"
            )
        text = hidden_in(" ".join(str(error).split())[:200], self.address)
        detail = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return UserError(f"{shown} can't be read ({detail}); check the address, the network and your credentials")


class Mirrored(PosixPath):
    """A file or folder at an address; a subclass for each (``_kind``)."""

    source: ClassVar[Source]

    def __fspath__(self) -> str:
        name = self._name()
        return str(self.source.fetched(name)) if name in self.source.files else str(self)

    def __format__(self, spec: str) -> str:
        return format(self.source.public(self._name()), spec)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.source.address, str(self.source.folder), str(self))

    def _name(self) -> str:
        return os.path.relpath(str(self), self.source.tree)

    # What is asked of a stand-in itself, and must fetch nothing:

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(str(self), follow_symlinks=follow_symlinks)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.exists(str(self))

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.isdir(str(self))

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.isfile(str(self))

    def resolve(self, strict: bool = False) -> Path:  # type: ignore[override]  # a plain path: nothing is read there
        return Path(os.path.realpath(str(self), strict=strict))


_kinds: dict[str, type[Mirrored]] = {}
"""Mirror's folder → the class of its paths, in this process."""


def is_address(root: str | Path) -> bool:
    """Whether a root is an address rather than a folder."""
    return isinstance(root, str) and ADDRESS.search(root) is not None


def mirror(address: str, store: Path) -> Path:
    """The folder of an address's files, listed once a process; UserError where they can't be reached."""
    shown = public(address).rstrip("/")
    slug = re.sub(r"\W+", "-", shown.partition("://")[2]).strip("-")[-40:]
    digest = hashlib.sha256(shown.encode()).hexdigest()[:8]
    folder = (store / "raw" / f"{slug or 'files'}-{digest}").absolute()
    listed = str(folder) in _kinds
    kind = _kind(address, folder)
    if not listed:
        try:
            kind.source.list()
        except BaseException:
            del _kinds[str(folder)]
            raise
    return kind(folder / "tree")


def known(root: str | Path) -> Path:
    """The path, as a mirrored one where it lies in a mirror of this process."""
    path = Path(root)
    if isinstance(root, Mirrored):
        return root
    for kind in _kinds.values():
        if path == kind.source.tree or kind.source.tree in path.parents:
            return kind(path)
    return path


def _kind(address: str, folder: Path) -> type[Mirrored]:
    if str(folder) not in _kinds:
        _kinds[str(folder)] = type("Mirrored", (Mirrored,), {"source": Source(address, folder)})
    return _kinds[str(folder)]


def _restored(address: str, folder: str, path: str) -> Mirrored:
    """A path that another process has sent."""
    return _kind(address, Path(folder))(path)


def _safe(name: str, source: Source) -> str:
    """The name; UserError for one that leads out of its folder."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "/".join(parts) != name or "\0" in name:
        raise UserError(f"{public(source.address)} has a file named {name!r}, which is no name of a file here")
    return name


def _time_ns(info: dict[str, Any]) -> int:
    """When a file was changed, in nanoseconds; 0 where its file system does not say so."""
    for key in TIMES:
        value = info.get(key)
        if isinstance(value, datetime):
            return int(value.timestamp()) * 10**9
        if isinstance(value, int | float):
            return int(value) * 10**9
    return 0
