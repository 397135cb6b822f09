"""The house's rules: who may import whom, where heavy imports live, how long a file gets."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import re
import sys
import tomllib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "bench"
GROUND = {
    "addresses", "allocator", "atomic", "bounded", "build", "extensions", "metrics", "mistake", "paths", "spec",
    "targets", "tell",
}  # fmt: skip
PARTS = {"signal", "losses", "models", "simulators", "synthetic", "features", "datasets"}
# room → the rooms below it that it may import, besides itself and the ground (which imports the ground alone)
MAY = {
    **{name: set() for name in GROUND},
    "signal": set(),
    "losses": set(),
    "models": set(),
    "simulators": {"signal"},
    "synthetic": set(),
    "features": {"signal"},
    "datasets": {"features"},
    "runs": {"datasets"},
    "data": {"datasets", "features"},
    "augment": {"data", "features"},
    "cli": {"runs", "datasets", "training"},
    "training": {"augment", "data", "datasets", "features", "runs"},
    "report": {"training", "runs"},
    "tracking": {"runs"},
}
MAY["search"] = {"cli", "runs", "tracking", "training"}
MAY["crossval"] = PARTS | {"training", "augment", "data", "report", "tracking", "runs", "cli"}
MAY["comparison"] = PARTS | {"training", "data", "report", "tracking", "runs", "cli"}
MAY["ensembling"] = MAY["crossval"] | {"crossval"}
MAY["prediction"] = MAY["ensembling"] | {"ensembling"}
COMMANDS = {
    "prepare",
    "train",
    "predict",
    "ensemble",
    "adopt",
    "compare",
    "leaderboard",
    "clean",
    "track",
    "catalog",
    "doctor",
    "__main__",
}
LOAD = ("bench", "bench.prediction.blended")
"""``bench.load``, the one arrow up: a person's entry, and a registered model's."""
HEAVY = {"torch", "timm", "mlflow", "sklearn", "scipy", "matplotlib", "librosa", "pandas", "pyarrow", "numpy", "rich"}
FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names of what a file imports, inside functions and for type checking included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("bench.")} - {"__version__"}


def module(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    here = room(path)
    if here in COMMANDS or path == SOURCE / "__init__.py":
        return
    assert here in MAY, f"{here} is a new room: give it a place in ARCHITECTURE.md and here"
    assert rooms_imported(path) <= MAY[here] | GROUND | {here}


def test_no_room_stands_above_a_room_that_imports_it() -> None:
    assert not circles({here: set(below) for here, below in MAY.items()})


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {module(path): path for path in FILES}
    arrows = {
        here: {name for name in imports(path) & set(modules) if name != "bench" and (here, name) != LOAD} - {here}
        for here, path in modules.items()
    }
    assert not circles(arrows)


def circles(arrows: dict[str, set[str]]) -> set[str]:
    """The nodes that reach themselves along the arrows."""
    left = {here: below & set(arrows) for here, below in arrows.items()}
    while ends := {here for here, below in left.items() if not below}:
        left = {here: below - ends for here, below in left.items() if here not in ends}
    return set(left)


def test_commands_alone_are_imported_by_nobody() -> None:
    assert not [path for path in FILES if rooms_imported(path) & COMMANDS]


def test_the_top_holds_commands_and_the_ground_alone() -> None:
    assert {path.stem for path in SOURCE.glob("*.py")} - {"__init__"} <= COMMANDS | GROUND


def test_no_test_file_imports_another() -> None:
    tests = Path(__file__).parent
    borrowed = {path.name: {n for n in imports(path) if n.startswith("test_")} for path in tests.glob("*.py")}
    assert not {name: names for name, names in borrowed.items() if names}


def test_tracking_alone_imports_mlflow() -> None:
    importers = {str(p.relative_to(SOURCE)) for p in FILES if "mlflow" in {name.split(".")[0] for name in imports(p)}}
    assert importers == {"tracking/sender.py", "tracking/registry.py", "tracking/served.py"}
    code = {"bench.tracking.served"}  # MLflow runs it, from a model: nobody else does
    assert not [p for p in FILES if imports(p) & code]


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in COMMANDS | {"cli"}], ids=module)
def test_commands_keep_heavy_imports_inside_functions(path: Path) -> None:
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


TOOLS = ("dev", "docs")
"""Extras of programs that src does not import."""


def test_what_src_imports_is_declared_and_nothing_else() -> None:
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *(v for k, v in project["optional-dependencies"].items() if k not in TOOLS)]
    declared = {re.split(r"[<>=!]", line)[0].lower().replace("_", "-") for line in itertools.chain(*lists)}
    providers = importlib.metadata.packages_distributions()
    roots = {name.partition(".")[0] for path in FILES for name in imports(path)}
    used = set()
    for root in roots - sys.stdlib_module_names - {"bench"}:
        provided = {name.lower().replace("_", "-") for name in providers.get(root, [root])}
        used |= provided & declared or provided  # several distributions may share a package, as mlflow's do
    unseen = {"onnx", "onnxscript", "cmaes", "s3fs"}  # torch.onnx, Optuna's sampler and fsspec import them
    unseen |= {"psycopg[binary]"}  # SQLAlchemy imports it for PostgreSQL
    unseen |= {"hydra-ray-launcher"} - used  # of a package that the others share, in an environment of its own
    assert used == declared - unseen
