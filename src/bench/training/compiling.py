"""``compile=auto``: whether compiling the model pays in what is left of a fold's training, measured."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from torch import nn

from bench import bounded
from bench.atomic import write_json
from bench.augment.base import prepared
from bench.data.batches import Batches
from bench.training.step import Ask, Step
from bench.training.together import Chance, timed

LONG = 600.0
"""Seconds of training that must be left: compiling takes up to a minute, and so does finding out."""
STEPS = 3


class Lasting(Protocol):
    """How long a fold is trained, and in which batches."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...


class WhereItPays:
    """Compiles a fold's model before its second epoch, where that pays: the first tells how long the others take.

    What was decided is written to ``noted``: a fold that goes on from its checkpoint ends in the same bits.
    """

    def __init__(self, noted: Path, lasting: Lasting, device_half: nn.Module, note: Callable[[str], None]) -> None:
        self.noted, self.lasting, self.device_half, self.note = noted, lasting, device_half, note
        self._compiled = False

    def __call__(self, history: Sequence[dict[str, float]], step: Step, rows: Batches) -> None:
        """Before an epoch; ``history`` has those before it, ``rows`` are those that it trains on."""
        if not history:
            self.noted.unlink(missing_ok=True)
        elif len(history) == 1 and not self.noted.exists():
            batch = next(iter(rows.shuffled(self.lasting.batch_size, (0,))))
            ask = Ask(step, prepared(batch, self.device_half, (), 0.0), None)
            compiles, measured = pays(ask, (self.lasting.epochs - 1) * history[0]["seconds"])
            write_json(self.noted, compiles)
            if measured:
                self.note(measured)
        if history and not self._compiled and self.noted.exists() and bounded.read_json(self.noted) is True:
            step.model.compile()
            self._compiled = True


def pays(ask: Ask, left: float) -> tuple[bool, str | None]:
    """Whether to compile the model that asks, and what was measured, in words; None where too little is left.

    ``left`` is in seconds. Measured on copies of the model, so that nothing of the fold changes.
    """
    if left < LONG:
        return False, None
    device = ask.batch.x.device
    with Chance(device).drawn():
        eager = Ask(ask.step.on(copy.deepcopy(ask.step.model)), ask.batch, ask.share)
        slow = timed(eager.answer, device, STEPS)
        compiled = Ask(ask.step.on(copy.deepcopy(ask.step.model)), ask.batch, ask.share)
        started = time.perf_counter()
        try:
            compiled.step.model.compile()
            compiled.answer()
        except Exception as error:  # no compiler on this machine, or an operation that it does not know
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return False, f"the model can't be compiled here: {reason:.120}"
        took = time.perf_counter() - started
        fast = timed(compiled.answer, device, STEPS)
    gain = left * (1 - fast / slow)
    measured = f"a step {slow:.0f} ms, compiled {fast:.0f} ms, compiling {took:.0f} s, {left / 60:.0f} minutes left"
    return gain > took, f"the model is {'compiled' if gain > took else 'not compiled'}: {measured}"
