"""Any of timm's networks by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.models.parts import at_least
from bench.models.pretrained import timm_network
from bench.models.resizer import in_front
from bench.spec import InputSpec


class TimmBackbone(nn.Module):
    """Logits (B, K) from images (B, C, H, W): ``python -c "import timm; print(timm.list_models())"`` has the names.

    A network made for one image size (most transformers) is made for the spec's, rounded up to whole patches; the
    rest is zeros below and to the right. ``drop_rate`` and ``drop_path_rate`` are passed on where they are set: not
    every network takes them. ``resizer``: the (height, width) that a learned resizer makes of every image first.
    """

    takes: ClassVar[str] = "image"

    def __init__(
        self,
        spec: InputSpec,
        name: str = "resnet18",
        drop_rate: float | None = None,
        drop_path_rate: float | None = None,
        pretrained: bool = False,
        weights: str | None = None,
        resizer: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        options = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
        arguments: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
        self.resizer, spec = in_front(spec, resizer)
        self.size = made_for(name, spec)
        if self.size is not None:
            arguments["img_size"] = self.size
        self.backbone = timm_network(name, spec, pretrained, weights, **arguments)

    def forward(self, x_bchw: Tensor) -> Tensor:
        x_bchw = self.resizer(x_bchw)
        out: Tensor = self.backbone(x_bchw if self.size is None else at_least(x_bchw, *self.size))
        return out


def made_for(name: str, spec: InputSpec) -> tuple[int, ...] | None:
    """The image size to make a network of fixed size for; None for one that takes any."""
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name) if ":" not in name else None
    if known is None or not known.fixed_input_size:
        return None
    match = re.search(r"patch(\d+)", name)
    patch = int(match[1]) if match else 32
    step = patch if patch > 8 else 32  # small patches are merged three times on the way
    return tuple(-(-side // step) * step for side in spec.size)
