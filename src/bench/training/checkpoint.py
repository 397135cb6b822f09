"""A fold's checkpoint and weights on disk: whole or not there, unwrapped, and never a pickle of code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.atomic import replacing
from bench.spec import UserError


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, also where torch.compile has wrapped it: weights carry the names the class gave them."""
    return getattr(model, "_orig_mod", model)


def save(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain containers only, so that it loads with ``weights_only=True``."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The last checkpoint, or None where the fold has none yet."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise UserError(
            f"{path} can't be read ({type(error).__name__}); delete the fold's folder to train it again"
        ) from error


def save_weights(path: Path, model: nn.Module) -> None:
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in unwrapped(model).state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def load_weights(path: Path, model: nn.Module) -> None:
    from safetensors.torch import load_file

    unwrapped(model).load_state_dict(load_file(path))
