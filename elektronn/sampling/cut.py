"""Cut one patch out of an image, and its labels out of the label volume, along a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.sampling import plainly
from elektronn.sampling.grey import Curve, Image
from elektronn.sampling.kernels import linear, look_up, nearest
from elektronn.sampling.maps import NO_SHIFTS, Map
from elektronn.sampling.rows import warp_bytes, warp_floats

FLAT = np.empty((3, 0, 0, 0)), np.ones(3, np.int64)
"""No ripple."""


def cut_image(
    volume: NDArray[np.generic],
    map: Map,
    box: Box,
    *,
    scale: float,
    interpolation: str,
    curve: Curve | None,
    out: Image,
) -> None:
    """Fill ``out`` (zyx) with samples of ``volume`` (zyx, any real type), times ``scale``, then bent by ``curve``.

    Only the voxels of ``box`` are read; it must hold all that the map asks for.
    """
    if map.bend is not None:
        inside = map.moved(np.negative(box.start))
        plainly.cut_image(volume[box.slices], inside, scale, curve, out, interpolation=interpolation)
        return
    part = volume[box.slices]
    if part.dtype == np.float16:  # unknown to the compiler
        part = part.astype(np.float32)
    is_straight, is_bytes = map.is_straight, part.dtype == np.uint8
    if is_straight and is_bytes:
        table = np.arange(256, dtype=np.float32)[None, None] * np.float32(scale)
        if curve is not None:
            curve.apply(table)
        look_up(part, map.within(box.start), table[0, 0], out)
        return
    if is_straight:
        np.multiply(_turned(part, map), np.float32(scale), out=out, dtype=np.float32, casting="unsafe")
    elif interpolation == "nearest":
        found = np.empty(out.shape, part.dtype)
        nearest(np.ascontiguousarray(part), map.within(box.start), *_extras(map, map.image_shifts), _ZERO, _ONE, found)
        np.multiply(found, np.float32(scale), out=out, dtype=np.float32, casting="unsafe")
    else:
        bent = (float(scale), curve.a, curve.b, curve.g) if curve else (float(scale), -1.0, 0.0, 1.0)
        matrix = map.within(box.start)
        if is_bytes:
            rows = part if part.strides[2] == 1 else np.ascontiguousarray(part)
            warp_bytes(rows, matrix, *_extras(map, map.image_shifts), bent, out)
        else:
            warp_floats(np.ascontiguousarray(part, np.float32), matrix, *_extras(map, map.image_shifts), bent, out)
        return
    if curve is not None:
        curve.apply(out)


_ZERO, _ONE = np.zeros(3, np.int64), np.ones(3, np.int64)


def cut_labels(
    volume: NDArray[np.generic],
    map: Map,
    start: Sequence[int],
    stride: Sequence[int],
    origin: Size,
    out: NDArray[np.generic],
) -> None:
    """Fill ``out`` (zyx) with labels at the network's outputs, patch voxels ``start + i·stride``.

    Class labels (integers) are those of the nearest voxel, regression targets (floats) are interpolated. ``origin``
    is the image voxel at which ``volume`` begins.
    """
    if map.bend is not None:
        plainly.cut_labels(volume, map, start, stride, origin, out)
        return
    kernel = linear if volume.dtype.kind == "f" else nearest
    steps = np.array(start, np.int64), np.array(stride, np.int64)
    kernel(np.ascontiguousarray(volume), map.within(origin), *_extras(map, map.label_shifts), *steps, out)


def _extras(
    map: Map, shifts: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    moves = NO_SHIFTS if shifts is None else shifts
    if map.ripple is None:
        return moves, *FLAT
    return moves, map.ripple.controls, np.array(map.ripple.spacing, np.int64)


def _turned(part: NDArray[np.generic], map: Map) -> NDArray[np.generic]:
    """The box of a straight map, mirrored and transposed as the map says."""
    turn = map.outer[:3, :3]
    mirrored = part[tuple(slice(None, None, -1 if signs.sum() < 0 else 1) for signs in turn)]
    return mirrored.transpose([int(np.flatnonzero(turn[:, axis])[0]) for axis in range(3)])
