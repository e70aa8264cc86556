"""The warp of ELEKTRONN 1 as it was, ranges and all, for comparisons; :class:`~.spatial.Warp` is the better one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.sampling.spatial import NonNegative, Numbers, TooLarge
from elektronn.settings import Fraction, Settings

if TYPE_CHECKING:  # maps are compiled code, which settings do not need
    from elektronn.sampling.maps import Map, Points


class Elektronn1Warp(Settings):
    """The random warp of ELEKTRONN 1: no matrix, as its rotation grows with z and its stretch with the position.

    In 3-D the rotation is never negative, in 2-D x is never magnified, as it was; there is no perspective. It sampled
    the nearest voxel: set ``sampling.interpolation: nearest`` for that. Much slower than ``warp``.
    """

    kind: Literal["warp_elektronn1"] = "warp_elektronn1"
    probability: Fraction = 0.7
    """Share of the examples that are warped."""
    amount: NonNegative = 1.0
    """Factor on all ranges."""
    too_large: TooLarge = "plain"
    """As for ``warp``; ELEKTRONN 1 cut plain."""

    def draw(self, random: np.random.Generator, patch: Size) -> Distortion | None:
        """The numbers of one warp; ``None``: not warped this time."""
        if random.random() >= self.probability:
            return None
        shear, twist, rotation = random.uniform(-1, 1, 3) * (3, 15, 15) * self.amount
        zoom = 1 + random.uniform(0, 0.1, 3) * self.amount
        stretch = random.uniform(-0.1, 0.1, 4) * self.amount
        if patch.z == 1:
            scale = (1.0, float(zoom[1]), 1.0)
            return Distortion(
                patch, self.too_large, float(rotation), float(shear), 0.0, scale, (*stretch[:2], 0.0, 0.0)
            )
        rotation = min(15 * self.amount - abs(twist), abs(rotation))
        z, y, x = (float(factor) for factor in zoom)
        return Distortion(patch, self.too_large, float(rotation), float(shear), float(twist), (z, y, x), tuple(stretch))


@dataclass(frozen=True)
class Distortion:
    """A drawn warp of ELEKTRONN 1; a :class:`~.spatial.Part`.

    Attributes:
        patch: that is cut, zyx.
        rotation, shear, twist: degrees; the twist is the rotation that is added per half patch along z.
        scale: magnification zyx.
        stretch: relative change of scale from the centre to the side: x by y, y by x, x by z, y by z.
    """

    patch: Size
    too_large: TooLarge = "plain"
    rotation: float = 0.0
    shear: float = 0.0
    twist: float = 0.0
    scale: Sequence[float] = (1.0, 1.0, 1.0)
    stretch: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
    bends: bool = True

    def onto(self, map: Map, share: float) -> Map:
        """See :class:`~.spatial.Part`."""
        if not share:
            return map
        reduced = replace(
            self,
            rotation=self.rotation * share,
            shear=self.shear * share,
            twist=self.twist * share,
            scale=[1 + (factor - 1) * share for factor in self.scale],
            stretch=[value * share for value in self.stretch],
        )
        return map._replace(bend=partial(reduced.source, half=_half(reduced.required())))

    def numbers(self, share: float) -> Numbers:
        """See :class:`~.spatial.Part`."""
        if not share:
            return {}
        turns = {"rotation": self.rotation, "shear": self.shear, "twist": self.twist}
        zoom = {f"warp: magnification {axis}": [1 + (factor - 1) * share] for axis, factor in zip("zyx", self.scale)}
        return {
            **{f"warp: {name} / deg": [angle * share] for name, angle in turns.items()},
            **zoom,
            "warp: stretch": [float(value) * share for value in self.stretch],
        }

    def source(self, at: Points, half: NDArray[np.float64]) -> Points:
        """Centred patch coordinates ``(3, n)`` zyx → centred image coordinates; ``half``: of what stretch refers to."""
        z, y, x = at
        per_z, per_y, per_x = (1 / extent if extent else 0.0 for extent in half)
        by_y, by_x, x_by_z, y_by_z = self.stretch
        scale_z, scale_y, scale_x = (1 / factor for factor in self.scale)
        pulled_x = x * (scale_x + by_y * per_x * y + x_by_z * per_z * z)
        pulled_y = y * (scale_y + by_x * per_y * x + y_by_z * per_z * z)
        turn = self.rotation + self.twist * per_z * z
        less, more = np.deg2rad(turn - self.shear), np.deg2rad(turn + self.shear)
        return np.stack(
            [
                z * scale_z,
                pulled_y * np.cos(more) + pulled_x * np.sin(less),
                pulled_x * np.cos(less) - pulled_y * np.sin(more),
            ]
        )

    def required(self) -> Size:
        """Size of the cut-out that ELEKTRONN 1 took before it warped: the corners of the patch decide.

        Example:
            >>> Distortion(Size(7, 127, 127), twist=15.0).required()
            Size(z=7, y=157, x=157)
        """
        half = _half(self.patch)
        corners = np.array(list(product(*((-extent, extent) for extent in half)))).T
        at = self.source(corners, half) + half[:, None]
        left = np.floor(np.maximum(-at.min(1), 0))
        right = np.ceil(np.maximum((at - 2 * half[:, None]).max(1), 0))
        excess = np.maximum(left, right).astype(int)
        return Size(*(n + 2 * int(more) for n, more in zip(self.patch, excess)))

    def warped(self, volume: NDArray[np.generic]) -> NDArray[np.generic]:
        """The patch at the centre of ``volume`` (zyx): nearest voxel, 0 outside, centres as in ELEKTRONN 1."""
        half = _half(Size(*volume.shape))
        start = [(size - n) // 2 for size, n in zip(volume.shape, self.patch)]
        grid = np.stack(np.meshgrid(*(np.arange(n) + s for n, s in zip(self.patch, start)), indexing="ij")).reshape(
            3, -1
        )
        at = self.source(grid - half[:, None], half) + half[:, None]
        index = np.trunc(at + 0.5).astype(int)
        inside = np.all((index >= 0) & (index < np.array(volume.shape)[:, None]), axis=0)
        result = np.zeros(grid.shape[1], volume.dtype)
        result[inside] = volume[tuple(index[:, inside])]
        return result.reshape(self.patch)


def _half(size: Size) -> NDArray[np.float64]:
    return (np.array(size) - 1) / 2
