"""Which voxels of a patch a network gives an output for."""

from __future__ import annotations

from dataclasses import dataclass

from elektronn.axes import Size
from elektronn.geometry import Geometry


@dataclass(frozen=True)
class Outputs:
    """Which voxels of a patch have an output, zyx: ``first``, every ``stride``-th, ``count`` times, up to ``last``.

    Attributes:
        corner: last voxel of the patch.
    """

    first: Size
    stride: Size
    count: Size
    last: Size
    corner: Size

    @classmethod
    def of(cls, geometry: Geometry, patch: Size) -> Outputs:
        """Those of a network."""
        first, stride, count = geometry.offset, geometry.stride, geometry.outputs(patch)
        last = Size(*(a + (n - 1) * step for a, n, step in zip(first, count, stride)))
        return cls(first, stride, count, last, Size(*(n - 1 for n in patch)))
