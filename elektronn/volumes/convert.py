"""The boundaries stage: convert a volume of IDs to a boundary map, block by block."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, blocks
from elektronn.errors import ConfigError, DataError
from elektronn.settings import Triple, plain
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Volume, create_volume, open_volume
from elektronn.volumes.barriers import barriers
from elektronn.volumes.boundaries import BoundarySettings

BLOCK: Triple = (128, 512, 512)
"""Voxels converted at once; a multiple of the chunks and shards that we write."""


def convert(
    ids: Address,
    out: Address,
    settings: BoundarySettings,
    *,
    axes: str | None = None,
    block: Triple = BLOCK,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Write the boundary map (uint8, zyx; classes 0, 1, 2) of a volume of IDs, or classes as they are (int16).

    Memory is bounded by the block, and the result does not depend on it. Voxel size and offset pass through,
    the settings are stored with the result (attribute ``boundaries``, JSON). ``out`` appears whole or not at all.

    Args:
        ids: whole numbers, one per cell; 0 is extracellular space.
        out: HDF5, zarr or ``.npy`` (which holds no attributes).
        axes: order on disk; by default what the file says.
        block: voxels converted at once, zyx.
        progress: called with (blocks done, blocks in all).

    Returns:
        Share of the voxels that are boundary (class 1).

    Raises:
        DataError: not whole numbers, negative IDs, or one single ID.
        ConfigError: ``out`` is the file that is read.
        StorageError: disk full or no permission.
    """
    if out.path.resolve() == ids.path.resolve():
        raise ConfigError(f"{out}: would replace the IDs it is made from; name another output file")
    with open_volume(ids, axes) as volume:
        if not np.issubdtype(volume.dtype, np.integer):
            raise DataError(f"{ids}: holds {volume.dtype}, and IDs are whole numbers; write the IDs as an integer type")
        with create_volume(
            out,
            tuple(volume.size),
            np.uint8 if settings.source == "ids" else np.int16,
            voxel_nm=volume.voxel_nm,
            offset_vox=_offset(volume),
            origin_nm=volume.origin_nm,
            attributes={"boundaries": json.dumps(plain(settings)), "boundaries_of": f"{ids.path.name}:{ids.key}"},
        ) as sink:
            if settings.source == "ids":
                marked = _blockwise(volume, sink.write, settings, block, progress)
            else:
                marked = _copy(volume, sink.write, block, progress)
        return marked / volume.size.voxels


def _blockwise(
    volume: Volume,
    write: Callable[[Box, NDArray[Any]], None],
    settings: BoundarySettings,
    block: Triple,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Convert; returns the number of boundary voxels."""
    boxes, marked = blocks(volume.size, block), 0
    seen: set[int] = set()
    for done, box in enumerate(boxes, 1):
        around = box.grown(settings.halo, settings.halo).within(volume.size)
        ids = volume.read(around)
        low, high = int(ids.min()), int(ids.max())
        if low < 0:
            raise DataError(
                f"{volume.address}: holds the negative ID {low}; IDs are 1 and more, 0 is extracellular space: "
                "number the cells anew"
            )
        seen |= {low, high}
        inner = box.shifted(-n for n in around.start)
        found = barriers(ids, settings)[inner.slices]
        marked += int(np.count_nonzero(found == 1))
        write(box, found)
        if progress is not None:
            progress(done, len(boxes))
    if len(seen) == 1:
        raise DataError(
            f"{volume.address}: every voxel has the ID {seen.pop()}, so there is nothing to learn: no two cells touch; "
            "check that this is the ID volume (file, key and part)"
        )
    return marked


def _copy(
    volume: Volume,
    write: Callable[[Box, NDArray[Any]], None],
    block: Triple,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Labels that are classes already; only their range is checked. Returns the number of boundary voxels."""
    limits, boxes, marked = np.iinfo(np.int16), blocks(volume.size, block), 0
    for done, box in enumerate(boxes, 1):
        classes = volume.read(box)
        low, high = int(classes.min()), int(classes.max())
        if low < -1 or high > limits.max:
            raise DataError(
                f"{volume.address}: labels reach from {low} to {high}, and classes are −1 (ignore), 0, 1, …; "
                "if these are IDs of cells, set boundaries.source to ids"
            )
        write(box, classes.astype(np.int16))
        marked += int(np.count_nonzero(classes == 1))
        if progress is not None:
            progress(done, len(boxes))
    return marked


def _offset(volume: Volume) -> tuple[int, int, int] | None:
    """Position of the part's first voxel in the image that the IDs belong to, zyx, voxels; ``None``: not said."""
    if "offset_vox" not in volume.attributes:
        return None
    z, y, x = (int(a) + b for a, b in zip(volume.attributes["offset_vox"], volume.part.start))
    return z, y, x
