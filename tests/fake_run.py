"""A small run's folder, written by hand: what the rooms that only read runs are tested on."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from bench.atomic import read_json, write_json, write_text
from bench.runs import frames
from bench.runs.run import Run

START = 1_760_000_000.0
TRAIN = {"epochs": 3, "batch_size": 8, "eval_batch_size": 8, "precision": "float32", "keep": "last"}


def recipe(**given: Any) -> dict[str, Any]:
    """What a whole config.yaml holds, with these keys as ``given``."""
    return {
        "dataset": {"_target_": "bench.datasets.hms.HMS", "root": None},
        "model": {"_target_": "bench.models.mlp.MLP"},
        "features": {"_target_": "bench.features.hms_waveform.HmsWaveform"},
        "loss": {"_target_": "bench.losses.kl.kl"},
        "split": {"_target_": "bench.data.splits.group"},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001},
        "scheduler": {"_target_": "bench.training.schedules.constant"},
        "seed": 0,
        "train": TRAIN,
        **given,
    }


def inputs(**given: Any) -> dict[str, Any]:
    """What a whole inputs.json holds, with these keys as ``given``."""
    spec = {"channels": 8, "size": [2000], "classes": ["class 0", "class 1", "class 2"], "sample_rate": 40.0}
    return {
        "dataset": "hms", "model": "wavenet", "metric": "kl", "direction": "min", "simulated": False, "n_splits": 2,
        "spec": spec, "stores": {}, **given,
    }  # fmt: skip


def scores(**given: Any) -> dict[str, Any]:
    """What a whole scores.json holds, with these keys as ``given``."""
    return {
        "metric": "kl", "direction": "min", "oof": 0.5, "folds": [0.5, 0.5], "fold_numbers": [0, 1], "mean": 0.5,
        "std": 0.0, "baseline": 1.0, "rows": 120, "accuracy": 0.5, "complete": True, "simulated": False,
        "identity": "1f3a90c2d4e5", **given,
    }  # fmt: skip


def rewrite(run: Run, file: str, **given: Any) -> Run:
    """The run with other values in its config.yaml, inputs.json or scores.json; opened anew."""
    import yaml

    path = run.folder / file
    (run.folder / "checksums.json").unlink(missing_ok=True)  # as a person does whose change it is
    if path.suffix == ".yaml":
        write_text(path, yaml.safe_dump({**yaml.safe_load(path.read_text(encoding="utf-8")), **given}))
    else:
        write_json(path, {**read_json(path), **given})
    return Run(run.folder)


_HELD: dict[Path, FileLock] = {}


def hold(run: Run) -> None:
    """Works on the run, as far as others can see, until ``release`` or the process's end."""
    run.write_state(status="running")
    _HELD[run.folder] = FileLock(run.folder / ".lock")
    _HELD[run.folder].acquire()


def release(run: Run) -> None:
    """Leaves the run as one that was killed."""
    _HELD.pop(run.folder).release()


def epoch(number: int, fold: int = 0, of: int = 3) -> dict[str, float]:
    """One entry of a history that learns, overfits a little, and differs between folds."""
    rest = 1.6 * np.exp(-2.5 * number / of) + 0.05 * np.sin(7 * number + fold)
    return {
        "epoch": number,
        "step": 10 * number,
        "seconds": 2.0,
        "lr": 1e-3,
        "train/loss": 0.25 + rest,
        "valid/loss": 0.35 + 0.04 * fold + rest + 0.1 * number / of,
        "valid/kl": 0.36 + 0.04 * fold + rest + 0.1 * number / of,
        "time": START + 60 * fold + 2 * number,
    }


def write_run(
    outputs: Path,
    *,
    model: str = "wavenet",
    identity: str = "1f3a90c2d4e5",
    folds: int = 2,
    epochs: int = 3,
    classes: int = 3,
    rows: int = 120,
    simulated: bool = False,
    finished: int | None = None,
    seed: int = 0,
) -> Run:
    """A run of which the first ``finished`` folds (else all) are done; the next one stands before its last epoch."""
    finished = folds if finished is None else finished
    folder = outputs / "hms" / model / identity
    import yaml

    node = {"_target_": f"bench.models.{model}.Net", "filters": 16}
    write_text(folder / "config.yaml", yaml.safe_dump(recipe(model=node, seed=seed)))
    names = [f"class {k}" for k in range(classes)]
    spec = {"channels": 8, "size": [2000], "classes": names, "sample_rate": 40.0}
    known = inputs(model=model, simulated=simulated, n_splits=folds, spec=spec)
    write_json(folder / "inputs.json", known)
    write_json(folder / "environment.json", {"python": "3.11"})
    run = Run.open(folder)
    for fold in run.folds[: finished + 1]:
        done = fold.number < finished
        fold.write_history([epoch(e, fold.number, epochs) for e in range(1, epochs + done)])
        write_text(fold.log, f"fold {fold.number}\n")
        if done:
            write_json(fold.done, {"epochs": epochs, "test": "", "test_rows": 0})
    status = "finished" if finished == folds else "running"
    run.write_state(status=status, pid=os.getpid(), host=socket.gethostname(), command="python -m bench.train")
    if status == "running":
        hold(run)
    if finished:
        write_oof(run, finished, rows, seed)
    return run


