"""A run's pictures and its report page."""

from __future__ import annotations

from bench.runs.run import Run
from bench.tell import say


def draw(run: Run) -> None:
    """The pictures and the page; a run is not lost for one that can't be drawn."""
    from bench.report import plots, report
    from bench.training.loading import model_inputs

    try:
        plots.draw(run)
    except (ValueError, OSError, KeyError) as error:
        say(f"plots     not drawn: {type(error).__name__}: {error}")
    try:
        judged = report.judge(run)
        examples, lacking = model_inputs(run, judged.worst())
        report.write(run, judged, examples, lacking)
    except Exception as error:  # a device half of the person's own may raise anything
        say(f"report    not written: {type(error).__name__}: {error}")
