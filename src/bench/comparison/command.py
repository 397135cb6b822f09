"""The comparison command: from its config to tables on the screen, a folder and its page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.cli.schema import Compare
from bench.comparison import comparison, plots, reading, sending, tables
from bench.comparison import page as comparison_page
from bench.comparison.comparison import Comparison
from bench.comparison.rows import Inputs, shown_rows
from bench.comparison.words import labels
from bench.report import figures
from bench.runs import selection
from bench.runs.frames import read_frame
from bench.runs.recipe import Sending
from bench.spec import UserError
from bench.tell import say
from bench.tracking import address
from bench.training import parts
from bench.training.model_inputs import model_inputs


def compare(config: Compare) -> Path:
    """Compares the selected runs, prints the result and writes its folder; the last line on stdout names it."""
    _refuse(config)
    selected = selection.select(config.runs or "", outputs := Path(config.outputs))
    rows, probabilities = reading.read(selected.runs)
    metric = parts.metric(selected.runs[0].made_by.dataset)
    compared = comparison.compare(selected.runs, rows, probabilities, metric, config.resamples, config.seed)
    tables.tell(compared, [f"left out: {reason}" for reason in selected.left_out])
    folder = tables.write(compared, outputs)
    _show(compared, folder, outputs, config.tracking)
    print(f"comparison {folder}", flush=True)
    return folder


def _refuse(config: Compare) -> None:
    """Raises UserError for values out of range."""
    for key, value, least in (
        ("resamples", config.resamples, 100),
        ("seed", config.seed, 0),
        ("tracking.wait", config.tracking.wait, 1),
    ):
        if value < least:
            raise UserError(f"{key}={value:g} must be {least} or more")
    if config.tracking.enabled and config.tracking.uri != address.RUN:
        address.chosen(config.tracking.uri, Path(config.outputs))
    if not config.outputs:
        raise UserError("outputs is empty: name the folder that the runs are in")
    if not config.runs:
        raise UserError("runs is not given: name two or more finished runs, as runs=[<folder>,<folder>]")


def _show(compared: Comparison, folder: Path, outputs: Path, tracking: Sending) -> None:
    """Writes figures and the page, and copies it to the runs and to MLflow. An error here does not end the command."""
    try:
        names = labels(compared.runs)
        pictures = figures.inline(drawings := plots.drawings(compared, names))
        figures.save(drawings, folder / "plots", plots.title(compared, names), compared.rows.simulated)
        page = comparison_page.write(compared, folder, pictures, _inputs(compared, outputs))
        lines = sending.leave(page, compared.runs)
        if tracking.enabled:
            lines += sending.send(folder.name, compared.runs, tracking.uri, tracking.wait, folder.parents[1])
    except Exception as error:
        lines = [f"report    not written: {type(error).__name__}: {error}"]
    for line in lines:
        say(line)


def _inputs(compared: Comparison, outputs: Path) -> Inputs:
    """The inputs of the rows that the page shows, as read by the best run whose computed features still exist."""
    rows = list(dict.fromkeys(row for _, inputs in shown_rows(compared) for row in inputs))
    ids, sentences = compared.rows.table["id"].to_numpy()[rows], []
    for run in compared.runs if rows else []:
        places = pd.Index(read_frame(run.checked("splits.parquet"), ["id"])["id"].astype(str))
        at = places.get_indexer(ids).tolist()
        try:
            inputs, reason = model_inputs(run, at, outputs)
        except Exception as error:  # a user's own device half may raise anything
            inputs, reason = {}, f"They are not drawn: {type(error).__name__}: {error}."
        if inputs:
            return Inputs(run, dict(zip(rows, (inputs[place] for place in at), strict=True)))
        sentences.append(reason)
    return Inputs(reason_missing=next(iter(sentences), ""))
