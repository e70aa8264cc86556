"""How long tiles take, from some that were timed."""

from __future__ import annotations

from collections.abc import Mapping

from elektronn.axes import Size
from elektronn.geometry import Geometry
from elektronn.network.document import Document
from elektronn.prediction.tiles import work_of


class Pace:
    """The speed of tiles: their time is in proportion to their multiplications, which include what is computed twice.

    Args:
        document, geometry: of the network.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> document = chain(NetworkSettings(kernels=((1, 3, 3),), pools=((1, 1, 1),), features=(4,)))
        >>> flat = Geometry.of([Size(1, 3, 3), Size(1, 1, 1)], [Size(1, 1, 1), Size(1, 1, 1)])
        >>> pace = Pace(document, flat)
        >>> pace.saw(Size(1, 10, 10), 2.0)
        >>> round(pace.seconds({Size(1, 10, 10): 3}), 6)
        6.0
    """

    def __init__(self, document: Document, geometry: Geometry) -> None:
        self.document, self.geometry = document, geometry
        self._work, self._seconds = 0.0, 0.0

    def saw(self, tile: Size, seconds: float) -> None:
        """One tile (zyx) took so long."""
        self._work, self._seconds = self._work + self._of(tile), self._seconds + seconds

    def forget(self) -> None:
        """Begin anew: what was seen so far was no guide."""
        self._work, self._seconds = 0.0, 0.0

    def seconds(self, tiles: Mapping[Size, int]) -> float:
        """Time of tiles, by their sizes."""
        if not self._work:
            return 0.0
        return self._seconds / self._work * sum(count * self._of(tile) for tile, count in tiles.items())

    def _of(self, tile: Size) -> float:
        return tile.voxels * work_of(self.document, self.geometry, tile)
