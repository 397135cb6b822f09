"""Everything a little out of focus."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.augment.base import ExampleChange, uniform
from bench.augment.kernels import filtered
from bench.spec import UserError


class GaussianBlur(ExampleChange):
    """Smoothing by a Gaussian, over an image's rows and columns or a sequence's time, with probability ``p``.

    Its width is drawn for every example between ``sigma_min`` and ``sigma_max`` pixels (samples); it ends after three
    times the largest. Beyond the edges lies the edge's own value.
    """

    def __init__(self, sigma_min: float = 0.5, sigma_max: float = 1.5, p: float = 0.5) -> None:
        self.within(0.1, 100, sigma_min=sigma_min, sigma_max=sigma_max)
        if sigma_min > sigma_max:
            raise UserError(
                f"augment.gaussian_blur.sigma_min={sigma_min:g} must not be above sigma_max={sigma_max:g}; swap them"
            )
        super().__init__(p)
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def change(self, x: Tensor) -> Tensor:
        reach = math.ceil(3 * self.sigma_max)
        at = torch.arange(-reach, reach + 1)
        sigma = uniform(len(x), self.sigma_min, self.sigma_max)[:, None]
        kernel = torch.exp(-0.5 * (at / sigma).square())
        kernel = kernel / kernel.sum(1, keepdim=True)
        if x.ndim == 3:
            return filtered(x[:, :, None], kernel[:, None])[:, :, 0]
        return filtered(filtered(x, kernel[:, None]), kernel[:, :, None])
