"""Voxels per pair of true and predicted segment: a sparse table, counted block by block, merged exactly in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic as _intrinsic
from numpy.typing import NDArray

from elektronn.errors import DataError

intrinsic: Any = _intrinsic  # its types say less than it takes
Ids = NDArray[np.uint64]
Counts = NDArray[np.int64]

PENDING = 1 << 20
"""Rows that :func:`summed` may keep before it merges them."""

_STEP = 4096  # voxels that are compared with their neighbours before runs are counted
_TO_BITS = np.uint64(0x0102040810204080)  # times eight bytes that are 0 or 1: their bits, in the highest byte


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
    one, other, counts = _counted(*_unsigned(truth, found)).T
    return _gathered(one, other, counts.astype(np.int64), truth.size - int(counts.sum()))


def _unsigned(*arrays: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Flat arrays of one type, so that the kernel is compiled for two types only; what is negative becomes 0."""
    kind = np.uint32 if all(ids.dtype == np.uint32 for ids in arrays) else np.uint64
    for ids in arrays:
        positive = np.maximum(ids, 0) if ids.dtype.kind == "i" else ids
        yield np.ascontiguousarray(positive).reshape(-1).astype(kind, copy=False)


@intrinsic
def _lowest(context: Any, bits: Any) -> Any:
    """Place of the lowest bit that is set."""

    def generate(_: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@njit(nogil=True, cache=True, boundscheck=False)
def _place(table, a, b):  # type: ignore[no-untyped-def]
    """Place of a pair in an open hash table: where it is, or the free one where it belongs."""
    last = np.uint64(table.shape[0] - 1)
    mixed = a * np.uint64(0x9E3779B97F4A7C15) ^ b * np.uint64(0xC2B2AE3D27D4EB4F)
    at = (mixed ^ mixed >> np.uint64(32)) & last
    while table[at, 2] and (table[at, 0] != a or table[at, 1] != b):
        at = (at + np.uint64(1)) & last
    return at


@njit(nogil=True, cache=True, boundscheck=False)
def _larger(table):  # type: ignore[no-untyped-def]
    new = np.zeros((2 * table.shape[0], 3), np.uint64)
    for row in table:
        if row[2]:
            new[_place(new, row[0], row[1])] = row
    return new


@njit(nogil=True, cache=True, boundscheck=False)
def _counted(truth, found):  # type: ignore[no-untyped-def]
    """Rows of true id above 0, predicted id, and how often both occur together; in no order.

    Neighbours mostly share their pair of ids, so runs are counted. Where they end is found in pieces that stay in the first
    cache level: voxels that differ from the next one are bytes (which vectorises), then bits, then a loop over those set.
    """
    table, used, first = np.zeros((1024, 3), np.uint64), 0, 0
    differs = np.empty(_STEP, np.uint8)
    words = differs.view(np.uint64)
    for start in range(0, truth.size, _STEP):
        next_truth, next_found = truth[start + 1 : start + 1 + _STEP], found[start + 1 : start + 1 + _STEP]
        size = next_truth.size
        this_truth, this_found = truth[start : start + size], found[start : start + size]
        for j in range(size):
            differs[j] = ((this_truth[j] ^ next_truth[j]) | (this_found[j] ^ next_found[j])) != 0
        if size < _STEP:  # the last voxel ends a run
            differs[size:] = 0
            differs[size] = 1
        for word in range(0, _STEP // 8, 8):
            bits = np.uint64(0)
            for j in range(8):
                bits |= ((words[word + j] * _TO_BITS) >> np.uint64(56)) << np.uint64(8 * j)
            if 2 * (used + 64) > table.shape[0]:
                table = _larger(table)
            first, new = _add_runs(truth, found, table, first, start + 8 * word, bits)
            used += new
    return table[(table[:, 2] > 0) & (table[:, 0] > 0)]


@njit(nogil=True, cache=True, boundscheck=False)
def _add_runs(truth, found, table, first, start, bits):  # type: ignore[no-untyped-def]
    """Count the runs from ``first`` on whose last voxels are bits, counted from ``start``; what comes next, and new rows."""
    new = 0
    while bits:
        end = start + np.int64(_lowest(bits)) + 1
        bits &= bits - np.uint64(1)
        a, b = np.uint64(truth[end - 1]), np.uint64(found[end - 1])
        at = _place(table, a, b)
        new += table[at, 2] == 0
        table[at, 0], table[at, 1] = a, b
        table[at, 2] += np.uint64(end - first)
        first = end
    return first, new


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
