"""What nodes that hold or update a state do to sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from elektronn.axes import Size
from elektronn.network.nodes import Layer


@dataclass(frozen=True)
class ConstantLayer(Layer):
    """A trained or fixed array that no parent gives; ``shape``: b, c, z, y, x, where a batch of 1 serves any batch."""

    shape: tuple[int, int, int, int, int]

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.shape[1]

    @property
    def weights(self) -> int:
        """All its numbers."""
        return math.prod(self.shape)

    @property
    def whole(self) -> str:
        """Why there is no window."""
        return "is an array of its own size"

    @property
    def has_reach(self) -> bool:
        """Never."""
        return False

    def size(self, *sizes: Size) -> Size:
        """Its own."""
        return Size(*self.shape[2:])


@dataclass(frozen=True)
class StateLayer(Layer):
    """A trained vector of ``units``, the same at every voxel of its parent."""

    units: int

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.units

    @property
    def weights(self) -> int:
        """The vector."""
        return self.units


@dataclass(frozen=True)
class GatedLayer(Layer):
    """One step of a gated recurrent unit from its parents x and memory.

    Attributes:
        inputs: features of x; ``units``: of the state h.
        activation: of the candidate, by name.
        cell: ``gru`` (memory h, gives h) or ``lstm`` (memory h and c, gives both).
    """

    inputs: int
    units: int
    activation: str
    cell: Literal["gru", "lstm"]

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.units * (1 if self.cell == "gru" else 2)

    @property
    def weights(self) -> int:
        """Number of trained numbers, biases included."""
        return (3 if self.cell == "gru" else 4) * self.units * (self.inputs + self.units + 1)

    @property
    def style(self) -> dict[str, str]:
        """The activation."""
        return {"activation": self.activation}

    def operations(self, before: Size, after: Size) -> int:
        """One multiply-add per weight and voxel."""
        return after.voxels * self.weights
