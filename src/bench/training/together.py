"""Folds of one architecture that train in one process: as one batched model, or each on a CUDA stream of its own.

A fold in training (``loop.fitting``) asks for each batch's gradients and does all else by itself: its rows, their
order, its augmentation, its optimizer, judging, early stopping and checkpoints. So a fold learns the same here as
alone, up to rounding.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from bench.training.batched import Batched, CantBeBatched
from bench.training.step import Ask, Training

Way = Literal["batched", "streams"]
Ended = Callable[[int, Exception | None], None]
"""Told of each fold that ends: its number, and what ended it where it has failed."""

TRIAL = 8  # steps that a trial times, after as many that warm up
GAIN = 1.25  # folds together must be so many times as fast as one after another
ROOM = 0.7  # of the device's free memory that the folds may take together


def alone(training: Generator[Ask, Tensor, object]) -> None:
    """Trains one fold to its end."""
    ask = next(training, None)
    while ask is not None:
        ask = _next(training, ask.answer())


def _next(training: Generator[Ask, Tensor, object], loss: Tensor) -> Ask | None:
    try:
        return training.send(loss)
    except StopIteration:
        return None


class Chance:
    """The random state of one fold: within ``with`` it is torch's own."""

    def __init__(self, device: torch.device) -> None:
        self._index = None
        if device.type == "cuda":
            torch.cuda.init()  # a device that is named by its number starts nothing, and has no generator until then
            self._index = torch.cuda.current_device() if device.index is None else device.index
            self._gpu = torch.Generator(device).graphsafe_get_state()
        self._cpu = torch.get_rng_state()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """torch draws from this state within the block, and from what it was before after it."""
        before = torch.get_rng_state()
        torch.set_rng_state(self._cpu)
        if self._index is not None:
            default = torch.cuda.default_generators[self._index]
            outside = default.graphsafe_get_state()
            default.graphsafe_set_state(self._gpu)
        try:
            yield
        finally:
            self._cpu = torch.get_rng_state()
            torch.set_rng_state(before)
            if self._index is not None:
                self._gpu = default.graphsafe_get_state()
                default.graphsafe_set_state(outside)


class Together:
    """Folds that train in turn, batch by batch, in one of two ways.

    ``batched``: when all ask for batches of one shape, one model with a further axis of folds answers all at once. The
    odd batch at an epoch's end is answered by itself. ``streams``: each fold's kernels run on a stream of its own, so
    that the device works on one fold's while another's are launched.
    """

    def __init__(self, device: torch.device, ended: Ended) -> None:
        self.device, self.ended = device, ended
        self.asks: dict[int, Ask] = {}
        self._folds: dict[int, Training] = {}
        self._chances: dict[int, Chance] = {}
        self._streams: dict[int, torch.cuda.Stream] = {}
        self._batched: Batched | None = None

    def begin(self, number: int, training: Training) -> None:
        """Takes a fold to its first batch, which is among ``asks`` then, unless the fold has ended already."""
        self._folds[number], self._chances[number] = training, Chance(self.device)
        self._advance(number, None)

    def train(self, way: Way | None) -> None:
        """Trains all to their ends; ``way`` None: one after the other.

        What ends a fold ends no other, but for what no exception survives.
        """
        if way == "streams" and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # what they begin with was made on another stream
            self._streams = {number: torch.cuda.Stream(self.device) for number in self.asks}
        while self.asks:
            odd = {"batched": self._odd(), "streams": list(self.asks)}.get(way or "", list(self.asks)[:1])
            for number in odd:
                with self._within(number):
                    loss = self.asks[number].answer()
                self._advance(number, loss)
            if not odd:
                for number, loss in self._answers().items():
                    self._advance(number, loss)

    def _odd(self) -> list[int]:
        """The folds whose batches are to be answered by themselves, before the others' are: all fit one shape then."""
        shapes = {number: tuple(ask.batch.x.shape) for number, ask in self.asks.items()}
        usual = max(shapes.values(), default=())
        return [number for number, shape in shapes.items() if shape != usual or len(shapes) == 1]

    def _answers(self) -> dict[int, Tensor]:
        numbers = list(self.asks)
        if self._batched is None or self._batched.numbers != numbers:
            steps = [self.asks[number].step for number in numbers]
            self._batched = Batched(numbers, steps, [self._chances[number].drawn for number in numbers])
        return dict(zip(numbers, self._batched([self.asks[number] for number in numbers]), strict=True))

    def _advance(self, number: int, loss: Tensor | None) -> None:
        """Lets a fold go on to its next batch, or to its end."""
        training, failure = self._folds[number], None
        self.asks.pop(number, None)
        try:
            with self._within(number):
                ask = next(training, None) if loss is None else _next(training, loss)
        except Exception as error:
            ask, failure = None, error
        if ask is None:
            self.ended(number, failure)
        else:
            self.asks[number] = ask

    @contextmanager
    def _within(self, number: int) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self._chances[number].drawn())
            stream = self._streams.get(number)
            stack.enter_context(nullcontext() if stream is None else torch.cuda.stream(stream))
            yield


def chosen(ask: Ask, n_folds: int, gain: float = GAIN) -> tuple[Way | None, str]:
    """The quickest way for so many folds as the one that asks; None where it is not ``gain`` × one after another.

    Measured on copies of the model with the batch that is asked for, so that nothing of the fold changes. Returns the
    way and what was measured, in words.
    """
    device = ask.batch.x.device
    before = Chance(device)
    with before.drawn():
        single = _copies(ask, 1)
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
        if free is not None:
            torch.cuda.reset_peak_memory_stats(device)
            held = torch.cuda.memory_allocated(device)
        one = _milliseconds(single, device, None)
        if free is not None and n_folds * (torch.cuda.max_memory_allocated(device) - held) > ROOM * free:
            return None, f"{n_folds} folds' steps together would fill the memory of {device}"
        times: dict[Way, float] = {}
        ways: tuple[Way, ...] = ("batched", "streams") if device.type == "cuda" else ("batched",)
        for way in ways:
            try:
                times[way] = _milliseconds(_copies(ask, n_folds), device, way)
            except (CantBeBatched, torch.OutOfMemoryError):
                continue
    best = min(times, key=lambda way: times[way], default=None)
    if best is None or times[best] * gain > n_folds * one:
        best = None
    told = ", ".join(f"{way} {times[way]:.2f}" for way in times) or "no other way is possible"
    return best, f"{n_folds} folds' steps one after another {n_folds * one:.2f} ms, {told}"


def _copies(ask: Ask, n: int) -> list[Ask]:
    return [Ask(ask.step.on(copy.deepcopy(ask.step.model)), ask.batch, ask.share) for _ in range(n)]


def _milliseconds(asks: list[Ask], device: torch.device, way: Way | None) -> float:
    """Of one step of all."""
    numbers = list(range(len(asks)))
    if way == "batched":
        chances = [Chance(device).drawn for _ in asks]
        batched = Batched(numbers, [ask.step for ask in asks], chances)
        return timed(lambda: batched(asks), device)
    streams = [torch.cuda.Stream(device) if way == "streams" and device.type == "cuda" else None for _ in asks]

    def step() -> None:
        for ask, stream in zip(asks, streams, strict=True):
            with nullcontext() if stream is None else torch.cuda.stream(stream):
                ask.answer()

    return timed(step, device)


def timed(step: Callable[[], object], device: torch.device, steps: int = TRIAL) -> float:
    """Milliseconds of a step: the mean of ``steps`` after as many that warm up."""
    for _ in range(steps):
        step()
    _wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return 1000 * (time.perf_counter() - started) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
