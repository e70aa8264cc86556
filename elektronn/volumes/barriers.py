"""IDs → boundary map in memory: one fused kernel, and beside it the slow, obvious twin that tests it.

Rule, per axis with connectivity: two neighbouring voxels of different ID are both boundary; where the axis is dilated,
so is the next voxel on either side. Then, if asked for, smoothing by a weighted majority; then ID 0.

The kernel works on whole rows along x. A neighbour that does not exist (the edge of the volume) or does not count
(no connectivity, no dilation) is the row itself, which never differs from itself: no branches within a row.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from elektronn.errors import DataError
from elektronn.volumes.boundaries import BoundarySettings

Ids = NDArray[Any]
Map = NDArray[np.uint8]
Reach = NDArray[np.int64]

EXTRACELLULAR = {"interior": 0, "boundary": 1, "class": 2}
"""Class of an ID 0 that is no wall."""

SMOOTHING = np.array([[[1, 2, 1], [2, 3, 2], [1, 2, 1]], [[3, 5, 3], [5, 10, 5], [3, 5, 3]]], np.uint8)
"""Tenths: weights in the two outer planes and in the middle plane; with the second outer plane they sum to 72."""

MAJORITY = 40
"""Tenths: a voxel stays wall where the weighted sum is above."""


def barriers(ids: Ids, settings: BoundarySettings, threads: int = 1) -> Map:
    """Boundary map of a volume of IDs.

    Args:
        ids: zyx, any integer type.
        settings: what counts as boundary.
        threads: slabs along z worked on at once; the result does not depend on it.

    Returns:
        zyx uint8: 0 interior, 1 boundary, 2 extracellular space as a class of its own.

    Raises:
        DataError: ``ids`` are not whole numbers on three axes.

    Source:
        ELEKTRONN2 ``ids2barriers``, but with every neighbouring pair seen, at the edges and on axes of length 1 too.

    Example:
        >>> barriers(np.array([[[1, 1, 1, 2, 2, 2]]]), BoundarySettings(dilate=(False, False, False)))
        array([[[0, 0, 1, 1, 0, 0]]], dtype=uint8)
    """
    values = _unsigned(ids)
    result = np.empty(values.shape, np.uint8)
    reach = np.array([int(c) * (1 + int(d)) for c, d in zip(settings.connectivity, settings.dilate)], np.int64)
    extracellular = np.uint8(EXTRACELLULAR[settings.extracellular])
    kernel = _smoothed_slab if settings.smooth else _slab
    cuts = np.linspace(0, len(values), min(threads, len(values)) + 1).astype(int).tolist()

    def work(start: int, stop: int) -> None:
        kernel(values, reach, extracellular, start, stop, result)

    with ThreadPoolExecutor(len(cuts) - 1) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))
    return result


def barriers_by_numpy(ids: Ids, settings: BoundarySettings) -> Map:
    """The same map by shifted comparisons of whole volumes: slow and obvious.

    Example:
        >>> barriers_by_numpy(np.array([[[1, 1, 1, 2, 2, 2]]]), BoundarySettings())
        array([[[0, 1, 1, 1, 1, 0]]], dtype=uint8)
    """
    wall = np.zeros(ids.shape, bool)
    for axis, (connected, dilated) in enumerate(zip(settings.connectivity, settings.dilate)):
        if connected:
            lines, marked = np.moveaxis(ids, axis, 0), np.moveaxis(wall, axis, 0)
            pairs = np.pad(lines[1:] != lines[:-1], ((2, 2), (0, 0), (0, 0)))
            for shift in range(4) if dilated else (1, 2):
                marked |= pairs[shift : shift + len(lines)]
    if settings.smooth:
        weights = SMOOTHING[[0, 1, 0]].astype(int)
        wall = ndimage.correlate(wall.astype(int), weights, mode="reflect") > MAJORITY
    return np.where(wall, 1, np.where(ids == 0, EXTRACELLULAR[settings.extracellular], 0)).astype(np.uint8)


def _unsigned(ids: Ids) -> Ids:
    """The bits of ``ids`` as a contiguous unsigned array: only equality counts, so one kernel per width will do."""
    if ids.ndim != 3 or not np.issubdtype(ids.dtype, np.integer):
        raise DataError(f"IDs of type {ids.dtype} and shape {ids.shape}: whole numbers on the axes zyx are expected")
    native = np.ascontiguousarray(ids, ids.dtype.newbyteorder("="))
    return native.view(f"u{native.itemsize}")


@numba.njit(cache=True, nogil=True)
def _slab(ids: Ids, reach: Reach, extracellular: np.uint8, start: int, stop: int, result: Map) -> None:
    """The planes ``start <= z < stop`` without smoothing."""
    step = np.zeros(ids.shape[2] + 3, np.uint8)
    for z in range(start, stop):
        for y in range(ids.shape[1]):
            _wall(ids, z, y, reach, step, result[z, y])
            _outside(ids[z, y], extracellular, result[z, y])


@numba.njit(cache=True, nogil=True)
def _smoothed_slab(ids: Ids, reach: Reach, extracellular: np.uint8, start: int, stop: int, result: Map) -> None:
    """The planes ``start <= z < stop`` with smoothing, over three rolling planes of wall with repeated edges."""
    depth, height, width = ids.shape
    step = np.zeros(width + 3, np.uint8)
    planes = np.empty((3, height + 2, width + 2), np.uint8)
    for z in range(start - 1, stop + 1):
        _padded_wall(ids, _clamp(z, depth), reach, step, planes[z % 3])
        if z > start:
            low, middle, high = planes[(z - 2) % 3], planes[(z - 1) % 3], planes[z % 3]
            for y in range(height):
                _majority(low[y : y + 3], middle[y : y + 3], high[y : y + 3], result[z - 1, y])
                _outside(ids[z - 1, y], extracellular, result[z - 1, y])


@numba.njit(cache=True, nogil=True)
def _padded_wall(ids: Ids, z: int, reach: Reach, step: Map, plane: Map) -> None:
    """One plane of wall with one repeated voxel all around."""
    height = ids.shape[1]
    for y in range(height):
        row = plane[y + 1]
        _wall(ids, z, y, reach, step, row[1:-1])
        row[0], row[-1] = row[1], row[-2]
    plane[0], plane[-1] = plane[1], plane[-2]


@numba.njit(cache=True, nogil=True)
def _wall(ids: Ids, z: int, y: int, reach: Reach, step: Map, wall: Map) -> None:
    """One row of wall; ``step`` is a scratch row, 3 voxels longer, zero at both ends."""
    depth, height = ids.shape[:2]
    low, high = _clamp(z - min(reach[0], 1), depth), _clamp(z + min(reach[0], 1), depth)
    front, back = _clamp(y - min(reach[1], 1), height), _clamp(y + min(reach[1], 1), height)
    _differs(ids[z, y], ids[low, y], ids[high, y], ids[z, front], ids[z, back], wall)
    if reach[0] == 2:
        _pair(ids[low, y], ids[_clamp(z - 2, depth), y], wall)
        _pair(ids[high, y], ids[_clamp(z + 2, depth), y], wall)
    if reach[1] == 2:
        _pair(ids[z, front], ids[z, _clamp(y - 2, height)], wall)
        _pair(ids[z, back], ids[z, _clamp(y + 2, height)], wall)
    if reach[2] > 0:
        _along(ids[z, y], step, reach[2], wall)


@numba.njit(cache=True, nogil=True)
def _clamp(position: int, length: int) -> int:
    return min(max(position, 0), length - 1)


@numba.njit(cache=True, nogil=True)
def _differs(c: Ids, low: Ids, high: Ids, front: Ids, back: Ids, wall: Map) -> None:
    """1 where a row differs from one of its four neighbouring rows, else 0."""
    for x in range(c.size):
        wall[x] = (c[x] != low[x]) | (c[x] != high[x]) | (c[x] != front[x]) | (c[x] != back[x])


@numba.njit(cache=True, nogil=True)
def _pair(a: Ids, b: Ids, wall: Map) -> None:
    """1 also where two other rows differ."""
    for x in range(a.size):
        wall[x] |= np.uint8(a[x] != b[x])


@numba.njit(cache=True, nogil=True)
def _along(c: Ids, step: Map, reach: int, wall: Map) -> None:
    """1 also where a row differs along itself."""
    for x in range(c.size - 1):
        step[x + 2] = c[x] != c[x + 1]
    for x in range(c.size):
        wall[x] |= step[x + 1] | step[x + 2]
    if reach == 2:
        for x in range(c.size):
            wall[x] |= step[x] | step[x + 3]


@numba.njit(cache=True, nogil=True)
def _outside(c: Ids, extracellular: np.uint8, wall: Map) -> None:
    """ID 0 that is no wall becomes ``extracellular``."""
    for x in range(c.size):
        wall[x] |= np.uint8(c[x] == 0) * (np.uint8(1) - wall[x]) * extracellular


@numba.njit(cache=True, nogil=True)
def _majority(low: Map, middle: Map, high: Map, wall: Map) -> None:
    """Weighted majority over three padded rows of each of three planes; the sum fits into a byte."""
    for x in range(wall.size):
        total = np.uint8(0)
        for j in range(3):
            for i in range(3):
                total += SMOOTHING[0, j, i] * (low[j, x + i] + high[j, x + i]) + SMOOTHING[1, j, i] * middle[j, x + i]
        wall[x] = total > MAJORITY
