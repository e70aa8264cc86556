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
_ROWS = 4  # label & 3 of 0, 1 and -1 is 0, 1 and 3: no branch in the kernels
_SPARE = 2  # the row left over: voxels of class 0 and bin 0, spread over its first cells
_SPREAD = 16  # so many of them
_MOST = 1 << 31  # voxels until the next drain, all of which may fall into one uint32 cell
_STEP = 128  # voxels of which the cells are found before any is counted
_ONE = 0x3F800000  # bits of 1, float32
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
        self._told: dict[int, NDArray[np.uint32]] = {}
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
        return self._histogram(self._total)

    def since(self, bins: int) -> Histogram:
        """What was counted since the last call with the same ``bins``, without counting it again.

        Args:
            bins: of the result, a power of two; neighbouring bins are put together. No more than were counted.

        Example:
            >>> counter = Counter(np.float32)
            >>> for score in (0.2, 0.7):
            ...     counter.add(np.full(3, score, np.float32), np.ones(3, np.int8))
            ...     print(counter.since(2).counts.tolist())
            [[0, 0], [3, 0]]
            [[0, 0], [0, 3]]
        """
        bins = min(bins, self.bins)
        now = self._folded(bins)
        before, self._told[bins] = self._told.get(bins), now
        return self._histogram(now if before is None else now - before)

    def _histogram(self, rows: NDArray[Any]) -> Histogram:
        counts = rows[:2].astype(np.int64)
        exact = not self._float and counts.shape[1] == self.bins
        return Histogram(counts, self.bins - 1 if exact else counts.shape[1], exact, int(rows[3, 0]))

    def _count(self, scores: NDArray[Any], marks: NDArray[np.int8]) -> None:
        if self._pending + scores.size > _MOST:
            self._drain()
        self._pending += scores.size
        if self._float:
            _count_floats(_probabilities(scores), marks, self.bins, self._cells[0])
        elif len(self._cells) == 4:
            _count_bytes(scores, marks, self._cells.reshape(-1))
        else:
            _count_words(scores, marks, self._cells[0])

    def _drain(self) -> None:
        for bins, before in self._told.items():
            before -= self._folded(bins)  # what wraps around here does so again when it is subtracted
        self._total += self._folded(self.bins)
        self._cells[:] = 0
        self._pending = 0

    def _folded(self, bins: int) -> NDArray[np.uint32]:
        """The cells as ``[row, bin]`` in fewer bins, what is spare in its place; the ignored all in the first bin."""
        found = np.zeros((_ROWS, bins), np.uint32)
        _fold(self._cells, found)
        return found


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
    labels = np.ascontiguousarray(labels)
    return labels.view(np.int8) if labels.dtype.itemsize == 1 else labels.astype(np.int8)


def _probabilities(scores: NDArray[Any]) -> NDArray[np.float32]:
    # of floats from 0 to 1, and of no others, the bits are at most those of 1, seen as a whole number; -0 alone is missed
    if scores.dtype != np.float32 or scores.view(np.uint32).max() > _ONE:
        low, high = float(scores.min()), float(scores.max())
        if not (low >= 0 and high <= 1):  # written so that not-a-number fails too
            raise DataError(f"scores lie between {low:g} and {high:g}; expected probabilities from 0 to 1")
    return scores.astype(np.float32, copy=False)


# The kernels take two steps through a piece that stays in the first cache level: the cells of its voxels, which is
# vectorised, and the increments, which cannot be. In saturated predictions many neighbours fall into class 0 and bin 0,
# and each increment would wait for the one before; they are spread over the spare row.


