"""Streaming counts of (label, score): constant memory, exact totals, any order of blocks.

Everything that ROC and PR curves need is one histogram of the scores of each class. Integer scores have one bin
per value, so nothing is lost; floating-point scores fall into equal bins of [0, 1], and the loss is known
(:func:`elektronn.evaluation.curves.roc_area_error`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from elektronn.errors import DataError

Counts = NDArray[np.int64]

IGNORED = -1
_ROWS = 4  # label & 3 of 0, 1 and -1 is 0, 1 and 3: no branch in the kernels; row 2 stays empty
_MOST = 1 << 31  # voxels until the next drain, all of which may fall into one uint32 cell
_PIECE = 1 << 19  # looked at and counted while it lies in the cache: memory is read once


@dataclass(frozen=True)
class Histogram:
    """Voxels per class and score bin.

    Attributes:
        counts: ``[class, bin]``, int64; class 1 is boundary, class 0 the rest.
        divisor: bin ``b`` holds the scores from ``b / divisor``.
        exact: one bin per possible score, so curves are those of the stored scores themselves.
        ignored: voxels whose label is −1.
    """

    counts: Counts
    divisor: int
    exact: bool
    ignored: int

    @property
    def bins(self) -> int:
        """Number of score bins."""
        return int(self.counts.shape[1])

    @property
    def negatives(self) -> int:
        """Voxels of class 0."""
        return int(self.counts[0].sum())

    @property
    def positives(self) -> int:
        """Voxels of class 1."""
        return int(self.counts[1].sum())

    @property
    def voxels(self) -> int:
        """Voxels that count: both classes, without the ignored ones."""
        return self.negatives + self.positives

    @property
    def digest(self) -> str:
        """sha256 of all counts: two volumes that share it have, but for a miracle, the same scores and labels."""
        text = f"{self.divisor} {self.ignored}\n".encode() + self.counts.astype("<i8").tobytes()
        return hashlib.sha256(text).hexdigest()

    def __add__(self, other: Histogram) -> Histogram:
        """Both together, exactly; the order of additions does not matter.

        Raises:
            DataError: the two were counted with different bins.
        """
        if (self.bins, self.divisor) != (other.bins, other.divisor):
            raise DataError(
                f"scores in {self.bins} and in {other.bins} steps cannot be counted together; "
                "predict all volumes with the same output type"
            )
        return Histogram(self.counts + other.counts, self.divisor, self.exact, self.ignored + other.ignored)


class Counter:
    """Counts blocks of scores and labels into one histogram.

    Args:
        dtype: type of the scores: uint8 (p·255), uint16 (p·65535) or floating point (p in [0, 1]).
        bins: number of bins for floating-point scores, a power of two.

    Raises:
        DataError: scores of another type.

    Example:
        >>> counter = Counter(np.uint8)
        >>> counter.add(np.array([0, 255, 9], np.uint8), np.array([0, 1, -1], np.int8))
        >>> total = counter.histogram()
        >>> total.negatives, total.positives, total.ignored
        (1, 1, 1)
    """

    def __init__(self, dtype: Any, bins: int = 65536) -> None:
        dtype = np.dtype(dtype)
        self._float = bool(np.issubdtype(dtype, np.floating))
        if not self._float and dtype not in (np.uint8, np.uint16):
            raise DataError(f"scores are {dtype}; expected uint8 (p·255), uint16 (p·65535) or float32 (p)")
        self.bins = bins if self._float else 1 << (8 * dtype.itemsize)
        # neighbouring voxels often share a bin; copies keep one increment from waiting for the one before, but of large
        # tables a second one would not fit the cache
        self._cells = np.zeros((1 if self._float or self.bins > 256 else 4, _ROWS * self.bins), np.uint32)
        self._pending = 0
        self._total = np.zeros((_ROWS, self.bins), np.uint64)

    def add(self, scores: NDArray[Any], labels: NDArray[Any], classes: int = 2) -> None:
        """Count one block.

        Args:
            scores: probability of class 1, any shape.
            labels: same shape, whole numbers: −1 ignored, 0 … classes − 1.
            classes: number of classes; all but class 1 count as 0.

        Raises:
            DataError: sizes differ, an unknown label, a score outside [0, 1] or not a number.
        """
        if scores.shape != labels.shape:
            raise DataError(f"scores {scores.shape} and labels {labels.shape} differ in size")
        if not scores.size:
            return
        flat, marks = np.ascontiguousarray(scores).reshape(-1), np.ascontiguousarray(labels).reshape(-1)
        for start in range(0, flat.size, _PIECE):
            self._count(flat[start : start + _PIECE], _marks(marks[start : start + _PIECE], classes))

    def histogram(self) -> Histogram:
        """Everything counted so far."""
        self._drain()
        total = self._total.astype(np.int64)
        divisor = self.bins if self._float else self.bins - 1
        return Histogram(total[:2], divisor, not self._float, int(total[3].sum()))

    def _count(self, scores: NDArray[Any], marks: NDArray[np.int8]) -> None:
        if self._pending + scores.size > _MOST:
            self._drain()
        self._pending += scores.size
        if self._float:
            _count_floats(_probabilities(scores), marks, self.bins, self._cells[0])
        elif len(self._cells) == 4:
            _count_bytes(scores, marks, self._cells)
        else:
            _count_words(scores, marks, self._cells[0])

    def _drain(self) -> None:
        self._total += self._cells.sum(axis=0, dtype=np.uint64).reshape(_ROWS, self.bins)
        self._cells[:] = 0
        self._pending = 0


def _marks(labels: NDArray[Any], classes: int) -> NDArray[np.int8]:
    """Labels as int8 −1, 0, 1."""
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise DataError(f"labels are {labels.dtype}; expected whole numbers: 1 boundary, 0 inside, -1 ignored")
    low, high = int(labels.min()), int(labels.max())
    if low < IGNORED or high >= classes:
        raise DataError(
            f"labels hold {low if low < IGNORED else high}; expected -1 (ignored) or 0 to {classes - 1}: "
            "convert the labels to classes first"
        )
    if high > 1:
        labels = np.where(labels > 1, 0, labels)
    return np.ascontiguousarray(labels).astype(np.int8, copy=False)


def _probabilities(scores: NDArray[Any]) -> NDArray[np.float32]:
    low, high = float(scores.min()), float(scores.max())
    if not (low >= 0 and high <= 1):  # written so that not-a-number fails too
        raise DataError(f"scores lie between {low:g} and {high:g}; expected probabilities from 0 to 1")
    return scores.astype(np.float32, copy=False)


@njit(nogil=True, cache=True, boundscheck=False)
def _count_bytes(scores: NDArray[np.uint8], marks: NDArray[np.int8], cells: NDArray[np.uint32]) -> None:
    n = scores.size
    even = n // 4 * 4
    for i in range(0, even, 4):
        cells[0, (np.uint32(marks[i] & 3) << 8) | scores[i]] += 1
        cells[1, (np.uint32(marks[i + 1] & 3) << 8) | scores[i + 1]] += 1
        cells[2, (np.uint32(marks[i + 2] & 3) << 8) | scores[i + 2]] += 1
        cells[3, (np.uint32(marks[i + 3] & 3) << 8) | scores[i + 3]] += 1
    for i in range(even, n):
        cells[0, (np.uint32(marks[i] & 3) << 8) | scores[i]] += 1


@njit(nogil=True, cache=True, boundscheck=False)
def _count_words(scores: NDArray[np.uint16], marks: NDArray[np.int8], cells: NDArray[np.uint32]) -> None:
    for i in range(scores.size):
        cells[(np.uint32(marks[i] & 3) << 16) | scores[i]] += 1


# fast arithmetic is exact here: one product by a power of two, of numbers known to lie in [0, 1]
@njit(nogil=True, cache=True, boundscheck=False, fastmath=True, error_model="numpy")
def _count_floats(scores: NDArray[np.float32], marks: NDArray[np.int8], bins: int, cells: NDArray[np.uint32]) -> None:
    scale, last, wide = np.float32(bins), np.int32(bins - 1), np.int32(bins)
    index = np.empty(2048, np.int32)
    for start in range(0, scores.size, 2048):
        # two passes over a piece in the first cache level: the first one vectorises, as its indices cannot be negative,
        # which the compiler does not know of sums with `start`; the increments cannot
        some, its_marks = scores[start : start + 2048], marks[start : start + 2048]
        for j in range(some.size):
            index[j] = min(np.int32(some[j] * scale), last) + np.int32(its_marks[j] & 3) * wide
        for j in range(some.size):
            cells[np.uint32(index[j])] += 1
