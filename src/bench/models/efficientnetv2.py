"""EfficientNetV2 of the SETI write-up: timm's, with an optional learned resizer in front and a choice of pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.parts import refuse_below_one
from bench.models.pretrained import timm_network
from bench.models.resizer import in_front
from bench.spec import InputSpec, UserError


class EfficientNetV2(nn.Module):
    """Logits (B, K) from images (B, C, H, W) of any size.

    ``variant`` is one of timm's, as ``tf_efficientnetv2_s`` (20,179,618 parameters for one channel, two classes,
    average pooling and no resizer) or ``tf_efficientnetv2_m``. ``resizer`` is the (height, width) that a learned
    resizer makes of every image first, null for none; the write-up used the sizes of the network's own paper (S 384,
    M 480). ``stem_stride=1`` keeps small structure at four times the work. ``pooling=gem`` learns where between the
    mean and the maximum to pool (Radenović et al., arXiv 1711.02512).

    ``one_output`` makes one logit z for the second of two classes and gives (0, z): the softmax is then sigmoid(z), and
    ``loss=bce`` trains z alone, as a network of one output and binary cross entropy is trained.

    Source: the SETI write-up (59th place); pooling and stem stride: what better solutions there did.
    """

    takes: ClassVar[str] = "image"

    def __init__(
        self,
        spec: InputSpec,
        variant: str = "tf_efficientnetv2_s",
        resizer: Sequence[int] | None = None,
        resizer_filters: int = 16,
        resizer_blocks: int = 1,
        pooling: Literal["avg", "gem"] = "avg",
        stem_stride: int = 2,
        drop_rate: float = 0.2,
        drop_path_rate: float = 0.2,
        pretrained: bool = False,
        weights: str | None = None,
        one_output: bool = False,
    ) -> None:
        super().__init__()
        refuse_below_one(resizer_filters=resizer_filters, resizer_blocks=resizer_blocks, stem_stride=stem_stride)
        if "efficientnetv2" not in variant:
            raise UserError(f"model.variant={variant} is no EfficientNetV2; model=timm_backbone takes any network")
        if one_output and spec.n_classes != 2:
            raise UserError(
                f"model.one_output=true tells two classes apart, and there are {spec.n_classes}; leave it out"
            )
        self.resizer, spec = in_front(spec, resizer, resizer_filters, resizer_blocks)
        self.one_output = one_output
        if one_output:
            spec = replace(spec, classes=spec.classes[1:])
        self.backbone = timm_network(
            variant, spec, pretrained, weights, drop_rate=drop_rate, drop_path_rate=drop_path_rate
        )
        self.backbone.conv_stem.stride = (stem_stride, stem_stride)
        self.gem = GeM() if pooling == "gem" else None

    def forward(self, x_bchw: Tensor) -> Tensor:
        x_bchw = self.resizer(x_bchw)
        if self.gem is None:
            logits = self.backbone(x_bchw)
        else:
            pooled = self.gem(self.backbone.forward_features(x_bchw))
            logits = self.backbone.classifier(F.dropout(pooled, self.backbone.drop_rate, self.training))
        return F.pad(logits, (1, 0)) if self.one_output else logits


class GeM(nn.Module):
    """(B, C, H, W) → (B, C): the p-mean, p learned; 1 would be the mean, ∞ the maximum."""

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, x_bchw: Tensor) -> Tensor:
        x = x_bchw.float().clamp_min(1e-6)  # a power of a negative number is none; of bf16, too coarse
        return x.pow(self.p).mean((2, 3)).pow(1 / self.p).to(x_bchw.dtype)
