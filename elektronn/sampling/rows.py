"""The row kernel: samples of a warped patch row by row.

A strip of rows goes through stages, each a loop over short buffers: coordinates, the corners of every voxel and their
mean, the grey curve. All are vector code (:mod:`~elektronn.sampling.row_code`) but the loads of the corners: a single one
per voxel of bytes, because the four voxels that lie around a place in z and y are packed into one word before, and the
neighbour along x is the next.

The caller answers for coordinates; indices are clamped all the same.
"""

from __future__ import annotations

import numpy as np

from elektronn.compiled import compiled
from elektronn.sampling import kernels, row_code
from elektronn.sampling.kernels import ripple_line, ripple_row, ripple_section
from elektronn.sampling.row_code import DESK, LANES, LINE, OFFSETS, PIECE, bend, blend, call_up, locate, weave

MARGIN = 0.01
"""Voxels by which coordinates of float32 may be wrong, and more."""


STRIP = 640
"""Voxels of the rows that go through the stages together: what they leave on the desk stays in the nearest cache."""


_compiled = compiled(kernels, row_code, error_model="numpy")


@_compiled
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


@_compiled
def _pack_for(box, matrix, is_rippled, z, size, is_packed, words):  # type: ignore[no-untyped-def]
    """Pack what a section of the patch needs and none before it did: fresh words are still in the cache.

    Returns:
        The section of the box that will be read next.
    """
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
    return final + 2 if matrix[0, 0] > 0 else first - 1


@_compiled
def _call_up(box, z, first, last):  # type: ignore[no-untyped-def]
    """Begin to bring some rows of a section of a box into the cache, if there is such a section."""
    if 0 <= z < box.shape[0]:
        for y in range(first, min(last, box.shape[1])):
            start = box[z, y].ctypes.data
            for x in range(0, box.shape[2] + 63, 64):
                call_up(start + min(x, box.shape[2] - 1))


