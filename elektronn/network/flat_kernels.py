"""Loops of the convolution that trains, compiled by numba without the interpreter's lock.

Planes are taken as they lie, row behind row: a tap of a kernel is then one offset, whatever the place. Results keep the
rows of the input, so behind each row stand ``kx − 1`` numbers that mean nothing ("the gap").

Numbers are float32, or bfloat16 kept as int16; what a convolution multiplies is float32, or pairs of bfloat16 as int32. Each
function is compiled for the kind that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from elektronn.compiled import compiled
from elektronn.network import flat_code
from elektronn.network.flat_code import COLUMNS, LANES, ROWS, convolve, correlate, number, pair

Floats = NDArray[np.float32]
Stored = NDArray[np.float32] | NDArray[np.int16]
Factors = NDArray[np.float32] | NDArray[np.int32]
Integers = NDArray[np.int64]
Kernel = Callable[..., None]

_compiled = compiled(flat_code)

NONE = 255
"""In place of a place in a window: the value did not pass."""


@numba.njit(nogil=True)
def _plane(source: int, target: Any, weights: Factors, bias: Floats, offsets: Integers, taps: Any, size: int) -> None:
    """``size`` ≥ 16 sums of all features, with the taps ``taps[0] ≤ k < taps[1]``. The last vectors reach back.

    ``target``: where the first goes, bytes between features, bytes of one.
    """
    start, pitch, item = target
    place = 0
    while place < size:
        columns = min(COLUMNS, (size - place + LANES - 1) // LANES)
        if place + LANES * columns > size:
            if size >= LANES * columns:
                place = size - LANES * columns
            else:
                columns = max(1, columns - 1)
                place = min(place, size - LANES * columns)
        for block in range(weights.shape[0]):
            convolve(
                weights.dtype,
                columns,
                source + 4 * place,
                offsets.ctypes.data + 8 * taps[0],
                taps[1] - taps[0],
                weights.ctypes.data + 4 * ROWS * (block * weights.shape[1] + taps[0]),
                bias.ctypes.data + 4 * ROWS * block,
                start + block * ROWS * pitch + item * place,
                pitch,
            )
        place += LANES * columns


@cache
def forward(window_y: int, window_x: int) -> Kernel:
    """Convolution, maxima of windows, and what is above zero of them if wanted."""

    @_compiled
    def planes(
        x: Factors,
        weights: Factors,
        bias: Floats,
        offsets: Integers,
        out: Stored,
        places: NDArray[np.uint8],
        reach: tuple[int, int],
        relu: bool,
        part: tuple[int, int],
    ) -> None:
        """``x (b, ci, z, y, x)`` → ``out (b, co, z', y', x')``; of each maximum the place in its window.

        ``reach`` is the height and width of the maps before pooling. ``part``: of all planes of the batch.
        """
        width, depth = x.shape[4], out.shape[2]
        size = (reach[0] - 1) * width + reach[1]
        maps = np.empty((weights.shape[0] * ROWS, reach[0], width), out.dtype)
        target = (maps.ctypes.data, maps.strides[0], maps.itemsize)
        for task in range(part[0], part[1]):
            b, z = task // depth, task % depth
            here = x.ctypes.data + b * x.strides[0] + z * x.strides[2]
            _plane(here, target, weights, bias, offsets, (0, offsets.size), size)
            for c in range(out.shape[1]):
                for row in range(out.shape[3]):
                    lines, kept, where = maps[c, row * window_y :], out[b, c, z, row], places[b, c, z, row]
                    for column in range(kept.size):
                        best, place = lines[0, column * window_x], np.uint8(0)
                        for i in range(window_y):
                            for j in range(window_x):
                                value = lines[i, column * window_x + j]
                                # what is no number stays visible
                                is_more = number(value) > number(best) or number(value) != number(value)
                                best = value if is_more else best
                                place = np.uint8(i * window_x + j) if is_more else place
                        stops = relu and number(best) <= 0
                        kept[column] = out.dtype.type(0) if stops else best
                        where[column] = np.uint8(NONE) if stops else place

    made: Kernel = planes
    return made


@cache
def spread(window_y: int, window_x: int) -> Kernel:
    """The way back through windows: gradients of maxima to where those stood, zeros between and around."""

    # sums of a row lane by lane, always in one order
    @compiled(flat_code, fastmath={"reassoc"})
    def features(
        upstream: Stored,
        places: NDArray[np.uint8],
        lead: int,
        width: int,
        wide: Stored,
        sums: NDArray[np.float64],
        part: tuple[int, int],
    ) -> None:
        """``upstream (b, co, z, y, x)`` → ``wide (b, co', z, lead + rows · width)`` and the sum of each plane.

        ``part``: of all features of the batch, those included that only fill the last tile.
        """
        for task in range(part[0], part[1]):
            b, c = task // wide.shape[1], task % wide.shape[1]
            if c >= upstream.shape[1]:
                wide[b, c] = 0
                continue
            done = upstream.shape[4] * window_x
            for z in range(wide.shape[2]):
                total = 0.0
                wide[b, c, z, :lead] = 0
                wide[b, c, z, lead + upstream.shape[3] * window_y * width :] = 0
                for row in range(upstream.shape[3]):
                    values, where = upstream[b, c, z, row], places[b, c, z, row]
                    line: Any = np.float32(0)
                    for column in range(values.size):
                        line += number(values[column]) if where[column] != np.uint8(NONE) else np.float32(0)
                    total += line
                    for i in range(window_y):
                        start = lead + (row * window_y + i) * width
                        wide[b, c, z, start + done : start + width] = 0
                        into = wide[b, c, z, start : start + done]
                        for column in range(values.size):
                            for j in range(window_x):
                                stood = where[column] == np.uint8(i * window_x + j)
                                into[column * window_x + j] = values[column] if stood else wide.dtype.type(0)
                sums[b, c, z] = total

    made: Kernel = features
    return made


@_compiled
def back_to_input(
    wide: Factors,
    weights: Factors,
    offsets: Integers,
    taps: tuple[int, int],
    found: Stored,
    part: tuple[int, int],
) -> None:
    """The way back to the input: its gradient ``found (b, ci', z, y, x)`` from gradients with borders of zeros.

    ``taps``: how many along z, and how many entries of ``offsets`` belong to each.
    """
    none = np.zeros(found.shape[1], np.float32)
    size, after = found.shape[3] * found.shape[4], wide.shape[2]
    for task in range(part[0], part[1]):
        b, z = task // found.shape[2], task % found.shape[2]
        here = wide.ctypes.data + b * wide.strides[0] + z * wide.strides[2]
        there = found.ctypes.data + b * found.strides[0] + z * found.strides[2]
        known = (taps[1] * max(0, z - after + 1), taps[1] * (min(taps[0] - 1, z) + 1))
        _plane(here, (there, found.strides[1], found.itemsize), weights, none, offsets, known, size)


@_compiled
def back_to_weights(
    wide: Stored, lead: int, x: Stored, offsets: Integers, found: Floats, part: tuple[int, int]
) -> None:
    """The way back to the weights: their gradient ``found (co, taps)``; ``part``: of the tiles of its features."""
    steps, some = np.array([wide.strides[2], x.strides[2]]), np.empty(ROWS * COLUMNS, np.float32)
    # behind the last row of outputs stands nothing but zeros
    rows = x.shape[3] * x.shape[4]
    size = min(wide.shape[3] - lead, rows - (np.max(offsets) // x.itemsize) % rows)
    for block in range(part[0], part[1]):
        for group in range(offsets.size // COLUMNS):
            for b in range(x.shape[0]):
                correlate(
                    x.dtype,
                    wide.ctypes.data + b * wide.strides[0] + block * ROWS * wide.strides[1] + wide.itemsize * lead,
                    wide.strides[1],
                    x.ctypes.data + b * x.strides[0],
                    offsets.ctypes.data + 8 * COLUMNS * group,
                    size,
                    wide.shape[2],
                    steps.ctypes.data,
                    some.ctypes.data,
                )
                for i in range(block * ROWS, min((block + 1) * ROWS, found.shape[0])):
                    for j in range(group * COLUMNS, min((group + 1) * COLUMNS, found.shape[1])):
                        new = some[i % ROWS * COLUMNS + j % COLUMNS]
                        found[i, j] = new + (found[i, j] if b else np.float32(0))


@_compiled
def in_rows(weight: Stored, packed: Stored) -> None:
    """Weights in the order that tiles want them, n neighbouring c together.

    ``weight (features, kz, c, ky, kx)`` into zeros ``packed (tiles, taps, ROWS, n)``.
    """
    features, planes, channels, height, width = weight.shape
    voxels, together = height * width, packed.shape[3]
    groups = (channels + together - 1) // together
    for i in range(features):
        for z in range(planes):
            for c in range(channels):
                first = (z * groups + c // together) * voxels
                into = packed[i // ROWS, first : first + voxels, i % ROWS, c % together]
                some = weight[i, z, c]
                for y in range(height):
                    for x in range(width):
                        into[y * width + x] = some[y, x]


@_compiled
def interleave(planar: NDArray[np.int16], pairs: NDArray[np.int32], part: tuple[int, int]) -> None:
    """Neighbouring features side by side: ``planar (b, c, …)`` → ``pairs (b, (c + 1) // 2, …)``; ``part``: of all pairs."""
    planar, size = planar.reshape(planar.shape[0], planar.shape[1], -1), pairs[0, 0].size
    for task in range(part[0], part[1]):
        b, c = task // pairs.shape[1], 2 * (task % pairs.shape[1])
        first, into = planar[b, c], pairs[b, c // 2].reshape(size)
        if c + 1 < planar.shape[1]:
            second = planar[b, c + 1]
            for p in range(size):
                into[p] = pair(first[p], second[p])
        else:
            for p in range(size):
                into[p] = pair(first[p], np.int16(0))
