"""TinyViT of the third HMS write-up: timm's family, which reads any image size as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bench.models.pretrained import timm_network
from bench.models.resizer import in_front
from bench.spec import InputSpec, UserError


class TinyViT(nn.Module):
    """Logits (B, K) from images (B, C, H, W).

    ``variant`` is one of timm's: ``tiny_vit_5m_224``, ``tiny_vit_11m_224``, ``tiny_vit_21m_224``, ``…_384``,
    ``…_512``. The number at the end is the size it was pretrained at (its attention windows differ), not one that
    images must have: windows are padded, so any size goes in and no ``img_size`` is passed (timm would refuse it).
    20.69 million parameters for the default at six classes and one channel. Pretrained weights for three channels
    are summed to one. ``resizer``: the (height, width) that a learned resizer makes of every image first.

    Source: the HMS write-up of the 16th place.
    """

    takes: ClassVar[str] = "image"

    def __init__(
        self,
        spec: InputSpec,
        variant: str = "tiny_vit_21m_512",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        pretrained: bool = False,
        weights: str | None = None,
        resizer: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not variant.startswith("tiny_vit"):
            raise UserError(f"model.variant={variant} is no TinyViT; model=timm_backbone takes any network")
        self.resizer, spec = in_front(spec, resizer)
        self.backbone = timm_network(
            variant, spec, pretrained, weights, drop_rate=drop_rate, drop_path_rate=drop_path_rate
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        out: Tensor = self.backbone(self.resizer(x_bchw))
        return out
