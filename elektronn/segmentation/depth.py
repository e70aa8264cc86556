"""The landscape of the flood: how deep each voxel lies in the interior, and how sure the network is that it does.

Both are functions of a small neighbourhood, because the depth is cut off at the depth of a seed: what is deeper is
seed all the same. So a block with a halo of that depth has the numbers of the whole volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import DataError

Costs = NDArray[np.uint64]

STEP = 1 << 32
"""Costs from one level of depth to the next; below it stands the probability."""

ALIKE = 1e-9
"""Relative difference below which two distances are the same one with other rounding errors."""


@dataclass(frozen=True)
class Landscape:
    """Turns probabilities into costs: a voxel of lower cost is flooded earlier.

    Attributes:
        threshold: probability from which a voxel is boundary.
        depths: distances to the boundary that can occur below the depth of a seed, and that depth; rising.
        voxel: size of a voxel z, y, x; along z too large to reach another section where sections are alone.
    """

    threshold: float
    depths: NDArray[np.float64]
    voxel: tuple[float, float, float]

    @classmethod
    def of(cls, threshold: float, seed: float, voxel: tuple[float, float, float], per_section: bool) -> Landscape:
        """The landscape of a volume.

        Args:
            threshold: probability from which a voxel is boundary.
            seed: depth from which the interior is a seed.
            voxel: size z, y, x in the unit of ``seed``.
            per_section: take distances inside a section only.

        Example:
            >>> Landscape.of(0.5, 2.0, (5, 1, 1), False).depths.round(3).tolist()
            [1.0, 1.414, 2.0]
        """
        size = (2 * seed + 1, *voxel[1:]) if per_section else voxel
        z, y, x = (np.arange(math.floor(seed / n) + 1) * n for n in size)
        every = np.unique(np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2))
        every = every[(every > 0) & (every < seed * (1 - ALIKE))]
        distinct = every[np.append(True, np.diff(every) > every[:-1] * ALIKE)[: every.size]]
        return cls(threshold, np.append(distinct, seed), (float(size[0]), float(size[1]), float(size[2])))

    @property
    def top(self) -> int:
        """Level of a seed; level 0 is boundary."""
        return len(self.depths)

    @property
    def boundary_cost(self) -> int:
        """Cost from which a voxel is boundary; below :data:`STEP` it is seed."""
        return self.top * STEP

    @property
    def halo(self) -> Size:
        """Voxels around a box that its costs depend on, zyx."""
        return Size(*(math.floor(self.depths[-1] / n) for n in self.voxel))

    def costs(self, probability: NDArray[Any]) -> Costs:
        """Cost of each voxel; right at least :attr:`halo` away from where the array was cut off.

        Args:
            probability: zyx; uint8 or uint16 as fractions of the largest value, or floating point.

        Raises:
            DataError: another type; a probability outside [0, 1] or not a number.
        """
        boundary, shade = _boundary(probability, self.threshold), _shade(probability)
        level = self._levels(boundary)
        costs: Costs = (np.uint64(self.top) - level) * np.uint64(STEP) + shade
        return costs

    def _levels(self, boundary: NDArray[np.bool_]) -> Costs:
        from scipy.ndimage import distance_transform_edt

        if not boundary.any():
            return np.full(boundary.shape, self.top, np.uint64)
        # two nearest boundary voxels may be equally far on paper and not in rounded numbers: both are the same level
        distance = distance_transform_edt(~boundary, sampling=self.voxel) * (1 + ALIKE / 10)
        level = np.searchsorted(self.depths, distance.ravel(), side="right").reshape(boundary.shape)
        level[boundary] = 0
        return np.asarray(level, np.uint64)


def _boundary(probability: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    if np.issubdtype(probability.dtype, np.unsignedinteger):
        return probability >= threshold * np.iinfo(probability.dtype).max
    return probability.astype(np.float64) >= threshold


def _shade(probability: NDArray[Any]) -> Costs:
    """Whole numbers below 2³² in the order of the probabilities."""
    if probability.dtype in (np.uint8, np.uint16):
        return probability.astype(np.uint64)
    if not np.issubdtype(probability.dtype, np.floating):
        raise DataError(
            f"the probabilities are {probability.dtype}; expected uint8 (p·255), uint16 (p·65535) or float32 (p)"
        )
    low, high = float(probability.min()), float(probability.max())
    if not (low >= 0 and high <= 1):  # written so that not-a-number fails too
        raise DataError(f"values lie between {low:g} and {high:g}; expected probabilities from 0 to 1")
    # the bits of floating-point numbers from +0 on are in the order of the numbers
    bits = np.abs(probability).astype(np.float32).view(np.uint32)
    return np.asarray(bits, np.uint64)
