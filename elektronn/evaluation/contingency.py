"""Voxels per pair of true and predicted segment: a sparse table, counted block by block, merged exactly in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import DataError

Ids = NDArray[np.uint64]
Counts = NDArray[np.int64]

PENDING = 1 << 20
"""Rows that :func:`summed` may keep before it merges them."""


@dataclass(frozen=True)
class Contingency:
    """How many voxels each true segment shares with each predicted one.

    Attributes:
        truth: true id of each row, above 0.
        found: predicted id of each row; 0 is the background of the prediction.
        counts: voxels of each row. Rows are sorted by true, then predicted id; no pair has two rows.
        ignored: voxels that do not count: true id 0 or below, or masked.
    """

    truth: Ids
    found: Ids
    counts: Counts
    ignored: int = 0

    @property
    def voxels(self) -> int:
        """Voxels that count."""
        return int(self.counts.sum())

    @property
    def background(self) -> int:
        """Voxels that count and have the predicted id 0."""
        return int(self.counts[self.found == 0].sum())

    def __add__(self, other: Contingency) -> Contingency:
        """Both together; the order of additions does not matter."""
        return summed([self, other])


def contingency(truth: NDArray[Any], found: NDArray[Any], masked: NDArray[np.bool_] | None = None) -> Contingency:
    """The table of one block.

    Args:
        truth: true ids, whole numbers, any shape; 0 and below do not count.
        found: predicted ids, same shape, whole numbers from 0.
        masked: voxels that do not count either, same shape.

    Raises:
        DataError: sizes differ, not whole numbers, a negative predicted id.

    Example:
        >>> table = contingency(np.array([1, 1, 2, 0]), np.array([7, 7, 7, 7]))
        >>> table.truth.tolist(), table.found.tolist(), table.counts.tolist(), table.ignored
        ([1, 2], [7, 7], [2, 1], 1)
    """
    if truth.shape != found.shape:
        raise DataError(f"true ids {truth.shape} and predicted ids {found.shape} differ in size; crop them alike")
    for name, ids in (("true", truth), ("predicted", found)):
        if not np.issubdtype(ids.dtype, np.integer):
            raise DataError(f"the {name} ids are {ids.dtype}; ids are whole numbers: store them as an integer type")
    keep = truth > 0 if masked is None else (truth > 0) & ~masked
    one, other = truth[keep], found[keep]
    if other.size and other.min() < 0:
        raise DataError(f"the predicted ids hold {other.min()}; ids are 1 and more, 0 is background: number them anew")
    # neighbours mostly share their pair of ids: count runs, then sort only those
    starts = np.flatnonzero(np.append(True, (one[1:] != one[:-1]) | (other[1:] != other[:-1]))[: one.size])
    lengths = np.diff(np.append(starts, one.size)).astype(np.int64)
    ignored = int(truth.size - one.size)
    return _gathered(one[starts].astype(np.uint64), other[starts].astype(np.uint64), lengths, ignored)


def summed(tables: Iterable[Contingency]) -> Contingency:
    """The sum of any number of tables; they are taken one after the other and need not be in memory together."""
    total, pending, rows = _gathered(*_EMPTY, 0), [], 0
    for table in tables:
        pending.append(table)
        rows += len(table.counts)
        if rows > max(PENDING, len(total.counts)):
            total, pending, rows = _joined([total, *pending]), [], 0
    return _joined([total, *pending])


def beside(tables: Iterable[Contingency]) -> Contingency:
    """The table of several volumes whose ids have nothing to do with each other; predicted id 0 stays background.

    Example:
        >>> table = contingency(np.array([7, 7]), np.array([0, 3]))
        >>> both = beside([table, table])
        >>> both.truth.tolist(), both.found.tolist(), both.counts.tolist()
        ([1, 1, 2, 2], [0, 1, 0, 2], [1, 1, 1, 1])
    """
    moved: list[Contingency] = []
    truths, founds = 0, 0
    for table in tables:
        _, truth = np.unique(table.truth, return_inverse=True)
        ids, found = np.unique(np.append(np.uint64(0), table.found), return_inverse=True)
        found = np.where(table.found == 0, 0, found[1:] + founds)
        moved.append(
            Contingency((truth + truths + 1).astype(np.uint64), found.astype(np.uint64), table.counts, table.ignored)
        )
        truths, founds = truths + int(truth.max(initial=-1)) + 1, founds + len(ids) - 1
    return _joined(moved)


def _joined(tables: list[Contingency]) -> Contingency:
    columns = [np.concatenate([getattr(table, name) for table in tables]) for name in ("truth", "found", "counts")]
    return _gathered(columns[0], columns[1], columns[2], sum(table.ignored for table in tables))


def _gathered(truth: Ids, found: Ids, counts: Counts, ignored: int) -> Contingency:
    """Sorted rows, those of one pair added up."""
    order = np.lexsort((found, truth))
    truth, found, counts = truth[order], found[order], counts[order]
    first = np.flatnonzero(np.append(True, (truth[1:] != truth[:-1]) | (found[1:] != found[:-1]))[: truth.size])
    sums = np.add.reduceat(counts, first) if first.size else counts
    return Contingency(truth[first], found[first], sums, ignored)


_EMPTY = (np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64))
