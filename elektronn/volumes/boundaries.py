"""IDs → boundary map: the settings."""

from __future__ import annotations

from typing import Literal

from elektronn.axes import Size
from elektronn.settings import Flags, Settings


class BoundarySettings(Settings):
    """What counts as boundary; triples are along z, y, x."""

    source: Literal["ids", "classes"] = "ids"
    """What the label volumes hold: IDs of cells, or class numbers already (−1 = ignore), which are taken as they are."""

    connectivity: Flags = (True, True, True)
    """Axes along which two neighbouring voxels of different ID are both boundary."""

    dilate: Flags = (False, True, True)
    """Axes along which such a pair also marks the next voxel on either side: walls of 4 voxels instead of 2."""

    extracellular: Literal["boundary", "class", "interior"] = "boundary"
    """What ID 0 becomes where it is no wall: class 1, a class 2 of its own, or class 0."""

    smooth: bool = False
    """Keep the wall only where a weighted majority of the 3×3×3 neighbourhood is wall."""

    @property
    def halo(self) -> Size:
        """Voxels around a box that its result depends on, zyx.

        Example:
            >>> BoundarySettings().halo
            Size(z=1, y=2, x=2)
        """
        return Size(*(int(c) * (1 + int(d)) + int(self.smooth) for c, d in zip(self.connectivity, self.dilate)))
