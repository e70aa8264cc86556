"""Coarser levels beside the full one: what a viewer shows from afar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size, blocks

SLAB = Size(32, 256, 256)
"""Means are taken of parts of this size, so that not all of a block is held as float32."""


@dataclass(frozen=True)
class Level:
    """A coarser level.

    Attributes:
        key: name of its array.
        source: name of the array of the level below.
        size: zyx, voxels; what is left behind the last whole voxel of the level below makes one more.
        factor: voxels of the level below along each axis that become one: 1 or 2.
        scale: voxels of the full level along each axis.
        below: size of the level below.
    """

    key: str
    source: str
    size: Size
    factor: Size
    scale: Size
    below: Size

    def covers(self, box: Box) -> Box:
        """What of the level below a box is made from."""
        grown = (Size(*(n * f for n, f in zip(corner, self.factor))) for corner in box)
        return Box(*grown).within(self.below)


def levels_for(size: Size, voxel_nm: Sequence[float] | None, count: int, key: str = "0") -> list[Level]:
    """The coarser levels of a volume, finest first; fewer than ``count`` when one voxel is left.

    An axis is halved unless its voxels are already twice as long as the shortest: sections far apart are only thinned
    out once their images are as coarse as the distance between them.

    Example:
        >>> [str(level.scale) for level in levels_for(Size(64, 512, 512), (40, 10, 10), 4)]
        ['1×2×2', '1×4×4', '2×8×8', '4×16×16']
    """
    found: list[Level] = []
    scale, before = Size(1, 1, 1), key
    lengths = list(voxel_nm or (1.0, 1.0, 1.0))
    for number in range(1, count + 1):
        shortest = min((length for length, n in zip(lengths, size) if n > 1), default=0.0)
        factor = Size(*(2 if n > 1 and length < 2 * shortest else 1 for n, length in zip(size, lengths)))
        if factor.voxels == 1:
            break
        lengths = [length * f for length, f in zip(lengths, factor)]
        scale, below = Size(*(s * f for s, f in zip(scale, factor))), size
        size = Size(*(-(-n // f) for n, f in zip(size, factor)))
        name = str(number) if key == "0" else f"{key}_{number}"
        found.append(Level(name, before, size, factor, scale, below))
        before = name
    return found


def means(values: NDArray[Any], factor: Sequence[int]) -> NDArray[Any]:
    """Means of blocks along the last three axes, in the type of ``values``; at the far end of what there is.

    Example:
        >>> means(np.array([[[1, 2, 6]]], np.uint8), (1, 1, 2)).tolist()
        [[[2, 6]]]
    """
    total = values.astype(np.float32)
    for axis, f in zip((-3, -2, -1), factor):
        starts = np.arange(0, values.shape[axis], f)
        counts = np.minimum(values.shape[axis] - starts, f).astype(np.float32)
        total = np.add.reduceat(total, starts, axis) / counts.reshape(-1, *(1,) * (-axis - 1))
    return (np.rint(total) if values.dtype.kind in "iu" else total).astype(values.dtype)


def coarse(level: Level, box: Box, read: Any) -> NDArray[Any]:
    """A box of a level; ``read`` reads boxes of the level below, zyx or czyx."""
    parts = blocks(box.size, SLAB)
    first = means(read(level.covers(parts[0].shifted(box.start))), level.factor)
    values = np.empty((*first.shape[:-3], *box.size), first.dtype)
    values[(..., *parts[0].slices)] = first
    for part in parts[1:]:
        values[(..., *part.slices)] = means(read(level.covers(part.shifted(box.start))), level.factor)
    return values


def described(image: Mapping[str, Any], levels: Sequence[Level]) -> dict[str, Any]:
    """The multiscale metadata of the full level, with the coarser ones.

    The first voxel of a level lies in the middle of those of the full level that it is the mean of.

    Source:
        https://ngff.openmicroscopy.org/0.5, "multiscales": scale first, then translation, of every level.
    """
    (full,) = image["datasets"]
    scale, shift = (step[step["type"]] for step in full["coordinateTransformations"])
    lead = [1] * (len(scale) - 3)
    datasets = [full]
    for level in levels:
        factors = [*lead, *level.scale]
        steps = [
            {"type": "scale", "scale": [s * f for s, f in zip(scale, factors)]},
            {"type": "translation", "translation": [t + s * (f - 1) / 2 for t, s, f in zip(shift, scale, factors)]},
        ]
        datasets.append({"path": level.key, "coordinateTransformations": steps})
    return {**image, "datasets": datasets, "type": "mean"} if levels else dict(image)
