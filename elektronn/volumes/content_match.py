"""The arithmetic of the check by content: features, turns, correlation surfaces, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from elektronn.axes import Size
from elektronn.volumes.registration import Turn

Field = NDArray[np.float32]
Axes = tuple[int, int, int]
Point = tuple[float, float, float]

FINE_VOX, COARSE_VOX, CONTRAST_VOX = 0.7, 3.0, 17
"""Widths of the band-pass (Gaussians, in the section) and edge of the window that evens out the contrast."""

BLOCKS = 4
"""The section is cut into at most 4 × 4 blocks to see how much the correlation varies from place to place."""


def features(values: NDArray[np.generic], valid: NDArray[np.bool_] | None = None) -> Field:
    """What is membrane-sized in each section: band-pass, even contrast, limits of ±3.

    Sections are filtered one by one because they may be thick, missing or shifted against each other.

    Args:
        values: zyx, any number type.
        valid: zyx; voxels that do not count. They become 0 and leave no edge.

    Returns:
        zyx, float32, without unit; 0 where nothing is to be seen.
    """
    array = np.ascontiguousarray(values, dtype=np.float32)
    if valid is None:
        band = _smooth(array, FINE_VOX) - _smooth(array, COARSE_VOX)
    else:
        inside = valid.astype(np.float32)
        fine, coarse = (
            _smooth(array * inside, width) / np.maximum(_smooth(inside, width), 1e-6)
            for width in (FINE_VOX, COARSE_VOX)
        )
        band = (fine - coarse) * inside
    power = ndimage.uniform_filter(band * band, (1, CONTRAST_VOX, CONTRAST_VOX), mode="nearest")
    floor = 0.01 * float(power.mean()) + 1e-12
    result: Field = np.clip(band / np.sqrt(np.maximum(power, 0) + floor), -3, 3)
    return result


def turned(boundary: NDArray[np.generic], turn: Turn) -> NDArray[np.generic]:
    """The volume laid on its image as ``turn`` says (a view)."""
    return np.flip(boundary.transpose(turn.order), tuple(axis for axis in range(3) if turn.flips[axis]))


def _smooth(array: Field, width: float) -> Field:
    smooth: Field = ndimage.gaussian_filter(array, (0, width, width), mode="nearest")
    return smooth


class Image:
    """Features of an image part, ready to be correlated with many boundary parts of one size.

    Args:
        values: features of the image, zyx; the part under the boundary part and up to ``reach`` on either side.
        low: position in ``values`` of the voxel that lies under the boundary part's voxel 0.
        size: size of the boundary part.
        reach: largest shift per axis, voxels.
    """

    def __init__(self, values: Field, low: Size, size: Size, reach: Size) -> None:
        self.values, self.low, self.size, self.reach = values, low, size, reach
        self.lengths = [fft.next_fast_len(n + 2 * r, real=True) for n, r in zip(size, reach)]
        self.spectrum = fft.rfftn(values, self.lengths)
        self.rms = float(np.sqrt(np.mean(np.square(values)))) or 1.0

    def surface(self, boundary: Field) -> NDArray[np.float64]:
        """Correlation coefficient of the boundary at p with the image at p + d.

        Returns:
            One value per shift d from −reach to +reach (z, y, x).
        """
        products = fft.irfftn(self.spectrum * np.conj(fft.rfftn(boundary, self.lengths)), self.lengths)
        for axis, (low, reach) in enumerate(zip(self.low, self.reach)):
            products = np.take(products, range(low - reach, low + reach + 1), axis, mode="wrap")
        z, y, x = (
            np.array([self._inside(axis, d).sum() for d in range(-reach, reach + 1)], float)
            for axis, reach in enumerate(self.reach)
        )
        scale = self.rms * (float(np.sqrt(np.mean(np.square(boundary)))) or 1.0)
        return np.asarray(products / (z[:, None, None] * y[:, None] * x * scale), np.float64)

    def _inside(self, axis: int, shift: int) -> NDArray[np.bool_]:
        """Which positions of the boundary part have image under them after ``shift`` along ``axis``."""
        position = np.arange(self.size[axis]) + self.low[axis] + shift
        return np.asarray((position >= 0) & (position < self.values.shape[axis]))

    def block_sums(self, boundary: Field, shift: Axes) -> NDArray[np.float64]:
        """Sum of products and number of voxels for each block of the section at one shift.

        Returns:
            2 × blocks; sums are scaled so that all sums over all numbers is the correlation coefficient.
        """
        inside = [self._inside(axis, d) for axis, d in enumerate(shift)]
        spans = [slice(int(i.argmax()), int(i.argmax() + i.sum())) for i in inside]
        under = [slice(s.start + low + d, s.stop + low + d) for s, low, d in zip(spans, self.low, shift)]
        section = np.zeros(self.size[1:], np.float64)
        section[spans[1], spans[2]] = np.einsum("zyx,zyx->yx", self.values[tuple(under)], boundary[tuple(spans)])
        count = inside[0].sum() * inside[1][:, None] * inside[2]
        scale = self.rms * (float(np.sqrt(np.mean(np.square(boundary)))) or 1.0)
        return np.stack([_blocks(section / scale), _blocks(count.astype(float))])


def _blocks(section: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the blocks of a section; a block has an edge of at least 12 voxels where there are so many."""
    for axis, n in enumerate(section.shape):
        parts = max(1, min(BLOCKS, n // 12))
        section = np.add.reduceat(section, [n * i // parts for i in range(parts)], axis)
    return section.ravel()


@dataclass(frozen=True)
class Peak:
    """Where a surface is extreme, and how sure that is.

    Attributes:
        shift: position to a fraction of a voxel, zyx.
        error: its standard error from leaving out one block at a time, voxels.
        value: correlation coefficient there (negative: boundaries are dark).
    """

    shift: Point
    error: Point
    value: float


def extreme(surface: NDArray[np.float64], reach: Sequence[int]) -> tuple[float, Axes]:
    """Largest correlation of either sign not further than ``reach`` from the centre, and its shift."""
    centre = [n // 2 for n in surface.shape]
    reach = [min(r, c) for r, c in zip(reach, centre)]
    near = np.abs(surface[tuple(slice(c - r, c + r + 1) for c, r in zip(centre, reach))])
    place = np.unravel_index(int(near.argmax()), near.shape)
    z, y, x = (int(i) - r for i, r in zip(place, reach))
    return float(near[place]), (z, y, x)


def peak(image: Image, boundary: Field, shift: Axes) -> Peak:
    """The extreme near ``shift`` to a fraction of a voxel (a parabola per axis), with errors."""
    steps = [axis for axis in range(3) if abs(shift[axis]) < image.reach[axis]]
    places = [shift, *(_moved(shift, axis, by) for axis in steps for by in (-1, 1))]
    values, without = _whole_and_without(image, [(boundary, place) for place in places])
    sign = np.sign(values[0])

    def position(v: NDArray[np.float64]) -> NDArray[np.float64]:
        where = np.repeat(np.array(shift, float)[:, None], v.shape[1], axis=1)
        for i, axis in enumerate(steps):
            before, here, behind = sign * v[2 * i + 1], sign * v[0], sign * v[2 * i + 2]
            bend = np.minimum(before - 2 * here + behind, -1e-9)
            where[axis] += np.clip(0.5 * (before - behind) / bend, -1, 1)
        return where

    return Peak(_point(position(values[:, None])[:, 0]), _point(_jackknife(position(without))), float(values[0]))


def _whole_and_without(
    image: Image, cases: Sequence[tuple[Field, Axes]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation of each case, and the same with each block left out in turn (cases × blocks)."""
    sums = np.stack([image.block_sums(boundary, shift) for boundary, shift in cases], axis=1)
    total = sums.sum(axis=2, keepdims=True)
    rest = total - sums if sums.shape[2] > 1 else total
    return (total[0] / np.maximum(total[1], 1))[:, 0], rest[0] / np.maximum(rest[1], 1)


def _jackknife(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error from the values with one block (last axis) left out in turn; infinite for one block."""
    n = values.shape[-1]
    if n == 1:
        return np.full(values.shape[:-1], np.inf)
    return np.asarray(np.sqrt((n - 1) * values.var(axis=-1)))


def _moved(shift: Axes, axis: int, by: int) -> Axes:
    z, y, x = (s + by * (axis == a) for a, s in enumerate(shift))
    return z, y, x


def _point(values: NDArray[np.float64]) -> Point:
    z, y, x = (float(v) for v in values)
    return z, y, x
