"""Loops of the lanes engine, compiled by numba without the interpreter's lock.

Buffers are flat float32 arrays of features × planes × rows, all of one :class:`Layout` per stage, so that a tap of a
kernel is one offset whatever the feature. Their numbers are passed as int64 arrays, in bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from elektronn.compiled import compiled
from elektronn.prediction import lanes_code
from elektronn.prediction.lanes_code import (
    LANES,
    WINDOW,
    analyse,
    convolve,
    mix,
    multiply,
    multiply_pair,
    synthesise,
    weave,
)

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Kernel = Callable[..., None]

DIRECT = 2
"""Vectors of a register tile of the direct convolution; with 10 rows it fills the registers."""

FEW, MANY = 3, 8
"""With so few rows or fewer, a tile of so many vectors."""

TILES = 3
"""Winograd tiles that are multiplied together; with 8 rows they fill the registers."""

_compiled = compiled(lanes_code)

_VECTOR = 4 * LANES
_WIDE = TILES * _VECTOR
_POINTS = WINDOW * WINDOW


def window_floats(features: int) -> int:
    """Floats of scratch for the 36 points of the tiles of one plane.

    The points lie one vector further apart than they are large, lest all fall into the same few lines of the cache.
    """
    return _POINTS * (features * TILES + 1) * LANES


def scratch_floats(taps: int, before: int, written: int, paired: bool) -> int:
    """Floats of scratch of one worker: a ring of planes and the products of ``written`` features."""
    planes = taps + paired
    mixed = planes * window_floats(before) // _POINTS if paired else 0
    return planes * window_floats(before) + mixed + (1 + paired) * window_floats(written)


@cache
def direct(rows: int, relu: int) -> Kernel:
    """A convolution tap by tap; features in blocks of ``rows``."""
    vectors = DIRECT if rows > FEW else MANY
    wide = vectors * _VECTOR

    @_compiled
    def layer(
        source: Floats,
        target: Floats,
        weights: Floats,
        bias: Floats,
        offsets: Integers,
        channel: int,
        plane: int,
        count: int,
        part: Integers,
    ) -> None:
        """``count`` floats of the planes ``part[0] ≤ z < part[1]``; up to 31 floats behind them are overwritten."""
        size = 4 * rows * offsets.size
        blocks, whole = bias.size // rows, 4 * count // wide * wide
        for z in range(part[0], part[1]):
            for block in range(blocks):
                here, there = source.ctypes.data + z * plane, target.ctypes.data + block * rows * channel + z * plane
                places, taps = offsets.ctypes.data, offsets.size
                weight, shift = weights.ctypes.data + block * size, bias.ctypes.data + 4 * rows * block
                for i in range(0, whole, wide):
                    convolve(rows, vectors, relu, here + i, places, taps, weight, shift, there + i, channel)
                for i in range(whole, 4 * count, DIRECT * _VECTOR):
                    convolve(rows, DIRECT, relu, here + i, places, taps, weight, shift, there + i, channel)

    made: Kernel = layer
    return made


@cache
def winograd(kernel: int, rows: int, relu: int, paired: int) -> Kernel:
    """A convolution with a lateral kernel of ``kernel`` × ``kernel`` on vectors of lanes; features in blocks of ``rows``.

    Planes are transformed once each, into a ring of as many as are needed at a time. ``paired``: three taps along z and
    two planes of output at a time, by Winograd's transform along z too, which takes four products in place of six. The
    compiled function computes the planes ``part[0] ≤ z < part[1]`` and the rows of tiles ``part[2] ≤ t < part[3]`` of
    ``target``; pairs begin at even planes:

    - source, target: buffers.
    - weights: ``(36, blocks, products · features_in, rows)``, one product per tap or four.
    - bias: per feature.
    - pitches: of channel, plane and row, bytes.
    - counts: taps along z, features before, features after; depth, height and width of the output.
    - scratch: :func:`scratch_floats` of them.
    """
    edge, together = WINDOW + 1 - kernel, 1 + paired

    @_compiled
    def layer(
        source: Floats,
        target: Floats,
        weights: Floats,
        bias: Floats,
        pitches: Integers,
        counts: Integers,
        part: Integers,
        scratch: Floats,
    ) -> None:
        channel, plane, row = pitches
        taps, before, after, depth, height, width = counts
        span = taps + paired  # planes that are needed at a time, and products
        table, places, size = np.empty(span, np.int64), np.empty(TILES, np.int64), 4 * span * before * rows
        blocks = 4 * weights.size // (_POINTS * size)
        lap, step = before * _WIDE + _VECTOR, blocks * rows * _WIDE + _VECTOR
        mixed = scratch.ctypes.data + span * _POINTS * lap
        products = mixed + paired * span * lap
        across = -(-width // edge)
        groups = -(-across // TILES)
        for group in range(part[2] * groups, part[3] * groups):
            # the last row and column of tiles are shifted back
            y, first = min(group // groups * edge, height - edge), group % groups * TILES
            tiles = min(TILES, across - first)
            for t in range(tiles):
                places[t] = y * row + min((first + t) * edge, width - edge) * _VECTOR
            entered = part[0]
            for z in range(part[0], part[1], together):
                start = min(z, depth - together)
                for new in range(entered, start + span):
                    here = scratch.ctypes.data + new % span * _POINTS * lap
                    _enter(source.ctypes.data + new * plane, channel, row, places[:tiles], before, here)
                entered = start + span
                for k in range(span):
                    table[k] = scratch.ctypes.data + (start + k) % span * _POINTS * lap
                for index in range(_POINTS * blocks):
                    point, weight = index // blocks, weights.ctypes.data + index * size
                    found = products + point * step + index % blocks * rows * _WIDE
                    if paired:
                        if index % blocks == 0:
                            mix(table.ctypes.data, point * lap, before * TILES, mixed, lap)
                        other = found + _POINTS * step
                        multiply_pair(rows, TILES, tiles, mixed, lap, before, _WIDE, weight, found, other, _WIDE)
                    else:
                        sources, shift = table.ctypes.data, point * lap
                        multiply(rows, TILES, tiles, sources, shift, taps, before, _WIDE, weight, found, _WIDE)
                for k in range(z - start, together):
                    for c in range(after):
                        line = target.ctypes.data + c * channel + (start + k) * plane
                        for t in range(tiles):
                            found = products + k * _POINTS * step + c * _WIDE + t * _VECTOR
                            synthesise(
                                edge, relu, found, step, bias.ctypes.data + 4 * c, line + places[t], row, _VECTOR
                            )

    made: Kernel = layer
    return made


@numba.njit(nogil=True)  # cached as part of its caller alone, whose key knows the code
def _enter(source: int, channel: int, row: int, places: Integers, features: int, ring: int) -> None:
    """Transform the windows of some tiles, all features."""
    for c in range(features):
        for t in range(places.size):
            target = ring + c * _WIDE + t * _VECTOR
            analyse(source + c * channel + places[t], row, _VECTOR, target, features * _WIDE + _VECTOR, channel)


@_compiled
def largest(source: Floats, target: Floats, offsets: Integers, pitches: Integers, counts: Integers) -> None:
    """Maxima over two or more taps at ``offsets``: the first floats of each plane.

    Args:
        source, target: buffers.
        offsets: floats.
        pitches: of channel and plane, floats.
        counts: features, planes, floats of a plane.
    """
    features, planes, count = counts
    for c in range(features):
        for z in range(planes):
            plane = c * pitches[0] + z * pitches[1]
            for start in range(plane, plane + count, 512):
                stop = min(start + 512, plane + count)
                first, second = (
                    source[start + offsets[0] : stop + offsets[0]],
                    source[start + offsets[1] : stop + offsets[1]],
                )
                _larger(first, second, target[start:stop])
                for k in range(2, offsets.size):
                    _raise(source[start + offsets[k] : stop + offsets[k]], target[start:stop])


@_compiled
def _larger(a: Floats, b: Floats, target: Floats) -> None:
    for i in range(target.size):
        target[i] = a[i] if a[i] > b[i] else b[i]


@_compiled
def _raise(source: Floats, target: Floats) -> None:
    for i in range(target.size):
        target[i] = source[i] if source[i] > target[i] else target[i]


@_compiled
def scatter(
    source: Floats,
    pitches: Integers,
    extent: Integers,
    first: int,
    origins: Integers,
    strides: Integers,
    target: Floats,
    target_pitches: Integers,
    target_extent: Integers,
) -> None:
    """Planes in the order of the image → lanes.

    Args:
        source: ``extent`` = (features, planes, height, width) floats that are valid, ``pitches`` floats apart.
        pitches: of channel, plane and row.
        extent: see above.
        first: position of the first plane along z.
        origins: ``(lanes, 3)``: voxel zyx of each lane's first value.
        strides: zyx, voxels between neighbouring values of a lane.
        target: groups of 16 lanes, in a layout of ``target_pitches`` (group, channel, plane, row).
        target_pitches: see above.
        target_extent: values per lane, zyx; those behind the image are set to 0.
    """
    depth, height, width = target_extent
    starts = np.empty(4, np.int64)
    for z in range(first, first + extent[1]):
        for c in range(extent[0]):
            plane = c * pitches[0] + (z - first) * pitches[1]
            for y in range(height):
                vectors = 0
                for lane in range(len(origins)):
                    vectors = vectors if lane % LANES else 0
                    there = z - origins[lane, 0]
                    if there < 0 or there % strides[0] or there // strides[0] >= depth:
                        continue
                    t = (lane // LANES) * target_pitches[0] + c * target_pitches[1]
                    t += (there // strides[0]) * target_pitches[2] + y * target_pitches[3]
                    if lane % LANES == 0:
                        vectors = _quarters(origins[lane : lane + LANES], y, strides, extent, pitches[2], starts)
                        vectors = min(vectors, width)
                        weave(source.ctypes.data + 4 * plane, starts.ctypes.data, vectors, target.ctypes.data + 4 * t)
                    row = origins[lane, 1] + strides[1] * y
                    count = (extent[3] - origins[lane, 2] + strides[2] - 1) // strides[2] if row < extent[2] else 0
                    count = min(max(count, 0), width)
                    s = plane + row * pitches[2] + origins[lane, 2]
                    for x in range(vectors, count):
                        target[t + lane % LANES + LANES * x] = source[s + strides[2] * x]
                    for x in range(max(vectors, count), width):
                        target[t + lane % LANES + LANES * x] = np.float32(0)


@numba.njit(nogil=True)
def _quarters(origins: Integers, y: int, strides: Integers, extent: Integers, row: int, starts: Integers) -> int:
    """How many vectors of a row of lanes can be woven of four runs of voxels; where those begin in the plane, bytes."""
    count = extent[3]
    for k in range(4):
        high, left = origins[4 * k, 1] + strides[1] * y, origins[4 * k, 2]
        is_run = strides[2] == 4 and high < extent[2] and origins[4 * k, 0] == origins[0, 0]
        for i in range(1, 4):
            z, y_first, x = origins[4 * k + i]
            is_run = is_run and z == origins[4 * k, 0] and y_first == origins[4 * k, 1] and x == left + i
        starts[k] = 4 * (high * row + left)
        count = min(count, (extent[3] - left) // 4 if is_run else 0)
    return int(max(count, 0))


@_compiled
def gather(
    source: Floats,
    pitches: Integers,
    extent: Integers,
    origins: Integers,
    strides: Integers,
    result: NDArray[Any],
    part: Integers,
) -> None:
    """The way back from :func:`scatter` for one group of lanes: into ``result`` (czyx) where it has such voxels.

    Args:
        source: one group in a layout of ``pitches`` (channel, plane, row), ``extent`` (zyx) values per lane.
        pitches: see above.
        extent: see above.
        origins: of these lanes.
        strides: zyx.
        result: czyx.
        part: the planes of lanes ``part[0] ≤ z < part[1]`` are done.
    """
    classes, deep, high, wide = result.shape
    for z in range(part[0], part[1]):
        for c in range(classes):
            for y in range(extent[1]):
                for lane in range(len(origins)):
                    plane, row = origins[lane, 0] + strides[0] * z, origins[lane, 1] + strides[1] * y
                    if plane >= deep or row >= high:
                        continue
                    s = c * pitches[0] + z * pitches[1] + y * pitches[2] + lane
                    count = min(extent[2], (wide - origins[lane, 2] + strides[2] - 1) // strides[2])
                    line = result[c, plane, row]
                    for x in range(count):
                        line[origins[lane, 2] + strides[2] * x] = source[s + LANES * x]
