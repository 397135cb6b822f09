"""What a run's model is given: its inputs, for rows that are to be shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.runs.run import Run


def model_inputs(run: Run, rows: list[int]) -> tuple[dict[int, np.ndarray], str]:
    """The model's inputs (C, T) or (C, H, W) of these rows of splits.parquet, or a sentence why there are none.

    An ensemble's are those of its first member.
    """
    while (run.folder / "inputs.json").exists() and "members" in run.inputs:
        run = Run(Path(run.inputs["members"][0]["run"]))
    stores = run.inputs["stores"] if (run.folder / "inputs.json").exists() else {}
    folder = Path(stores["train"]) if "train" in stores else None
    if folder is None or not (folder / "manifest.json").exists():
        where = f" ({folder})" if folder else ""
        return {}, f"They are not drawn: the computed features are not there any more{where}."
    import torch  # only now: 500 MB, and many a run's features are gone

    from bench import build
    from bench.data.batches import Batches
    from bench.data.store import Store
    from bench.training import checkpoint

    device_half = build.build(run.config["features"], "features").device_half().eval()
    fitted = next((fold.features for fold in run.folds if fold.features.exists()), None)
    if fitted:
        checkpoint.load_weights(fitted, device_half)
    none = np.zeros((len(rows), run.spec.n_classes), np.float32)
    batches = Batches(Store(folder), np.array(rows), none, None, torch.device("cpu"), run.inputs.get("window"))
    with torch.inference_mode():
        shown = [x for batch in batches.in_order(4) for x in device_half(batch.x).float().numpy()]
    return dict(zip(rows, shown, strict=True)), ""
