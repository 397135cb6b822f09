"""A fold's checkpoint and weights on disk: whole or not there, and never a pickle of code."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.atomic import replacing

CHECKSUM = "checksum"


def save(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain containers only, so that it loads with ``weights_only=True``."""
    buffer = io.BytesIO()
    torch.save(_own(state), buffer)
    _write(path, buffer.getvalue())


def _own(state: Any) -> Any:
    """The same with a copy of each tensor that is a slice of a larger one, which torch would write whole."""
    if isinstance(state, dict):
        return type(state)((key, _own(value)) for key, value in state.items())
    if isinstance(state, list | tuple):
        return type(state)(_own(value) for value in state)
    if isinstance(state, torch.Tensor) and state.untyped_storage().nbytes() > state.nbytes:
        return state.clone()
    return state


def load(path: Path, device: torch.device, keys: set[str], note: Callable[[str], None]) -> dict[str, Any] | None:
    """The last checkpoint; None where there is none, or none that is whole and has these keys, of which ``note`` tells.

    torch writes a checksum of every entry and does not look at it: flipped bits would train on.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if (entry := archive.testzip()) is not None:
                raise ValueError(f"{entry} is damaged")
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if not keys <= set(state):
            raise ValueError("it is no checkpoint of this version")
        return state
    except Exception as error:  # whatever a parser makes of bytes that nobody wrote
        reason = (str(error).splitlines() or [""])[0]
        note(f"{path} can't be read ({type(error).__name__}: {reason:.80}), so this fold begins anew")
        return None


def save_weights(path: Path, model: nn.Module) -> None:
    """The file says in its metadata what its tensors' checksum is: the format has none of its own."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    _write(path, save(tensors, {CHECKSUM: _checksum(tensors)}))


def _write(path: Path, content: bytes) -> None:
    """By Python's own hand: torch and safetensors report a full disk as something else."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A file's tensors by name; ValueError where they are not what was written. Earlier versions left no checksum."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        expected = (file.metadata() or {}).get(CHECKSUM)
    if expected is not None and _checksum(tensors) != expected:
        raise ValueError("it is damaged: its content is not what was written")
    return tensors


def weights_are_whole(path: Path, note: Callable[[str], None]) -> bool:
    """Whether the weights are there and whole; ``note`` tells of damage."""
    if not path.exists():
        return False
    try:
        read_weights(path)
    except Exception as error:  # whatever a parser makes of bytes that nobody wrote
        note(f"{path} can't be read ({error}), so it is made again")
        return False
    return True


def load_weights(path: Path, model: nn.Module) -> None:
    model.load_state_dict(read_weights(path))


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    """32 hex digits of names, types, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]
