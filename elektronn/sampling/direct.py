"""Examples of flips, warps and grey curves in two compiled calls: all draws and the place, then image and labels.

The interpreter's lock is held only between them. What is drawn in which order is what :class:`~.spatial.Flip`,
:class:`~.spatial.Warp` and :class:`~.grey.Grey` draw; the laws of the sampler compare.
"""

from __future__ import annotations

import numpy as np

from elektronn.compiled import compiled
from elektronn.sampling import kernels, philox, places, row_code, rows
from elektronn.sampling.kernels import look_up, nearest
from elektronn.sampling.philox import coin, fill, fraction
from elektronn.sampling.places import extent, is_straight, moved, product, projection, settle
from elektronn.sampling.rows import bend_values, warp_bytes

FLIP, WARP = 0, 1
"""Kinds of spatial components."""

MATRIX, START, STOP, CURVES = 0, 16, 19, 22
"""Where in a draft the map (4×4), the box of the image (zyx each) and the curves of the channels (4 each) begin."""


_compiled = compiled(kernels, philox, places, row_code, rows, error_model="numpy")


@_compiled
def _turn(words, may, matrix):  # type: ignore[no-untyped-def]
    """A flip: mirrored along z, y, x and y exchanged with x where it ``may`` be (4) and the coin says so."""
    y, x = (2, 1) if may[3] and coin(words, 3) else (1, 2)
    signs = np.ones(3)
    for axis in range(3):
        if may[axis] and coin(words, axis):
            signs[axis] = -1.0
    turn = np.zeros((4, 4))
    turn[0, 0], turn[1, y], turn[2, x], turn[3, 3] = signs[0], signs[1], signs[2], 1.0
    return product(matrix, turn)


@_compiled
def _warp(words, numbers, patch, matrix):  # type: ignore[no-untyped-def]
    """A warp of ``numbers``: amount, ranges (5)."""
    drawn = np.empty(10)
    for k in range(10):
        value = fraction(words[k])
        drawn[k] = value if 2 <= k < 5 else 2 * value - 1
    return product(matrix, projection(drawn, numbers[1:], numbers[0], patch))


@_compiled
def _curves(words, grey, channels, curves):  # type: ignore[no-untyped-def]
    """Whether there is one, a, b and g of the grey curve of every one of some channels, drawn one after the other."""
    at = 0
    for channel in channels:
        at += 1
        if fraction(words[at - 1]) < grey[0]:
            curves[channel, 0] = 1.0
            curves[channel, 1] = 1.0 + (2 * fraction(words[at]) - 1) * grey[1]
            curves[channel, 2] = (2 * fraction(words[at + 1]) - 1) * grey[2]
            # the base is a variable, or the compiler takes another function for it
            curves[channel, 3] = grey[4] ** ((2 * fraction(words[at + 2]) - 1) * grey[3])
            at += 3


@_compiled
def draft(key, step, example, shares, frames, spatial, grey, channels, patch, outputs, draft):  # type: ignore[no-untyped-def]
    """Draw and place one example.

    Args:
        key: of the stream.
        shares: of the cubes, cumulated.
        frames: of the cubes, ``(cubes, 3, 3)``.
        spatial: ``(components, 8)``: kind, then four times whether a flip may, or probability, amount and ranges.
        grey: probability, contrast, brightness, gamma and 2; ``channels``: that have a curve.
        patch: first and last voxel, ``(2, zyx)``; ``outputs``: of those with an output.
        draft: is filled.

    Returns:
        Number of the cube, or −1 where the map fits nowhere; whether it is warped.
    """
    words = np.empty(4 + 11 * len(spatial) + 4 * len(channels), np.uint64)
    fill(key, example, step, words)
    cube = min(np.searchsorted(shares, fraction(words[0]), side="right"), len(shares) - 1)
    at, is_warped, matrix, size = 1, False, np.eye(4), patch[1] + 1
    for component in spatial:
        if component[0] == FLIP:
            matrix = _turn(words[at:], component[1:], matrix)
            at += 2
        else:
            at += 1
            if fraction(words[at - 1]) < component[1]:
                matrix = _warp(words[at:], component[2:], size, matrix)
                at, is_warped = at + 10, True
    where, centring, unmoved = np.empty(3), np.eye(4), np.empty((0, 2))
    for axis in range(3):
        where[axis], centring[axis, 3] = fraction(words[at + axis]), -(size[axis] - 1) / 2
    matrix = product(matrix, centring)
    fits, matrix, boxes = settle(
        where, matrix, extent(matrix, patch, unmoved), extent(matrix, outputs, unmoved), frames[cube], True
    )
    draft[MATRIX:START], draft[START:STOP], draft[STOP:CURVES] = matrix.reshape(16), boxes[0], boxes[1]
    curves = draft[CURVES:].reshape(-1, 4)
    curves[:] = 0.0
    _curves(words[at + 3 :], grey, channels, curves)
    return cube if fits else -1, is_warped


@_compiled
def _cut_straight(box, matrix, scale, curve, out):  # type: ignore[no-untyped-def]
    """A patch that is only cut, mirrored and turned, through a table."""
    table = np.empty((1, 1, 256), np.float32)
    for value in range(256):
        table[0, 0, value] = np.float32(value) * np.float32(scale)
    if curve[0] > 0:
        bend_values(table, np.float32(curve[1]), np.float32(curve[2]), np.float32(curve[3]))
    look_up(box, matrix, table[0, 0], out)


@_compiled
def cut(draft, image, scale, labels, origin, first, stride, patches, targets):  # type: ignore[no-untyped-def]
    """Fill ``patches`` (czyx) and ``targets`` (zyx) with what a draft takes from an image (czyx bytes) and its labels (zyx)."""
    matrix, curves = draft[MATRIX:START].reshape(4, 4), draft[CURVES:].reshape(-1, 4)
    unmoved, controls, spacing = np.empty((0, 2)), np.empty((3, 0, 0, 0)), np.ones(3, np.int64)
    nearest(labels, moved(matrix, -origin), unmoved, controls, spacing, first, stride, targets)
    start, stop = draft[START:STOP], draft[STOP:CURVES].astype(np.int64)
    inside, low = moved(matrix, -start), start.astype(np.int64)
    for channel in range(image.shape[0]):
        box = image[channel, low[0] : stop[0], low[1] : stop[1], low[2] : stop[2]]
        curve = curves[channel]
        if is_straight(matrix):
            _cut_straight(box, inside, scale, curve, patches[channel])
        else:
            bent = (scale, curve[1], curve[2], curve[3]) if curve[0] > 0 else (scale, -1.0, 0.0, 1.0)
            warp_bytes(box, inside, unmoved, controls, spacing, bent, patches[channel])
