"""What a search leaves: a table, the best trial's command, its runs' names and a page with pictures."""

from __future__ import annotations

import base64
import csv
import html
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.addresses import public, word_without_secrets
from bench.atomic import write_json, write_text
from bench.runs.inputs import FILE
from bench.runs.recipe import Tracking
from bench.runs.run import Run
from bench.runs.searched import PAGE, TABLE, Searched, SearchOutcome
from bench.runs.selection import SEARCH_RUNS
from bench.search import space as spaces
from bench.spec import Direction
from bench.tell import console, figure

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from bench.search.study import Search


@dataclass(frozen=True)
class Task:
    """What the trials are judged by, and where they are tracked."""

    dataset: str
    metric: str
    tracking: Tracking
    outputs: Path


SHOWN = 10
PICTURES = ("plot_optimization_history", "plot_param_importances", "plot_slice", "plot_parallel_coordinate")
NOTE = "The best trial's score was chosen among all trials', so it flatters: confirm it with other seeds or test rows."


def leave(search: Search, fixed: list[str], task: Task) -> bool:
    """Writes runs.json, trials.csv, search.json and search.html into the search's folder, and prints the best trials;
    whether there are any.
    """
    metric = task.metric
    complete, failed = ranked(search), [t for t in search.of("FAIL") if "again" not in t.user_attrs]
    runs = {str(trial.user_attrs["run"]) for trial in complete if trial.user_attrs.get("run")}
    write_json(search.folder / SEARCH_RUNS, sorted(runs))
    screen = console(160, markup=False)
    dropped = search.of("PRUNED")
    ended = f"{len(complete)} trials complete, " + (f"{len(dropped)} dropped, " if dropped else "")
    screen.print(f"\nsearch    {search.study.study_name}: {ended}{len(failed)} failed")
    if dropped and complete:
        trained, planned = epochs(complete, dropped)
        if planned:
            screen.print(f"epochs    {trained:,} of about {planned:,} ({1 - trained / planned:.0%} saved)")
    for trial in failed[-3:]:
        screen.print(f"trial {trial.number} failed: {trial.user_attrs.get('error')}", soft_wrap=True)
    if not complete:
        return False
    screen.print(_table(complete[:SHOWN], metric))
    command = best_command(complete[0], fixed)
    write_text(search.folder / PAGE, page(search, complete, metric, command))
    write_text(search.folder / TABLE, table_of_all(search, metric))
    Searched(search.folder, _outcome(search, task, complete, (len(dropped), len(failed)), command)).write()
    screen.print(f"best      {command}", soft_wrap=True)
    screen.print(f"page      {search.folder / PAGE}", soft_wrap=True)
    return True


def _outcome(
    search: Search, task: Task, complete: list[FrozenTrial], others: tuple[int, int], command: str
) -> SearchOutcome:
    ended = [trial.datetime_complete for trial in search.study.get_trials(deepcopy=False) if trial.datetime_complete]
    began = [trial.datetime_start for trial in complete if trial.datetime_start]
    return SearchOutcome(
        name=search.study.study_name,
        dataset=task.dataset,
        metric=task.metric,
        direction=Direction.MAX if search.direction == "maximize" else Direction.MIN,
        simulated=bool(_simulated(complete)),
        complete=len(complete),
        dropped=others[0],
        failed=others[1],
        best=complete[0].value or 0.0,
        command=command,
        began=min(began).timestamp(),
        ended=max(ended).timestamp(),
        space=spaces.described(search.space),
        uri=task.tracking.uri and public(task.tracking.uri),
    )


def table_of_all(search: Search, metric: str) -> str:
    """All trials in their order as CSV: how each ended, its score, whether that is on simulated data, its parameters,
    run and error.
    """
    file = io.StringIO()
    keys = list(search.space)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", "state", metric, "simulated", *keys, "run", "error"])
    for trial in search.study.get_trials(deepcopy=False):
        simulated = str(bool(trial.user_attrs.get("simulated"))).lower()
        value = "" if trial.value is None else repr(trial.value)
        values = [str(trial.params.get(key, "")) for key in keys]
        facts = [str(trial.user_attrs.get(key) or "") for key in ("run", "error")]
        writer.writerow([trial.number, trial.state.name.lower(), value, simulated, *values, *facts])
    return file.getvalue()


