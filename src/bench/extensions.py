"""A user's packages that bench may build from: named by the command or installed as such, never by a folder.

A package is named with ``extensions=[my_package]`` on the command line or ``bench.load(run, extensions=[...])``, or it
is installed with an entry point in the group ``bench.extensions``. Its classes and functions may then be targets
(``targets``), and its folder ``conf/`` is searched for options after bench's own.

The names are kept in an environment variable, so that the processes which a command starts know them too.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from bench.mistake import UserError
from bench.paths import conf

VARIABLE = "BENCH_EXTENSIONS"
GROUP = "bench.extensions"
NOT_YOURS = frozenset({*sys.stdlib_module_names, "bench", "torch", "torchvision", "timm"})
"""Packages that can't be extensions: naming one would allow far more than anybody means."""


def named(installed: bool = True) -> tuple[str, ...]:
    """The packages that this process may build from, besides bench: the command's, then those installed as such.

    To find the latter takes as long as everything else that a --help does; ``installed`` leaves them out.
    """
    words = [word for word in os.environ.get(VARIABLE, "").split(",") if word]
    return tuple(dict.fromkeys([*words, *(_installed() if installed else ())]))


def add(names: Iterable[str] | None) -> None:
    """Names more packages, for this process and those it starts.

    Raises UserError for one that is not here, is not a person's own, or whose options have the names of others.
    """
    for name in names or ():
        if name not in named():
            _refuse(name)
            os.environ[VARIABLE] = ",".join([*filter(None, [os.environ.get(VARIABLE)]), name])
    _refuse_doubles()


def owner(path: str) -> str | None:
    """The extension that a dotted path lies in."""
    return next((name for name in named() if path == name or path.startswith(f"{name}.")), None)


def confs(command: str = "", installed: bool = True) -> list[Path]:
    """The config trees: bench's, then the extensions'; with ``command`` the trees of its own groups in them."""
    trees = [conf(), *(tree for name in named(installed) for tree in _trees(name))]
    return trees if not command else [tree / command for tree in trees if (tree / command).is_dir()]


def source(name: str) -> Path:
    """The folder of a package, or the file of a single module."""
    from importlib.util import find_spec

    spec = find_spec(name.partition(".")[0])
    assert spec is not None  # what is named has been found
    places = list(spec.submodule_search_locations or [])
    return Path(places[0] if places else str(spec.origin))


def primary(command: str) -> Path:
    """The file that a command's words are composed on."""
    return conf() / f"{command}.yaml"


def option(group: str, name: str) -> Path:
    """The file of ``<group>=<name>``; bench's own path where there is none."""
    files = [tree / group / f"{name}.yaml" for tree in confs()]
    return next((file for file in files if file.exists()), files[0])


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    from importlib.metadata import entry_points

    return tuple(sorted({entry.value.partition(":")[0].strip() for entry in entry_points(group=GROUP)}))


def _trees(name: str) -> list[Path]:
    """The folders ``conf`` of a package; none of a single module."""
    from importlib.util import find_spec

    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        spec = None
    places = (spec.submodule_search_locations if spec else None) or []
    return [Path(place) / "conf" for place in places if (Path(place) / "conf").is_dir()]


def _refuse(name: str) -> None:
    from importlib.util import find_spec

    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name, re.ASCII):
        raise UserError(f"extensions={name} is not the name of a package; write extensions=[my_package]")
    if name.partition(".")[0] in NOT_YOURS:
        raise UserError(f"extensions={name} is not a package of your own; name the one that holds your parts")
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))  # as python -m has it; the installed script has not
    try:
        spec = find_spec(name)
    except ImportError:
        spec = None
    if spec is None:
        raise UserError(
            f"extensions={name}: there is no package {name} here; install it, or run the command from the folder "
            "that it lies in"
        )


def _refuse_doubles() -> None:
    """Hydra would take the first of two options of one name and leave out the other without a word."""
    first_files: dict[str, Path] = {}
    for tree in confs():
        for file in sorted(tree.glob("**/*.yaml")):
            first = first_files.setdefault(str(file.relative_to(tree)), file)
            if first != file:
                raise UserError(f"{file} has the name of {first}; give it another, so that both can be chosen")
