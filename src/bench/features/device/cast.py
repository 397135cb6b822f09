"""The plainest device half: stored numbers as float32."""

from __future__ import annotations

from torch import Tensor, nn


class ToFloat32(nn.Module):
    """Casts a gathered batch of any dtype and shape to float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()
