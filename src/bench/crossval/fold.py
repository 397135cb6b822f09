"""One fold's process: builds the objects from the run's folder, trains, predicts, and marks the fold as done.

Started by ``training.folds``; nobody types it. Standard output carries JSON events, the rest goes to the fold's log.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from bench.runs import frames
from bench.spec import UserError
from bench.training.seeds import EXTRA, VIEWS, epoch_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.crossval.fold")
    parser.add_argument("run")
    parser.add_argument("number", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints belongs in the log
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from bench.training.loop import LossIsNaN

    try:
        train_fold(options, events)
    except (UserError, LossIsNaN) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = error.filename or options.run
        print(
            f"the disk is full ({where}); free some space, the same command goes on from the last epoch",
            file=sys.stderr,
        )
        return 1
    return 0


def train_fold(options: argparse.Namespace, events: TextIO) -> None:
    import numpy as np
    import pandas as pd
    import torch
    from filelock import FileLock

    from bench import build
    from bench.atomic import write_json
    from bench.crossval import sides, warm_start
    from bench.crossval.added_rows import extra_rows
    from bench.data.batches import Batches
    from bench.data.store import Store
    from bench.runs.run import Run
    from bench.training import checkpoint, inference, loop

    def report(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    def note(text: str) -> None:
        report({"kind": "note", "text": text})

    torch.set_num_threads(options.threads)
    run = Run.open(options.run)
    config, spec, fold = run.config, run.spec, run.fold(options.number)
    device = torch.device(_device(options.device))
    metric = build.locate(config["dataset"], "dataset").metric  # type: ignore[attr-defined]
    train_config = dict(config["train"])
    balanced = train_config.pop("balanced")
    settings = loop.Settings(seed=config["seed"], **train_config)

    def seed(*numbers: int) -> int:
        return epoch_seed(settings.seed, fold.number, *numbers)

    with FileLock(fold.folder / ".lock", timeout=60):  # a predecessor that is being ended may still hold it
        rows = pd.read_parquet(run.folder / "splits.parquet")
        stores = {part: Store(Path(path)) for part, path in run.inputs["stores"].items()}
        window = run.inputs["window"]
        both = sides.Sides(rows, fold.number, stores["train"], device, window, balanced)
        extras = extra_rows(run, fold, both, stores, lambda number: seed(EXTRA, number), note)
        train, valid = both.training(extras), both.batches(both.validated)
        weights = None
        if config["row_weights"]["_target_"] != "none":
            factors = build.partial(config["row_weights"], "row_weights", 3)
            weights = sides.by_epoch(both, extras, factors, settings.epochs)
        note(f"training on {train.where}")
        torch.manual_seed(seed())
        model = build.build(config["model"], "model", spec)
        if config["init_from"]:
            anew = warm_start.load(model, warm_start.file_for(config["init_from"], fold.number), spec.n_classes)
            if anew:
                note(f"{', '.join(anew)} start anew: the classes are others than in {config['init_from']}")
        model = model.to(device)
        optimizer = build.build(config["optimizer"], "optimizer", model.parameters())
        features = build.build(config["features"], "features")
        device_half = features.device_half().to(device)
        if device_half.learns:  # on the training side alone: nothing of the other is known to the model
            measured = both.batches(both.trained)
            device_half.fit(batch.x for batch in measured.in_order(settings.eval_batch_size))
            checkpoint.save_weights(fold.features, device_half)
        unmasked = {"mask_above": None} if "mask_above" in config["loss"] else {}  # every validation row counts
        augment = build.each(config["augment"], "augment", features=features)
        if options.compile:
            model.compile()
        parts = loop.Parts(
            model=model,
            device_half=device_half,
            loss=build.partial(config["loss"], "loss", 3),
            optimizer=optimizer,
            schedule=build.partial(config["scheduler"], "scheduler", 4),
            metric=metric,
            row_weights=weights,
            valid_loss=build.partial({**config["loss"], **unmasked}, "loss", 3),
            augment=augment,
        )
        loop.fit(parts, train, valid, settings, fold, report)
        history = fold.history()
        kept = loop.best_epoch(history, settings, metric) + 1
        if settings.keep != "last":
            by = "validation loss" if settings.keep == "loss" else metric.name
            note(f"keeps epoch {kept} of {len(history)}, the best by {by}")
        views = []
        if config["tta"]["_target_"] != "none":
            views = build.build(config["tta"], "tta").views(features, augment)

        def predict(side: Batches) -> tuple[np.ndarray, np.ndarray | None]:
            """Probabilities, and beside those of several views the plain ones."""
            how = (parts.model, parts.device_half, side, settings.eval_batch_size, settings.precision)
            plain = inference.probabilities(inference.logits(*how))
            return (inference.averaged(*how, views, lambda view: seed(VIEWS, view)), plain) if views else (plain, None)

        frames.write_frame(frames.oof_frame(rows[both.validated], *predict(valid), spec.classes), fold.oof)
        test = stores["test"]
        fold.test.unlink(missing_ok=True)
        if len(test):
            none = np.zeros((len(test), spec.n_classes), np.float32)
            probability, _ = predict(Batches(test, np.arange(len(test)), none, None, device, window))
            ids = pd.read_parquet(run.folder / "test_ids.parquet")["id"]
            frames.write_frame(frames.prediction_frame(ids, probability, spec.classes), fold.test)
        done = {
            "kept_epoch": kept,
            "epochs": len(history),
            "test": run.inputs["test"],
            "test_rows": len(test),
            "device": str(device),
            "peak_memory_mb": _peak_memory(),
        }
        write_json(fold.done, done)


def _device(name: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _peak_memory() -> int | None:
    """MB that this process has taken at most; the kernel's own maximum would count the parent's, up to the exec."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), None)


def _end_with_parent() -> None:
    """Ends this process when its standard input closes: the parent is gone, and may be started again any moment."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
