"""The inputs of a run's model, for plots of single rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.runs import inputs, inside
from bench.runs.run import Run

DEEPEST = 10
"""Ensembles of ensembles that are followed: a folder may name itself."""


def model_inputs(run: Run, rows: list[int], outputs: Path | None = None) -> tuple[dict[int, np.ndarray], str]:
    """The model's inputs (C, T) or (C, H, W) of these rows of splits.parquet, or a sentence why there are none.

    An ensemble's are those of its first member. ``outputs`` is the person's folder where the run may be a stranger's,
    whose computed features are not looked for.
    """
    if outputs is not None and (reason := inside.elsewhere(run.folder, outputs)):
        return {}, f"They are not drawn: {reason}."
    outputs = inside.outputs_of(run.folder)
    for _ in range(DEEPEST):
        if not (run.folder / inputs.FILE).exists() or not run.inputs.members:
            break
        member = Path(run.inputs.members[0].run)
        if not inside.within(member, outputs):
            return {}, f"They are not drawn: the member {member} does not lie in {outputs}."
        run = Run.open(member)
    known = run.inputs if (run.folder / inputs.FILE).exists() else None
    folder = Path(known.stores["train"]) if known and "train" in known.stores else None
    if known is None or folder is None or not (folder / "manifest.json").exists():
        where = f" ({folder})" if folder else ""
        return {}, f"They are not drawn: the computed features are not there any more{where}."
    import torch  # only now: it takes 500 MB, and many a run's features are gone

    from bench.data.batches import Batches
    from bench.data.store import Store
    from bench.training import checkpoint, parts

    device_half = parts.features(run.recipe.features).device_half().eval()
    fitted = next((fold.checked(fold.features) for fold in run.folds if fold.features.exists()), None)
    if fitted:
        checkpoint.load_weights(fitted, device_half)
    none = np.zeros((len(rows), run.spec.n_classes), np.float32)
    batches = Batches(Store(folder), np.array(rows), none, None, torch.device("cpu"), known.window)
    with torch.inference_mode():
        arrays = [x for batch in batches.in_order(4) for x in device_half(batch.x).float().numpy()]
    return dict(zip(rows, arrays, strict=True)), ""
