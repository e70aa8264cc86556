"""The compiled loops of the sampler. All run without the interpreter's lock, so that threads are enough.

Coordinates are checked by the caller: the part of the source that a map needs is known before it is cut. Indices are
clamped all the same, so that rounding at the border reads the border. Sums may be contracted to fused multiply-adds,
nothing else: whole-voxel maps stay exact, and NaN stays NaN.

A row of the patch goes through stages, each a loop over short buffers: coordinates, the corners of every voxel, their
mean, the grey curve. All but the second become vector code; that one is two loads per voxel of bytes, because bytes
are packed by fours before.
"""

from __future__ import annotations

import numpy as np
from numba import njit

EXACT = {"contract", "nsz"}
"""What the compiler may do to floating-point arithmetic."""

_LOG = tuple(
    np.float32(c)
    for c in (
        *(1.442695, -0.721340329, 0.480695481, -0.358428528, 0.275719787),
        *(-0.197285449, 0.113052232, -0.0426873311, 0.00757917004),
    )
)
"""log2(1 + t) / t on 0…1; fitted at Chebyshev points, worst error 1.5e-7 in float32."""

_EXP = tuple(
    np.float32(c) for c in (0.693147171, 0.240227215, 0.0554959362, 0.00965244059, 0.00126893528, 0.000208291902)
)
"""(2**t − 1) / t on 0…1; worst error of 2**t 1.7e-7 in float32."""


