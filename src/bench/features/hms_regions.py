"""HMS: what the two spectrograms share: four regions of the head, stored as bytes, in one of two layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.features.base import Features
from bench.features.hms_sides import exchanged, reordered
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from bench.features.device.base import DeviceHalf


Layout = Literal["stacked", "regions"]

CHAINS = {
    "LL": ("Fp1", "F7", "T3", "T5", "O1"),
    "RL": ("Fp2", "F8", "T4", "T6", "O2"),
    "LP": ("Fp1", "F3", "C3", "P3", "O1"),
    "RP": ("Fp2", "F4", "C4", "P4", "O2"),
}
"""Left and right lateral, left and right parasagittal: the regions as the competition's spectrograms order them."""


class HMSRegions(Features):
    """A picture a region, (4, frequencies, frames) uint8: low frequencies on top as on disk, time to the right.

    ``layout``: stacked is one channel with the regions LL, RL, LP, RP from the top; regions makes them channels. Only
    the device half depends on it, so both share a store.
    """

    kind: ClassVar[Kind] = "image"
    datasets: ClassVar[tuple[str, ...]] = ("hms",)
    stored_dtype: ClassVar[str] = "uint8"
    size: ClassVar[tuple[int, int]]
    """Frequencies and frames of a region, for an example of the competition's length."""

    def __init__(self, layout: Layout = "stacked") -> None:
        if layout not in ("stacked", "regions"):
            raise UserError(f"features.layout={layout} is not one of stacked, regions")
        self.layout = layout

    def spec(self, dataset: Any) -> InputSpec:
        height, width = self.region_size(dataset)
        if self.layout == "stacked":
            return InputSpec(1, (len(CHAINS) * height, width), dataset.classes)
        return InputSpec(len(CHAINS), (height, width), dataset.classes)

    def region_size(self, dataset: Any) -> tuple[int, int]:
        """Frequencies and frames of a region, for this data set's examples."""
        return self.size

    def stored_shape(self, dataset: Any) -> tuple[int, ...]:
        return (len(CHAINS), *self.region_size(dataset))

    def settings(self) -> dict[str, Any]:
        return {"version": 2}

    def device_half(self) -> DeviceHalf:
        from bench.features.device.regions import Regions

        return Regions(self.layout)

    def mirrored(self, x: Tensor) -> Tensor:
        """(B, 4, frequencies, frames) as stored → the same with left and right regions exchanged."""
        return reordered(x, exchanged(tuple(CHAINS.values())))
