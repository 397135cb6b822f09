"""bench: cross-validated, tracked, resumable training for competitions on signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.prediction.predictor import Predictor

__version__ = "0.2.0"


def load(run: Any, **options: Any) -> Predictor:
    """A finished run that predicts: ``bench.load("latest").predict(folder or raw examples)``.

    ``run`` is a run's folder or identity, ``latest``, or a query. Options (of ``bench.prediction.blended.load``):
    ``folds``, ``device``, ``outputs``, ``store``, ``extensions`` (packages of your own that the run was made with),
    ``runtime`` (torch, onnx or openvino: what computes the networks);
    ``Predictor.predict`` says what goes in and what comes out.
    """
    from bench.prediction import blended  # with torch and all: `import bench` alone costs nothing

    return blended.load(run, **options)
