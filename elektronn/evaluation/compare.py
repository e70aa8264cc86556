"""Compare a segmentation with the true one, file by file, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, blocks
from elektronn.errors import ConfigError, DataError, at
from elektronn.evaluation.ahead import ahead
from elektronn.evaluation.contingency import Contingency, contingency, summed
from elektronn.evaluation.placement import Place, intersection, overlap
from elektronn.settings import Triple
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Volume, open_volume

Progress = Callable[[int, int], None]

_Block = tuple[NDArray[Any], NDArray[Any], tuple[slice, slice, slice]]
"""Predicted ids, true ids of the same place and around it, and the place in those."""


def compare(
    found: Address,
    truth: Address,
    block: Triple,
    *,
    border_nm: float | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Contingency, Place]:
    """Count the overlaps of two segmentations; the result does not depend on ``block``.

    Args:
        found: predicted ids, zyx; 0 is background.
        truth: true ids, zyx; 0 and below do not count. They lie in the middle of the image.
        block: part that is in memory at one time, zyx, voxels.
        border_nm: voxels this close to a border of the truth do not count, see :func:`near_border`.
        progress: called with (blocks done, blocks in all).

    Returns:
        The table, and the place that both have in common.

    Raises:
        DataError: not ids, nothing in common, no voxel of a true segment.
        ConfigError: a border in nanometres, and neither volume says its voxel size.
    """
    with open_volume(found) as prediction, open_volume(truth) as labels:
        place = overlap(prediction, labels)
        pixel = _pixel(prediction, labels) if border_nm is not None else (1.0, 1.0)
        with at(f"{found} and {truth}"):
            tables = _tables(prediction, labels, place, blocks(prediction.size, block), border_nm, pixel, progress)
            table = summed(tables)
    if not table.voxels:
        raise DataError(f"{truth}: no voxel with an id above 0 is left to judge; check the ids and the border")
    return table, place


def _tables(
    prediction: Volume,
    labels: Volume,
    place: Place,
    boxes: list[Box],
    border_nm: float | None,
    pixel: tuple[float, float],
    progress: Progress,
) -> Iterator[Contingency]:
    halo = (0, *(0 if border_nm is None else math.floor(border_nm / n) + 1 for n in pixel))

    def read(box: Box) -> _Block | None:
        part = intersection(box, place.box)
        if min(part.size) < 1:
            return None
        inside = part.shifted(place.shift)
        around = inside.grown(halo, halo).within(labels.size)
        return prediction.read(part), labels.read(around), inside.shifted(-n for n in around.start).slices

    def table(block: _Block | None) -> Contingency | None:
        if block is None:
            return None
        predicted, ids, cut = block
        return contingency(ids[cut], predicted, None if border_nm is None else near_border(ids, pixel, border_nm)[cut])

    with ahead((partial(read, box) for box in boxes), table) as tables:
        for done, found in enumerate(tables, 1):
            if found is not None:
                yield found
            progress(done, len(boxes))


def _pixel(prediction: Volume, labels: Volume) -> tuple[float, float]:
    voxel = labels.voxel_nm or prediction.voxel_nm
    if voxel is None:
        raise ConfigError(
            f"neither {labels.address} nor {prediction.address} says its voxel size, so a border in nanometres has no "
            "meaning; store the attribute voxel_nm (z, y, x) with one of them"
        )
    return voxel[1], voxel[2]


def near_border(ids: NDArray[Any], pixel: tuple[float, float], distance: float) -> NDArray[np.bool_]:
    """Voxels at most ``distance`` away from a border of their own section.

    A voxel is on a border if one of its four neighbours in the section has another id. Borders are at distance 0.

    Args:
        ids: zyx.
        pixel: voxel size y, x.
        distance: in the unit of ``pixel``.

    Source:
        The border mask of the CREMI challenge, which takes pixels of equal size.

    Example:
        >>> near_border(np.array([[[1, 1, 1, 2, 2]]]), (1, 1), 1)[0, 0].tolist()
        [False, True, True, True, True]
    """
    from scipy.ndimage import distance_transform_edt

    border = np.zeros(ids.shape, bool)
    for axis in (1, 2):
        along, mark = np.moveaxis(ids, axis, 0), np.moveaxis(border, axis, 0)  # views
        differ = along[1:] != along[:-1]
        mark[1:] |= differ
        mark[:-1] |= differ
    near = np.zeros(ids.shape, bool)
    for z in np.flatnonzero(border.any(axis=(1, 2))):
        near[z] = distance_transform_edt(~border[z], sampling=pixel) <= distance
    return near
