"""bench: cross-validated, tracked, resumable training for competitions on signals.

In Python: ``compose`` the words of a training command, ``fit`` what they say, ``load`` a run that predicts, and
``scores`` of the runs there are. Nothing heavy is imported before one of them is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Literal

    import pandas as pd

    from bench.crossval.job import Job
    from bench.prediction.predictor import Predictor
    from bench.runs.outcome import Outcome

__all__ = ["compose", "fit", "load", "scores"]
__version__ = "0.2.0"


def compose(*words: str) -> Job:
    """What ``python -m bench.train <words>`` would train: ``bench.compose("dataset=hms", "model=wavenet", "seed=1")``.

    ``Job.recipe`` is the typed recipe. Raises ``bench.spec.UserError`` with a sentence for a word that the command
    would refuse. Nothing is read or trained.
    """
    from bench.crossval import job

    return job.compose(words)


def fit(job: Job) -> Outcome:
    """Trains the job's folds, each in a process of its own, and collects them, as the command does.

    What is finished already is not trained again. ``Outcome.run.folder`` holds everything, ``Outcome.scores`` the
    scores: ``oof`` (all rows at once), ``folds``, ``mean``, ``std``, ``baseline``. Raises ``bench.spec.UserError``
    for a mistake in the words or in the files, RuntimeError where a fold failed, with the folder that holds its log.
    """
    return job.fit()


def load(
    run: str | Path,
    folds: Sequence[int] | None = None,
    device: str = "auto",
    outputs: str | Path = "outputs",
    store: str | Path = "data/store",
    extensions: Sequence[str] = (),
    runtime: Literal["torch", "onnx", "openvino"] = "torch",
) -> Predictor:
    """A finished run that predicts: ``bench.load("latest").predict(folder or raw examples)``.

    ``run`` is a run's folder or identity, ``latest``, ``best``, or a query such as ``dataset=hms,model=wavenet``,
    looked for in ``outputs``. ``folds`` None: the mean of all. ``extensions`` are packages of your own that the run was
    made with, ``runtime`` is what computes the networks. ``Predictor.predict`` says what goes in and what comes out.
    Raises ``bench.spec.UserError`` for a run that is not there or not finished.
    """
    from bench.prediction import blended

    return blended.load(run, folds, device, outputs, store, extensions, runtime)


def scores(query: str | None = None, outputs: str | Path = "outputs") -> pd.DataFrame:
    """The scores of the finished runs of ``outputs``, a row a run, the best first within a data set and metric.

    ``query`` as of ``python -m bench.leaderboard``: ``"dataset=hms,model=wavenet"``, ``"best:3,dataset=hms"``; None:
    all runs. Columns: dataset, model, identity, metric, direction, simulated, score (of all out-of-fold rows), mean
    and std (over folds), baseline, accuracy, rows, folds, seed, group, folder. Raises ``bench.spec.UserError`` for a
    query that no run meets.
    """
    from pathlib import Path

    from bench.runs import scored, selection

    folder = Path(outputs)
    return scored.frame(selection.matching(query, folder) if query else selection.everything(folder))
