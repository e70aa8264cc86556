"""The compiled loops of the sampler but those of the row kernel. All run without the interpreter's lock.

Coordinates are checked by the caller: the part of the source that a map needs is known before it is cut. Indices are
clamped all the same, so that rounding at the border reads the border. The compiler may change no sum, so that a batch
does not depend on the processor.
"""

from __future__ import annotations

import numpy as np

from elektronn.compiled import compiled
from elektronn.sampling import row_code
from elektronn.sampling.row_code import call_up

_compiled = compiled(row_code, error_model="numpy")


@_compiled
def _spline(t):  # type: ignore[no-untyped-def]
    """Weights of the four control points around a place, ``t`` = 0…1 past the second."""
    s = 1 - t
    return s * s * s / 6, (3 * t * t * t - 6 * t * t + 4) / 6, (3 * s * s * s - 6 * s * s + 4) / 6, t * t * t / 6


@_compiled
def ripple_section(controls, step, z, out):  # type: ignore[no-untyped-def]
    """Control points ``(3, gy, gx)`` of one section of the patch, from those of the grid ``(3, gz, gy, gx)``."""
    cell = z // step
    p, q, r, s = _spline(z / step - cell)
    for axis in range(3):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                near, far = controls[axis, cell, j, k], controls[axis, cell + 3, j, k]
                middle = q * controls[axis, cell + 1, j, k] + r * controls[axis, cell + 2, j, k]
                out[axis, j, k] = p * near + middle + s * far


@_compiled
def ripple_line(section, step, y, out):  # type: ignore[no-untyped-def]
    """Control points ``(3, gx)`` of one row of the patch, from those of its section."""
    cell = y // step
    p, q, r, s = _spline(y / step - cell)
    for axis in range(3):
        for k in range(out.shape[1]):
            middle = q * section[axis, cell + 1, k] + r * section[axis, cell + 2, k]
            out[axis, k] = p * section[axis, cell, k] + middle + s * section[axis, cell + 3, k]


@_compiled
def ripple_row(row, step, columns, out):  # type: ignore[no-untyped-def]
    """Displacements along one row, whose control points are ``row`` (3, gx): a cubic between two of them."""
    scale = np.float32(1) / np.float32(step)
    for axis in range(3):
        for k in range(row.shape[1] - 3):
            p, q, r, s = row[axis, k], row[axis, k + 1], row[axis, k + 2], row[axis, k + 3]
            c0, c1 = np.float32((p + 4 * q + r) / 6), np.float32((r - p) / 2)
            c2, c3 = np.float32((p - 2 * q + r) / 2), np.float32((s - p + 3 * (q - r)) / 6)
            start = k * step
            for n in range(min(step, columns - start)):
                t = np.float32(n) * scale
                out[axis, start + n] = ((c3 * t + c2) * t + c1) * t + c0


@_compiled
def look_up(box, matrix, table, out):  # type: ignore[no-untyped-def]
    """``table[voxel]`` of bytes (zyx) along a map (4×4) that only moves, mirrors and exchanges axes."""
    step, begin = np.zeros(3, np.int64), np.empty(3, np.int64)
    axis = np.zeros(3, np.int64)
    for i in range(3):
        begin[i] = np.int64(matrix[i, 3])
        for k in range(3):
            if matrix[i, k] != 0:
                axis[k], step[k] = i, np.int64(matrix[i, k])
    turned = box.transpose((axis[0], axis[1], axis[2]))
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            row = turned[begin[axis[0]] + z * step[0], begin[axis[1]] + y * step[1]]
            x = begin[axis[2]]
            for k in range(out.shape[2]):
                out[z, y, k] = table[row[x + k * step[2]]]


