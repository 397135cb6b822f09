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

from bench.spec import UserError


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.fold")
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
    from bench.data.augment import InTurn
    from bench.data.batches import Batches
    from bench.data.row_weights import RowWeights
    from bench.data.store import Store
    from bench.datasets.base import serves, targets
    from bench.results.run import Run
    from bench.training import checkpoint, collect, inference, initial, loop

    def report(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    torch.set_num_threads(options.threads)
    run = Run.open(options.run)
    config, spec, fold = run.config, run.spec, run.fold(options.number)
    device = torch.device(_device(options.device))
    metric = build.locate(config["dataset"], "dataset").metric  # type: ignore[attr-defined]
    train_config = config["train"]
    settings = loop.Settings(seed=config["seed"], **train_config)
    with FileLock(fold.folder / ".lock", timeout=60):  # a predecessor that is being ended may still hold it
        rows = pd.read_parquet(run.folder / "splits.parquet")
        stores = {part: Store(Path(path)) for part, path in run.inputs["stores"].items()}
        window = run.inputs["window"]
        held_out = rows["fold"].to_numpy() == fold.number
        trained, validated = ~held_out & serves(rows, "trained"), held_out & serves(rows, "validated")
        target = targets(rows)
        example = rows["example"].factorize()[0] if "example" in rows else np.arange(len(rows))
        weight = rows["weight"].to_numpy(np.float32) if "weight" in rows else None

        def side(mask: np.ndarray) -> Batches:
            own = None if weight is None else weight[mask]
            return Batches(stores["train"], np.flatnonzero(mask), target[mask], own, device, window, example[mask])

        train, valid = side(trained), side(validated)
        own = np.ones(len(train), np.float32) if weight is None else weight[trained]
        by_epoch = None
        if config["row_weights"]["_target_"] != "none":
            factors: RowWeights = build.partial(config["row_weights"], "row_weights", 3)
            by_epoch = lambda epoch: own * factors(rows[trained], epoch, settings.epochs)  # noqa: E731
        report({"kind": "note", "text": f"training on {train.where}"})
        torch.manual_seed(loop.epoch_seed(settings.seed, fold.number))
        node = dict(config["model"])
        if node.get("weights"):
            node["weights"] = initial.file_for(node["weights"], fold.number)
        model = build.build(node, "model", spec).to(device)
        optimizer = build.build(config["optimizer"], "optimizer", model.parameters())
        device_half = build.build(config["features"], "features").device_half().to(device)
        if hasattr(device_half, "fit"):  # on the training side alone: nothing of the other is known to the model
            device_half.fit(batch.x for batch in train.in_order(settings.eval_batch_size))
            checkpoint.save_weights(fold.folder / "features.safetensors", device_half)
        unmasked = {"mask_above": None} if "mask_above" in config["loss"] else {}  # every validation row counts
        parts = loop.Parts(
            model=torch.compile(model) if options.compile else model,  # type: ignore[arg-type]
            device_half=device_half,
            loss=build.partial(config["loss"], "loss", 3),
            optimizer=optimizer,
            schedule=build.partial(config["scheduler"], "scheduler", 3),
            metric=metric,
            row_weights=by_epoch,
            valid_loss=build.partial({**config["loss"], **unmasked}, "loss", 3),
            augment=InTurn(changes) if (changes := build.each(config["augment"], "augment")) else None,
        )
        loop.fit(parts, train, valid, settings, fold, report)

        def predict(side: Batches) -> np.ndarray:
            answer = inference.logits(
                parts.model, parts.device_half, side, settings.eval_batch_size, settings.precision
            )
            return inference.probabilities(answer)

        collect.write_frame(collect.oof_frame(rows[validated], predict(valid), spec.classes), fold.oof)
        test = stores["test"]
        fold.test.unlink(missing_ok=True)
        if len(test):
            none = np.zeros((len(test), spec.n_classes), np.float32)
            probability = predict(Batches(test, np.arange(len(test)), none, None, device, window))
            ids = pd.read_parquet(run.folder / "test_ids.parquet")["id"]
            collect.write_frame(collect.prediction_frame(ids, probability, spec.classes), fold.test)
        kept = loop.best_epoch(fold.history(), settings, metric)
        done = {
            "kept_epoch": kept + 1,
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
