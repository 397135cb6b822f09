"""A pretended GPU: what lies on the processor is computed, what lies on ``cuda`` has a shape, a type and a device.

An operation that meets both raises an error, as on a real one, and so does a step that waits for a number from the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only


class _Sorting(TorchDispatchMode):
    """Sends each operation to the processor, or to ``fake`` where anything of it is there."""

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not any(map(_on_gpu, tree_flatten((args, kwargs))[0])):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        args, kwargs = tree_map_only(Tensor, self._pretended, (args, kwargs))
        with self.fake:
            return func(*args, **kwargs)

    def _pretended(self, value: Tensor) -> Tensor:
        return self.fake.from_tensor(value) if _real(value) else value


def _on_gpu(value: Any) -> bool:
    return isinstance(value, FakeTensor) or (isinstance(value, torch.device) and value.type == "cuda")


def _real(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, FakeTensor)


@contextmanager
def fake_cuda() -> Iterator[None]:
    fake = FakeTensorMode()
    # An LSTM asks cuDNN whether it takes a tensor, which starts CUDA where torch has it, a GPU or not.
    with torch.backends.cudnn.flags(enabled=False), fake, _Sorting(fake):
        yield
