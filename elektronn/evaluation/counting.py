"""The compiled loops of :mod:`elektronn.evaluation.counters`; without the interpreter, so that files are read meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload as _overload
from numpy.typing import NDArray

overload: Any = _overload  # has no types

ROWS = 4  # of cells: class 0, class 1, what is spare, ignored
SPARE = 2  # the row left over: voxels of class 0 and bin 0, spread over its first cells
SPREAD = 16  # so many of them
COUNTED, LABEL, SCORE = range(3)  # what a loop found: nothing wrong, a wrong label, a wrong score
_STEP = 128  # voxels of which the cells are found before any is counted
_ONE = 0x3F800000  # bits of 1, float32


@njit(nogil=True, cache=True, boundscheck=False)
def count(scores, labels, shift, highest, piece, cells):  # type: ignore[no-untyped-def]
    """Add scores and labels, flat, to cells ``[copy, row · bin]``; ends before a piece with a wrong value and says which.

    Labels are bytes: 1, 0, above for other classes, or, where ``shift`` is 1, 255 for ignored. They are right where label +
    ``shift``, a byte as well, is at most ``highest``. A piece is looked at and counted while it lies in the cache.
    """
    for start in range(0, scores.size, piece):
        some, marks = scores[start : start + piece], labels[start : start + piece]
        if _most(marks, shift) > highest:
            return LABEL
        if not _count_piece(some, marks, cells):
            return SCORE
    return COUNTED


@njit(nogil=True, cache=True, boundscheck=False)
def count_parts(scores, labels, shift, highest, piece, cells, bounds, found):  # type: ignore[no-untyped-def]
    """Count parts of a block one after the other; after each, what the cells hold by then, folded, in ``found``.

    ``bounds`` are the first and the last voxel but one of each part along z, y, x; ``found`` is ``[part, row, bin]``.
    """
    for n in range(len(bounds)):
        z, z_end, y, y_end, x, x_end = bounds[n]
        if y == 0 and x == 0 and y_end == scores.shape[1] and x_end == scores.shape[2]:
            some, marks = scores[z:z_end].reshape(-1), labels[z:z_end].reshape(-1)
        else:
            some = scores[z:z_end, y:y_end, x:x_end].copy().reshape(-1)
            marks = labels[z:z_end, y:y_end, x:x_end].copy().reshape(-1)
        wrong = count(some, marks, shift, highest, piece, cells)
        if wrong != COUNTED:
            return wrong
        fold(cells, found[n])
    return COUNTED


@njit(nogil=True, cache=True, boundscheck=False)
def _most(labels: NDArray[np.uint8], shift: np.uint8) -> np.uint8:
    most = np.uint8(0)
    for label in labels:
        most = max(most, np.uint8(label + shift))
    return most


@njit(nogil=True, cache=True, boundscheck=False)
def _row(label: np.uint8) -> np.uint8:
    """0 and 1 as they are, 3 for 255, 0 for other classes; no branch."""
    return np.uint8(label & np.uint8(3)) if np.uint8(label + np.uint8(1)) <= np.uint8(2) else np.uint8(0)


def _count_piece(scores: Any, marks: Any, cells: Any) -> Any:
    raise NotImplementedError("compiled only")


@overload(_count_piece)  # type: ignore[untyped-decorator]
def _piece_counted(scores: Any, marks: Any, cells: Any) -> Any:
    """The loop for the type of the scores."""
    if isinstance(scores.dtype, types.Float):
        return _checked_floats
    return _bytes if scores.dtype.bitwidth == 8 else _words


def _bytes(scores: Any, marks: Any, cells: Any) -> Any:
    _count_bytes(scores, marks, cells.reshape(-1))
    return True


def _words(scores: Any, marks: Any, cells: Any) -> Any:
    _count_words(scores, marks, cells[0])
    return True


def _checked_floats(scores: Any, marks: Any, cells: Any) -> Any:
    # of floats from 0 to 1, and of no others, the bits are at most those of 1, seen as a whole number; -0 alone is missed
    if _most_bits(scores.view(np.uint32)) > _ONE and not _between(scores):
        return False
    _count_floats(scores, marks, cells.shape[1] // ROWS, cells[0])
    return True


@njit(nogil=True, cache=True, boundscheck=False)
def _most_bits(values: NDArray[np.uint32]) -> np.uint32:
    most = np.uint32(0)
    for i in range(values.size):  # by its places it is vectorised, by its values it is not
        most = max(most, values[i])
    return most


@njit(nogil=True, cache=True, boundscheck=False)
def _between(scores: NDArray[np.float32]) -> bool:
    for score in scores:  # noqa: SIM110 (compiled)
        if not (score >= 0 and score <= 1):  # written so that not-a-number fails too
            return False
    return True


# The kernels take two steps through a piece that stays in the first cache level: the cells of its voxels, which is
# vectorised, and the increments, which cannot be. Every step of the former is made the size of a cell again: numba takes what
# comes out of arithmetic for eight bytes, and of those a vector holds few. In saturated predictions many neighbours fall into class 0 and bin 0,
# and each increment would wait for the one before; they are spread over the spare row.


@njit(nogil=True, cache=True, boundscheck=False)
def _count_bytes(scores: NDArray[np.uint8], marks: NDArray[np.uint8], cells: NDArray[np.uint32]) -> None:
    spare = _spare(256).astype(np.uint16)
    index = np.empty(_STEP, np.uint16)
    words = index.view(np.uint64)  # four neighbours, one for each of the four tables
    low, one = np.uint64(0xFFFF), np.uint32(1)
    even = scores.size // _STEP * _STEP
    for start in range(0, even, _STEP):
        some, its_marks = scores[start : start + _STEP], marks[start : start + _STEP]
        for j in range(_STEP):
            cell = np.uint16(np.uint16(np.uint16(_row(its_marks[j])) << np.uint16(8)) | np.uint16(some[j]))
            index[j] = np.uint16(spare[j] if cell == np.uint16(0) else cell)
        for j in range(_STEP // 4):
            four = words[j]
            cells[four & low] += one
            cells[np.uint64(1024) + ((four >> np.uint64(16)) & low)] += one
            cells[np.uint64(2048) + ((four >> np.uint64(32)) & low)] += one
            cells[np.uint64(3072) + (four >> np.uint64(48))] += one
    for i in range(even, scores.size):
        cells[(np.uint32(_row(marks[i])) << np.uint32(8)) | scores[i]] += one


@njit(nogil=True, cache=True, boundscheck=False)
def _count_words(scores: NDArray[np.uint16], marks: NDArray[np.uint8], cells: NDArray[np.uint32]) -> None:
    spare = _spare(65536)
    index = np.empty(_STEP, np.uint32)
    even = scores.size // _STEP * _STEP
    for start in range(0, even, _STEP):
        some, its_marks = scores[start : start + _STEP], marks[start : start + _STEP]
        for j in range(_STEP):
            cell = np.uint32(np.uint32(np.uint32(_row(its_marks[j])) << np.uint32(16)) | np.uint32(some[j]))
            index[j] = np.uint32(spare[j] if cell == np.uint32(0) else cell)
        for j in range(_STEP):
            cells[index[j]] += np.uint32(1)
    for i in range(even, scores.size):
        cells[(np.uint32(_row(marks[i])) << np.uint32(16)) | scores[i]] += np.uint32(1)


# fast arithmetic is exact here: one product by a power of two, of numbers known to lie in [0, 1]
@njit(nogil=True, cache=True, boundscheck=False, fastmath=True, error_model="numpy")
def _count_floats(scores: NDArray[np.float32], marks: NDArray[np.uint8], bins: int, cells: NDArray[np.uint32]) -> None:
    scale, last, wide = np.float32(bins), np.int32(bins - 1), np.int32(bins)
    spare = _spare(bins)
    index = np.empty(_STEP, np.uint32)
    even = scores.size // _STEP * _STEP
    for start in range(0, even, _STEP):
        # of an index that is a sum the compiler does not know that it is not negative, and does not vectorise; of slices it does
        some, its_marks = scores[start : start + _STEP], marks[start : start + _STEP]
        for j in range(_STEP):
            cell = np.uint32(min(np.int32(some[j] * scale), last) + np.int32(_row(its_marks[j])) * wide)
            index[j] = np.uint32(spare[j] if cell == np.uint32(0) else cell)
        for j in range(_STEP):
            cells[index[j]] += np.uint32(1)
    for i in range(even, scores.size):
        cells[np.uint32(min(np.int32(scores[i] * scale), last) + np.int32(_row(marks[i])) * wide)] += np.uint32(1)


@njit(nogil=True, cache=True)
def _spare(bins: int) -> NDArray[np.uint32]:
    """Cells for the voxels of a piece that are of class 0 and bin 0, in turn."""
    return (SPARE * bins + np.arange(_STEP) % min(bins, SPREAD)).astype(np.uint32)


@njit(nogil=True, cache=True, boundscheck=False)
def fold(cells: NDArray[np.uint32], found: NDArray[np.uint32]) -> None:
    """Add cells, ``[copy, row · bin]``, to ``[row, bin]`` of fewer bins; all that is spare or ignored to the first bin."""
    wide, bins = cells.shape[1] // ROWS, found.shape[1]
    for copy in range(cells.shape[0]):
        for row in range(2):
            line = _halved(cells[copy, row * wide : (row + 1) * wide], bins)
            for b in range(bins):
                found[row, b] += line[b]
        found[0, 0] += _halved(cells[copy, SPARE * wide : SPARE * wide + min(wide, SPREAD)], 1)[0]
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
