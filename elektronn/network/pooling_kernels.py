"""Compiled loops of max pooling on activations stored channels last. They run without the interpreter's lock.

Most networks pool 2×2 images of 10 to 40 features: too few for vector code feature by feature. So whole rows (x and
features together) are compared, first along y and z, then with themselves moved by one voxel, and only then every
second voxel is taken. bfloat16 comes as the bits of its numbers, int16: the upper halves of the same numbers in float32.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def _load(row, line):  # type: ignore[no-untyped-def]
    """What is stored, as float32."""
    if row.itemsize == 4:
        for j in range(line.size):
            line[j] = row[j]
    else:
        bits = line.view(np.int32)
        for j in range(line.size):
            bits[j] = np.int32(row[j]) << np.int32(16)


@njit(cache=True, nogil=True, error_model="numpy")
def _compare(line, taps, first, best, place):  # type: ignore[no-untyped-def]
    """Take what is larger; of equals the one that comes first in the window; NaN is larger than everything."""
    for j in range(line.size):
        value, at = line[j], taps[j] + first
        wins = (value > best[j]) | (value != value) | ((value == best[j]) & (at < place[j]))
        best[j] = value if wins else best[j]
        place[j] = at if wins else place[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _store(line, at, index, row, places):  # type: ignore[no-untyped-def]
    """Every how-manieth voxel, as ``index`` says."""
    if row.itemsize == 4:
        for j in range(index.size):
            row[j] = line[index[j]]
    else:
        bits = line.view(np.int32)
        for j in range(index.size):
            row[j] = bits[index[j]] >> np.int32(16)
    for j in range(index.size):
        places[j] = at[index[j]]


@njit(cache=True, nogil=True, error_model="numpy")
def pool(x, window, size, best, place):  # type: ignore[no-untyped-def]
    """Maxima of windows that lie side by side, and where in its window each was.

    Args:
        x: ``(n, z, y, x · c)``.
        window: edges zyx.
        size: ``n, z', y', x', c`` of the result.
        best: ``(n · z' · y', x' · c)``, is written.
        place: the same shape, uint8, is written.
    """
    wz, wy, wx = window
    n, depth, height, width, features = size
    whole = width * wx * features
    index = np.empty(width * features, np.uint64)
    for j in range(index.size):
        index[j] = j // features * wx * features + j % features
    line, high, wide = np.empty(whole, np.float32), np.empty(whole, np.float32), np.empty(whole, np.float32)
    at, here, none = np.empty(whole, np.int32), np.empty(whole, np.int32), np.zeros(whole, np.int32)
    for row in range(n * depth * height):
        i, z, y = row // (depth * height), row // height % depth, row % height
        _load(x[i, z * wz, y * wy], high)
        at[:] = 0
        for k in range(1, wz * wy):
            _load(x[i, z * wz + k // wy, y * wy + k % wy], line)
            _compare(line, none, np.int32(k * wx), high, at)
        wide[:] = high
        here[:] = at
        for k in range(1, wx):
            left = k * features
            _compare(high[left:], at[left:], np.int32(k), wide, here)
        _store(wide, here, index, best[row], place[row])


@njit(cache=True, nogil=True, error_model="numpy")
def spread(gradient, place, window, size, x):  # type: ignore[no-untyped-def]
    """The way back of :func:`pool`: every gradient to the place of its maximum, 0 elsewhere.

    Args:
        gradient, place: ``(n · z' · y', x' · c)``.
        window: edges zyx.
        size: ``n, z', y', x', c``.
        x: ``(n, z, y, x · c)``, is written.
    """
    wz, wy, wx = window
    n, depth, height, width, features = size
    whole = width * wx * features
    index, shift = np.empty(whole, np.uint64), np.empty(whole, np.int32)
    for j in range(whole):
        index[j] = j // (wx * features) * features + j % features
        shift[j] = j // features % wx
    given, at = np.empty(whole, x.dtype), np.empty(whole, np.int32)
    zero = x.dtype.type(0)
    if x.shape[1] != depth * wz or x.shape[2] != height * wy or x.shape[3] != whole:
        x[:] = zero
    for row in range(n * depth * height):
        i, z, y = row // (depth * height), row // height % depth, row % height
        source, places = gradient[row], place[row]
        for j in range(whole):
            given[j] = source[index[j]]
            at[j] = np.int32(places[index[j]]) - shift[j]
        for k in range(wz * wy):
            target, tap = x[i, z * wz + k // wy, y * wy + k % wy], np.int32(k * wx)
            for j in range(whole):
                target[j] = given[j] if at[j] == tap else zero