WIDTH = 16
"""Rows are filled up to a multiple of this many voxels, so that vector code has no remainder."""


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _power_row(line, bits, g):  # type: ignore[no-untyped-def]
    """``line ** g`` for values in [0, 1]; ``bits``: int32 scratch of the same length."""
    l0, l1, l2, l3, l4, l5, l6, l7, l8 = _LOG
    e0, e1, e2, e3, e4, e5 = _EXP
    words = line.view(np.int32)
    powers = bits.view(np.float32)
    one = np.float32(1)
    for x in range(line.shape[0]):
        bits[x] = (words[x] & np.int32(0x7FFFFF)) | np.int32(0x3F800000)
        t = powers[x] - one
        p = ((((((((l8 * t + l7) * t + l6) * t + l5) * t + l4) * t + l3) * t + l2) * t + l1) * t + l0) * t
        h = max((np.float32((words[x] >> np.int32(23)) - np.int32(127)) + p) * g, np.float32(-126))
        low = np.int32(np.floor(h))
        t = h - np.float32(low)
        q = one + (((((e5 * t + e4) * t + e3) * t + e2) * t + e1) * t + e0) * t
        bits[x] = (low + np.int32(127)) << np.int32(23)
        line[x] = powers[x] * q if line[x] > 0 else np.float32(0)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _curve_row(line, bits, a, b, g):  # type: ignore[no-untyped-def]
    """``clip(a·v + b, 0, 1) ** g`` in place."""
    for x in range(line.shape[0]):
        line[x] = min(max(a * line[x] + b, np.float32(0)), np.float32(1))
    if g != np.float32(1):
        _power_row(line, bits, g)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def bend_values(image, a, b, g):  # type: ignore[no-untyped-def]
    """The grey curve ``clip(a·v + b, 0, 1) ** g`` on an image (zyx float32), in place."""
    bits = np.empty(image.shape[2], np.int32)
    for z in range(image.shape[0]):
        for y in range(image.shape[1]):
            _curve_row(image[z, y], bits, a, b, g)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _spline(t):  # type: ignore[no-untyped-def]
    """Weights of the four control points around a place, ``t`` = 0…1 past the second."""
    s = 1 - t
    return s * s * s / 6, (3 * t * t * t - 6 * t * t + 4) / 6, (3 * s * s * s - 6 * s * s + 4) / 6, t * t * t / 6


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _ripple_section(controls, step, z, out):  # type: ignore[no-untyped-def]
    """Control points ``(3, gy, gx)`` of one section of the patch, from those of the grid ``(3, gz, gy, gx)``."""
    cell = z // step
    p, q, r, s = _spline(z / step - cell)
    for axis in range(3):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                near, far = controls[axis, cell, j, k], controls[axis, cell + 3, j, k]
                middle = q * controls[axis, cell + 1, j, k] + r * controls[axis, cell + 2, j, k]
                out[axis, j, k] = p * near + middle + s * far


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _ripple_line(section, step, y, out):  # type: ignore[no-untyped-def]
    """Control points ``(3, gx)`` of one row of the patch, from those of its section."""
    cell = y // step
    p, q, r, s = _spline(y / step - cell)
    for axis in range(3):
        for k in range(out.shape[1]):
            middle = q * section[axis, cell + 1, k] + r * section[axis, cell + 2, k]
            out[axis, k] = p * section[axis, cell, k] + middle + s * section[axis, cell + 3, k]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _ripple_row(row, step, ramp, columns, out):  # type: ignore[no-untyped-def]
    """Displacements along one row, whose control points are ``row`` (3, gx): a cubic between two of them."""
    scale = np.float32(1) / np.float32(step)
    for axis in range(3):
        for k in range(row.shape[1] - 3):
            p, q, r, s = row[axis, k], row[axis, k + 1], row[axis, k + 2], row[axis, k + 3]
            c0, c1 = np.float32((p + 4 * q + r) / 6), np.float32((r - p) / 2)
            c2, c3 = np.float32((p - 2 * q + r) / 2), np.float32((s - p + 3 * (q - r)) / 6)
            start = k * step
            for n in range(min(step, columns - start)):
                t = ramp[n] * scale
                out[axis, start + n] = ((c3 * t + c2) * t + c1) * t + c0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def pack(box):  # type: ignore[no-untyped-def]
    """Words of four neighbours: voxel, the next along x, and the same two in the next row; at the end the voxel again.

    A trilinear sample of bytes then needs two loads instead of eight, and the part of a large cube that a patch needs
    is read once, in order.
    """
    depth, rows, columns = box.shape
    words = np.empty(box.shape, np.uint32)
    one, two, three = np.uint32(8), np.uint32(16), np.uint32(24)
    for z in range(depth):
        for y in range(rows):
            near, far, line = box[z, y], box[z, min(y + 1, rows - 1)], words[z, y]
            for x in range(columns - 1):
                line[x] = (
                    np.uint32(near[x])
                    | (np.uint32(near[x + 1]) << one)
                    | (np.uint32(far[x]) << two)
                    | (np.uint32(far[x + 1]) << three)
                )
            x = columns - 1
            line[x] = np.uint32(near[x]) * np.uint32(0x101) | np.uint32(far[x]) * np.uint32(0x1010000)
    return words


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def look_up(voxels, table, out):  # type: ignore[no-untyped-def]
    """``table[voxels]`` of bytes (zyx, turned in any way): what a patch needs that is only cut, mirrored and bent."""
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                out[z, y, x] = table[voxels[z, y, x]]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _slope(m, shifts, z):  # type: ignore[no-untyped-def]
    """How homogeneous coordinates change along a row; a shift behind the projection is one before it."""
    move_y, move_x = (shifts[z, 0], shifts[z, 1]) if shifts.shape[0] else (0.0, 0.0)
    w = m[3, 2]
    return np.float32(m[0, 2]), np.float32(m[1, 2] + move_y * w), np.float32(m[2, 2] + move_x * w), np.float32(w)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _start(m, shifts, z, y):  # type: ignore[no-untyped-def]
    """Homogeneous coordinates of the first voxel of a row."""
    move_y, move_x = (shifts[z, 0], shifts[z, 1]) if shifts.shape[0] else (0.0, 0.0)
    w = m[3, 0] * z + m[3, 1] * y + m[3, 3]
    return (
        np.float32(m[0, 0] * z + m[0, 1] * y + m[0, 3]),
        np.float32(m[1, 0] * z + m[1, 1] * y + m[1, 3] + move_y * w),
        np.float32(m[2, 0] * z + m[2, 1] * y + m[2, 3] + move_x * w),
        np.float32(w),
    )


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _coordinates_row(ramp, start, slope, ripple, last, strides, offsets, fz, fy, fx):  # type: ignore[no-untyped-def]
    """Index of the corner below, and the fractions behind it, of every voxel of a row; ``ramp``: 0, 1, 2, …"""
    h0, h1, h2, h3 = start
    s0, s1, s2, s3 = slope
    top, left, right = last
    plane, pitch = strides
    zero = np.int32(0)
    rz, ry, rx = ripple[0], ripple[1], ripple[2]
    for x in range(offsets.shape[0]):
        n = ramp[x]
        w = np.float32(1) / (h3 + s3 * n)
        u, v, t = (h0 + s0 * n) * w + rz[x], (h1 + s1 * n) * w + ry[x], (h2 + s2 * n) * w + rx[x]
        i = max(min(np.int32(u), top), zero)
        j = max(min(np.int32(v), left), zero)
        k = max(min(np.int32(t), right), zero)
        fz[x], fy[x], fx[x] = u - np.float32(i), v - np.float32(j), t - np.float32(k)
        offsets[x] = i * plane + j * pitch + k


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _packed_row(words, up, offsets, fz, fy, fx, low, high, target):  # type: ignore[no-untyped-def]
    """Trilinear means of packed bytes."""
    byte, one, two, three = np.uint32(255), np.uint32(8), np.uint32(16), np.uint32(24)
    for x in range(offsets.shape[0]):
        below = np.uint64(offsets[x])
        low[x], high[x] = words[below], words[below + up]
    for x in range(offsets.shape[0]):
        floor, ceiling, fraction = low[x], high[x], fx[x]
        # four bytes of each word, as int32 because that is what vector units turn into floats
        p, q = np.float32(np.int32(floor & byte)), np.float32(np.int32((floor >> two) & byte))
        r, s = np.float32(np.int32(ceiling & byte)), np.float32(np.int32((ceiling >> two) & byte))
        p += fraction * (np.float32(np.int32((floor >> one) & byte)) - p)
        q += fraction * (np.float32(np.int32(floor >> three)) - q)
        r += fraction * (np.float32(np.int32((ceiling >> one) & byte)) - r)
        s += fraction * (np.float32(np.int32(ceiling >> three)) - s)
        p += fy[x] * (q - p)
        r += fy[x] * (s - r)
        target[x] = p + fz[x] * (r - p)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def _floats_row(values, up, down, aside, offsets, fz, fy, fx, target):  # type: ignore[no-untyped-def]
    """Trilinear means of float32."""
    for x in range(offsets.shape[0]):
        a = np.uint64(offsets[x])
        b = np.uint64(a + up)
        p, q, r, s = values[a], values[a + down], values[b], values[b + down]
        p += fx[x] * (values[a + aside] - p)
        q += fx[x] * (values[a + down + aside] - q)
        r += fx[x] * (values[b + aside] - r)
        s += fx[x] * (values[b + down + aside] - s)
        p += fy[x] * (q - p)
        r += fy[x] * (s - r)
        target[x] = p + fz[x] * (r - p)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def warp_rows(words, values, matrix, shifts, controls, spacing, curve, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (zyx float32) with trilinear samples of a box, then the grey curve.

    Args:
        words: the box (zyx) as :func:`pack` makes it, or empty.
        values: the box as float32, if ``words`` is empty.
        matrix: 4×4 float64, patch voxel → voxel of the box, homogeneous.
        shifts: ``(sections, 2)`` displacement y, x of the patch's sections, or empty.
        controls, spacing: of :class:`~elektronn.sampling.maps.Ripple`, or empty.
        curve: ``(scale, a, b, g)``: samples are multiplied by ``scale``, then become ``clip(a·v + b, 0, 1) ** g``
            unless a < 0.
    """
    depth, rows, columns = out.shape
    is_packed = words.shape[0] > 0
    size = words.shape if is_packed else values.shape
    plane, pitch = np.int32(size[1] * size[2]), np.int32(size[2])
    # packed words hold the neighbours in y and x themselves; along an axis of one voxel the next is the same
    reach = 1 if is_packed else 2
    last = (np.int32(max(size[0] - 2, 0)), np.int32(max(size[1] - reach, 0)), np.int32(max(size[2] - reach, 0)))
    up = np.uint64(plane if size[0] > 1 else 0)
    down, aside = np.uint64(pitch if size[1] > 1 else 0), np.uint64(1 if size[2] > 1 else 0)
    wide = (columns + WIDTH - 1) // WIDTH * WIDTH
    offsets, low, high = np.empty(wide, np.int32), np.empty(wide, np.uint32), np.empty(wide, np.uint32)
    buffers, ripple = np.empty((5, wide), np.float32), np.zeros((3, wide), np.float32)
    ramp, fz, fy, fx, line = buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
    # the voxels that fill up the last vector are the last one again
    for x in range(wide):
        ramp[x] = min(x, columns - 1)
    section, row = np.empty((3, controls.shape[2], controls.shape[3])), np.empty((3, controls.shape[3]))
    is_rippled = controls.shape[3] > 0
    all_words, all_values, bits = words.reshape(-1), values.reshape(-1), low.view(np.int32)
    scale, a, b, g = np.float32(curve[0]), np.float32(curve[1]), np.float32(curve[2]), np.float32(curve[3])
    for z in range(depth):
        slope = _slope(matrix, shifts, z)
        if is_rippled:
            _ripple_section(controls, spacing[0], z, section)
        for y in range(rows):
            if is_rippled:
                _ripple_line(section, spacing[1], y, row)
                _ripple_row(row, spacing[2], ramp, columns, ripple)
            start = _start(matrix, shifts, z, y)
            _coordinates_row(ramp, start, slope, ripple, last, (plane, pitch), offsets, fz, fy, fx)
            if is_packed:
                _packed_row(all_words, up, offsets, fz, fy, fx, low, high, line)
            else:
                _floats_row(all_values, up, down, aside, offsets, fz, fy, fx, line)
            for x in range(wide):
                line[x] *= scale
            if a >= 0:
                _curve_row(line, bits, a, b, g)
            target = out[z, y]
            for x in range(columns):
                target[x] = line[x]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
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
        _ripple_line(section, spacing[1], y, row)
        for k in range(out.shape[1]):
            x = first + k * step
            cell = x // spacing[2]
            weights = _spline(x / spacing[2] - cell)
            for axis in range(3):
                for c in range(4):
                    out[axis, k] += weights[c] * row[axis, cell + c]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def nearest(source, matrix, shifts, controls, spacing, start, stride, out):  # type: ignore[no-untyped-def]
    """The nearest voxels of ``source`` at the patch voxels ``start + i·stride`` only; halves go up."""
    top, left, right = source.shape[0] - 1, source.shape[1] - 1, source.shape[2] - 1
    places, row = np.empty((3, out.shape[2])), np.empty((3, controls.shape[3]))
    section = np.empty((3, controls.shape[2], controls.shape[3]))
    for i in range(out.shape[0]):
        z = start[0] + i * stride[0]
        if controls.shape[3]:
            _ripple_section(controls, spacing[0], z, section)
        for j in range(out.shape[1]):
            y = start[1] + j * stride[1]
            _row_places(matrix, shifts, section, spacing, z, y, start[2], stride[2], row, places)
            for k in range(out.shape[2]):
                p = min(max(np.int64(places[0, k] + 0.5), 0), top)
                q = min(max(np.int64(places[1, k] + 0.5), 0), left)
                r = min(max(np.int64(places[2, k] + 0.5), 0), right)
                out[i, j, k] = source[p, q, r]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=EXACT)
def linear(source, matrix, shifts, controls, spacing, start, stride, out):  # type: ignore[no-untyped-def]
    """As :func:`nearest`, but trilinear; a neighbour without weight (below a millionth) does not count, even if NaN."""
    top, left, right = source.shape[0] - 1, source.shape[1] - 1, source.shape[2] - 1
    places, row = np.empty((3, out.shape[2])), np.empty((3, controls.shape[3]))
    section = np.empty((3, controls.shape[2], controls.shape[3]))
    for i in range(out.shape[0]):
        z = start[0] + i * stride[0]
        if controls.shape[3]:
            _ripple_section(controls, spacing[0], z, section)
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
