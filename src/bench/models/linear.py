"""A linear layer that is solved rather than trained: what random kernels want on top, and the floor on any signal."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.models import ridge
from bench.spec import InputSpec, UserError


class Linear(nn.Module):
    """(B, C, T) → flatten → each number standardised → logits (B, K), by ridge regression in closed form.

    ``solve`` fits it to a fold's training side at once; there are no epochs, and optimizer, rate and loss have no say:
    the squared error to the target distribution is minimised. The penalty is chosen among 1e-7 … 100 times the number
    of features by the squared error on rows left out, in exact closed form, one after the other; rows of one group
    (a patient), or copies of one signal, are left out together. ``penalty`` sets it instead. Predictions become
    logits by a temperature that fits the softmax of those left-out predictions. All of it sees the training side alone.
    """

    takes: ClassVar[str] = "sequence"
    solved: ClassVar[bool] = True
    flattens: ClassVar[bool] = True
    mean: Tensor
    scale: Tensor
    penalty: Tensor
    temperature: Tensor

    def __init__(self, spec: InputSpec, penalty: float | None = None) -> None:
        super().__init__()
        if penalty is not None and not 0 < penalty < math.inf:
            raise UserError(f"model.penalty={penalty:g} must be above 0; null chooses it on rows left out")
        self._penalties = ridge.PENALTIES if penalty is None else (float(penalty),)
        width = math.prod(spec.shape)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("penalty", torch.tensor(math.nan))  # what was chosen, for whoever reads the weights
        self.register_buffer("temperature", torch.tensor(math.nan))
        self.head = nn.Linear(width, spec.n_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x_bct: Tensor) -> Tensor:
        device = "cuda" if x_bct.is_cuda else "cpu"  # the meta device, on which a model is tried, knows no autocast
        with torch.autocast(device, enabled=False):  # thousands of small terms add up
            out: Tensor = self.head((x_bct.flatten(1).float() - self.mean) / self.scale)
        return out

    @torch.no_grad()
    def solve(self, x_nct: Tensor, target_nk: Tensor, weight_n: Tensor, block_n: Tensor) -> str:
        """Fits the layer to rows with targets (N, K), weights and blocks (N,); returns what was chosen, in words.

        Rows of one block are left out together; those whose block is below 0 take no part in choosing.
        """
        solution = ridge.solve(x_nct.flatten(1), target_nk, weight_n, block_n, self._penalties)
        self.mean.copy_(solution.mean_f)
        self.scale.copy_(solution.scale_f)
        self.head.weight.copy_(solution.temperature * solution.weight_kf)
        self.head.bias.copy_(solution.temperature * solution.bias_k)
        self.penalty.fill_(solution.penalty)
        self.temperature.fill_(solution.temperature)
        return f"ridge: penalty {solution.penalty:.3g} a feature, temperature {solution.temperature:.3g}"
