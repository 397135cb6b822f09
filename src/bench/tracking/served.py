"""The code of a registered run, as MLflow's *model from code*: this file is copied into the model.

bench itself does not import it. MLflow executes it when it writes a model (without loading the run) and when it loads
one; no pickle is written or read. The model holds the run's files as its artifact ``run``, and bench's source (see
``registry.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class RunModel(PythonModel):  # type: ignore[misc]  # mlflow is not followed
    """The folds' mean prediction: that of ``bench.load(run).predict``."""

    def load_context(self, context: Any) -> None:
        """Opens the run. ``load_model(uri, model_config={"device": "cpu"})`` sets the device; the default is auto."""
        import bench

        run = Path(context.artifacts["run"])
        folds = sorted(int(done.parent.name) for done in run.glob("folds/*/done.json"))
        config = context.model_config or {}
        packages = config.get("extensions", ())  # their source is in this model
        self.predictor = bench.load(run, folds=folds, device=config.get("device", "auto"), extensions=packages)

    # MLflow does not convert or validate the input with this annotation.
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> Any:
        """N raw examples → a pandas frame of N rows and K columns ``pred_<class>``, float64.

        ``model_input`` is one stacked array (N, …), a dict of such arrays, a list of examples of different lengths, or
        one example of a single axis, such as a sound. Raises ``bench.spec.UserError`` naming an invalid example.
        """
        import pandas as pd

        probability_nk = self.predictor.predict(examples(model_input))
        return pd.DataFrame(probability_nk, columns=[f"pred_{name}" for name in self.predictor.classes])


def examples(x: Any) -> list[Any]:
    """A list with one entry per example, each as ``Dataset.read`` returns it for a file."""
    if isinstance(x, Mapping):
        return [dict(zip(x, parts, strict=True)) for parts in zip(*x.values(), strict=True)]
    if isinstance(x, np.ndarray) and x.ndim == 1 and x.dtype != object:
        return [x]
    return list(x)


set_model(RunModel())
