"""What MLflow runs to load and ask a registered run: a *model from code*, copied into the model as this one file.

Nothing of bench imports it. MLflow executes it while it writes a model (nothing is loaded then) and whenever one is
loaded; no pickle is written or read. The run's files lie in the model as its artifact ``run``, bench's source beside
them (``registry.py`` says why).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class RunModel(PythonModel):
    """The folds' mean prediction, as ``bench.load(run).predict`` gives it."""

    def load_context(self, context: Any) -> None:
        """Opens the run; on the device that ``load_model(uri, model_config={"device": "cpu"})`` names, else any."""
        import bench

        run = Path(context.artifacts["run"])
        folds = sorted(int(done.parent.name) for done in run.glob("folds/*/done.json"))
        config = context.model_config or {}
        packages = config.get("extensions", ())  # their source lies in this model
        self.predictor = bench.load(run, folds=folds, device=config.get("device", "auto"), extensions=packages)

    # The annotation is for MLflow: one that it knows it cannot check keeps it from rewriting or questioning the input.
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> Any:
        """N raw examples → a pandas frame of N rows and K columns ``pred_<class>``, float64.

        They come stacked, (N, …) or a dict of several such arrays; as a list, where they have lengths of their own; or
        as one example of a single axis, such as a sound. Raises ``bench.spec.UserError`` naming the example that can't
        be used.
        """
        import pandas as pd

        probability_nk = self.predictor.predict(examples(model_input))
        return pd.DataFrame(probability_nk, columns=[f"pred_{name}" for name in self.predictor.classes])


def examples(x: Any) -> list[Any]:
    """One entry an example, each what ``Dataset.read`` gives of a file."""
    if isinstance(x, Mapping):
        return [dict(zip(x, parts, strict=True)) for parts in zip(*x.values(), strict=True)]
    if isinstance(x, np.ndarray) and x.ndim == 1 and x.dtype != object:
        return [x]
    return list(x)


set_model(RunModel())
