"""Axis letters and orders. In memory, in torch and in our files: ``zyx``, channel first."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product as cartesian
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import ConfigError

SPATIAL = "zyx"


class Size(NamedTuple):
    """Three whole numbers along z, y, x: a size, a stride, an offset or a position, in voxels."""

    z: int
    y: int
    x: int

    @property
    def voxels(self) -> int:
        """Product of the three."""
        return self.z * self.y * self.x

    def __str__(self) -> str:
        return f"{self.z}×{self.y}×{self.x}"


class Box(NamedTuple):
    """A half-open box ``start <= position < stop``, zyx, voxels.

    Example:
        >>> Box(Size(0, 2, 2), Size(1, 5, 6)).size
        Size(z=1, y=3, x=4)
    """

    start: Size
    stop: Size

    @property
    def size(self) -> Size:
        """Extent along z, y, x."""
        return Size(*(b - a for a, b in zip(self.start, self.stop)))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index of a zyx array."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop))
        return z, y, x

    def shifted(self, by: Iterable[int]) -> Box:
        """The box moved by ``by`` (zyx, voxels)."""
        by = tuple(by)
        return Box(Size(*map(sum, zip(self.start, by))), Size(*map(sum, zip(self.stop, by))))

    def grown(self, low: Iterable[int], high: Iterable[int]) -> Box:
        """The box enlarged by ``low`` before its start and ``high`` behind its stop."""
        start = (a - b for a, b in zip(self.start, low))
        stop = (a + b for a, b in zip(self.stop, high))
        return Box(Size(*start), Size(*stop))

    def within(self, size: Iterable[int]) -> Box:
        """The part of the box inside a volume of ``size`` that starts at 0."""
        start = (max(a, 0) for a in self.start)
        stop = (min(a, b) for a, b in zip(self.stop, size))
        return Box(Size(*start), Size(*stop))


def whole(size: Iterable[int]) -> Box:
    """The box of a whole volume of ``size`` (zyx)."""
    return Box(Size(0, 0, 0), Size(*size))


def blocks(size: Iterable[int], block: Iterable[int]) -> list[Box]:
    """Cut a volume into blocks, z slowest; blocks at the far end are smaller.

    Example:
        >>> [b.size.x for b in blocks((1, 1, 5), (1, 1, 2))]
        [2, 2, 1]
    """
    size, block = Size(*size), Size(*block)
    starts = (range(0, n, b) for n, b in zip(size, block))
    return [Box(Size(*s), Size(*(a + b for a, b in zip(s, block)))).within(size) for s in cartesian(*starts)]


def check_order(order: str) -> str:
    """Return ``order`` if it names each of z, y, x once and ``c`` at most once.

    Raises:
        ConfigError: any other text.

    Example:
        >>> check_order("cxyz")
        'cxyz'
    """
    if sorted(order.replace("c", "", 1)) != sorted(SPATIAL):
        raise ConfigError(f"axes '{order}': write an order of z, y, x with at most one c, such as zyx, czyx or xyz")
    return order


def reorder(array: NDArray[np.generic], source: str, target: str) -> NDArray[np.generic]:
    """Transpose (a view, no copy) from the order ``source`` to the order ``target``.

    A ``c`` in ``target`` that ``source`` lacks becomes an axis of length 1.

    Example:
        >>> reorder(np.zeros((4, 3, 2)), "xyz", "czyx").shape
        (1, 2, 3, 4)
    """
    if "c" in target and "c" not in source:
        array, source = array[None], "c" + source
    return array.transpose([source.index(letter) for letter in target])
