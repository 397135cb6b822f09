"""The house's rules: who may import whom, where heavy imports live, how long a file gets."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "bench"
GROUND = {"spec", "atomic", "allocator"}
# room → the rooms it may import besides itself and the ground; doors and what composes them may import all
MAY = {
    "signal": set(),
    "metrics": set(),
    "losses": set(),
    "models": set(),
    "simulators": {"signal"},
    "synthetic": set(),
    "features": {"signal"},
    "datasets": {"features", "metrics"},
    "data": {"datasets", "features"},
    "augment": {"data", "features"},
    "results": {"metrics"},
    "training": {"augment", "data", "datasets", "features", "metrics", "results"},
    "spec": set(),
    "atomic": set(),
    "allocator": set(),
    "schema": set(),
    "build": set(),
}
DOORS = {
    "train", "track", "fold", "crossval", "plan", "opening", "checks", "loading", "pseudo", "extra", "stages",
    "cli", "multirun", "catalog", "listing", "options", "ensemble", "blend", "members",
    "predict", "predicting", "blended", "export", "registering", "compare",
}  # fmt: skip
LATE = {
    "crossval", "plan", "opening", "checks", "loading", "pseudo", "extra", "stages", "blend", "members", "predicting",
    "blended", "export", "registering",
}  # fmt: skip
"""Imported by a door's function, once a job is to run."""
HEAVY = {"torch", "timm", "mlflow", "sklearn", "scipy", "matplotlib", "librosa", "pandas", "pyarrow", "numpy", "rich"}
FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names of what a file imports, type-checking imports included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("bench.")} - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    here = room(path)
    if here in DOORS or path.name == "__init__.py":
        return
    assert here in MAY, f"{here} is a new room: give it a place in ARCHITECTURE.md and here"
    assert rooms_imported(path) <= MAY[here] | GROUND | {here}


def test_tracking_and_the_registry_alone_import_mlflow() -> None:
    importers = {str(p.relative_to(SOURCE)) for p in FILES if "mlflow" in {name.split(".")[0] for name in imports(p)}}
    assert importers == {"results/tracking.py", "results/registry.py", "results/served.py"}
    code = {"bench.results.served"}  # MLflow runs it, from a model: nobody else does
    assert not [p for p in FILES if imports(p) & code]


@pytest.mark.parametrize("door", sorted(DOORS | {"schema"}))
def test_doors_keep_heavy_imports_inside_functions(door: str) -> None:
    if door in LATE:
        return
    path = SOURCE / f"{door}.py"
    assert not {name.split(".")[0] for name in imports(path, top_level_only=True)} & HEAVY


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_file_can_be_read_in_ten_minutes(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 340
    assert path.stem not in {"utils", "helpers", "common", "misc"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_module_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))


def test_no_pickle_is_read() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in text
        assert "pickle.load" not in text
        assert "torch.load(" not in text or "weights_only=True" in text
