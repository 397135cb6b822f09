"""The structure of the package in figures, of this checkout or of others: before and after a refactoring.

python benchmarks/structure.py [checkout …]
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

COMMANDS = ("train", "predict", "ensemble", "compare", "track", "catalog")


def module(path: Path, source: Path) -> str:
    return ".".join(path.relative_to(source.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path, modules: set[str]) -> set[str]:
    """The package's modules that a file imports, inside functions and for type checking included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= whole & modules or {node.module}
    return names & modules


def circles(arrows: dict[str, set[str]]) -> int:
    """How many groups of nodes reach themselves along the arrows."""
    reach = {node: closure(node, arrows) for node in arrows}
    groups = {frozenset(other for other in reach[node] if node in reach[other]) for node in arrows}
    return len({group for group in groups if group})


def closure(node: str, arrows: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [node]
    while waiting:
        new = arrows.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


def arrows_up(arrows: dict[str, set[str]]) -> int:
    """Arrows against the order in which each node comes after those that it reaches least of."""
    order = sorted(arrows, key=lambda node: len(closure(node, arrows)))
    place = {node: at for at, node in enumerate(order)}
    return sum(place[below] > place[node] for node in arrows for below in arrows[node])


def functions(path: Path) -> list[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [((node.end_lineno or node.lineno) - node.lineno + 1, f"{path.stem}.{node.name}") for node in nodes]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def strict_errors(checkout: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-warn-unused-ignores", "src"]
    last = subprocess.run(command, cwd=checkout, capture_output=True, text=True).stdout.splitlines()[-1:]
    return "0" if last and last[0].startswith("Success") else " ".join(last[0].split()[1:3]) if last else "unknown"


def figures(checkout: Path) -> dict[str, object]:
    source = checkout / "src" / "bench"
    files = {module(path, source): path for path in source.rglob("*.py")}
    # `bench` itself imports one thing, for `bench.load`: a person's entry, on purpose above everything
    arrows = {name: set() if name == "bench" else imported(path, set(files)) - {name} for name, path in files.items()}
    room = {name: name.split(".")[1] if "." in name else name for name in files}
    rooms: dict[str, set[str]] = {}
    for name, below in arrows.items():
        rooms.setdefault(room[name], set()).update({room[other] for other in below} - {room[name]})
    longest, where = max(pair for path in files.values() for pair in functions(path))
    doors = {name: lines(source / f"{name}.py") for name in COMMANDS if (source / f"{name}.py").exists()}
    return {
        "modules at the top": len(list(source.glob("*.py"))) - 1,
        "rooms (folders)": len([path for path in source.rglob("*") if path.is_dir() and any(path.glob("*.py"))]),
        "circles of modules": circles(arrows),
        "circles of rooms": circles(rooms),
        "arrows between rooms": sum(map(len, rooms.values())),
        "arrows up": arrows_up(rooms),
        "longest function": f"{longest} lines ({where})",
        "longest command": f"{max(doors.values())} lines ({max(doors, key=lambda name: doors[name])})",
        "mypy --strict errors": strict_errors(checkout),
        "lines of src": sum(map(lines, files.values())),
    }


def main() -> None:
    checkouts = [Path(word).resolve() for word in sys.argv[1:]] or [Path(__file__).resolve().parents[1]]
    columns = [figures(checkout) for checkout in checkouts]
    for key in columns[0]:
        print(f"{key:22}" + "".join(f"{column[key]!s:36}" for column in columns).rstrip())


if __name__ == "__main__":
    main()
