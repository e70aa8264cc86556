"""The row kernel: samples of a warped patch row by row.

A row goes through stages, each a loop over short buffers: coordinates, the corners of every voxel, their mean, the grey
curve. All but the second are vector code (:mod:`~elektronn.sampling.row_code`; whoever changes it touches this file, as
numba looks only here whether what it has cached is old). The second is a single load per voxel of bytes, because the
four voxels that lie around a place in z and y are packed into one word before, and the neighbour along x is the next.

The caller answers for coordinates; indices are clamped all the same.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from elektronn.sampling.kernels import ripple_line, ripple_row, ripple_section
from elektronn.sampling.row_code import (
    DESK,
    FRACTIONS,
    LANES,
    LINE,
    OFFSETS,
    PIECE,
    RAMP,
    RIPPLE,
    bend,
    blend,
    fetch,
    locate,
    weave,
)

MARGIN = 0.01
"""Voxels by which coordinates of float32 may be wrong, and more."""


@njit(nogil=True, cache=True, error_model="numpy")
def pack(box, z, words):  # type: ignore[no-untyped-def]
    """One section of words ``(z, y, x + 1)`` of four neighbours: voxel, the next along y, the same two a section on.

    At an end the voxel is its own neighbour. The part of a large cube that a patch needs is read once, in order.
    """
    depth, height, width = box.shape
    pieces = words.view(np.uint8)
    below = min(z + 1, depth - 1)
    for y in range(height):
        down, line = min(y + 1, height - 1), words[z, y]
        near, side, far, edge = box[z, y], box[z, down], box[below, y], box[below, down]
        if width >= PIECE:
            first, second = near.ctypes.data, side.ctypes.data
            weave(first, second, far.ctypes.data, edge.ctypes.data, width, line.ctypes.data)
        else:
            for x in range(width):
                word = pieces[z, y, 4 * x : 4 * x + 4]
                word[0], word[1], word[2], word[3] = near[x], side[x], far[x], edge[x]
        line[width] = line[width - 1]


@njit(nogil=True, cache=True, error_model="numpy")
def _pack_for(box, matrix, is_rippled, z, size, is_packed, words):  # type: ignore[no-untyped-def]
    """Pack what a section of the patch needs and none before it did: fresh words are still in the cache."""
    low, high = np.inf, -np.inf
    for corner in range(4):
        y, x = (size[1] - 1) * (corner >> 1), (size[2] - 1) * (corner & 1)
        w = matrix[3, 0] * z + matrix[3, 1] * y + matrix[3, 2] * x + matrix[3, 3]
        at = (matrix[0, 0] * z + matrix[0, 1] * y + matrix[0, 2] * x + matrix[0, 3]) / w
        low, high = min(low, at), max(high, at)
    last = box.shape[0] - 1
    first, final = max(int(low - MARGIN), 0), min(int(high + MARGIN), last)
    if is_rippled:
        first, final = 0, last
    for section in range(first, final + 1):
        if not is_packed[section]:
            is_packed[section] = True
            pack(box, section, words)


@njit(nogil=True, cache=True, error_model="numpy")
def _new_desk(columns):  # type: ignore[no-untyped-def]
    """Buffers for rows of so many voxels, filled up with the last voxel to :data:`LANES`."""
    desk = np.zeros((DESK, max(columns, LANES)), np.float32)
    for x in range(desk.shape[1]):
        desk[RAMP, x] = min(x, columns - 1)
    return desk


@njit(nogil=True, cache=True, error_model="numpy")
def _tools(columns, curve):  # type: ignore[no-untyped-def]
    """Desk, numbers of ``locate``, of ``blend`` and of ``bend``."""
    scale, a, b, g = curve
    level = np.array([scale * a, b], np.float32) if a >= 0 else np.array([scale, 0.0], np.float32)
    return _new_desk(columns), np.empty(13, np.float32), level, np.array([g], np.float32)


@njit(nogil=True, cache=True, error_model="numpy")
def _ripple(section, spacing, y, row, columns, desk):  # type: ignore[no-untyped-def]
    """Displacements of one row, if there are any."""
    if section.shape[2]:
        ripple_line(section, spacing[1], y, row)
        ripple_row(row, spacing[2], columns, desk[RIPPLE : RIPPLE + 3])


@njit(nogil=True, cache=True, error_model="numpy")
def _float_means(values, up, down, aside, desk, numbers, columns, target):  # type: ignore[no-untyped-def]
    """As ``fetch`` and ``blend``, for float32."""
    offsets = desk[OFFSETS].view(np.int32)
    fz, fy, fx = desk[FRACTIONS], desk[FRACTIONS + 1], desk[FRACTIONS + 2]
    for x in range(columns):
        a = np.uint64(offsets[x])
        b = np.uint64(a + up)
        p, q, r, s = values[a], values[a + down], values[b], values[b + down]
        p += fx[x] * (values[a + aside] - p)
        q += fx[x] * (values[a + down + aside] - q)
        r += fx[x] * (values[b + aside] - r)
        s += fx[x] * (values[b + down + aside] - s)
        p += fy[x] * (q - p)
        r += fy[x] * (s - r)
        target[x] = (p + fz[x] * (r - p)) * numbers[0] + numbers[1]


@njit(nogil=True, cache=True, error_model="numpy")
def _finish(source, exponent, is_bent, target):  # type: ignore[no-untyped-def]
    """From a line of the desk to a row of the patch: the grey curve behind its contrast and brightness."""
    columns, count, numbers = target.shape[0], source.shape[0], exponent.ctypes.data
    is_direct = columns >= LANES and target.strides[0] == 4
    where = target.ctypes.data if is_direct else source.ctypes.data
    if is_bent and exponent[0] == 1:
        bend(False, numbers, source.ctypes.data, count, where)
    elif is_bent:
        bend(True, numbers, source.ctypes.data, count, where)
    if not (is_direct and is_bent):
        for x in range(columns):
            target[x] = source[x]


@njit(nogil=True, cache=True, error_model="numpy")
def bend_values(image, a, b, g):  # type: ignore[no-untyped-def]
    """The grey curve ``clip(a·v + b, 0, 1) ** g`` on an image (zyx float32), in place."""
    columns = image.shape[2]
    line, exponent = np.zeros(max(columns, LANES), np.float32), np.array([g], np.float32)
    for z in range(image.shape[0]):
        for y in range(image.shape[1]):
            row = image[z, y]
            for x in range(columns):
                line[x] = a * row[x] + b
            _finish(line, exponent, True, row)


@njit(nogil=True, cache=True, error_model="numpy")
def _frame(box, is_packed, whole):  # type: ignore[no-untyped-def]
    """Last indices and pitches of a box for ``locate``, and the ways to the next voxels of floats."""
    depth, height, width = box.shape
    # words hold the neighbours themselves, and one more at the end of a row
    reach, pitch = (1, width + 1) if is_packed else (2, width)
    plane = height * pitch
    whole[8], whole[9], whole[10] = max(depth - reach, 0), max(height - reach, 0), max(width - reach, 0)
    whole[11], whole[12] = plane, pitch
    # along an axis of one voxel the next is the same
    return np.uint64(plane if depth > 1 else 0), np.uint64(pitch if height > 1 else 0), np.uint64(min(width - 1, 1))


@njit(nogil=True, cache=True, error_model="numpy")
def _lay(m, shifts, z, y, numbers):  # type: ignore[no-untyped-def]
    """Homogeneous coordinates of the first voxel of a row, and how they change along it.

    A shift behind the projection is one before it.
    """
    move_y, move_x = (shifts[z, 0], shifts[z, 1]) if shifts.shape[0] else (0.0, 0.0)
    w, slope = m[3, 0] * z + m[3, 1] * y + m[3, 3], m[3, 2]
    numbers[0] = m[0, 0] * z + m[0, 1] * y + m[0, 3]
    numbers[1] = m[1, 0] * z + m[1, 1] * y + m[1, 3] + move_y * w
    numbers[2] = m[2, 0] * z + m[2, 1] * y + m[2, 3] + move_x * w
    numbers[3] = w
    numbers[4], numbers[5], numbers[6] = m[0, 2], m[1, 2] + move_y * slope, m[2, 2] + move_x * slope
    numbers[7] = slope


@njit(nogil=True, cache=True, error_model="numpy")
def warp_bytes(box, matrix, shifts, controls, spacing, curve, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (zyx float32) with trilinear samples of a box of bytes (zyx), then the grey curve.

    Args:
        box: rows without gaps.
        matrix: 4×4 float64, patch voxel → voxel of the box, homogeneous.
        shifts: ``(sections, 2)`` displacement y, x of the patch's sections, or empty.
        controls, spacing: of :class:`~elektronn.sampling.maps.Ripple`, or empty.
        curve: ``(scale, a, b, g)``: samples are multiplied by ``scale``, then become ``clip(a·v + b, 0, 1) ** g``
            unless a < 0.
    """
    depth, rows, columns = out.shape
    desk, numbers, level, exponent = _tools(columns, curve)
    _frame(box, True, numbers.view(np.int32))
    words = np.empty((box.shape[0], box.shape[1], box.shape[2] + 1), np.uint32)
    is_packed = np.zeros(box.shape[0], np.bool_)
    section, row = np.empty((3, controls.shape[2], controls.shape[3])), np.empty((3, controls.shape[3]))
    buffers, pitch, count, line = desk.ctypes.data, desk.strides[0], desk.shape[1], desk[LINE]
    for z in range(depth):
        _pack_for(box, matrix, controls.shape[3] > 0, z, out.shape, is_packed, words)
        if controls.shape[3]:
            ripple_section(controls, spacing[0], z, section)
        for y in range(rows):
            _ripple(section, spacing, y, row, columns, desk)
            _lay(matrix, shifts, z, y, numbers)
            locate(numbers.ctypes.data, buffers, pitch, count)
            fetch(words.ctypes.data, buffers, pitch, count)
            blend(level.ctypes.data, buffers, pitch, count, line.ctypes.data)
            _finish(line, exponent, curve[1] >= 0, out[z, y])


@njit(nogil=True, cache=True, error_model="numpy")
def warp_floats(box, matrix, shifts, controls, spacing, curve, out):  # type: ignore[no-untyped-def]
    """As :func:`warp_bytes`, for a box of float32 without gaps."""
    depth, rows, columns = out.shape
    desk, numbers, level, exponent = _tools(columns, curve)
    up, down, aside = _frame(box, False, numbers.view(np.int32))
    values, line = box.reshape(-1), desk[LINE]
    section, row = np.empty((3, controls.shape[2], controls.shape[3])), np.empty((3, controls.shape[3]))
    for z in range(depth):
        if controls.shape[3]:
            ripple_section(controls, spacing[0], z, section)
        for y in range(rows):
            _ripple(section, spacing, y, row, columns, desk)
            _lay(matrix, shifts, z, y, numbers)
            locate(numbers.ctypes.data, desk.ctypes.data, desk.strides[0], desk.shape[1])
            _float_means(values, up, down, aside, desk, level, columns, line)
            _finish(line, exponent, curve[1] >= 0, out[z, y])