def ranked(search: Search) -> list[FrozenTrial]:
    """The complete trials, the best first; of equals the earliest."""
    sign = -1 if search.study.direction.name == "MAXIMIZE" else 1
    return sorted(search.of("COMPLETE"), key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def epochs(complete: list[FrozenTrial], dropped: list[FrozenTrial]) -> tuple[int, int]:
    """Epochs that the trials' folds have had, and about how many they would have had without dropping any.

    A dropped trial's folds count as its own finished ones do, or where it has none as the complete trials' do. Runs
    that a cleaning has deleted are left out.
    """
    complete, dropped = ([trial for trial in trials if _has_run(trial)] for trials in (complete, dropped))
    if not complete:
        return 0, 0
    whole = [_epochs(trial, all_begun=False) for trial in complete]
    trained = planned = sum(map(sum, whole))
    n_folds = max(map(len, whole))
    usual = trained / max(1, sum(map(len, whole)))
    for trial in dropped:
        finished = _epochs(trial, all_begun=False)
        trained += sum(_epochs(trial, all_begun=True))
        planned += round(n_folds * (sum(finished) / len(finished) if finished else usual))
    return trained, planned


def _has_run(trial: FrozenTrial) -> bool:
    folder = trial.user_attrs.get("run")
    return not folder or (Path(folder) / FILE).exists()


def _epochs(trial: FrozenTrial, all_begun: bool) -> list[int]:
    """Epochs of each of a trial's finished folds, or of all that have begun."""
    folder = trial.user_attrs.get("run")
    folds = Run(Path(folder)).folds if folder else []
    return [len(fold.history()) for fold in folds if fold.finished or (all_begun and fold.history())]


def best_command(trial: FrozenTrial, fixed: list[str]) -> str:
    import shlex

    words = map(word_without_secrets, [*fixed, *spaces.words(trial.params)])
    return shlex.join(["python", "-m", "bench.train", *words])


def _table(trials: list[FrozenTrial], metric: str) -> Any:
    from rich.table import Table

    keys = list(trials[0].params)
    table = Table("trial", metric, *keys, "run", box=None, title=_simulated(trials) or None, title_justify="left")
    for trial in trials:
        values = [_short(trial.params[key]) for key in keys]
        run = Path(str(trial.user_attrs.get("run") or "")).name
        table.add_row(str(trial.number), figure(trial.value or 0.0), *values, run)
    return table


def _simulated(trials: list[FrozenTrial]) -> str:
    """What is said of scores on simulated data."""
    return "SIMULATED data" if any(trial.user_attrs.get("simulated") for trial in trials) else ""


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def page(search: Search, complete: list[FrozenTrial], metric: str, command: str) -> str:
    """One page without scripts or network: the figures, the best command, all complete trials."""
    keys = list(complete[0].params)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("trial", metric, *keys, "run"))
    rows = []
    for trial in complete:
        cells = [str(trial.number), figure(trial.value or 0.0), *(_short(trial.params[key]) for key in keys)]
        cells.append(Path(str(trial.user_attrs.get("run") or "")).name)
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    name = html.escape(search.study.study_name)
    style = (
        ":root{color-scheme:light dark}"
        "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
        "img{max-width:100%;background:white}td,th{padding:.2rem .8rem .2rem 0;text-align:left}"
        "pre{overflow-x:auto}.wide{overflow-x:auto}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style><h1>Search {name}</h1>'
        f"<p><strong>{_simulated(complete)}</strong> {len(complete)} complete trials by out-of-fold "
        f"{html.escape(metric)}. {NOTE}</p>"
        f"<pre>{html.escape(command)}</pre>{''.join(_pictures(search, metric))}"
        f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div></html>'
    )


def _pictures(search: Search, metric: str) -> list[str]:
    """Optuna's figures that these trials suffice for, as images in the page."""
    import matplotlib as mpl
    from optuna.visualization import matplotlib as drawn

    mpl.use("agg")
    import matplotlib.pyplot as plt

    images = []
    for name in PICTURES:
        with warnings.catch_warnings():  # its figures are marked as experimental, and tell of layouts
            warnings.simplefilter("ignore")
            try:
                getattr(drawn, name)(search.study, target_name=metric)
            except (ValueError, RuntimeError, ZeroDivisionError):  # too few trials, or all alike
                plt.close("all")
                continue
            buffer = io.BytesIO()
            plt.gcf().set_size_inches(11, 4.5)  # wide enough for the labels of several keys
            plt.gcf().savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        plt.close("all")
        label = name.removeprefix("plot_").replace("_", " ")
        encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
        images.append(f'<h2>{label}</h2><img alt="{label}" src="data:image/png;base64,{encoded}">')
    return images
