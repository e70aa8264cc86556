"""Counts per cell of a grid over a volume: per section for a table along z, per block for resampling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.evaluation.counters import Counter, Histogram, Part


class Cells:
    """Counts blocks into one histogram per cell; the result does not depend on how the volume was cut into blocks.

    No voxel is counted twice: the counter, which counts everything, tells what each cell added.

    Args:
        edge: size of a cell, zyx, voxels.
        bins: most of a histogram, a power of two; fewer than those of the volume, because there are many cells.
            With as many bins as values, uint8 scores are exact; all others are fractions in equal bins of [0, 1].
        counter: of the whole volume, with at least as many bins, or exact.

    Example:
        >>> import numpy as np
        >>> cells = Cells(Size(1, 9, 9), 256, Counter(np.uint8))
        >>> cells.add(Size(4, 0, 0), np.zeros((2, 1, 3), np.uint8), np.ones((2, 1, 3), np.int8))
        >>> [(place.z, histogram.positives) for place, histogram in cells.items()]
        [(4, 3), (5, 3)]
    """

    def __init__(self, edge: Size, bins: int, counter: Counter) -> None:
        self.edge, self.bins, self.counter = edge, bins, counter
        self._found: dict[Size, Histogram] = {}

    def add(self, start: Size, scores: NDArray[Any], labels: NDArray[Any], classes: int = 2) -> None:
        """Count one block.

        Args:
            start: its first voxel in the grid.
            scores: as for :class:`Counter`.
            labels: as for :class:`Counter`.
            classes: as for :class:`Counter`.
        """
        places, parts = zip(*self._parts(start, Size(*scores.shape)))
        for place, found in zip(places, self.counter.add_parts(scores, labels, parts, self.bins, classes)):
            self._found[place] = self._found[place] + found if place in self._found else found

    def _parts(self, start: Size, size: Size) -> Iterator[tuple[Size, Part]]:
        """Index of each cell that a block touches, and the part of the block in it."""
        spans = (
            [
                (cell, slice(max(cell * n - a, 0), min((cell + 1) * n - a, s)))
                for cell in range(a // n, -(-(a + s) // n))
            ]
            for a, s, n in zip(start, size, self.edge)
        )
        for (z, along_z), (y, along_y), (x, along_x) in product(*spans):
            yield Size(z, y, x), (along_z, along_y, along_x)

    def items(self) -> list[tuple[Size, Histogram]]:
        """Index and counts of each cell, z slowest."""
        return sorted(self._found.items())
