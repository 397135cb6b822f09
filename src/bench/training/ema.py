"""A moving average of the model's weights, judged and kept in their place: torch's, with what a fold needs of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Ema:
    """average ← decay · average + (1 − decay) · weights at each ``update``; the first takes the weights as they are.

    With ``warmup`` the n-th update decays by (1 + n) / (10 + n) at most: an average over the last thousand steps of a
    training that has had a hundred would be what the network was when it knew nothing (seen on 260 steps at 0.99).
    Buffers are averaged as the weights are. Batch normalisation's statistics are among them: averages of what other
    weights showed, so they are measured anew before the average is judged, unless ``batch_stats`` is running.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: bool) -> None:
        def average(ema: Any, current: Any, n: Tensor | int) -> None:
            get_ema_multi_avg_fn(min(decay, (1 + int(n)) / (10 + int(n))) if warmup else decay)(ema, current, n)

        self._averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)

    @property
    def model(self) -> nn.Module:
        """The model with the average's weights."""
        return self._averaged.module

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self._averaged.update_parameters(model)

    def state(self) -> dict[str, Any]:
        return self._averaged.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        self._averaged.load_state_dict(state)
