"""What turns a raw example into what a model eats, in two halves.

*Stored half*: raw example → compact array, deterministic, computed once and kept in the store.
*Device half*: an ``nn.Module`` run on a whole gathered batch on the device, every step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bench.spec import InputSpec, Kind, Part

if TYPE_CHECKING:
    from torch import Tensor

    from bench.features.device.base import DeviceHalf


class NotOpenError(TypeError):
    """A feature of fixed shape was asked for lengths or windows."""


class Features(ABC):
    """A feature is one class, named by one YAML in ``conf/features``; its options are the constructor's.

    A subclass says what it reads of a raw example (``reads``, handed to ``Dataset.read``), what it stores of it
    (``stored_shape``, ``stored_dtype``, ``store``) and what a model gets (``spec``, ``device_half``).
    ``dataset`` is any object with ``classes`` and what the feature asks of it (``sample_rate``, ``length`` …).
    """

    kind: ClassVar[Kind]
    datasets: ClassVar[tuple[str, ...]] = ()
    """Names of the data sets it can read; empty: any."""
    stored_dtype: ClassVar[str] = "float16"
    reads: ClassVar[dict[str, Any]] = {}
    between: ClassVar[bool] = True
    """Whether a row between two stored ones means something; False where they are codes, such as packed bits."""
    ordered: ClassVar[bool] = True
    """Whether neighbours on the last axis are neighbours in time or frequency; numbers without order are for models
    that flatten them (their class says ``flattens``)."""
    stored_as: ClassVar[str | None] = None
    """A name that several classes give their stored half, so that they share stores; None: the class's own."""
    mirrored: ClassVar[Callable[..., Tensor] | None] = None
    """A method where an example has a left and a right: the gathered stored batch (B, *stored shape), of any type, on
    any device, → a new one, both sides exchanged, as the mirrored recordings would have been stored. Twice is the
    identity. None: the feature knows no sides."""

    @abstractmethod
    def spec(self, dataset: Any) -> InputSpec:
        """What a model sees after the device half."""

    @abstractmethod
    def stored_shape(self, dataset: Any) -> tuple[int | None, ...]:
        """One stored example's shape, without the example axis; None as the last: every example has its own length."""

    def stored_lengths(self, dataset: Any, part: Part) -> np.ndarray:
        """(N,) int64 lengths of the last axis where ``stored_shape`` leaves it open, from the files' headers.

        They are asked for before anything is decoded, so that the store can be written in place by many processes.
        """
        raise NotOpenError(type(self).__name__)

    def window(self, dataset: Any) -> int:
        """How many samples of an example of open length a batch takes.

        In training at random (a shorter example lies at a random place among zeros), else in the middle.
        """
        raise NotOpenError(type(self).__name__)

    @abstractmethod
    def store(self, raw: np.ndarray) -> np.ndarray:
        """The stored half of one raw example; raises ``ValueError`` (without the file's name) where it can't."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides the stored half, JSON-able: two features with equal settings share a store.

        Leave out what only the device half uses. Bump a ``version`` in it when the computation changes.
        """

    def device_half(self) -> DeviceHalf:
        """A new module from the gathered stored batch (any dtype, on the device) to the model's float32 input."""
        from bench.features.device.cast import ToFloat32

        return ToFloat32()
