"""The arithmetic of placing a patch, compiled: which voxels a map asks for, and where in a volume it may lie.

Small numbers, but for every example: the interpreter would take as long for them as the kernels for the voxels, and
hold its lock. Every operation is written out, so that the same draws give the same places on every processor.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FAR = 1e9
"""Half the extent of a map that turns the patch inside out: fits nowhere."""

SHALLOWEST = 0.1
"""Smallest homogeneous coordinate of a voxel; a perspective that comes closer to its horizon fits nowhere."""

ROUNDING = 1e-9
"""Voxels by which sums of coordinates may be wrong."""


@njit(nogil=True, cache=True, error_model="numpy")
def product(a, b):  # type: ignore[no-untyped-def]
    """Product of two 4×4 matrices."""
    c = np.empty((4, 4))
    for i in range(4):
        for k in range(4):
            c[i, k] = a[i, 0] * b[0, k] + a[i, 1] * b[1, k] + a[i, 2] * b[2, k] + a[i, 3] * b[3, k]
    return c


@njit(nogil=True, cache=True, error_model="numpy")
def moved(matrix, by):  # type: ignore[no-untyped-def]
    """A map with all that it points at moved ``by`` zyx voxels."""
    c = matrix.copy()
    for i in range(3):
        for k in range(4):
            c[i, k] += by[i] * matrix[3, k]
    return c


@njit(nogil=True, cache=True, error_model="numpy")
def projection(drawn, ranges, amount, patch):  # type: ignore[no-untyped-def]
    """Centred patch coordinates → centred image coordinates of a :class:`~elektronn.sampling.spatial.Projection`.

    Args:
        drawn: rotation, shear, magnification zyx, stretch along y and x, perspective zyx; all in −1…1, or 0…1.
        ranges: of rotation and shear (degrees), magnification, stretch, perspective.
        amount: factor on all of them.
        patch: size zyx.
    """
    rotation = math.radians(drawn[0] * ranges[0]) * amount
    shear = math.radians(drawn[1] * ranges[1]) * amount
    a, b = math.cos(rotation + shear), math.sin(rotation - shear)
    c, d = -math.sin(rotation + shear), math.cos(rotation - shear)
    p, q = drawn[5] * ranges[3] * amount, drawn[6] * ranges[3] * amount
    z, y, x = (
        1 / (1 + drawn[2] * ranges[2] * amount),
        1 / (1 + drawn[3] * ranges[2] * amount),
        1 / (1 + drawn[4] * ranges[2] * amount),
    )
    # turned ((a, b), (c, d)) after it was stretched ((1, p), (q, 1)), magnified and projected
    matrix = np.zeros((4, 4))
    matrix[0, 0] = z
    matrix[1, 1], matrix[1, 2] = (a + b * q) * y, (a * p + b) * x
    matrix[2, 1], matrix[2, 2] = (c + d * q) * y, (c * p + d) * x
    for axis in range(3):
        matrix[3, axis] = drawn[7 + axis] * ranges[4] * amount / max((patch[axis] - 1) / 2, 1.0)
    matrix[3, 3] = 1.0
    return matrix


@njit(nogil=True, cache=True, error_model="numpy")
def is_straight(matrix):  # type: ignore[no-untyped-def]
    """Whether a map only moves by whole voxels, mirrors and exchanges axes: no voxel has to be interpolated."""
    total = 0.0
    for i in range(4):
        for k in range(4):
            if matrix[i, k] != np.floor(matrix[i, k]):
                return False
            total += abs(matrix[i, k]) if i < 3 and k < 3 else 0.0
    # whole numbers of which three are 1 or −1 are a turn: no row of a map is zero
    return total == 3


@njit(nogil=True, cache=True, error_model="numpy")
def extent(matrix, ends, shifts):  # type: ignore[no-untyped-def]
    """Lowest and highest place (2, 3) of the patch voxels between two ``ends`` (2, 3), both included.

    Corners map to corners; with ``shifts`` of the sections, every section has its own.
    """
    found = np.empty((2, 3))
    found[0], found[1] = np.inf, -np.inf
    step = 1 if shifts.shape[0] else max(ends[1, 0] - ends[0, 0], 1)
    for z in range(ends[0, 0], ends[1, 0] + 1, step):
        for corner in range(4):
            y, x = ends[corner >> 1, 1], ends[corner & 1, 2]
            w = matrix[3, 0] * z + matrix[3, 1] * y + matrix[3, 2] * x + matrix[3, 3]
            if w < SHALLOWEST:
                found[0], found[1] = -FAR, FAR
                return found
            for i in range(3):
                at = (matrix[i, 0] * z + matrix[i, 1] * y + matrix[i, 2] * x + matrix[i, 3]) / w
                if shifts.shape[0] and i > 0:
                    at += shifts[z, i - 1]
                found[0, i], found[1, i] = min(found[0, i], at), max(found[1, i], at)
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def spread(controls):  # type: ignore[no-untyped-def]
    """Lowest and highest value (2, 3) of the control points (3, gz, gy, gx) of a ripple."""
    found = np.empty((2, 3))
    for i in range(3):
        found[0, i], found[1, i] = controls[i].min(), controls[i].max()
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def room(patch, outputs, frame, has_volume):  # type: ignore[no-untyped-def]
    """Smallest and largest translation (2, 3) for which a patch and its outputs stay where there are voxels.

    Args:
        patch, outputs: lowest and highest place of their voxels (2, 3), without the translation.
        frame: size of the image, first voxel and size of the labels (3, 3), zyx.
        has_volume: whether the labels are a volume, which then limits the outputs.
    """
    found = np.empty((2, 3))
    for i in range(3):
        low, high = -patch[0, i], frame[0, i] - 1 - patch[1, i]
        if has_volume:
            low = max(low, frame[1, i] - outputs[0, i])
            high = min(high, frame[1, i] + frame[2, i] - 1 - outputs[1, i])
        # the translation keeps the fraction that makes an unwarped patch land on whole voxels
        found[0, i] = np.ceil(low - ROUNDING + patch[0, i]) - patch[0, i]
        found[1, i] = found[0, i] + np.floor(high - found[0, i] + ROUNDING)
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def settle(where, matrix, patch, outputs, frame, has_volume):  # type: ignore[no-untyped-def]
    """Lay a patch ``where`` (0…1 per axis) in the :func:`room` that it has.

    Returns:
        Whether there is room; the map to that place; ``start`` and ``stop`` of the voxels that are then needed from the
        image and from the labels (4, 3).
    """
    free, by, boxes = room(patch, outputs, frame, has_volume), np.empty(3), np.empty((4, 3), np.int64)
    is_free = True
    for i in range(3):
        is_free &= free[1, i] >= free[0, i]
        by[i] = free[0, i] + np.floor(where[i] * (free[1, i] - free[0, i] + 1))
        boxes[0, i] = np.int64(max(np.floor(patch[0, i] + by[i]), 0))
        boxes[1, i] = np.int64(min(np.ceil(patch[1, i] + by[i]) + 1, frame[0, i]))
        boxes[2, i] = np.int64(max(np.floor(outputs[0, i] + by[i] - frame[1, i]), 0))
        boxes[3, i] = np.int64(min(np.ceil(outputs[1, i] + by[i] - frame[1, i]) + 1, frame[2, i]))
    return is_free, moved(matrix, by), boxes
