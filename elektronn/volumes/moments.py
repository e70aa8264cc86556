"""Mean and standard deviation of images, block by block, and exact: what grey values are standardised by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from elektronn.axes import blocks
from elektronn.errors import DataError
from elektronn.volumes.arrays import Volume
from elektronn.volumes.stored import Array

BLOCK = (16, 256, 512)
"""Voxels read at once, zyx."""
Sums = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Moments:
    """Of grey values scaled by :func:`scale_of`, per channel.

    Attributes:
        voxels: how many values each channel has.
        mean: their mean.
        deviation: their standard deviation (division by the number of values).
    """

    voxels: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def scale_of(dtype: np.dtype[np.generic]) -> Fraction:
    """Factor that brings stored grey values to 0 … 1: by the largest value of an integer type, 1 for floats and masks.

    Example:
        >>> float(65535 * scale_of(np.dtype("uint16")))
        1.0
    """
    return Fraction(1, int(np.iinfo(dtype.str).max)) if dtype.kind in "ui" else Fraction(1)


def moments(volumes: Sequence[Volume]) -> Moments:
    """Mean and standard deviation of each channel over all voxels of all volumes together.

    Sums are exact for integers of any width, so that the result does not depend on blocks or on the order of the
    volumes; sums of floats are rounded to double precision once per block. Memory is bounded by the block.

    Raises:
        DataError: volumes of different numbers of channels; NaN or infinite values.

    Source:
        ELEKTRONN 1 takes the unweighted mean of the volumes' means and deviations instead; for one volume of one
        channel both are the same.
    """
    channels = volumes[0].channels
    for volume in volumes:
        if volume.channels != channels:
            raise DataError(
                f"{volume.address}: has {volume.channels} channels, {volumes[0].address} has {channels}; "
                "take volumes that fit together"
            )
    sums = [_sums(volume) for volume in volumes]
    voxels = sum(volume.size.voxels for volume in volumes)
    means = [sum((total for total, _ in of_channel), Fraction()) / voxels for of_channel in zip(*sums)]
    squares = [sum((square for _, square in of_channel), Fraction()) / voxels for of_channel in zip(*sums)]
    variances = [float(square - mean**2) for mean, square in zip(means, squares)]
    return Moments(voxels, tuple(map(float, means)), tuple(math.sqrt(max(0.0, v)) for v in variances))


def _sums(volume: Volume) -> list[Sums]:
    """Sums of the scaled values and of their squares, per channel."""
    sums = [(Fraction(), Fraction())] * volume.channels
    for box in blocks(volume.size, BLOCK):
        values = volume.read(box, "czyx")
        if not np.isfinite(values).all():
            place = np.argwhere(~np.isfinite(values))[0][1:] + np.array(box.start)
            raise DataError(
                f"{volume.address}: NaN or infinite value at zyx {tuple(map(int, place))}; repair or cut out that part"
            )
        block = (_float_sums(part) if part.dtype.kind == "f" else _integer_sums(part.ravel()) for part in values)
        sums = [(total + more, square + squares) for (total, square), (more, squares) in zip(sums, block)]
    scale = scale_of(volume.dtype)
    return [(total * scale, square * scale**2) for total, square in sums]


def _float_sums(values: Array) -> Sums:
    """Around the mean of the block, so that a small deviation survives beside a large mean."""
    centre = float(values.mean(dtype=np.float64))
    rest = values.astype(np.float64).ravel() - centre
    total, square = Fraction(float(rest.sum())), Fraction(float(np.dot(rest, rest)))
    mean = Fraction(centre)
    return total + rest.size * mean, square + 2 * mean * total + rest.size * mean**2


def _integer_sums(values: Array) -> Sums:
    """Exact: numbers wider than 16 bits are taken apart, so that sums of products fit into 64 bits."""
    digits = list(_digits(values))
    total = sum(int(digit.sum()) << 16 * i for i, digit in enumerate(digits))
    square = sum(int(np.dot(a, b)) << 16 * (i + j) for i, a in enumerate(digits) for j, b in enumerate(digits))
    return Fraction(total), Fraction(square)


def _digits(values: Array) -> Iterator[Array]:
    """Digits to the base 2¹⁶, the lowest first; the highest has the sign."""
    count = max(1, values.dtype.itemsize // 2)
    for i in range(count):
        digit = values if count == 1 else values >> values.dtype.type(16 * i)
        yield (digit if i == count - 1 else digit & values.dtype.type(0xFFFF)).astype(np.int64)
