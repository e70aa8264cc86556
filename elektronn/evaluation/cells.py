"""Counts per cell of a grid over a volume: per section for a table along z, per block for resampling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.evaluation.counters import Counter, Histogram, Part


class Cells:
    """Counts blocks into one histogram per cell; the result does not depend on how the volume was cut into blocks.

    No voxel is counted twice: a counter, which counts everything, tells what each cell added. Several threads may add, each
    with a counter of its own.

    Args:
        edge: size of a cell, zyx, voxels.
        bins: most of a histogram, a power of two; fewer than those of the volume, because there are many cells.
            With as many bins as values, uint8 scores are exact; all others are fractions in equal bins of [0, 1].

    Example:
        >>> import numpy as np
        >>> cells = Cells(Size(1, 9, 9), 256)
        >>> cells.add(Size(4, 0, 0), np.zeros((2, 1, 3), np.uint8), np.ones((2, 1, 3), np.int8), Counter(np.uint8))
        >>> [(place.z, histogram.positives) for place, histogram in cells.items()]
        [(4, 3), (5, 3)]
    """

    def __init__(self, edge: Size, bins: int) -> None:
        self.edge, self.bins = edge, bins
        self._found: dict[Size, Histogram] = {}
        self._lock = Lock()

    def add(self, start: Size, scores: NDArray[Any], labels: NDArray[Any], counter: Counter, classes: int = 2) -> None:
        """Count one block.

        Args:
            start: its first voxel in the grid.
            scores: as for :class:`Counter`.
            labels: as for :class:`Counter`.
            counter: counts it; with at least as many bins, or exact.
            classes: as for :class:`Counter`.
        """
        places, parts = zip(*self._parts(start, Size(*scores.shape)))
        counted = counter.add_parts(scores, labels, parts, self.bins, classes)
        with self._lock:
            for place, found in zip(places, counted):
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
