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
from elektronn.prediction import lanes_code, lanes_ir, lanes_transforms
from elektronn.prediction.lanes_code import convolve
from elektronn.prediction.lanes_ir import LANES
from elektronn.prediction.lanes_transforms import weave

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Kernel = Callable[..., None]

DIRECT = 2
"""Vectors of a register tile of the direct convolution; with 10 rows it fills the registers."""

FEW, MANY = 3, 8
"""With so few rows or fewer, a tile of so many vectors."""

_compiled = compiled(lanes_ir, lanes_code, lanes_transforms)


@cache
def direct(rows: int, relu: int) -> Kernel:
    """A convolution tap by tap; features in blocks of ``rows``."""
    vectors = DIRECT if rows > FEW else MANY

    @_compiled
    def layer(
        source: Floats,
        target: Floats,
        weights: Floats,
        bias: Floats,
        offsets: Integers,
        pitches: Integers,
        count: int,
        part: Integers,
    ) -> None:
        """``count`` vectors of the planes ``part[0] ≤ z < part[1]``; one behind them may be overwritten.

        ``pitches`` are those of plane and vector of ``source``, of feature, plane and vector of ``target``, bytes.
        """
        size = 4 * rows * offsets.size
        blocks, whole = bias.size // rows, count // vectors * vectors
        plane, step, channel, target_plane, target_step = pitches
        for z in range(part[0], part[1]):
            for block in range(blocks):
                here = source.ctypes.data + z * plane
                there = target.ctypes.data + block * rows * channel + z * target_plane
                places, taps = offsets.ctypes.data, offsets.size
                weight, shift = weights.ctypes.data + block * size, bias.ctypes.data + 4 * rows * block
                for i in range(0, whole, vectors):
                    a, b = here + i * step, there + i * target_step
                    convolve(rows, vectors, relu, a, step, places, taps, weight, shift, b, channel, target_step)
                for i in range(whole, count, DIRECT):
                    a, b = here + i * step, there + i * target_step
                    convolve(rows, DIRECT, relu, a, step, places, taps, weight, shift, b, channel, target_step)

    made: Kernel = layer
    return made


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
        target: groups of 16 lanes, in a layout of ``target_pitches`` (group, channel, plane, row, neighbour).
        target_pitches: see above.
        target_extent: values per lane, zyx; those behind the image are set to 0.
    """
    depth, height, width = target_extent
    starts, unit = np.empty(4, np.int64), target_pitches[4]
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
                        here, there = source.ctypes.data + 4 * plane, target.ctypes.data + 4 * t
                        weave(here, starts.ctypes.data, vectors, there, 4 * unit)
                    row = origins[lane, 1] + strides[1] * y
                    count = (extent[3] - origins[lane, 2] + strides[2] - 1) // strides[2] if row < extent[2] else 0
                    count = min(max(count, 0), width)
                    s = plane + row * pitches[2] + origins[lane, 2]
                    for x in range(vectors, count):
                        target[t + lane % LANES + unit * x] = source[s + strides[2] * x]
                    for x in range(max(vectors, count), width):
                        target[t + lane % LANES + unit * x] = np.float32(0)


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
        source: one group in a layout of ``pitches`` (channel, plane, row, neighbour), ``extent`` (zyx) values per lane.
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
                        line[origins[lane, 2] + strides[2] * x] = source[s + pitches[3] * x]