@_compiled
def _aligned(lines, columns):  # type: ignore[no-untyped-def]
    """Lines of float32 zeros, each from the start of a line of the cache on, with room for a block more."""
    pitch = (columns + LANES + 15) // 16 * 16
    buffer = np.zeros(lines * pitch + 16, np.float32)
    first = (-buffer.ctypes.data // 4) % 16
    return buffer[first : first + lines * pitch].reshape(lines, pitch)


@_compiled
def _ruler(columns):  # type: ignore[no-untyped-def]
    """For rows of so many voxels, filled up with the last one: number of the voxel, displacement along z, y, x."""
    ruler = _aligned(4, columns)
    for x in range(ruler.shape[1]):
        ruler[0, x] = min(x, columns - 1)
    return ruler


@_compiled
def _level(curve):  # type: ignore[no-untyped-def]
    """Numbers of ``blend`` and ``bend``, and whether there is a curve."""
    scale, a, b, g = curve
    return np.array([scale * a, b, g] if a >= 0 else [scale, 0.0, 1.0], np.float32), a >= 0


@_compiled
def _ripple(section, spacing, y, row, columns, ruler):  # type: ignore[no-untyped-def]
    """Displacements of one row, if there are any."""
    if section.shape[2]:
        ripple_line(section, spacing[1], y, row)
        ripple_row(row, spacing[2], columns, ruler[1:])


@_compiled
def _float_means(values, up, down, aside, desk, numbers, columns):  # type: ignore[no-untyped-def]
    """As ``blend``, for float32; what comes out lies on the desk."""
    offsets, target = desk[OFFSETS].view(np.int32), desk[LINE]
    fz, fy, fx = desk[0], desk[1], desk[2]
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


@_compiled
def _finish(source, level, is_bent, out, y, rows, count):  # type: ignore[no-untyped-def]
    """From a line of the desk to rows of a section: the grey curve behind its contrast and brightness."""
    columns = out.shape[1]
    is_direct = is_bent and count <= rows * columns and out.strides[1] == 4 and out.strides[0] == 4 * columns
    where = out[y].ctypes.data if is_direct else source.ctypes.data
    if is_bent and level[2] == 1:
        bend(False, level.ctypes.data, source.ctypes.data, count, where)
    elif is_bent:
        bend(True, level.ctypes.data, source.ctypes.data, count, where)
    if not is_direct:
        for i in range(rows):
            for x in range(columns):
                out[y + i, x] = source[i * columns + x]


@_compiled
def bend_values(image, a, b, g):  # type: ignore[no-untyped-def]
    """The grey curve ``clip(a·v + b, 0, 1) ** g`` on an image (zyx float32), in place."""
    columns = image.shape[2]
    line, level = np.zeros(max(columns, LANES), np.float32), np.array([0.0, 0.0, g], np.float32)
    for z in range(image.shape[0]):
        for y in range(image.shape[1]):
            for x in range(columns):
                line[x] = a * image[z, y, x] + b
            _finish(line, level, True, image[z], y, 1, line.shape[0])


@_compiled
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


@_compiled
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


@_compiled
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
    rows, columns = out.shape[1:]
    (level, is_bent), ruler, numbers = _level(curve), _ruler(columns), np.empty(13, np.float32)
    _frame(box, True, numbers.view(np.int32))
    words = np.empty((box.shape[0], box.shape[1], box.shape[2] + 1), np.uint32)
    is_packed = np.zeros(box.shape[0], np.bool_)
    section, row = np.empty((3, controls.shape[2], controls.shape[3])), np.empty((3, controls.shape[3]))
    strip = min(max(STRIP // columns, 1), rows)
    desk = _aligned(DESK, max(strip * columns, LANES))
    begin, pitch, line = desk.ctypes.data, desk.strides[0], desk[LINE]
    for z in range(out.shape[0]):
        ahead = _pack_for(box, matrix, controls.shape[3] > 0, z, out.shape, is_packed, words)
        if controls.shape[3]:
            ripple_section(controls, spacing[0], z, section)
        for y in range(0, rows, strip):
            height = min(strip, rows - y)
            _call_up(box, ahead, y * box.shape[1] // rows, (y + strip) * box.shape[1] // rows)
            for i in range(height):
                _ripple(section, spacing, y + i, row, columns, ruler)
                _lay(matrix, shifts, z, y + i, numbers)
                here = begin + 4 * i * columns
                locate(numbers.ctypes.data, ruler.ctypes.data, ruler.strides[0], here, pitch, max(columns, LANES))
            count = max(height * columns, LANES)
            blend(words.ctypes.data, level.ctypes.data, begin, pitch, count, line.ctypes.data)
            _finish(line, level, is_bent, out[z], y, height, count)


@_compiled
def warp_floats(box, matrix, shifts, controls, spacing, curve, out):  # type: ignore[no-untyped-def]
    """As :func:`warp_bytes`, for a box of float32 without gaps."""
    rows, columns = out.shape[1:]
    (level, is_bent), ruler, numbers = _level(curve), _ruler(columns), np.empty(13, np.float32)
    up, down, aside = _frame(box, False, numbers.view(np.int32))
    values, count = box.reshape(-1), max(columns, LANES)
    section, row = np.empty((3, controls.shape[2], controls.shape[3])), np.empty((3, controls.shape[3]))
    desk = _aligned(DESK, count)
    for z in range(out.shape[0]):
        if controls.shape[3]:
            ripple_section(controls, spacing[0], z, section)
        for y in range(rows):
            _ripple(section, spacing, y, row, columns, ruler)
            _lay(matrix, shifts, z, y, numbers)
            locate(numbers.ctypes.data, ruler.ctypes.data, ruler.strides[0], desk.ctypes.data, desk.strides[0], count)
            _float_means(values, up, down, aside, desk, level, columns)
            _finish(desk[LINE], level, is_bent, out[z], y, 1, count)