@njit(nogil=True, cache=True, boundscheck=False)
def _count_bytes(scores: NDArray[np.uint8], marks: NDArray[np.int8], cells: NDArray[np.uint32]) -> None:
    spare = _spare(256).astype(np.uint16)
    index = np.empty(_STEP, np.uint16)
    words = index.view(np.uint64)  # four neighbours, one for each of the four tables
    low, one = np.uint64(0xFFFF), np.uint32(1)
    even = scores.size // _STEP * _STEP
    for start in range(0, even, _STEP):
        some, its_marks = scores[start : start + _STEP], marks[start : start + _STEP]
        for j in range(_STEP):
            cell = (np.uint16(its_marks[j] & 3) << np.uint16(8)) | np.uint16(some[j])
            index[j] = cell | (np.uint16(cell == 0) * spare[j])
        for j in range(_STEP // 4):
            four = words[j]
            cells[four & low] += one
            cells[np.uint64(1024) + ((four >> np.uint64(16)) & low)] += one
            cells[np.uint64(2048) + ((four >> np.uint64(32)) & low)] += one
            cells[np.uint64(3072) + (four >> np.uint64(48))] += one
    for i in range(even, scores.size):
        cells[(np.uint32(marks[i] & 3) << np.uint32(8)) | scores[i]] += one


@njit(nogil=True, cache=True, boundscheck=False)
def _count_words(scores: NDArray[np.uint16], marks: NDArray[np.int8], cells: NDArray[np.uint32]) -> None:
    spare = _spare(65536)
    index = np.empty(_STEP, np.uint32)
    even = scores.size // _STEP * _STEP
    for start in range(0, even, _STEP):
        some, its_marks = scores[start : start + _STEP], marks[start : start + _STEP]
        for j in range(_STEP):
            cell = (np.uint32(its_marks[j] & 3) << np.uint32(16)) | np.uint32(some[j])
            index[j] = spare[j] if cell == 0 else cell
        for j in range(_STEP):
            cells[index[j]] += np.uint32(1)
    for i in range(even, scores.size):
        cells[(np.uint32(marks[i] & 3) << np.uint32(16)) | scores[i]] += np.uint32(1)


# fast arithmetic is exact here: one product by a power of two, of numbers known to lie in [0, 1]
@njit(nogil=True, cache=True, boundscheck=False, fastmath=True, error_model="numpy")
def _count_floats(scores: NDArray[np.float32], marks: NDArray[np.int8], bins: int, cells: NDArray[np.uint32]) -> None:
    scale, last, wide = np.float32(bins), np.int32(bins - 1), np.int32(bins)
    spare = _spare(bins)
    index = np.empty(_STEP, np.uint32)
    even = scores.size // _STEP * _STEP
    for start in range(0, even, _STEP):
        # of an index that is a sum the compiler does not know that it is not negative, and does not vectorise; of slices it does
        some, its_marks = scores[start : start + _STEP], marks[start : start + _STEP]
        for j in range(_STEP):
            cell = np.uint32(min(np.int32(some[j] * scale), last) + np.int32(its_marks[j] & 3) * wide)
            index[j] = spare[j] if cell == 0 else cell
        for j in range(_STEP):
            cells[index[j]] += np.uint32(1)
    for i in range(even, scores.size):
        cells[np.uint32(min(np.int32(scores[i] * scale), last) + np.int32(marks[i] & 3) * wide)] += np.uint32(1)


@njit(nogil=True, cache=True)
def _spare(bins: int) -> NDArray[np.uint32]:
    """Cells for the voxels of a piece that are of class 0 and bin 0, in turn."""
    return (_SPARE * bins + np.arange(_STEP) % min(bins, _SPREAD)).astype(np.uint32)


@njit(nogil=True, cache=True, boundscheck=False)
def _fold(cells: NDArray[np.uint32], found: NDArray[np.uint32]) -> None:
    """Add cells, ``[copy, row · bin]``, to ``[row, bin]`` of fewer bins; all that is spare or ignored to the first bin."""
    wide, bins = cells.shape[1] // _ROWS, found.shape[1]
    for copy in range(cells.shape[0]):
        for row in range(2):
            line = _halved(cells[copy, row * wide : (row + 1) * wide], bins)
            for b in range(bins):
                found[row, b] += line[b]
        found[0, 0] += _halved(cells[copy, _SPARE * wide : _SPARE * wide + min(wide, _SPREAD)], 1)[0]
        found[3, 0] += _halved(cells[copy, 3 * wide :], 1)[0]


@njit(nogil=True, cache=True, boundscheck=False)
def _halved(line: NDArray[np.uint32], bins: int) -> NDArray[np.uint32]:
    """Sums of neighbours, until there are no more than ``bins``; pairs vectorise, sums of many do not."""
    while line.size > bins:
        sums = np.empty(line.size // 2, np.uint32)
        for b in range(sums.size):
            sums[b] = line[2 * b] + line[2 * b + 1]
        line = sums
    return line
