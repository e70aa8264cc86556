"""What image and label volumes hold: finite grey values; classes, IDs or a mask; and the boundary in each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, blocks
from elektronn.errors import DataError
from elektronn.volumes.arrays import Volume

Array = NDArray[Any]
Values = Literal["classes", "ids", "mask"]

SLAB = 32
"""Sections read at once while the values are looked through."""

NOTES: dict[Values, str] = {
    "classes": "",
    "ids": "holds IDs; their borders were compared (train on the result of `elektronn boundaries`)",
    "mask": "holds 0 and 255; taken as 0 = boundary (convert it to classes before training)",
}


def _slabs(volume: Volume) -> Iterator[tuple[Box, Array]]:
    for box in blocks(volume.size, (SLAB, 1024, 1024)):
        yield box, volume.read(box, "czyx")


def look_through(volume: Volume) -> float:
    """Look for NaN, infinity, and an image of one grey value; returns the largest value.

    Raises:
        DataError: found one; the message names the first place.
    """
    low, high = np.inf, -np.inf
    for box, values in _slabs(volume):
        if not np.isfinite(values).all():
            place = np.argwhere(~np.isfinite(values))[0][1:] + np.array(box.start)
            raise DataError(f"NaN or infinite value at zyx {tuple(map(int, place))}; repair or cut out that part")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low == high:
        raise DataError(f"every voxel is {low:g}; check that this is the right image")
    return high


def kind_of_values(volume: Volume, classes: int) -> Values:
    """What a label volume holds.

    More than ``classes`` different values outside −1 … ``classes`` − 1 are IDs. The values 0 and 255 alone are a mask.

    Raises:
        DataError: neither classes nor IDs nor a mask; fractions.
    """
    inside: set[int] = set()
    outside: dict[int, tuple[int, ...]] = {}
    for box, values in _slabs(volume):
        if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise DataError("labels hold fractions or NaN; store classes as whole numbers")
        ends = {int(values.min()), int(values.max())}
        known = ends if min(ends) >= -1 and max(ends) < classes else set(map(int, np.unique(values)))
        inside |= {value for value in known if -1 <= value < classes}
        for value in sorted(known - inside - outside.keys()):
            place = np.argwhere(values == value)[0][1:] + np.array(box.start)
            outside[value] = tuple(map(int, place))
            if len(outside) > classes:
                return "ids"
    if not outside:
        return "classes"
    if set(outside) == {255} and inside == {0}:
        return "mask"
    value, position = next(iter(outside.items()))
    raise DataError(f"value {value} at zyx {position}; labels are −1 (ignore) to {classes - 1}: convert or crop them")


def boundary_of(values: Array, kind: Values) -> Array:
    """The boundary in a label volume: 1 boundary, 0 interior, −1 unknown, zyx, int8."""
    if kind == "classes":
        found = np.where(values < 0, -1, values == 1)
    else:
        found = borders(values) if kind == "ids" else values == 0
    return found.astype(np.int8, copy=False)


def borders(ids: Array) -> NDArray[np.bool_]:
    """Voxels of which one of the 6 neighbours has another ID, zyx.

    Example:
        >>> borders(np.array([[[1, 1, 1, 2, 2]]])).astype(int)
        array([[[0, 0, 1, 1, 0]]])
    """
    result = np.zeros(ids.shape, bool)
    for axis in range(3):
        differ = np.diff(ids, axis=axis) != 0
        np.moveaxis(result, axis, 0)[1:] |= np.moveaxis(differ, axis, 0)
        np.moveaxis(result, axis, 0)[:-1] |= np.moveaxis(differ, axis, 0)
    return result
