"""Are finished runs really different? Fold by fold, row by row, in tables, pictures and a sentence.

python -m bench.compare runs=[outputs/hms/wavenet/1f3a90c2d4e5,outputs/hms/mlp/77aa01be93fd]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.cli import FAILED, INTERRUPTED, MISTAKE, NOT_THERE, conf, say_mistake, word

ABOUT = """usage: python -m bench.compare runs=[<run>,<run>,…] [key=value …]

Says whether two or more finished runs on the same rows and folds are really different: scores by fold with a corrected
t-test, an interval of the out-of-fold difference from resampled rows (whole groups), scores by class, the rows where
the runs disagree most, and pictures; and a verdict in a sentence. The last line names the folder that holds it all.
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
    from bench.results import comparison, comparison_report, selection

    config = comparison_report.settings(words, defaults)
    chosen = selection.select(config["runs"], outputs := Path(config["outputs"]))
    rows, probabilities = comparison.read(chosen.runs)
    metric = build.locate(chosen.runs[0].config["dataset"], "dataset").metric  # type: ignore[attr-defined]
    found = comparison.compare(chosen.runs, rows, probabilities, metric, config["resamples"], config["seed"])
    comparison_report.tell(found, [f"left out: {left}" for left in chosen.left_out])
    print(f"comparison {comparison_report.write(found, outputs)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
