"""Several folds of a run in one process, together where that is quicker.

What each leaves is as from a process of its own. A fold that fails leaves its error in its own log and ends no other.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TextIO

import torch

from bench.crossval.fold_training import Options, fold_in_training
from bench.runs.run import Run
from bench.training import device
from bench.training.together import GAIN, Together, chosen

Sentence = Callable[[BaseException], str | None]


def train_folds(options: Options, numbers: Sequence[int], always: bool, events: TextIO, sentence: Sentence) -> int:
    """Trains the folds of a run; returns how many failed.

    A short trial chooses how they train together. Where nothing is quicker than one after another, and not ``always``
    the quickest is asked for, the event ``apart`` tells so, and the first fold is trained alone: the others may have
    processes of their own. ``sentence`` puts an expected error in words.
    """
    torch.set_num_threads(options.threads)
    run, failed = Run.open(options.run), []
    options = replace(options, compile="graph" if options.compile == "graph" else None)

    def tell(number: int, **event: Any) -> None:
        events.write(json.dumps({"fold": number, **event}) + "\n")
        events.flush()

    def ended(number: int, error: Exception | None) -> None:
        if error is not None:
            failed.append(number)
            told = sentence(error) or "".join(traceback.format_exception(error))
            with run.fold(number).log.open("a", encoding="utf-8") as log:
                log.write(told.rstrip() + "\n")
        tell(number, kind="ended", failed=error is not None)

    together, waiting = Together(device.choose(options.device), ended), list(numbers)

    def begin() -> None:
        number = waiting.pop(0)
        run.fold(number).folder.mkdir(parents=True, exist_ok=True)
        together.begin(number, fold_in_training(replace(options, number=number), events))

    while waiting and not together.asks:
        begin()
    way = None
    if waiting:
        (first, ask), n_folds = next(iter(together.asks.items())), 1 + len(waiting)
        way, measured = chosen(ask, n_folds, 0.0 if always else GAIN)
        how = {None: "apart", "batched": "as one batched model", "streams": "each on a stream of its own"}[way]
        tell(first, kind="note", text=f"folds train {how}: {measured}")
        if way is None:
            tell(first, kind="apart")
            waiting = []
    while waiting:
        begin()
    together.train(way)
    return len(failed)
