"""Where segments touch, and how much boundary lies there: counted block by block, exactly, in any order.

A face is the surface between two neighbouring voxels of two segments. Per pair of segments and axis, its faces are
counted and the probabilities on both sides of them added up, as whole numbers, so that blocks and their order cannot
change the last digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint64]
Counts = NDArray[np.int64]

STEPS = 65535
"""Steps of a floating-point probability."""

PENDING = 1 << 18
"""Rows that :func:`summed` may keep before it merges them."""


@dataclass(frozen=True)
class Contacts:
    """Pairs of segments that touch.

    Attributes:
        pairs: ``(n, 2)`` ids, the smaller one first; sorted, none twice.
        faces: ``(n, 3)`` faces of each pair along z, y, x.
        sums: ``(n, 3)`` whole-number probabilities of the two voxels of these faces, added up.
    """

    pairs: Ids
    faces: Counts
    sums: Counts

    def areas(self, voxel: tuple[float, float, float]) -> NDArray[np.float64]:
        """Area of each contact, in the unit of ``voxel`` squared.

        Args:
            voxel: size z, y, x.
        """
        return self._weighted(self.faces, voxel)

    def means(self, voxel: tuple[float, float, float], steps: int) -> NDArray[np.float64]:
        """Mean probability on each contact: of the two voxels of a face, weighted by the areas of faces.

        Args:
            voxel: size z, y, x.
            steps: whole number that is the probability 1.
        """
        return self._weighted(self.sums, voxel) / (2 * steps * self.areas(voxel))

    @staticmethod
    def _weighted(counts: Counts, voxel: tuple[float, float, float]) -> NDArray[np.float64]:
        z, y, x = voxel
        total: NDArray[np.float64] = counts[:, 0] * (y * x) + counts[:, 1] * (z * x) + counts[:, 2] * (z * y)
        return total


def steps_of(dtype: Any) -> int:
    """The whole number that stands for the probability 1.

    Example:
        >>> steps_of(np.uint8), steps_of(np.float32)
        (255, 65535)
    """
    return int(np.iinfo(dtype).max) if np.issubdtype(dtype, np.unsignedinteger) else STEPS


def contacts(ids: Ids, probability: NDArray[Any], own: tuple[slice, slice, slice], *, per_section: bool) -> Contacts:
    """The contacts of a block with what lies before it along each axis, and inside it.

    Args:
        ids: zyx, of the block and of the voxels before it; 0 is no segment.
        probability: of boundary, same shape; unsigned whole numbers as fractions of the largest value, or floating point.
        own: the block in both.
        per_section: no contacts along z.

    Example:
        >>> found = contacts(
        ...     np.array([[[1, 1, 2]]], np.uint64),
        ...     np.array([[[0, 102, 204]]], np.uint8),
        ...     (slice(0, 1), slice(0, 1), slice(0, 3)),
        ...     per_section=False,
        ... )
        >>> found.pairs.tolist(), found.faces.tolist(), found.means((1, 1, 1), 255).tolist()
        ([[1, 2]], [[0, 0, 1]], [0.6])
    """
    tables = [_none()]
    for axis in range(int(per_section), 3):
        later = [slice(max(part.start, 1) if a == axis else part.start, part.stop) for a, part in enumerate(own)]
        before = [slice(p.start - 1, p.stop - 1) if a == axis else p for a, p in enumerate(later)]
        one, other = ids[tuple(later)], ids[tuple(before)]
        touch = (one != other) & (one > 0) & (other > 0)
        sums = _whole(probability[tuple(later)][touch]) + _whole(probability[tuple(before)][touch])
        tables.append(_along(axis, one[touch], other[touch], sums))
    return _joined(tables)


def _whole(probability: NDArray[Any]) -> Counts:
    """Probabilities as whole numbers of steps."""
    if np.issubdtype(probability.dtype, np.unsignedinteger):
        return probability.astype(np.int64)
    return np.rint(probability * np.float64(STEPS)).astype(np.int64)


def _along(axis: int, one: Ids, other: Ids, sums: Counts) -> Contacts:
    table = np.zeros((2, len(sums), 3), np.int64)
    table[0, :, axis], table[1, :, axis] = 1, sums
    return Contacts(np.stack([np.minimum(one, other), np.maximum(one, other)], 1), table[0], table[1])


def summed(tables: Iterable[Contacts]) -> Contacts:
    """The sum of any number of tables; they are taken one after the other and need not be in memory together."""
    total, pending, rows = _none(), [], 0
    for table in tables:
        pending.append(table)
        rows += len(table.pairs)
        if rows > max(PENDING, len(total.pairs)):
            total, pending, rows = _joined([total, *pending]), [], 0
    return _joined([total, *pending])


def _none() -> Contacts:
    return Contacts(np.zeros((0, 2), np.uint64), np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64))


def _joined(tables: list[Contacts]) -> Contacts:
    """All rows, those of one pair added up."""
    pairs, faces, sums = (np.concatenate([getattr(t, name) for t in tables]) for name in ("pairs", "faces", "sums"))
    if not len(pairs):
        return _none()
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs = pairs[order]
    first = np.flatnonzero(np.append(True, (pairs[1:] != pairs[:-1]).any(axis=1)))
    return Contacts(pairs[first], np.add.reduceat(faces[order], first), np.add.reduceat(sums[order], first))
