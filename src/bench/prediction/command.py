"""The prediction command: from its config to a folder with predictions and a submission."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import build
from bench.atomic import read_json, write_json
from bench.datasets import root as roots
from bench.prediction.blended import chosen, opened
from bench.runs import submission
from bench.runs.frames import prediction_frame, write_frame
from bench.runs.outcome import Outcome
from bench.runs.run import Run, identity
from bench.spec import UserError
from bench.tell import say


def predict(config: dict[str, Any]) -> Outcome:
    """What ``python -m bench.predict`` does with its config; the last line on standard output names the folder."""
    if not config["run"]:
        raise UserError("run= names no run; give a finished run's folder or identity, latest, or a query")
    run = chosen(config["run"], Path(config["outputs"]))
    if config["register"] is not None:
        from bench.prediction.registering import register

        register(run, config)
        return Outcome(run, run.scores(), [], None)
    if config["export"]:
        from bench.prediction.export import export

        export(run, config)
        return Outcome(run, run.scores(), [], None)
    how = (config[key] for key in ("folds", "tta", "device", "store", "workers", "outputs"))
    predictor = opened(run, *how)
    say(f"run       {run.folder} (folds {', '.join(map(str, predictor.folds))} on {predictor.device})")
    for member in predictor.members:
        say(f"member    {member.run.folder}")
    source = Path(config["input"]) if config["input"] else own_files(run, Path(config["data"]))
    dataset = predictor.open(source)
    if config["excel"] and not dataset.excel:
        raise UserError(f"excel=true: {dataset.name} takes a CSV alone; leave it out")
    simulated = run.inputs["simulated"] or roots.is_simulated(source)
    ids = dataset.table("test")["id"].tolist()
    say(f"input     {source}: {len(ids)} rows" + (" (SIMULATED)" if simulated else ""))
    uniform = np.full((len(ids), len(dataset.classes)), 1 / len(dataset.classes))
    with tempfile.TemporaryDirectory() as scratch:  # its ids don't depend on hours of computing
        submission.write(dataset, Path(scratch) / "submission.csv", ids, uniform)
    store = predictor.store(dataset)
    said = {
        "run": run.identity,
        "test": hashlib.sha256(f"{store.digest} {[str(i) for i in ids]}".encode()).hexdigest()[:32],
        "folds": predictor.folds,
        "tta": predictor.tta,
    }
    folder = Path(config["output"]) if config["output"] else run.folder / "predictions" / identity(said)
    folder = folder.resolve()
    if _there(folder, said):
        say("predict   they are there already")
    else:
        probability = predictor.of(store, ids)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as building:
            made = Path(building) / "made"
            made.mkdir()
            write_frame(
                prediction_frame(dataset.table("test")["id"], probability, dataset.classes), made / "test.parquet"
            )
            submission.write(dataset, made / "submission.csv", ids, probability)
            more = {"input": str(source.resolve()), "rows": len(ids), "simulated": simulated}
            write_json(made / "inputs.json", said | more | {"device": str(predictor.device)})
            os.replace(made, folder)
    if config["excel"]:
        submission.write_excel(folder / "submission.csv", folder / "submission.xlsx")
    print(f"predictions {folder}", flush=True)
    return Outcome(run, run.scores(), [], None)


def own_files(run: Run, data: Path) -> Path:
    """The folder of the files that the run was trained on, by training's own rule; simulated ones are made again."""
    node = run.config["dataset"]
    name = build.locate({k: v for k, v in node.items() if k != "simulator"}, "dataset").name  # type: ignore[attr-defined]
    usual = Path(node["root"] or data / name)
    if not run.inputs["simulated"] or node["root"]:
        if not usual.is_dir():
            raise UserError(f"{usual}, on which the run was trained, is not here; give a folder of test files: input=…")
        return usual
    if usual.is_dir():
        raise UserError(f"the run was trained on simulated files, and {usual} is real; say which to predict: input=…")
    settings = {k: v for k, v in node["simulator"].items() if k != "_target_"}
    simulate = build.partial(node["simulator"], "dataset.simulator", 1)
    return roots.find(name, None, data, settings, lambda folder: simulate(folder), say)


def _there(folder: Path, said: dict[str, Any]) -> bool:
    """Whether these very predictions are in the folder; UserError where something else is."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not folder.is_dir() or not (folder / "inputs.json").exists():
        raise UserError(f"output={folder} holds other files, and nothing is overwritten; name another folder")
    found = read_json(folder / "inputs.json")
    if {key: found.get(key) for key in said} != said:
        raise UserError(
            f"{folder} holds the predictions of other folds, files, views or another run, and nothing is overwritten; "
            "name another output="
        )
    return all((folder / name).exists() for name in ("test.parquet", "submission.csv"))
