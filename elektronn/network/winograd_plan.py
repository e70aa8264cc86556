"""Which convolutions are computed four planes at a time (see :mod:`.winograd`), and what that takes."""

from __future__ import annotations

from typing import NamedTuple

from elektronn.axes import Size

TAPS = 3
"""Planes of the kernels."""

PLANES = 4
"""Planes of output computed together."""

MIXTURES = PLANES + TAPS - 1
"""Planes of input that they need, and products."""

WORTH = 32
"""Multiplications per number that is mixed or combined, so that mixing and combining cost less than they save."""

VECTOR = 16
"""Floats in the largest vectors of a CPU: products have as many features as fill whole ones."""

MOST = 1 << 24
"""Numbers in the buffers, about; wider planes are computed in strips."""


class Plane(NamedTuple):
    """One plane of a convolution.

    Attributes:
        features_in, maps: before and after.
        height, width: of the input, voxels.
        rows, columns: of the output, voxels.
    """

    features_in: int
    maps: int
    height: int
    width: int
    rows: int
    columns: int

    @property
    def strip(self) -> int:
        """Rows of output computed together."""
        most = max(1, (MOST - self._around) // self._per_row)
        return -(-self.rows // -(-self.rows // most))

    @property
    def numbers(self) -> int:
        """In the buffers at the same time, at most.

        Example:
            >>> Plane(40, 40, 142, 142, 134, 134).numbers / (6 * 142 * 142 * 40 + 6 * 134 * 134 * 48)
            1.0
        """
        return self._around + self._per_row * self.strip

    @property
    def _per_row(self) -> int:
        return MIXTURES * (self.width * self.features_in + self.columns * -(-self.maps // VECTOR) * VECTOR)

    @property
    def _around(self) -> int:
        return MIXTURES * (self.height - self.rows) * self.width * self.features_in


def in_fours(features_in: int, maps: int, kernel: Size, planes: int, step: int) -> bool:
    """Whether a convolution is computed four planes at a time.

    Args:
        features_in, maps: features before and after.
        kernel: zyx.
        planes: of the output.
        step: how far apart the planes of the kernel lie.
    """
    each = features_in * maps * kernel.y * kernel.x
    return kernel.z == TAPS and planes >= PLANES * step and each >= WORTH * (features_in + maps)


def starts(planes: int, step: int) -> list[int]:
    """First planes of all groups of four, ``step`` apart, that cover the output; the last one may overlap another.

    Example:
        >>> starts(9, 1), starts(9, 2)
        ([0, 4, 5], [0, 2, 1])
    """
    counts = [len(range(phase, planes, step)) for phase in range(step)]
    places = ((phase, range(0, count, PLANES), count - PLANES) for phase, count in enumerate(counts))
    return [phase + step * min(first, last) for phase, firsts, last in places for first in firsts]
