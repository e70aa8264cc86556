"""Spatial augmentations: each draws its part of the one map from patch to image before anything is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.settings import Field, Fraction, Positive, Settings, checked

if TYPE_CHECKING:  # maps are compiled code, which settings do not need
    from elektronn.sampling.maps import Map, Matrix

NonNegative = Annotated[float, Field(ge=0)]
TooLarge = Literal["plain", "shrink", "error"]


Numbers = Mapping[str, Sequence[float]]
"""What was drawn, ``component: number / unit`` → values. A name without values is something that is done or not."""


class Part(Protocol):
    """What one component contributes to the map of one example."""

    @property
    def too_large(self) -> TooLarge | None:
        """What to do where the map fits nowhere; ``None``: this part always fits."""
        ...

    @property
    def bends(self) -> bool:
        """Whether the example counts as warped."""
        ...

    def onto(self, map: Map, share: float) -> Map:
        """The map with this part, reduced to ``share`` of its strength, 0 to 1."""
        ...

    def numbers(self, share: float) -> Numbers:
        """What was drawn, at ``share`` of its strength."""
        ...


@dataclass(frozen=True)
class Turn:
    """Mirrors and exchanges of axes; a :class:`Part`.

    Attributes:
        matrix: of the turn.
        weaker: of one that keeps every axis in its place, for images too thin for the other; None: ``matrix`` fits.
    """

    matrix: Matrix
    weaker: Matrix | None = None
    too_large: TooLarge | None = None
    bends: bool = False

    def onto(self, map: Map, share: float) -> Map:
        """See :class:`Part`; a turn is taken whole or not at all."""
        return map.after(self._at(share))

    def numbers(self, share: float) -> Numbers:
        """See :class:`Part`."""
        turn = self._at(share)[:3, :3]
        done = [f"flip {axis}" for axis, signs in zip("zyx", turn) if signs.sum() < 0]
        if not np.array_equal(np.abs(turn), np.eye(3)):
            done.append("axes exchanged")
        return dict.fromkeys(done, ())

    def _at(self, share: float) -> Matrix:
        return self.matrix if share or self.weaker is None else self.weaker


class Flip(Settings):
    """Mirror along each axis with probability ½ and exchange y with x with probability ½."""

    kind: Literal["flip"] = "flip"
    z: bool = True
    y: bool = True
    x: bool = True
    transpose: bool = True
    """Exchange y and x; needs a patch that is square in y, x."""
    isotropic: bool = False
    """Exchange all three axes, for voxels of one length along all of them: 48 symmetries; a 2-D patch is then cut along
    all three planes. Axes stay in their places where an image is too thin."""

    def fault(self, patch: Size, channels: int) -> str | None:
        """Why this component cannot work on such patches, with the cure."""
        if self.transpose and not self.isotropic and patch.y != patch.x:
            return (
                f"flip.transpose exchanges y and x, but the patch is {patch} (zyx); make it square or set "
                "transpose: false"
            )
        return None

    def draw(self, random: np.random.Generator, patch: Size) -> Turn:
        """One of the symmetries."""
        z, y, x, swap = random.integers(0, 2, 4).tolist()
        order: tuple[int, ...] = (0, 2, 1) if self.transpose and swap else (0, 1, 2)
        if self.isotropic:
            order = ORDERS[int(random.integers(len(ORDERS)))]
        return _turn(self.z and bool(z), self.y and bool(y), self.x and bool(x), order, self.isotropic)


ORDERS = tuple(permutations((0, 1, 2)))
"""Ways to lay the axes of a patch on those of an image."""


@lru_cache(maxsize=64)
def _turn(z: bool, y: bool, x: bool, order: tuple[int, ...], may_stay: bool) -> Turn:
    """Mirrored along the axes that are true, after the axes were exchanged as in ``order``."""
    matrix = np.diag([-1.0 if z else 1.0, -1.0 if y else 1.0, -1.0 if x else 1.0, 1.0])
    turned = matrix if order == (0, 1, 2) else matrix @ np.eye(4)[[*order, 3]]
    return Turn(turned, matrix if may_stay else None)


class Warp(Settings):
    """One random projective map: rotation and shear in the y, x plane, scale, stretch, perspective.

    Parameter ranges at ``amount`` 1 are those of ELEKTRONN 1, but for the rotation in 3-D, which there was never
    negative, and for the perspective, which is new. z is scaled, never rotated: anisotropic data stay so.
    """

    kind: Literal["warp"] = "warp"
    probability: Fraction = 0.7
    """Share of the examples that are warped."""
    amount: NonNegative = 1.0
    """Factor on all ranges below."""
    rotation_deg: NonNegative = 15.0
    shear_deg: NonNegative = 3.0
    scale: NonNegative = 0.1
    """Magnification up to 1 + scale, drawn for each axis."""
    stretch: NonNegative = 0.1
    """Relative change of scale along y from one side to the other in x, and vice versa."""
    perspective: NonNegative = 0.02
    """Relative change of scale from the centre of the patch to its sides."""
    too_large: TooLarge = "plain"
    """A warp that fits nowhere: cut plain, halve its amount until it fits (plain after four halvings), or stop."""

    @property
    def numbers(self) -> NDArray[np.float64]:
        """Ranges of rotation and shear, magnification, stretch and perspective."""
        return np.array([self.rotation_deg, self.shear_deg, self.scale, self.stretch, self.perspective])

    def draw(self, random: np.random.Generator, patch: Size) -> Projection | None:
        """The numbers of one warp; ``None``: not warped this time."""
        if random.random() >= self.probability:
            return None
        drawn = random.random(10).tolist()
        angle, shear, *_, by_y, by_x, z, y, x = (2 * value - 1 for value in drawn)
        return Projection(self, patch, (angle, shear), drawn[2:5], (by_y, by_x), (z, y, x))


@dataclass(frozen=True)
class Projection:
    """A drawn warp, a :class:`Part`: every number in −1…1 (``zoom``: 0…1), to be multiplied with its range."""

    ranges: Warp
    patch: Size
    angles: Sequence[float]
    zoom: Sequence[float]
    stretch: Sequence[float]
    lean: Sequence[float]
    bends: bool = True

    @property
    def too_large(self) -> TooLarge:
        """As set."""
        return self.ranges.too_large

    def onto(self, map: Map, share: float) -> Map:
        """See :class:`Part`."""
        return map.after(self.matrix(share)) if share else map

    def numbers(self, share: float) -> Numbers:
        """See :class:`Part`."""
        ranges, amount = self.ranges, self.ranges.amount * share
        if not share:
            return {}
        named = zip("zyx", self.zoom)
        return {
            "warp: rotation / deg": [self.angles[0] * ranges.rotation_deg * amount],
            "warp: shear / deg": [self.angles[1] * ranges.shear_deg * amount],
            **{f"warp: magnification {axis}": [1 + value * ranges.scale * amount] for axis, value in named},
            "warp: stretch": [value * ranges.stretch * amount for value in self.stretch],
            "warp: perspective": [value * ranges.perspective * amount for value in self.lean],
        }

    def matrix(self, share: float = 1.0) -> Matrix:
        """Centred patch coordinates → centred image coordinates; 4×4, order z, y, x, 1."""
        from elektronn.sampling.places import projection

        drawn = np.array([*self.angles, *self.zoom, *self.stretch, *self.lean])
        matrix: Matrix = projection(drawn, self.ranges.numbers, self.ranges.amount * share, np.array(self.patch))
        return matrix


class Elastic(Settings):
    """A smooth random displacement on top of the other spatial components, in voxels of the image.

    Random displacements on a coarse grid, between them a cubic B-spline: no displacement exceeds the amplitude, so the
    part of the image that an example needs is known before it is cut.
    """

    kind: Literal["elastic"] = "elastic"
    probability: Fraction = 0.5
    """Share of the examples that are deformed."""
    amplitude_vox: tuple[NonNegative, NonNegative, NonNegative] = (0.0, 6.0, 6.0)
    """Largest displacement along z, y, x."""
    spacing_vox: tuple[Positive, Positive, Positive] = (8, 32, 32)
    """Distance of the grid's points along z, y, x, patch voxels."""
    too_large: TooLarge = "plain"
    """As for ``warp``."""

    @checked
    def _no_folds(self) -> Elastic:
        """The displacement changes by at most 2·amplitude/spacing per voxel; below 1 in sum, nothing folds over."""
        active = [step for size, step in zip(self.amplitude_vox, self.spacing_vox) if size > 0]
        worst = max(self.amplitude_vox) * sum(2 / step for step in active)
        if worst >= 1:
            raise ValueError(
                f"amplitude_vox {list(self.amplitude_vox)} on a grid of {list(self.spacing_vox)} voxels would fold the "
                f"image over itself; divide the amplitudes by more than {worst:.3g} or widen spacing_vox"
            )
        return self

    def draw(self, random: np.random.Generator, patch: Size) -> Displacement | None:
        """One displacement; ``None``: not this time."""
        if random.random() >= self.probability:
            return None
        from elektronn.sampling.maps import points

        spacing = Size(*self.spacing_vox)
        controls = random.uniform(-1, 1, (3, *points(patch, spacing)))
        return Displacement(controls * np.reshape(self.amplitude_vox, (3, 1, 1, 1)), spacing, self.too_large)


@dataclass(frozen=True)
class Displacement:
    """A drawn elastic displacement; a :class:`Part`."""

    controls: NDArray[np.float64]
    spacing: Size
    too_large: TooLarge
    bends: bool = True

    def onto(self, map: Map, share: float) -> Map:
        """See :class:`Part`."""
        from elektronn.sampling.maps import Ripple

        return map._replace(ripple=Ripple(self.controls * share, self.spacing)) if share else map

    def numbers(self, share: float) -> Numbers:
        """See :class:`Part`; the displacement is that of the voxels on the grid."""
        from elektronn.sampling.maps import Ripple

        if not share:
            return {}
        grid = [np.arange(n - 3) * step for n, step in zip(self.controls.shape[1:], self.spacing)]
        moved = np.linalg.norm(Ripple(self.controls * share, self.spacing).at(grid), axis=0)
        return {"elastic: largest displacement / vox": [float(moved.max())]}
