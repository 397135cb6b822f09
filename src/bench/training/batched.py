"""Several models of one architecture as one model with a further axis: their forward pass and gradients in one go.

torch's ``vmap`` makes a layer of K models one operation (a convolution becomes one of K groups). That saves launches,
so it pays for small layers; a grouped convolution may be slower than K of its own (pytorch issue 73764), so
``together`` measures first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bench.training.inference import autocast
from bench.training.step import Ask, Step

Drawn = Callable[[], AbstractContextManager[None]]


class CantBeBatched(RuntimeError):
    """The models can't be one batched model; the message says why."""


class Batched:
    """The steps of K folds whose batches have one shape.

    From here on the models' parameters and buffers are slices of tensors (K, …), which each fold's optimizer changes
    as before. ``drawn`` are the folds' random states: what dropout drops is drawn from them as a fold alone draws it.
    """

    def __init__(self, numbers: Sequence[int], steps: Sequence[Step], drawn: Sequence[Drawn]) -> None:
        self.numbers = list(numbers)
        self._base = _plain(copy.deepcopy(steps[0].model), drawn)
        models = [step.model for step in steps]
        self._parameters = _stacked([dict(model.named_parameters()) for model in models])
        self._buffers = _stacked([dict(model.named_buffers()) for model in models])
        self._trained = [name for name, parameter in models[0].named_parameters() if parameter.requires_grad]
        self._each = [[parameter for parameter in model.parameters() if parameter.requires_grad] for model in models]

    def __call__(self, asks: Sequence[Ask]) -> list[Tensor]:
        """Each fold's loss (); adds each fold's gradients to its own. Raises CantBeBatched, with nothing changed."""
        x = torch.stack([ask.batch.x for ask in asks])
        stacks = [self._parameters[name].requires_grad_() for name in self._trained]
        with autocast(x.device, asks[0].step.precision):
            answers = self._answers(x)
        losses = [ask.step.judge(answer, ask.batch, ask.share) for ask, answer in zip(asks, answers, strict=True)]
        total = torch.stack([ask.step.scaled(loss, ask.batch) for ask, loss in zip(asks, losses, strict=True)]).sum()
        gradients = torch.autograd.grad(total, stacks, allow_unused=True)
        for value in stacks:
            value.requires_grad_(False)
        for fold, parameters in enumerate(self._each):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    own = gradient[fold].contiguous()
                    parameter.grad = own if parameter.grad is None else parameter.grad.add_(own)
        return [loss.detach() for loss in losses]

    def _answers(self, x: Tensor) -> Tensor:
        def forward(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x_one: Tensor) -> Tensor:
            answer: Tensor = functional_call(self._base, (parameters, buffers), (x_one,))
            return answer

        try:
            answers: Tensor = vmap(forward)(self._parameters, self._buffers, x)
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise CantBeBatched((str(error).splitlines() or [type(error).__name__])[0]) from error
        return answers.float()


def _stacked(of_models: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors (K, …) by name, of which the models' own become the slices."""
    stacks = {name: torch.stack([tensors[name].detach() for tensors in of_models]) for name in of_models[0]}
    for fold, tensors in enumerate(of_models):
        for name, tensor in tensors.items():
            tensor.data = stacks[name][fold]
    return stacks


def _plain(model: nn.Module, drawn: Sequence[Drawn]) -> nn.Module:
    """The architecture, of operations that ``vmap`` knows; its numbers are of no account."""
    for module in list(model.modules()):
        if hasattr(module, "plain"):
            setattr(module, "plain", True)  # noqa: B010 (what the module declares, its base class does not)
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, _Dropout(child.p, drawn))
    return model


class _Dropout(nn.Module):
    """Drops of each fold's values what the fold alone would: drawn from its own random state, in the same order."""

    def __init__(self, p: float, drawn: Sequence[Drawn]) -> None:
        super().__init__()
        self.p, self.drawn = p, drawn

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept: Tensor = _Kept.apply(x, self.p, self.drawn)
        return kept


class _Kept(torch.autograd.Function):
    """x times what dropout makes of ones; below ``vmap`` that of every fold."""

    @staticmethod
    def forward(x: Tensor, p: float, drawn: Sequence[Drawn]) -> Tensor:
        raise CantBeBatched("a dropout lies outside of the batched model")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, p: float, drawn: Sequence[Drawn]) -> tuple[Tensor, int]:
        x = x.movedim(in_dims[0], 0)
        masks = []
        for own in drawn:
            with own():
                masks.append(F.dropout(torch.ones_like(x[0]), p))
        return x * torch.stack(masks), 0
