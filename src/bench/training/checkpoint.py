"""A fold's checkpoint and weights on disk: whole or not there, and never a pickle of code."""

from __future__ import annotations

import io
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.atomic import replacing


def save(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain containers only, so that it loads with ``weights_only=True``."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    _write(path, buffer.getvalue())


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The last checkpoint; None where there is none or it cannot be read."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        return state
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        print(f"{path} can't be read ({type(error).__name__}): this fold begins anew", file=sys.stderr)
        return None


def save_weights(path: Path, model: nn.Module) -> None:
    from safetensors.torch import save

    _write(path, save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}))


def _write(path: Path, content: bytes) -> None:
    """By Python's own hand: torch and safetensors report a full disk as something else."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_weights(path: Path, model: nn.Module) -> None:
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path))
