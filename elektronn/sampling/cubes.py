"""Training cubes in memory: image and labels with the place of the labels in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import ConfigError, DataError, at
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import load
from elektronn.volumes.registration import centre


@dataclass(frozen=True)
class Cube:
    """One labelled volume.

    Attributes:
        name: for messages and history.
        image: ``(c, z, y, x)``, uint8, or float32 already in [0, 1].
        labels: ``(z, y, x)`` int16, class numbers, −1 = ignore.
        origin: image voxel at which the labels begin, zyx; negative where labels reach beyond the image.
        scale: factor that brings image values to [0, 1].
    """

    name: str
    image: NDArray[np.generic]
    labels: NDArray[np.int16]
    origin: Size
    scale: float

    @property
    def size(self) -> Size:
        """Spatial extent of the image."""
        return Size(*self.image.shape[1:])


def make_cube(name: str, image: NDArray[np.generic], labels: NDArray[np.generic], classes: int) -> Cube:
    """Check and register one image (``czyx``) and its labels (``zyx``) by their centres.

    Raises:
        DataError: odd surplus, labels out of range or no whole numbers, no label but −1, NaN.
    """
    if labels.dtype.kind not in "bui":
        raise DataError(f"{name}: labels are {labels.dtype}, and classes are whole numbers; store them as integers")
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or high >= classes:
        raise DataError(
            f"{name}: labels reach from {low} to {high}, expected −1 (ignore) to {classes - 1}; convert IDs with `elektronn boundaries` first"
        )
    if high < 0:
        raise DataError(f"{name}: every label is −1 (ignore), so there is nothing to learn; check the labels")
    size, inner = Size(*image.shape[1:]), Size(*labels.shape)
    with at(name):
        centre(size, inner)
    origin = Size(*((a - b) // 2 for a, b in zip(size, inner)))
    kept, scale = normalised(name, image)
    return Cube(name, kept, np.ascontiguousarray(labels, dtype=np.int16), origin, scale)


def normalised(name: str, image: NDArray[np.generic]) -> tuple[NDArray[np.generic], float]:
    """The image as the sampler keeps it, and the factor to [0, 1]: by dtype for integers, 1 for floats.

    Raises:
        DataError: NaN or infinite values, floats outside [0, 1].
    """
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image), 1 / 255
    if np.issubdtype(image.dtype, np.integer):
        limit = np.iinfo(image.dtype.str).max
        return np.ascontiguousarray(image, dtype=np.float32) / np.float32(limit), 1.0
    values = np.ascontiguousarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(f"{name}: NaN or infinite value at czyx {place}; repair or cut out that part")
    if values.min() < 0 or values.max() > 1:
        raise DataError(
            f"{name}: float image reaches from {values.min():g} to {values.max():g}; scale it to 0…1 or store it as uint8"
        )
    return values, 1.0


def load_cubes(pairs: Sequence[tuple[str, Address, Address]], classes: int) -> list[Cube]:
    """Read ``(name, image, labels)`` triples into memory.

    Raises:
        DataError: unreadable or unfit files, images of one grey value; different numbers of channels.
        ConfigError: a name stands twice.
    """
    names = [name for name, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"volume '{twice[0]}' is given twice; give each volume once, under its own name")
    cubes = [_load(name, image, labels, classes) for name, image, labels in pairs]
    channels = {cube.image.shape[0] for cube in cubes}
    if len(channels) > 1:
        said = ", ".join(f"{image} has {cube.image.shape[0]}" for cube, (_, image, _) in zip(cubes, pairs))
        raise DataError(f"images differ in their number of channels: {said}; take images that fit together")
    return cubes


def _load(name: str, image: Address, labels: Address, classes: int) -> Cube:
    """One cube; messages name it as the table does and by its files."""
    said = f"volume {name} ({image} and {labels})"
    values = load(image, order="czyx")
    if values.min() == values.max():
        raise DataError(f"{said}: every voxel of the image is {values.flat[0]:g}; check that this is the right image")
    return replace(make_cube(said, values, load(labels), classes), name=name)
