"""Compare a segmentation with the true one, file by file, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box
from elektronn.errors import ConfigError, DataError, at
from elektronn.evaluation.contingency import Contingency, contingency, summed
from elektronn.evaluation.placement import Place, overlap, parts
from elektronn.evaluation.workers import shared, workers
from elektronn.settings import Triple
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Volume, open_volume

Progress = Callable[[int, int], None]


class _Near(NamedTuple):
    """What is close to a border: voxel size y, x and distance, nanometres."""

    pixel: tuple[float, float]
    distance: float

    @property
    def halo(self) -> tuple[int, int, int]:
        """How far to look, zyx, voxels."""
        y, x = (math.floor(self.distance / n) + 1 for n in self.pixel)
        return 0, y, x


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
        block: part that each of up to 4 workers has in memory at one time, zyx, voxels.
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
        near = None if border_nm is None else _Near(_pixel(prediction, labels), border_nm)
        boxes = list(parts(place, prediction, block))
        with at(f"{found} and {truth}"):
            table = summed(_tables(prediction, labels, place, boxes, near, progress))
    if not table.voxels:
        raise DataError(f"{truth}: no voxel with an id above 0 is left to judge; check the ids and the border")
    return table, place


def _tables(
    prediction: Volume, labels: Volume, place: Place, boxes: list[Box], near: _Near | None, progress: Progress
) -> Iterator[Contingency]:
    def table(box: Box, _: None) -> Contingency:
        inside = box.shifted(place.shift)
        around = inside if near is None else inside.grown(near.halo, near.halo).within(labels.size)
        predicted, ids = prediction.read(box), labels.read(around)
        cut = inside.shifted(-n for n in around.start).slices
        return contingency(ids[cut], predicted, None if near is None else near_border(ids, *near[:2])[cut])

    with shared(boxes, table, [None] * workers(len(boxes))) as tables:
        for done, found in enumerate(tables, 1):
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
