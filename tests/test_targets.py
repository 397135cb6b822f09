"""What a config may name: every group takes what its contract says, and nothing else is called or imported."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import bench
from bench import build, targets
from bench.paths import conf
from bench.spec import UserError
from tiny import load

ELSEWHERE = (
    "torch", "torch.hub", "torch.serialization", "torch.utils", "torch.utils.collect_env", "torch.utils.cpp_extension",
    "torch.distributed.run", "torch.nn", "torch.optim", "torch.optim.lr_scheduler", "timm", "timm.models", "timm.optim",
    "timm.utils", "os", "subprocess", "builtins", "importlib", "runpy", "pickle", "shutil", "numpy", "pandas",
)  # fmt: skip
RUN_CODE = (
    "torch.utils.collect_env.run", "torch.load", "torch.serialization.load", "torch.hub.load",
    "torch.distributed.run.main", "torch.compile", "timm.create_model", "os.system", "subprocess.Popen",
    "bench.cli.sweep.Summary", "bench.tracking.follower.start_mirror", "bench.crossval.processes.train",
)  # fmt: skip
BASES = {"bench.features.seti_cadence.SetiCadence", "bench.augment.base.InTurn"}
"""Of the right kind, but no option of conf/."""
COMMANDS = {f"bench.{name}" for name in ("__main__", "tracking.served")}


def in_conf(node: Any, group: str) -> Iterator[tuple[str, str]]:
    """(group, target) of all that conf/ names."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_" and value not in targets.PLACEHOLDERS:
                yield group, value
            elif (kind := key.removesuffix("_simulated")) in ("simulator", "dataset", "scheduler", "optimizer"):
                yield from in_conf(value, kind)
            elif key != "hydra":
                yield from in_conf(value, group)


OWN = [path for path in conf().rglob("*.yaml") if "hydra" not in path.relative_to(conf()).parts]  # no plugins' options
KNOWN = {pair for path in OWN for pair in in_conf(load(path), path.parent.name)}


def callables(module: str) -> Iterator[str]:
    """Dotted names of what a module has that can be called."""
    for name, value in vars(importlib.import_module(module)).items():
        if callable(value) and not isinstance(value, types.ModuleType):
            yield f"{module}.{name}"


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modules that a look-up imports."""
    names: list[str] = []
    real = importlib.import_module

    def spy(name: str, package: str | None = None) -> Any:
        names.append(name)
        return real(name, package)

    monkeypatch.setattr("bench.build.importlib.import_module", spy)
    monkeypatch.setattr(targets, "options", functools.cache(targets.options))  # thousands of sentences list them
    return names


def refused(path: str, group: str) -> bool:
    where = "dataset.simulator" if group == "simulator" else group
    try:
        build.locate({"_target_": path}, where)
    except UserError as error:
        return f"_target_={path} is refused" in str(error)
    return False


def test_every_group_has_a_contract_and_takes_all_that_conf_names() -> None:
    assert {group for group, _ in KNOWN} == set(targets.CONTRACTS)
    assert not [(group, target) for group, target in KNOWN if refused(target, group)]


@pytest.mark.parametrize("group", targets.CONTRACTS)
def test_nothing_outside_bench_is_taken_but_the_named_optimizers(group: str, imported: list[str]) -> None:
    names = [name for module in ELSEWHERE for name in callables(module)]
    assert len(names) > 2000
    imported.clear()
    taken = {name for name in names if not refused(name, group)}
    allowed = targets.OPTIMIZERS if group == "optimizer" else frozenset()
    assert taken == allowed & set(names)
    assert set(imported) == {name.rpartition(".")[0] for name in taken}, "the name alone refuses the others"


@pytest.mark.parametrize("group", targets.CONTRACTS)
def test_of_bench_a_group_takes_its_own_kind_alone(group: str, imported: list[str]) -> None:
    modules = [m.name for m in pkgutil.walk_packages(bench.__path__, "bench.") if m.name not in COMMANDS]
    names = {name for module in modules for name in callables(module)}
    imported.clear()
    taken = {name for name in names if not refused(name, group)}
    own = {target for owner, target in KNOWN if owner == group and target.startswith("bench.")}
    assert taken - BASES == own
    rooms = targets.CONTRACTS[group].rooms
    assert all(any(module == room or module.startswith(f"{room}.") for room in rooms) for module in imported)


@pytest.mark.parametrize("path", RUN_CODE)
@pytest.mark.parametrize("group", targets.CONTRACTS)
def test_what_runs_code_is_refused_by_its_name(path: str, group: str, imported: list[str]) -> None:
    assert refused(path, group)
    assert imported == []


@pytest.mark.parametrize(
    "path",
    ["bench.models._x.Net", "bench.models.mlp.__builtins__", "bench.models.mlp", "mlp", "", "bench.models.mlp.MLP()",
     "bench.models..mlp.MLP", "bench.models.mlp.MLP.forward", "bench.models.mlp.math.prod", "bench.models.mlp.nn"],
)  # fmt: skip
def test_odd_names_are_refused(path: str) -> None:
    with pytest.raises(UserError, match=r"is refused|can't be found"):
        build.locate({"_target_": path}, "model")


def test_a_target_of_another_group_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"loss takes functions \(logits, target, weight, .* choose loss= one of bce, ce"
    ):
        build.locate({"_target_": "bench.models.mlp.MLP"}, "loss")
    with pytest.raises(UserError, match=r"scheduler takes functions .* choose scheduler= one of constant, cosine"):
        build.locate({"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"}, "scheduler")


def test_a_key_that_is_no_group_builds_nothing() -> None:
    with pytest.raises(UserError, match="recipe names nothing to build"):
        build.locate({"_target_": "bench.losses.ce.ce"}, "recipe")


@pytest.mark.parametrize("path", sorted(targets.OPTIMIZERS))
def test_every_optimizer_takes_a_step_and_comes_back_from_a_checkpoint(path: str) -> None:
    weight = torch.nn.Parameter(torch.ones(4, 3))
    optimizer = build.build({"_target_": path, "lr": 0.01}, "optimizer", [weight])
    weight.square().sum().backward()
    optimizer.step()
    assert not torch.equal(weight.detach(), torch.ones(4, 3))
    again = build.build({"_target_": path, "lr": 0.01}, "optimizer", [weight])
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["lr"] == 0.01


def test_targets_that_moved_are_found_where_they_are_today() -> None:
    for old, new in targets.MOVED.items():
        module = importlib.import_module(new)
        assert targets.current(f"{old}.{next(iter(vars(module)))}").startswith(new)
    config = {"pseudo": {"_target_": "bench.pseudo.Teachers", "runs": None}, "blend": [{"_target_": "a.b"}]}
    assert targets.renamed(config)["pseudo"] == {"_target_": "bench.crossval.pseudo_labels.Teachers", "runs": None}
    assert targets.renamed(config)["blend"] == config["blend"]
    node = {"_target_": "bench.results.blending.Mean"}
    assert build.locate(node, "blend").__name__ == "Mean"


def test_a_run_of_before_names_what_there_is_today(tmp_path: Path) -> None:
    from bench.runs.run import Run

    (tmp_path / "config.yaml").write_text("harden: {_target_: bench.results.hardening.Margin, lead: 0.1}\n")
    assert Run.open(tmp_path).config["harden"]["_target_"] == "bench.ensembling.hardening.Margin"
