"""Prints where a run is: in MLflow, and on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.runs.run import Run

if TYPE_CHECKING:
    from rich.console import Console


def tell_where(run: Run, uri: str | None, console: Console) -> None:
    """Prints the run's page in MLflow, and on the last line its folder."""
    if uri is not None:
        from bench.tracking.wording import before_looking, comparison, page

        tracking = run.folder / "tracking.json"
        if tracking.exists():
            console.print(f"MLflow    {before_looking(uri)}{page(uri, tracking)}", soft_wrap=True)
            console.print(f"          by model: {comparison(uri, tracking)}", soft_wrap=True)
    print(f"run {run.folder}", flush=True)
