"""What some data add to labels: which classes they tell, and how much each voxel counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.errors import DataError
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import load, load_raw
from elektronn.volumes.hdf5 import holds

LOW, HIGH, SLOPE = -0.1, 0.05, 2.0
"""Where label minus earlier prediction leaves this range, a voxel counts more, by ``SLOPE`` times the excess."""


@dataclass(frozen=True)
class Lazy:
    """Which classes the labels of a volume tell.

    Attributes:
        labelled: ``(classes,)``, 1 where the labels tell the class.
        absent: ``(classes,)``, 1 where the volume does not hold the class at all.
    """

    labelled: NDArray[np.int16]
    absent: NDArray[np.int16]


def load_info(labels: Address, classes: int) -> Lazy:
    """The masks of lazy labels: the data set ``info`` beside the labels, two rows of one number per class.

    Without one, and in files that are not HDF5, all classes are told and none is absent.

    Raises:
        DataError: another shape, or damaged.
    """
    place = replace(labels, key="info", crop=(), axes="")
    is_there = labels.format == "hdf5" and holds(place)
    rows = load_raw(place) if is_there else np.stack([np.ones(classes), np.zeros(classes)])
    if rows.shape != (2, classes):
        raise DataError(
            f"{place}: has the shape {rows.shape}; lazy labels need (2, {classes}): one row of the classes that the labels "
            "tell, one of those that the volume does not hold"
        )
    rows = rows.astype(np.int16)
    return Lazy(rows[0], rows[1])


def load_weights(address: Address, labels: Size) -> NDArray[np.float32]:
    """How much each labelled voxel counts, ``zyx``.

    Raises:
        DataError: another size than the labels, negative or infinite.
    """
    weights = load(address).astype(np.float32)
    if weights.shape != tuple(labels):
        raise DataError(
            f"{address}: weights of {Size(*weights.shape)} voxels for labels of {labels} (zyx); give one each"
        )
    if not (np.isfinite(weights).all() and weights.min() >= 0):
        raise DataError(f"{address}: weights must be 0 or more and finite")
    return weights


def weights_of_channel(prediction: NDArray[Any], labels: NDArray[np.int16], origin: Size) -> NDArray[np.float32]:
    """Weights from an earlier prediction: voxels where it was wrong count more.

    ``1 + 2·(−d − 0.1)`` where ``d = label − prediction < −0.1``, ``1 + 2·(d − 0.05)`` where ``d > 0.05``, else 1.

    Args:
        prediction: ``zyx``, 0 to 1, of the whole image.
        labels: ``zyx``.
        origin: image voxel at which the labels begin.

    Source:
        ELEKTRONN 1, option ``use_example_weights``.
    """
    weights = np.ones(labels.shape, np.float32)
    inner = Box(origin, Size(*(o + n for o, n in zip(origin, labels.shape)))).within(prediction.shape)
    of_labels = inner.shifted(-o for o in origin)
    difference = labels[of_labels.slices] - prediction[inner.slices]
    known = labels[of_labels.slices] >= 0
    excess = np.maximum(LOW - difference, 0) + np.maximum(difference - HIGH, 0)
    weights[of_labels.slices] += SLOPE * np.where(known, excess, 0)
    return weights