@_compiled
def _row_places(m, shifts, section, spacing, z, y, first, step, row, out):  # type: ignore[no-untyped-def]
    """Where the voxels ``first + k·step`` of one row of the patch come from; ``out``: ``(3, count)`` float64."""
    h0, h1 = m[0, 0] * z + m[0, 1] * y + m[0, 3], m[1, 0] * z + m[1, 1] * y + m[1, 3]
    h2, h3 = m[2, 0] * z + m[2, 1] * y + m[2, 3], m[3, 0] * z + m[3, 1] * y + m[3, 3]
    move_y, move_x = (shifts[z, 0], shifts[z, 1]) if shifts.shape[0] else (0.0, 0.0)
    for k in range(out.shape[1]):
        x = first + k * step
        w = 1.0 / (m[3, 2] * x + h3)
        out[0, k] = (m[0, 2] * x + h0) * w
        out[1, k] = (m[1, 2] * x + h1) * w + move_y
        out[2, k] = (m[2, 2] * x + h2) * w + move_x
    if section.shape[2]:
        ripple_line(section, spacing[1], y, row)
        for k in range(out.shape[1]):
            x = first + k * step
            cell = x // spacing[2]
            weights = _spline(x / spacing[2] - cell)
            for axis in range(3):
                for c in range(4):
                    out[axis, k] += weights[c] * row[axis, cell + c]


@_compiled
def nearest(source, matrix, shifts, controls, spacing, start, stride, out):  # type: ignore[no-untyped-def]
    """The nearest voxels of ``source`` at the patch voxels ``start + i·stride`` only; halves go up."""
    flat, size, rows, count = source.reshape(-1), source.shape, out.shape[1], out.shape[2]
    places, row, index = np.empty((3, count)), np.empty((3, controls.shape[3])), np.empty((rows, count), np.int64)
    section = np.empty((3, controls.shape[2], controls.shape[3]))
    for i in range(out.shape[0]):
        z = start[0] + i * stride[0]
        if controls.shape[3]:
            ripple_section(controls, spacing[0], z, section)
        for j in range(rows):
            y = start[1] + j * stride[1]
            _row_places(matrix, shifts, section, spacing, z, y, start[2], stride[2], row, places)
            for k in range(count):
                index[j, k] = min(max(np.int64(places[0, k] + 0.5), 0), size[0] - 1)
            for axis in range(1, 3):
                for k in range(count):
                    near = min(max(np.int64(places[axis, k] + 0.5), 0), size[axis] - 1)
                    index[j, k] = index[j, k] * size[axis] + near
            # distant memory is on its way while the places of other rows are computed
            for k in range(count):
                call_up(flat.ctypes.data + index[j, k] * source.itemsize)
        for j in range(rows):
            for k in range(count):
                out[i, j, k] = flat[np.uint64(index[j, k])]


@_compiled
def linear(source, matrix, shifts, controls, spacing, start, stride, out):  # type: ignore[no-untyped-def]
    """As :func:`nearest`, but trilinear; a neighbour without weight (below a millionth) does not count, even if NaN."""
    top, left, right = source.shape[0] - 1, source.shape[1] - 1, source.shape[2] - 1
    places, row = np.empty((3, out.shape[2])), np.empty((3, controls.shape[3]))
    section = np.empty((3, controls.shape[2], controls.shape[3]))
    for i in range(out.shape[0]):
        z = start[0] + i * stride[0]
        if controls.shape[3]:
            ripple_section(controls, spacing[0], z, section)
        for j in range(out.shape[1]):
            y = start[1] + j * stride[1]
            _row_places(matrix, shifts, section, spacing, z, y, start[2], stride[2], row, places)
            for k in range(out.shape[2]):
                u = min(max(places[0, k], 0.0), top)
                v = min(max(places[1, k], 0.0), left)
                t = min(max(places[2, k], 0.0), right)
                p, q, r = np.int64(u), np.int64(v), np.int64(t)
                total = 0.0
                for corner in range(8):
                    a, b, c = corner >> 2, (corner >> 1) & 1, corner & 1
                    weight = abs(1 - a - (u - p)) * abs(1 - b - (v - q)) * abs(1 - c - (t - r))
                    if weight > 1e-6:
                        total += weight * source[p + a, q + b, r + c]
                out[i, j, k] = total
