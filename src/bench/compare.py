"""Are finished runs really different? Fold by fold, row by row, in tables, pictures and a sentence.

python -m bench.compare runs=[outputs/hms/wavenet/1f3a90c2d4e5,outputs/hms/mlp/77aa01be93fd]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.door import FAILED, INTERRUPTED, MISTAKE
from bench.cli.errors import NOT_THERE, say_mistake, word
from bench.paths import conf

if TYPE_CHECKING:
    from bench.comparison.comparison import Comparison
    from bench.comparison.rows import Inputs

ABOUT = """usage: python -m bench.compare runs=[<run>,<run>,…] [key=value …]

Says whether two or more finished runs on the same rows and folds are really different: scores by fold with a corrected
t-test, an interval of the out-of-fold difference from resampled rows (whole groups), scores by class, the rows where
the runs disagree most, and pictures; a verdict in a sentence; and report.html, a page with all of it. Each run's folder
gets a copy of the page, and so does its MLflow page where there is one. The last line names the folder that holds it
all.
A run is a folder, an identity's first digits, latest, or a query: runs=dataset=hms,loss=kl."""


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    text = (conf() / "compare.yaml").read_text(encoding="utf-8")
    if {"-h", "--help"} & set(words):
        print(f"{ABOUT}\n\nKeys and their defaults:\n  " + "\n  ".join(text.splitlines()[1:]) + "\n")
        print("Exit codes: 0 done, 1 failed, 2 a mistake in the command or the runs, 130 interrupted.")
        return 0
    from bench.spec import UserError

    try:
        compare(words, text)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        say_mistake(word(error))
        mistake = isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in NOT_THERE)
        return MISTAKE if mistake else FAILED
    return 0


def compare(words: list[str], defaults: str) -> None:
    """Selects and compares the runs, tells, and writes the folder; ``defaults`` is the text of conf/compare.yaml."""
    from bench import build
    from bench.comparison import comparison, reading, tables
    from bench.runs import selection

    config = tables.settings(words, defaults)
    chosen = selection.select(config["runs"], outputs := Path(config["outputs"]))
    rows, probabilities = reading.read(chosen.runs)
    metric = build.locate(chosen.runs[0].config["dataset"], "dataset").metric  # type: ignore[attr-defined]
    found = comparison.compare(chosen.runs, rows, probabilities, metric, config["resamples"], config["seed"])
    tables.tell(found, [f"left out: {left}" for left in chosen.left_out])
    folder = tables.write(found, outputs)
    _show(found, folder, config)
    print(f"comparison {folder}", flush=True)


def _show(found: Comparison, folder: Path, config: dict[str, Any]) -> None:
    """Figures and the page, its copies in the runs' folders, and those in MLflow; a comparison is not lost for them."""
    from bench.comparison import page as comparison_page
    from bench.comparison import plots, sending
    from bench.comparison.words import labels
    from bench.report import figures
    from bench.tell import say

    try:
        names = labels(found.runs)
        pictures = figures.inline(drawings := plots.drawings(found, names))
        figures.save(drawings, folder / "plots", plots.title(found, names), found.rows.simulated)
        page = comparison_page.write(found, folder, pictures, _inputs(found))
        said = sending.leave(page, found.runs)
        if config["tracking.enabled"]:
            said += sending.send(folder.name, found.runs, config["tracking.uri"], config["tracking.wait"])
    except Exception as error:
        said = [f"report    not written: {type(error).__name__}: {error}"]
    for line in said:
        say(line)


def _inputs(found: Comparison) -> Inputs:
    """What the rows that the runs tell differently look like to the best of them whose features are still there."""
    import pandas as pd

    from bench.comparison.rows import Inputs, shown_rows
    from bench.training.model_inputs import model_inputs

    rows = list(dict.fromkeys(row for _, shown in shown_rows(found) for row in shown))
    ids, sentences = found.rows.table["id"].to_numpy()[rows], []
    for run in found.runs if rows else []:
        places = pd.Index(pd.read_parquet(run.folder / "splits.parquet", columns=["id"])["id"].astype(str))
        at = places.get_indexer(ids).tolist()
        try:
            shown, lacking = model_inputs(run, at)
        except Exception as error:  # a device half of the person's own may raise anything
            shown, lacking = {}, f"They are not drawn: {type(error).__name__}: {error}."
        if shown:
            return Inputs(run, dict(zip(rows, (shown[place] for place in at), strict=True)))
        sentences.append(lacking)
    return Inputs(lacking=next(iter(sentences), ""))


if __name__ == "__main__":
    sys.exit(main())
