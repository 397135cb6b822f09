"""What a race over folds saves on ECG5000, and what it costs: 30 candidates of an MLP, 10 folds, 3 seeds.

    pip install -e '.[optuna]'
    python experiments/racing.py <ecg5000> <scratch folder>

For each seed the same candidates are searched four ways: all folds of all; a race; a race with median pruning by
epoch; median pruning by epoch and by fold, one candidate after another. Writes experiments/racing.md. The same command
goes on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import optuna

from bench.runs.run import Run
from bench.search import results, study

CANDIDATES, SEEDS = 30, (0, 1, 2)
WAYS = {
    "race": ["race=true"],
    "race, median by epoch": ["race=true", "prune=median"],
    "median by epoch and fold": ["prune=median"],
    "all folds of all": [],
}
WORDS = ["dataset=heartbeat", "model=mlp", "+sweep=mlp", "split.n_splits=10", "train.epochs=20", "train.min_steps=null"]
HEAD = """# A race over folds on ECG5000

`python experiments/racing.py <ecg5000> <scratch folder>` made this table: {n} candidates of `conf/sweep/mlp.yaml` (the
same in each row of a seed, by Optuna's quasi-random sampler), 10 folds of the 500 training rows, 20 epochs a fold. The
test rows are not used. `behind` is how much worse the chosen candidate's out-of-fold score (l1_20k, lower is better) is
than that of the winner among all folds of all candidates; `spread` is the winner's standard deviation over folds.

"""


def main(data: Path, scratch: Path) -> None:
    rows = []
    for seed in SEEDS:
        ways = {how: searched(how, words, seed, data, scratch) for how, words in WAYS.items()}
        winner, whole, _ = ways["all folds of all"]
        best = Run(Path(winner.user_attrs["run"])).scores()
        assert best is not None
        for how, (chosen, epochs, seconds) in ways.items():
            behind = (chosen.value or 0.0) - best.oof
            rows.append(
                {
                    "seed": seed,
                    "search": how,
                    "epochs": f"{epochs:,}",
                    "saved": f"{1 - epochs / whole:.0%}",
                    "wall s": round(seconds),
                    "chosen trial": chosen.number,
                    "out of fold": f"{chosen.value:,.0f}",
                    "behind": f"{behind:,.0f}",
                    "spread": f"{best.std:,.0f}",
                }
            )
        table = markdown(rows)
        Path(__file__).with_suffix(".md").write_text(HEAD.format(n=CANDIDATES) + table + "\n", encoding="utf-8")


def markdown(rows: list[dict[str, object]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *[list(row.values()) for row in rows]]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def searched(
    how: str, words: list[str], seed: int, data: Path, scratch: Path
) -> tuple[optuna.trial.FrozenTrial, int, float]:
    """The chosen trial, the epochs of all trials, and the seconds that the search took."""
    outputs = (scratch / f"{seed}_{how}".replace(", ", "_").replace(" ", "_")).resolve()
    done = outputs / "seconds.txt"
    options = ["sampler=qmc", f"n_trials={CANDIDATES}", f"seed={seed}", "name=race", *words]
    command = [sys.executable, "-m", "bench.train", "-m", "hydra/sweeper=optuna", *WORDS, f"seed={seed}"]
    command += [f"hydra.sweeper.{option}" for option in options]
    command += [f"dataset.root={data.resolve()}", f"outputs={outputs}", "tracking.enabled=false"]
    command += [f"data={scratch.resolve()}"]
    if not done.exists():
        shutil.rmtree(outputs, ignore_errors=True)
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        done.write_text(str(time.perf_counter() - start))
    database = optuna.storages.RDBStorage(f"sqlite:///{outputs / 'searches' / 'race' / 'study.db'}")
    loaded = optuna.load_study(study_name="race", storage=database)
    search = study.Search(loaded, {}, outputs, "")
    complete, dropped = results.ranked(search), search.of("PRUNED")
    return complete[0], results.epochs(complete, dropped)[0], float(done.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
