"""Patch voxel → image voxel: the one inverse map to which all spatial components contribute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.sampling.places import extent, is_straight, moved, product, spread

Matrix = NDArray[np.float64]
Points = NDArray[np.float64]
Bend = Callable[[Points], Points]
"""Centred patch coordinates ``(3, n)`` zyx → centred image coordinates, for maps that no matrix can say."""

IDENTITY = np.eye(4)
IDENTITY.flags.writeable = False


@dataclass(frozen=True)
class Ripple:
    """A smooth displacement: a cubic B-spline over a coarse grid of control points.

    Attributes:
        controls: ``(3, gz, gy, gx)`` displacement zyx at the control points, image voxels. The displacement of a
            voxel is a convex combination of them, so it never exceeds their extremes.
        spacing: zyx, patch voxels between control points.
    """

    controls: NDArray[np.float64]
    spacing: Size

    @property
    def bounds(self) -> Points:
        """Smallest and largest displacement ``(2, zyx)`` that can occur."""
        found: Points = spread(self.controls)
        return found

    def at(self, axes: Sequence[NDArray[np.int64]]) -> Points:
        """Displacements ``(3, z, y, x)`` at the patch voxels given per axis."""
        displacements: Points = np.einsum("cijk,zi,yj,xk->czyx", self.controls, *self.weights(axes), optimize=True)
        return displacements

    def weights(self, axes: Sequence[NDArray[np.int64]]) -> list[Points]:
        """Weights ``(voxels, control points)`` per axis at the patch voxels given per axis."""
        return [_weights(a, step, n) for a, step, n in zip(axes, self.spacing, self.controls.shape[1:])]


def points(patch: Size, spacing: Size) -> Size:
    """Control points per axis that cover a patch.

    Example:
        >>> points(Size(7, 127, 127), Size(8, 32, 32))
        Size(z=4, y=7, x=7)
    """
    return Size(*((n - 1) // step + 4 for n, step in zip(patch, spacing)))


def _weights(at: NDArray[np.int64], spacing: int, count: int) -> Points:
    """``(len(at), count)`` weights of the control points."""
    cell, t = at // spacing, (at % spacing) / spacing
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.zeros((len(at), count))
    for k, values in enumerate(basis):
        weights[np.arange(len(at)), cell + k] = values / 6
    return weights


class Map(NamedTuple):
    """``outer · bend(inner · p) + ripple(p) + shift of p's section``; the parts that nobody asked for are absent.

    Attributes:
        outer, inner: 4×4, homogeneous, order z, y, x, 1; ``inner`` is the identity when there is no ``bend``.
        bend: centred coordinates → centred coordinates, or ``None``.
        ripple: or ``None``.
        image_shifts, label_shifts: displacement ``(y, x)`` of every section of the patch, image voxels, whole numbers;
            the labels of a misaligned section may stay where they are. ``None`` without any.
    """

    outer: Matrix = IDENTITY
    inner: Matrix = IDENTITY
    bend: Bend | None = None
    ripple: Ripple | None = None
    image_shifts: NDArray[np.float64] | None = None
    label_shifts: NDArray[np.float64] | None = None

    def after(self, matrix: Matrix) -> Map:
        """This map behind a projective one: the patch voxel meets ``matrix`` first."""
        if self.bend is None:
            return self._replace(outer=product(self.outer, matrix))
        return self._replace(inner=product(self.inner, matrix))

    def moved(self, by: Sequence[float] | Points) -> Map:
        """This map with all image voxels moved ``by`` zyx voxels."""
        return self._replace(outer=moved(self.outer, np.asarray(by, np.float64)))

    def within(self, start: Sequence[int]) -> Matrix:
        """Patch voxel → voxel of the box that begins at ``start``, as a matrix; only for maps without a ``bend``."""
        matrix: Matrix = moved(self.outer, -np.array(start, np.float64))
        return matrix

    @property
    def is_straight(self) -> bool:
        """Only whole-voxel moves, mirrors and exchanges of axes: no voxel has to be interpolated."""
        if self.bend is not None or self.ripple is not None or self.image_shifts is not None:
            return False
        return bool(is_straight(self.outer))

    def coordinates(self, axes: Sequence[NDArray[np.int64]], shifts: NDArray[np.float64] | None = None) -> Points:
        """The definition: image coordinates ``(3, z, y, x)`` of the patch voxels given per axis."""
        shape = tuple(len(a) for a in axes)
        grid = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones(shape)]).reshape(4, -1)
        if self.bend is not None:
            moved = _projected(self.inner, grid)
            grid = np.concatenate([self.bend(moved), grid[3:]])
        at = _projected(self.outer, grid).reshape(3, *shape)
        if self.ripple is not None:
            at = at + self.ripple.at(axes)
        if shifts is not None:
            at[1:] += shifts[axes[0]].T[:, :, None, None]
        return at

    def extent(self, first: Sequence[int], last: Sequence[int], shifts: NDArray[np.float64] | None) -> Points:
        """Corners ``(2, zyx)`` of the box around the images of the patch voxels from ``first`` to ``last``, both included.

        Exact for projective maps, where corners map to corners, and for bent ones, of which every voxel is looked at;
        a ripple widens it by its extremes.

        Example:
            >>> Map().moved((2, 10, 20)).extent(Size(0, 0, 0), Size(4, 8, 8), None)
            array([[ 2., 10., 20.],
                   [ 6., 18., 28.]])
        """
        found: Points
        if self.bend is not None:
            axes = [np.arange(a, b + 1) for a, b in zip(first, last)]
            at = self._replace(ripple=None).coordinates(axes, shifts).reshape(3, -1)
            found = np.stack([at.min(1), at.max(1)])
        else:
            found = extent(self.outer, _ends(tuple(first), tuple(last)), NO_SHIFTS if shifts is None else shifts)
        return found if self.ripple is None else found + self.ripple.bounds


NO_SHIFTS = np.empty((0, 2))
"""Of the sections of a patch that nobody moves."""


@lru_cache(maxsize=64)
def _ends(first: tuple[int, ...], last: tuple[int, ...]) -> NDArray[np.int64]:
    return np.array([first, last], np.int64)


def _projected(matrix: Matrix, grid: Points) -> Points:
    moved = matrix @ grid
    result: Points = moved[:3] / moved[3]
    return result
