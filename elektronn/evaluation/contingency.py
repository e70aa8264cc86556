"""Voxels per pair of true and predicted segment: a sparse table, counted block by block, merged exactly in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
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
    if masked is not None:
        truth = np.where(masked, 0, truth)
    if found.dtype.kind == "i" and (wrong := found[(found < 0) & (truth > 0)]).size:
        raise DataError(f"the predicted ids hold {wrong.min()}; ids are 1 and more, 0 is background: number them anew")
    one, other, counts = _counted(*_unsigned(truth, found))
    return _gathered(one, other, counts, truth.size - int(counts.sum()))


def _unsigned(*arrays: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Flat arrays of one type, so that the kernel is compiled for two types only; what is negative becomes 0."""
    kind = np.uint32 if all(ids.dtype == np.uint32 for ids in arrays) else np.uint64
    for ids in arrays:
        positive = np.maximum(ids, 0) if ids.dtype.kind == "i" else ids
        yield np.ascontiguousarray(positive).reshape(-1).astype(kind, copy=False)


@njit(nogil=True, cache=True)
def _place(one, other, counts, a, b):  # type: ignore[no-untyped-def]
    """Place of a pair in an open hash table: where it is, or the free one where it belongs."""
    last = np.uint64(counts.size - 1)
    mixed = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F)
    at = (mixed ^ mixed >> np.uint64(32)) & last
    while counts[at] and (one[at] != a or other[at] != b):
        at = (at + np.uint64(1)) & last
    return at


@njit(nogil=True, cache=True)
def _counted(truth, found):  # type: ignore[no-untyped-def]
    """Pairs of ids of true id above 0, and how often each occurs; in no order."""
    one, other, counts = np.zeros(1024, np.uint64), np.zeros(1024, np.uint64), np.zeros(1024, np.int64)
    used, i, n = 0, 0, truth.size
    while i < n:
        start, a, b = i, truth[i], found[i]
        i += 1
        while i < n and truth[i] == a and found[i] == b:  # neighbours mostly share their pair of ids
            i += 1
        if a == 0:
            continue
        at = _place(one, other, counts, a, b)
        if counts[at] == 0:
            one[at], other[at] = a, b
            used += 1
        counts[at] += i - start
        if 2 * used > counts.size:
            size = 2 * counts.size
            one_, other_, counts_ = np.zeros(size, np.uint64), np.zeros(size, np.uint64), np.zeros(size, np.int64)
            for j in np.flatnonzero(counts):
                at = _place(one_, other_, counts_, one[j], other[j])
                one_[at], other_[at], counts_[at] = one[j], other[j], counts[j]
            one, other, counts = one_, other_, counts_
    rows = np.flatnonzero(counts)
    return one[rows], other[rows], counts[rows]


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
