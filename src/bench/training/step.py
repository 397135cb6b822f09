"""Forward, loss and backward of one training batch; on a GPU as a CUDA graph where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.data.batches import Batch
from bench.training.inference import autocast

Loss = Callable[..., Tensor]
WARM_UP = 3  # batches on a stream of their own before a graph is captured, as torch asks for


class Step:
    """Adds the gradients of a batch's loss to those of the model's parameters; returns the loss, on the device.

    ``share`` () multiplies the loss. ``summed``: the gradients are those of the sum over the batch's rows.
    ``scaler`` scales the losses of float16.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, precision: str, scaler: torch.amp.GradScaler, summed: bool
    ) -> None:
        self.model, self.loss, self.precision, self.scaler, self.summed = model, loss, precision, scaler, summed

    def zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)

    def __call__(self, batch: Batch, share: Tensor | None) -> Tensor:
        with autocast(batch.x.device, self.precision):
            answer = self.model(batch.x)
        loss = self.judge(answer, batch, share)
        self.scaled(loss, batch).backward()
        return loss.detach()

    def judge(self, answer: Tensor, batch: Batch, share: Tensor | None) -> Tensor:
        """The loss () of the model's answer (B, K)."""
        loss = self.loss(answer.float(), batch.target, batch.weight)
        return loss if share is None else loss * share

    def scaled(self, loss: Tensor, batch: Batch) -> Tensor:
        """What gradients are taken of."""
        return self.scaler.scale(loss * len(batch) if self.summed else loss)

    def on(self, model: nn.Module) -> Step:
        """The same step of another model."""
        return Step(model, self.loss, self.precision, self.scaler, self.summed)


@dataclass(frozen=True)
class Ask:
    """A batch whose loss and gradients a fold in training waits for."""

    step: Step
    batch: Batch
    share: Tensor | None

    def answer(self) -> Tensor:
        """The loss () on the device; the gradients are with the parameters then."""
        return self.step(self.batch, self.share)


Training = Generator[Ask, Tensor, None]
"""A fold in training: it asks for a batch's gradients, is sent the loss, and goes on."""


class GraphedStep(Step):
    """The same, captured once as a CUDA graph and replayed for batches of that shape; others run as they are.

    Capturing leaves the model, its gradients and the random state as they were. Where it fails, ``note`` is told once
    and every batch runs as it is.
    """

    def __init__(self, step: Step, note: Callable[[str], None]) -> None:
        super().__init__(step.model, step.loss, step.precision, step.scaler, step.summed)
        self._note = note
        self._graph: torch.cuda.CUDAGraph | None = None
        self._failed = False

    def on(self, model: nn.Module) -> Step:
        return GraphedStep(super().on(model), self._note)

    def zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        """In place: the graph adds to the gradients that it was captured with."""
        optimizer.zero_grad(set_to_none=self._graph is None)

    def __call__(self, batch: Batch, share: Tensor | None) -> Tensor:
        if self._graph is None and not self._failed:
            self._capture(batch, share)
        if self._graph is None or not self._fits(batch, share):
            return super().__call__(batch, share)
        for held, new in zip(self._tensors(self._batch, self._share), self._tensors(batch, share), strict=True):
            held.copy_(new, non_blocking=True)
        self._graph.replay()
        return self._loss

    def _capture(self, batch: Batch, share: Tensor | None) -> None:
        """Of the first batch, which later ones of its shape are copied into."""
        self._batch = replace(batch, x=batch.x.clone(), target=batch.target.clone())
        if batch.weight is not None:
            self._batch = replace(self._batch, weight=batch.weight.clone())
        self._share = None if share is None else share.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with _left_alone(self.model, batch.x.device):
                side = torch.cuda.Stream(batch.x.device)
                side.wait_stream(torch.cuda.current_stream(batch.x.device))
                with torch.cuda.stream(side):
                    for _ in range(WARM_UP):
                        super().__call__(self._batch, self._share)
                torch.cuda.current_stream(batch.x.device).wait_stream(side)
                with torch.cuda.graph(graph):
                    self._loss = super().__call__(self._batch, self._share)
        except Exception as error:  # whatever a kernel, a hook or a loss makes of being captured
            torch.cuda.synchronize(batch.x.device)
            _end_capture(batch.x.device)
            self._failed = True
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self._note(f"the training step can't be captured as a CUDA graph, so it runs without one: {reason:.120}")
        else:
            self._graph = graph

    def _fits(self, batch: Batch, share: Tensor | None) -> bool:
        held, new = self._tensors(self._batch, self._share), self._tensors(batch, share)
        return [(t.shape, t.dtype) for t in held] == [(t.shape, t.dtype) for t in new]

    @staticmethod
    def _tensors(batch: Batch, share: Tensor | None) -> list[Tensor]:
        return [t for t in (batch.x, batch.target, batch.weight, share) if t is not None]


def _end_capture(device: torch.device) -> None:
    """The random state of a device believes in a capture that broke off for ever, so another one takes its place."""
    random, fresh = torch.cuda.get_rng_state(device), torch.Generator(device)
    index = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.default_generators[index].graphsafe_set_state(fresh.graphsafe_get_state())
    torch.cuda.set_rng_state(random, device)


@contextmanager
def _left_alone(model: nn.Module, device: torch.device) -> Iterator[None]:
    """What trains within changes no buffer, adds nothing to the gradients and draws nothing.

    A parameter that had no gradient and got one has zeros afterwards, to which a graph adds.
    """
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    before = {p: None if p.grad is None else p.grad.clone() for p in model.parameters()}
    random = torch.cuda.get_rng_state(device)
    try:
        yield
    finally:
        torch.cuda.set_rng_state(random, device)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
            for parameter, gradient in before.items():
                if parameter.grad is not None and gradient is None:
                    parameter.grad.zero_()
                elif parameter.grad is not None and gradient is not None:
                    parameter.grad.copy_(gradient)
