"""What features of random or fixed transforms have in common: a signal's own features first, then many numbers of them.

All of it is the stored half: computed once an example, by that example alone, no label and no other row in sight, and
shared by folds, seeds and sweeps. What is left to a fold is a linear model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bench import build
from bench.features.base import Features, NotOpenError
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from bench.features.device.base import DeviceHalf

Transform = Callable[[np.ndarray], np.ndarray]
LARGEST = float(np.finfo(np.float16).max)


class Kernels(Features):
    """(1, F) numbers of whatever sequence ``signal`` gives a model: a node of conf/features, device half included.

    ``normalise``: each channel to mean 0 and deviation 1 first. Examples of open length are taken whole up to the
    signal's window, longer ones in the middle, shorter ones without zeros around them. An example that is one number
    all over is all zeros.
    """

    kind: ClassVar[Kind] = "sequence"
    stored_dtype: ClassVar[str] = "float16"
    ordered: ClassVar[bool] = False

    def __init__(self, signal: Mapping[str, Any], normalise: bool) -> None:
        self.node, self.normalise = dict(signal), normalise
        self.signal: Features = build.build(signal, "features.signal")
        name = type(self.signal).__name__
        if self.signal.kind != "sequence" or isinstance(self.signal, Kernels):
            raise UserError(f"features.signal={name} gives no signal to lay kernels on; choose one for sequence models")
        if self._device_half is not None and self._device_half.learns:
            raise UserError(f"features.signal={name} learns from training rows, and these numbers are computed before")
        # an object's own, where the base class has them a class
        self.reads, self.datasets = self.signal.reads, self.signal.datasets  # type: ignore[misc]
        self._transforms: dict[tuple[int, int], Any] = {}

    @abstractmethod
    def transform(self, channels: int, length: int) -> Any:
        """The function (C, T) float32 → (``size``,) float32 for signals of about ``length`` samples."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What ``transform`` is built of besides."""

    def spec(self, dataset: Any) -> InputSpec:
        signal = self.signal.spec(dataset)
        return InputSpec(1, (self._transform(signal.channels, signal.size[0]).size,), signal.classes)

    def stored_shape(self, dataset: Any) -> tuple[int, ...]:
        return self.spec(dataset).shape

    def store(self, raw: Any) -> np.ndarray:
        """What the signal's features store of → (1, F) float32; raises ValueError as they do."""
        x_ct = self._as_model_input(self.signal.store(raw))
        numbers = self._transform(x_ct.shape[0], self._window or x_ct.shape[1])
        spread_c1 = x_ct.std(1, keepdims=True)
        flat_c1 = spread_c1 <= 1e-6 * np.abs(x_ct).max(1, keepdims=True)
        if flat_c1.all():
            return np.zeros((1, numbers.size), np.float32)
        if self.normalise:
            x_ct = (x_ct - x_ct.mean(1, keepdims=True)) / np.where(flat_c1, 1, spread_c1)
        found_f: np.ndarray = numbers(np.ascontiguousarray(x_ct, np.float32))
        if not np.abs(found_f).max() <= LARGEST:
            raise ValueError(f"numbers beyond {LARGEST:g} can't be stored; leave features.normalise=true")
        return found_f[None]

    def settings(self) -> dict[str, Any]:
        own = {"version": 1, "normalise": self.normalise, **self.options()}
        return {**own, "signal": self.node, "stored": self.signal.settings()}

    def _transform(self, channels: int, length: int) -> Any:
        if (channels, length) not in self._transforms:
            self._transforms[channels, length] = self.transform(channels, length)
        return self._transforms[channels, length]

    @cached_property
    def _window(self) -> int | None:
        """Samples that a batch would take of an example of open length; None where all have one length."""
        try:
            return self.signal.window(None)
        except NotOpenError:
            return None

    @cached_property
    def _device_half(self) -> DeviceHalf | None:
        """The signal's own; None where it changes nothing but the type."""
        from bench.features.device.cast import ToFloat32

        half = self.signal.device_half().eval()
        return None if type(half) is ToFloat32 else half

    def _as_model_input(self, stored: np.ndarray) -> np.ndarray:
        """(C, T) float32: what a model would see of a stored example, at its own length."""
        if self._window is not None and stored.shape[-1] > self._window:
            start = (stored.shape[-1] - self._window + 1) // 2
            stored = stored[..., start : start + self._window]
        if self._device_half is None:
            return np.asarray(stored, np.float32)
        import torch

        threads, batch = torch.get_num_threads(), torch.from_numpy(np.ascontiguousarray(stored))[None]
        torch.set_num_threads(1)  # processes side by side, each of several threads, wait for each other
        try:
            with torch.inference_mode():
                seen: np.ndarray = self._device_half(batch)[0].float().numpy()
        finally:
            torch.set_num_threads(threads)
        return seen


def whole(key: str, value: int, least: int = 1) -> int:
    """The option, refused where it is below ``least``."""
    if value < least:
        raise UserError(f"features.{key}={value} must be {least} or more")
    return value
