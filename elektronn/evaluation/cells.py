"""Counts per cell of a grid over a volume: per section for a table along z, per block for resampling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.evaluation.counters import Counter, Histogram


class Cells:
    """Counts blocks into one histogram per cell; the result does not depend on how the volume was cut into blocks.

    No voxel is counted twice: the counter, which counts everything, is asked after each cell what that added.

    Args:
        edge: size of a cell, zyx, voxels.
        bins: most of a histogram, a power of two; fewer than those of the volume, because there are many cells.
            With as many bins as values, uint8 scores are exact; all others are fractions in equal bins of [0, 1].
        counter: of the whole volume, with at least as many bins, or exact.

    Example:
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
        for place, box in self._parts(start, Size(*scores.shape)):
            self.counter.add(scores[box.slices], labels[box.slices], classes)
            found = self.counter.since(self.bins)
            self._found[place] = self._found[place] + found if place in self._found else found

    def _parts(self, start: Size, size: Size) -> Iterator[tuple[Size, Box]]:
        """Index of each cell that a block touches, and the part of the block in it."""
        first = [a // n for a, n in zip(start, self.edge)]
        count = [-(-(a + s) // n) - f for a, s, n, f in zip(start, size, self.edge, first)]
        for offset in np.ndindex(*count):
            place = Size(*(f + o for f, o in zip(first, offset)))
            cell = Box(Size(0, 0, 0), self.edge).shifted(p * n for p, n in zip(place, self.edge))
            yield place, cell.shifted(-a for a in start).within(size)

    def items(self) -> list[tuple[Size, Histogram]]:
        """Index and counts of each cell, z slowest."""
        return sorted(self._found.items())
