"""The measured rows as a page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OURS, TRACKED = "ours", "ours, tracked"


@dataclass(frozen=True)
class Row:
    """One command: seconds, CPU seconds of all its processes, MB they held at most, the metric of each fold."""

    job: str
    tool: str
    repeat: int
    wall: float
    cpu: float
    peak_mb: float
    folds: list[float]


@dataclass(frozen=True)
class Tool:
    """A tool at a job: the least time and memory of its repeats, since all else that a machine does only adds to them.

    ``score`` and ``spread`` are the mean over repeats of the folds' mean and standard deviation.
    """

    wall: float
    cpu: float
    peak_mb: float
    score: float
    spread: float


def least(rows: Sequence[Row]) -> Tool:
    wall, cpu, peak_mb = (min(getattr(row, name) for row in rows) for name in ("wall", "cpu", "peak_mb"))
    means = [statistics.fmean(row.folds) for row in rows]
    spreads = [statistics.stdev(row.folds) for row in rows]
    return Tool(wall, cpu, peak_mb, statistics.fmean(means), statistics.fmean(spreads))


def page(machine: Mapping[str, str], rows: Sequence[Row]) -> str:
    """A table a job; ratios are the tool's over ours: above 1, ours is ahead."""
    lines = ["# Whole jobs beside other tools", "", ", ".join(f"{k} {v}" for k, v in machine.items()), ""]
    for job in dict.fromkeys(row.job for row in rows):
        mine = least([row for row in rows if (row.job, row.tool) == (job, OURS)])
        n = len({row.repeat for row in rows if row.job == job})
        lines += [f"## {job} (least of {n})", ""]
        lines += ["| tool | wall s | CPU s | peak MB | score, folds' mean ± sd | wall, CPU over ours | score equal |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
        for tool in dict.fromkeys(row.tool for row in rows if row.job == job):
            it = least([row for row in rows if (row.job, row.tool) == (job, tool)])
            equal = abs(it.score - mine.score) <= max(it.spread, mine.spread)
            figures = f"{it.wall:.1f} | {it.cpu:.1f} | {it.peak_mb:.0f} | {it.score:.4g} ± {it.spread:.2g}"
            ratio = f"{it.wall / mine.wall:.2f}, {it.cpu / mine.cpu:.2f}"
            lines += [f"| {tool} | {figures} | {ratio} | {'yes' if equal else 'no'} |"]
        lines += [""]
    return "\n".join(lines)
