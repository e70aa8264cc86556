"""Streaming counts of (label, score): constant memory, exact totals, any order of blocks.

Everything that ROC and PR curves need is one histogram of the scores of each class. Integer scores have one bin
per value, so nothing is lost; floating-point scores fall into equal bins of [0, 1], and the loss is known
(:func:`elektronn.evaluation.curves.roc_area_error`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import DataError
from elektronn.evaluation import counting

Counts = NDArray[np.int64]
Part = tuple[slice, slice, slice]
"""Of a block, zyx."""

IGNORED = -1
_MOST = 1 << 31  # voxels until the next drain, all of which may fall into one uint32 cell
_PIECE = 1 << 15  # looked at and counted while it lies in the cache: memory is read once
_CONVERTED = 1 << 19  # voxels of types that the compiled loops do not know are converted at once


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
        self._cells = np.zeros((1 if self._float or self.bins > 256 else 4, counting.ROWS * self.bins), np.uint32)
        self._told: dict[int, NDArray[np.uint32]] = {}
        self._pending = 0
        self._total = np.zeros((counting.ROWS, self.bins), np.uint64)

    def add(self, scores: NDArray[Any], labels: NDArray[Any], classes: int = 2) -> None:
        """Count one block.

        Args:
            scores: probability of class 1, any shape.
            labels: same shape, whole numbers: −1 ignored, 0 … classes − 1.
            classes: number of classes; all but class 1 count as 0.

        Raises:
            DataError: sizes differ, an unknown label, a score outside [0, 1] or not a number.
        """
        _check_sizes(scores, labels)
        if not scores.size:
            return
        flat, marks = np.ascontiguousarray(scores).reshape(-1), np.ascontiguousarray(labels).reshape(-1)
        if _known(scores, labels, classes):
            self._count(flat, marks, classes)
            return
        for start in range(0, flat.size, _CONVERTED):
            part = slice(start, start + _CONVERTED)
            self._count(_probabilities(flat[part]), _marks(marks[part], classes), 2)

    def add_parts(
        self, scores: NDArray[Any], labels: NDArray[Any], parts: Sequence[Part], bins: int, classes: int = 2
    ) -> list[Histogram]:
        """Count parts of a block, and what each of them added, without counting it again.

        Args:
            scores: zyx, as for :meth:`add`.
            labels: as for :meth:`add`.
            parts: of the block; what is in none of them is not counted.
            bins: of the results, as for :meth:`since`.
            classes: as for :meth:`add`.

        Raises:
            DataError: as :meth:`add`.

        Example:
            >>> counter, halves = Counter(np.uint8), [np.s_[:1, :, :], np.s_[1:, :, :]]
            >>> found = counter.add_parts(np.zeros((2, 3, 4), np.uint8), np.ones((2, 3, 4), np.int8), halves, 256)
            >>> [part.positives for part in found], counter.histogram().positives
            ([12, 12], 24)
        """
        _check_sizes(scores, labels)
        if not _known(scores, labels, classes) or scores.size > _MOST:
            return [self._part(scores[part], labels[part], bins, classes) for part in parts]
        self._make_room(scores.size)
        bounds = [[n for axis, size in zip(part, scores.shape) for n in axis.indices(size)[:2]] for part in parts]
        found = np.zeros((len(parts) + 1, counting.ROWS, min(bins, self.bins)), np.uint32)
        counting.fold(self._cells, found[0])
        whole, marks = np.ascontiguousarray(scores), np.ascontiguousarray(labels)
        place = np.array(bounds, np.int64).reshape(-1, 6)
        wrong = counting.count_parts(whole, *_limits(marks, classes), _PIECE, self._cells, place, found[1:])
        _check(wrong, scores, labels, classes)
        return [self._histogram(now - before) for before, now in pairwise(found)]

    def _part(self, scores: NDArray[Any], labels: NDArray[Any], bins: int, classes: int) -> Histogram:
        self.since(bins)
        self.add(scores, labels, classes)
        return self.since(bins)

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

    def _count(self, scores: NDArray[Any], labels: NDArray[Any], classes: int) -> None:
        """Count flat arrays of known types."""
        for start in range(0, scores.size, _MOST):
            some, marks = scores[start : start + _MOST], labels[start : start + _MOST]
            self._make_room(some.size)
            wrong = counting.count(some, *_limits(marks, classes), _PIECE, self._cells)
            _check(wrong, some, marks, classes)

    def _make_room(self, voxels: int) -> None:
        """See to it that no cell can overflow."""
        if self._pending + voxels > _MOST:
            self._drain()
        self._pending += voxels

    def _drain(self) -> None:
        for bins, before in self._told.items():
            before -= self._folded(bins)  # what wraps around here does so again when it is subtracted
        self._total += self._folded(self.bins)
        self._cells[:] = 0
        self._pending = 0

    def _folded(self, bins: int) -> NDArray[np.uint32]:
        """The cells as ``[row, bin]`` in fewer bins, what is spare in its place; the ignored all in the first bin."""
        found = np.zeros((counting.ROWS, bins), np.uint32)
        counting.fold(self._cells, found)
        return found


def _check_sizes(scores: NDArray[Any], labels: NDArray[Any]) -> None:
    if scores.shape != labels.shape:
        raise DataError(f"scores {scores.shape} and labels {labels.shape} differ in size")


def _known(scores: NDArray[Any], labels: NDArray[Any], classes: int) -> bool:
    """Whether the compiled loops take both as they are."""
    return (
        scores.dtype in (np.uint8, np.uint16, np.float32)
        and labels.dtype in (np.int8, np.uint8, np.bool_)
        and classes <= np.iinfo(np.int8).max
    )


def _limits(labels: NDArray[Any], classes: int) -> tuple[NDArray[np.uint8], np.uint8, np.uint8]:
    """Labels of one byte as bytes, what to add to them, and the highest that may then be there."""
    shift = int(labels.dtype == np.int8)
    return labels.view(np.uint8), np.uint8(shift), np.uint8(classes - 1 + shift)


def _check(wrong: int, scores: NDArray[Any], labels: NDArray[Any], classes: int) -> None:
    """Refuse what a compiled loop has found, in words."""
    if wrong == counting.LABEL:
        _check_labels(labels, classes)
    elif wrong == counting.SCORE:
        _check_scores(scores)


def _marks(labels: NDArray[Any], classes: int) -> NDArray[np.int8]:
    """Labels as int8 −1, 0, 1."""
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise DataError(f"labels are {labels.dtype}; expected whole numbers: 1 boundary, 0 inside, -1 ignored")
    _check_labels(labels, classes)
    return np.where(labels > 1, 0, labels).astype(np.int8)


def _check_labels(labels: NDArray[Any], classes: int) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < IGNORED or high >= classes:
        raise DataError(
            f"labels hold {low if low < IGNORED else high}; expected -1 (ignored) or 0 to {classes - 1}: "
            "convert the labels to classes first (IDs: `elektronn boundaries`)"
        )


def _probabilities(scores: NDArray[Any]) -> NDArray[Any]:
    """Scores of a type that the compiled loops know."""
    if not np.issubdtype(scores.dtype, np.floating):
        return scores.astype(scores.dtype.newbyteorder("="), copy=False)
    _check_scores(scores)
    return scores.astype(np.float32)


def _check_scores(scores: NDArray[Any]) -> None:
    low, high = float(scores.min()), float(scores.max())
    if not (low >= 0 and high <= 1):  # written so that not-a-number fails too
        raise DataError(f"scores lie between {low:g} and {high:g}; expected probabilities from 0 to 1")