def write_oof(run: Run, finished: int, rows: int = 120, seed: int = 0) -> None:
    """Out-of-fold predictions somewhat better than chance, and the scores that belong to them."""
    rng, classes = np.random.default_rng(seed), run.spec.classes
    truth = rng.choice(len(classes), rows, p=(weights := np.linspace(3, 1, len(classes))) / weights.sum())
    target = np.eye(len(classes))[truth]
    logits = 2.0 * target + rng.normal(size=target.shape)
    probability = np.exp(1.5 * logits) / np.exp(1.5 * logits).sum(1, keepdims=True)
    frame = pd.DataFrame({"id": np.arange(rows), "fold": np.arange(rows) % finished})
    for k, name in enumerate(classes):
        frame[f"target_{name}"] = target[:, k]
        frame[f"pred_{name}"] = probability[:, k]
    frame.to_parquet(run.folder / "oof.parquet")
    frame[[c for c in frame if not c.startswith("pred_")]].to_parquet(run.folder / "splits.parquet")
    each = [run.fold(k).history()[-1]["valid/kl"] for k in range(finished)]
    known = scores(
        oof=float(np.mean(each)) + 0.01,
        folds=each,
        fold_numbers=list(range(finished)),
        mean=float(np.mean(each)),
        std=float(np.std(each)),
        rows=rows,
        accuracy=float((probability.argmax(1) == truth).mean()),
        complete=finished == run.inputs.n_splits,
        simulated=run.inputs.simulated,
        identity=run.identity,
    )
    write_json(run.scores_path, known)


def write_member(
    outputs: Path,
    probability_nk: np.ndarray,
    target_nk: np.ndarray,
    fold_n: np.ndarray,
    *,
    test_lk: np.ndarray | None = None,
    model: str = "wavenet",
    identity: str = "1f3a90c2d4e5",
    dataset: str = "hms",
    metric: str = "kl",
    **more: Any,
) -> Run:
    """A finished run with these predictions, collected as a training's end does; ids are "a0", "a1", …"""
    import yaml

    from bench import build
    from bench.crossval import collect

    targets = {"hms": "bench.datasets.hms.HMS", "heartbeat": "bench.datasets.heartbeat.Heartbeat"}
    folder, classes = outputs / dataset / model / identity, tuple(f"class {k}" for k in range(target_nk.shape[1]))
    node = {"_target_": targets[dataset], "root": str(outputs / "nowhere")}
    write_text(folder / "config.yaml", yaml.safe_dump(recipe(dataset=node)))
    spec = {"channels": 8, "size": [2000], "classes": list(classes), "sample_rate": None}
    known = inputs(
        dataset=dataset, model=model, metric=metric, n_splits=len(np.unique(fold_n)), test="t", group=f"{model} group",
        spec=spec,
    )  # fmt: skip
    write_json(folder / "inputs.json", {**known, **more})
    run = Run.open(folder)
    rows = pd.DataFrame({"id": [f"a{n}" for n in range(len(target_nk))], "fold": fold_n})
    rows = rows.join(pd.DataFrame(target_nk.astype(np.float32), columns=[f"target_{c}" for c in classes]))
    frames.write_frame(rows, folder / "splits.parquet")
    ids = pd.Series([f"t{n}" for n in range(0 if test_lk is None else len(test_lk))], dtype=object)
    frames.write_frame(pd.DataFrame({"id": ids}), folder / "test_ids.parquet")
    for fold in run.folds:
        here = fold_n == fold.number
        frames.write_frame(frames.oof_frame(rows[here], probability_nk[here], None, classes), fold.oof)
        if test_lk is not None:
            frames.write_frame(frames.prediction_frame(ids, test_lk, classes), fold.test)
        write_json(fold.done, {"test": "t", "test_rows": len(ids)})
    collect.collect(run, build.locate(node, "dataset").metric)  # type: ignore[attr-defined]
    rewrite(run, "scores.json", checksums={})  # tests change predictions to see what their content is refused for
    run.write_state(status="finished", pid=os.getpid(), host=socket.gethostname(), command="python -m bench.train")
    return run
