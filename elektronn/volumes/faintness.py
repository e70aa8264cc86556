"""Images of whole numbers that use little of the range of their type: a network sees them nearly black."""

from __future__ import annotations

from typing import Any

import numpy as np

from elektronn.axes import Box, Size
from elektronn.volumes.arrays import Volume

FAINT = 16
"""An image is faint if it reaches less than this part of the range; 12 bits in 16 are just that."""
WINDOW = 256
"""Half the edge of what is looked at in the middle of an image, voxels."""


def faintness(dtype: np.dtype[Any], top: float) -> str:
    """What to say of an image whose whole numbers use little of the range of their type, or an empty text.

    A network sees whole numbers divided by the largest one that their type can hold.

    Args:
        dtype: of the image.
        top: its largest value.

    Example:
        >>> faintness(np.dtype(np.uint16), 255)
        'values reach 255 of 65535, so a network sees all of it nearly black; store it as uint8, or stretch the values'
        >>> faintness(np.dtype(np.uint16), 16383), faintness(np.dtype(np.uint8), 3)
        ('', '')
    """
    if dtype.kind not in "ui" or dtype.itemsize == 1 or not 0 < top < np.iinfo(dtype).max / FAINT:
        return ""
    return (
        f"values reach {top:.0f} of {np.iinfo(dtype).max}, so a network sees all of it nearly black; store it as uint8, "
        "or stretch the values"
    )


def brightest(volume: Volume) -> float:
    """The largest value in the middle of a volume."""
    size = volume.size
    low = Size(size.z // 2, max(0, size.y // 2 - WINDOW), max(0, size.x // 2 - WINDOW))
    high = Size(low.z + 1, min(size.y, low.y + 2 * WINDOW), min(size.x, low.x + 2 * WINDOW))
    return float(volume.read(Box(low, high), "czyx").max())
