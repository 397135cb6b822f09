"""The plainest device half: stored numbers as float32."""

from __future__ import annotations

from torch import Tensor

from bench.features.device.base import DeviceHalf


class ToFloat32(DeviceHalf):
    """Casts a gathered batch of any dtype and shape to float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()
