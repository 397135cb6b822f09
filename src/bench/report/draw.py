"""A run's figures and its report page."""

from __future__ import annotations

from bench.runs.run import Run
from bench.spec import Metric
from bench.tell import say


def draw(run: Run, metric: Metric) -> None:
    """Writes figures into ``<run>/plots``, and the report page. An error is printed and does not end the run."""
    from bench.report import figures, plots, report
    from bench.report.judged import judge
    from bench.training.model_inputs import model_inputs

    try:
        judged = judge(run)
    except Exception as error:
        say(f"report    not written: {type(error).__name__}: {error}")
        return
    pictures: dict[str, str] = {}
    try:
        drawings = plots.drawings(run, metric, judged)
        pictures = figures.inline({name: drawing for name, drawing in drawings.items() if name != "synthetic"})
        figures.save(drawings, run.folder / "plots", plots.title(run), run.inputs.simulated)
    except (ValueError, OSError, KeyError) as error:
        say(f"plots     not drawn: {type(error).__name__}: {error}")
    try:
        examples, reason = model_inputs(run, judged.worst())
        report.write(run, metric, judged, pictures, examples, reason)
    except Exception as error:  # a user's own device half may raise anything
        say(f"report    not written: {type(error).__name__}: {error}")
