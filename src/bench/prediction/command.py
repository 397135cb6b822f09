"""The prediction command: from its config to a folder with predictions and a submission."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.atomic import read_json, write_json
from bench.cli.schema import Predict
from bench.datasets.base import Dataset
from bench.datasets.root import is_simulated
from bench.prediction import runtimes
from bench.prediction.blended import named_run, opened
from bench.runs import inside, submission
from bench.runs.frames import prediction_frame, write_frame
from bench.runs.outcome import Outcome
from bench.runs.run import Run, identity
from bench.spec import UserError
from bench.tell import say
from bench.training import parts


def predict(config: Predict) -> Outcome:
    """Runs ``python -m bench.predict``; the last line on standard output names the result."""
    if not config.run:
        raise UserError("run= names no run; give a finished run's folder or identity, latest, best, or a query")
    run = named_run(config.run, Path(config.outputs))
    if config.tracking.uri and config.register is None:
        raise UserError("tracking.uri= is where register=<name> registers the run, and nothing else; leave it out")
    if config.register is not None:
        from bench.prediction.registering import register

        register(run, config)
    elif config.export:
        from bench.prediction.export import export

        export(run, config)
    else:
        _predict(run, config)
    return Outcome(run, run.scores(), [], None)


def _predict(run: Run, config: Predict) -> None:
    """Writes predictions and a submission into a folder."""
    predictor = opened(
        run, config.folds, config.tta, config.device, config.store, config.workers, config.outputs,
        runtime=config.runtime,
    )  # fmt: skip
    by = "" if config.runtime == runtimes.TORCH else f" by {config.runtime}, in float32"
    say(f"run       {run.folder} (folds {', '.join(map(str, predictor.folds))} on {predictor.device}{by})")
    for member in predictor.members:
        say(f"member    {member.run.folder}")
    source = Path(config.input) if config.input else own_files(run, Path(config.data), Path(config.outputs))
    dataset = predictor.open(source)
    if config.excel and not dataset.excel:
        raise UserError(f"excel=true: {dataset.name} takes a CSV alone; leave it out")
    simulated = run.inputs.simulated or is_simulated(source)
    ids = dataset.table("test")["id"].tolist()
    say(f"input     {source}: {len(ids)} rows" + (" (SIMULATED)" if simulated else ""))
    uniform = np.full((len(ids), len(dataset.classes)), 1 / len(dataset.classes))
    with tempfile.TemporaryDirectory() as scratch:  # refuses bad ids before hours of computing
        submission.write(dataset, Path(scratch) / "submission.csv", ids, uniform)
    store = predictor.store(dataset)
    decides = {
        "run": run.identity,
        "test": hashlib.sha256(f"{store.digest} {[str(i) for i in ids]}".encode()).hexdigest()[:32],
        "folds": predictor.folds,
        "tta": predictor.tta,
    }
    if config.runtime != runtimes.TORCH:
        decides["runtime"] = config.runtime
    folder = (Path(config.output) if config.output else run.folder / "predictions" / identity(decides)).resolve()
    if _already_predicted(folder, decides):
        say("predict   they are there already")
    else:
        probability = predictor.probabilities(store, ids)
        more = {"input": str(source.resolve()), "rows": len(ids), "simulated": simulated}
        _write(folder, dataset, probability, decides | more | {"device": str(predictor.device)})
    if config.excel:
        submission.write_excel(folder / "submission.csv", folder / "submission.xlsx")
    print(f"predictions {folder}", flush=True)


def _write(folder: Path, dataset: Dataset, probability: np.ndarray, about: Mapping[str, Any]) -> None:
    """Writes the folder of predictions in one step: it is complete or does not exist."""
    ids = dataset.table("test")["id"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as building:
        complete = Path(building) / "made"
        complete.mkdir()
        write_frame(prediction_frame(ids, probability, dataset.classes), complete / "test.parquet")
        submission.write(dataset, complete / "submission.csv", ids.tolist(), probability)
        write_json(complete / "inputs.json", about)
        os.replace(complete, folder)


def own_files(run: Run, data: Path, outputs: Path) -> Path:
    """The folder of the files that the run was trained on, as training finds it; simulated files are made again.

    A folder that the run itself names (``dataset.root``) is used only where the run lies in the person's outputs.
    """
    node = run.made_by.dataset
    try:
        if node.get("root") and (reason := inside.elsewhere(run.folder, outputs)):
            raise UserError(reason)
        return parts.files(node, data).as_trained(run.inputs.simulated)
    except UserError as error:
        raise UserError(f"{error}; say which to predict: input=<folder of test files>") from error


def _already_predicted(folder: Path, decides: Mapping[str, Any]) -> bool:
    """Whether the folder holds exactly these predictions; UserError if it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not folder.is_dir() or not (folder / "inputs.json").exists():
        raise UserError(f"output={folder} holds other files, and nothing is overwritten; name another folder")
    existing = read_json(folder / "inputs.json")
    if {key: existing.get(key) for key in decides} != decides:
        raise UserError(
            f"{folder} holds the predictions of other folds, files, views or another run or runtime, and nothing is "
            "overwritten; name another output="
        )
    return all((folder / name).exists() for name in ("test.parquet", "submission.csv"))
