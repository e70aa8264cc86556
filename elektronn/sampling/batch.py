"""A batch is a pure function of (settings, cubes, seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.geometry import Geometry
from elektronn.sampling.augment import Flip, Grey, Matrix, SamplingSettings, Warp
from elektronn.sampling.cubes import Cube
from elektronn.sampling.draws import draws
from elektronn.sampling.kernels import gather_image, gather_labels

TRIES = 200
"""Draws of one example before an impossible ``ignore_above`` is reported."""


@dataclass(frozen=True)
class Batch:
    """Examples of one step.

    Attributes:
        image: ``(b, c, z, y, x)`` float32 in [0, 1].
        labels: ``(b, z', y', x')`` int16 at the network's outputs.
        warped: how many examples are warped; ``plain``: how many a warp would not have fitted.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.int16]
    warped: int = 0
    plain: int = 0


class Supply(Protocol):
    """Where batches come from."""

    @property
    def is_pure(self) -> bool:
        """Whether a batch depends on its step alone, so that several threads may ask for them in any order."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        ...

    def changed(self, settings: SamplingSettings) -> Supply:
        """The same with other numbers in the augmentations."""
        ...


@dataclass(frozen=True)
class Sampler:
    """Cuts examples at random places of cubes and augments them.

    Args:
        cubes: at least one.
        geometry: of the network.
        patch: input size zyx, valid for the geometry.
        settings: augmentation chain and batch size.
        seed: of all draws.
        augmented: False cuts plain patches (monitoring, validation).

    Raises:
        GeometryError: a cube is too small for one patch with its labels; says which and the sizes.
    """

    cubes: Sequence[Cube]
    geometry: Geometry
    patch: Size
    settings: SamplingSettings
    seed: int
    purpose: str = "train"
    augmented: bool = True
    shares: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if (
            self.augmented
            and self.patch.y != self.patch.x
            and any(isinstance(a, Flip) and a.transpose for a in self.settings.augment)
        ):
            raise ConfigError(
                f"flip.transpose exchanges y and x, but the patch is {self.patch} (zyx); make it square or set transpose: false"
            )
        room = np.array([self._places(cube) for cube in self.cubes], dtype=np.float64)
        # a frozen value may compute a field once, at birth
        object.__setattr__(self, "shares", np.cumsum(room) / room.sum())

    @property
    def is_pure(self) -> bool:
        """A batch depends on its step alone."""
        return True

    def changed(self, settings: SamplingSettings) -> Sampler:
        """The same with other numbers in the augmentations."""
        return replace(self, settings=settings)

    def _places(self, cube: Cube) -> int:
        low, high = self._span(cube, np.eye(4))
        if (high < low).any():
            need, have = self.patch, cube.size
            raise GeometryError(
                f"{cube.name}: no place for a patch of {need} voxels (zyx) whose outputs all have labels: image {have}, "
                f"labels {Size(*cube.labels.shape)}, field of view {self.geometry.field}; use a smaller network.patch"
            )
        return int(np.prod(high - low + 1))

    def batch(self, step: int) -> Batch:
        """The batch of a step; the same whoever asks, whenever, in whichever thread."""
        outputs = self.geometry.outputs(self.patch)
        count, channels = self.settings.batch_size, self.cubes[0].image.shape[0]
        image = np.empty((count, channels, *self.patch), np.float32)
        labels = np.empty((count, *outputs), np.int16)
        kinds = [self._example(step, i, image[i], labels[i]) for i in range(count)]
        return Batch(image, labels, kinds.count("warped"), kinds.count("plain"))

    def _example(self, step: int, example: int, image: NDArray[np.float32], labels: NDArray[np.int16]) -> str:
        random = draws(self.seed, step, example, self.purpose)
        for _ in range(TRIES):
            cube = self.cubes[int(np.searchsorted(self.shares, random.random(), side="right"))]
            matrix, kind = self._map(cube, random)
            self._cut(cube, matrix, self._curves(random, image.shape[0]), image, labels)
            if self.settings.ignore_above >= 1 or (labels < 0).mean() <= self.settings.ignore_above:
                return kind
        raise ConfigError(
            f"sampling.ignore_above: {self.settings.ignore_above}: {TRIES} draws in a row had more ignored labels; raise it"
        )

    def _map(self, cube: Cube, random: np.random.Generator) -> tuple[Matrix, str]:
        """Patch voxel → image voxel: the spatial components, then a random place where everything fits."""
        half = (np.array(self.patch) - 1) / 2
        plain, whole, warped = np.eye(4), np.eye(4), False
        for component in self.settings.augment if self.augmented else ():
            if isinstance(component, Flip):
                matrix = component.matrix(random)
                plain, whole = plain @ matrix, whole @ matrix
            elif isinstance(component, Warp) and (bent := component.matrix(random, half)) is not None:
                whole, warped = whole @ bent, True
        shift = np.eye(4)
        shift[:3, 3] = -half
        where = random.random(3)
        for matrix, kind in ((whole @ shift, "warped" if warped else ""), (plain @ shift, "plain")):
            low, high = self._span(cube, matrix)
            if (high >= low).all():
                place = np.eye(4)
                place[:3, 3] = low + np.floor(where * (high - low + 1))
                # exact integers for flips: -half and the flip leave halves that the rounding above may not
                return place @ matrix, kind
        raise GeometryError(f"{cube.name}: no place for the patch")  # unreachable: checked at birth

    def _span(self, cube: Cube, matrix: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Smallest and largest translation (zyx) for which patch and outputs stay inside image and labels."""
        last = np.array(self.geometry.outputs(self.patch)) - 1
        first_output = np.array(self.geometry.offset)
        last_output = first_output + last * np.array(self.geometry.stride)
        image_low, image_high = _extent(matrix, np.zeros(3), np.array(self.patch) - 1)
        label_low, label_high = _extent(matrix, first_output, last_output)
        origin, inner = np.array(cube.origin), np.array(cube.labels.shape)
        low = np.maximum(-image_low, origin - label_low)
        high = np.minimum(np.array(cube.size) - 1 - image_high, origin + inner - 1 - label_high)
        # the translation keeps the fraction that makes an unwarped patch land on whole voxels
        part = np.ceil(low - 1e-9 + image_low) - image_low
        return part, part + np.floor(high - part + 1e-9)

    def _curves(self, random: np.random.Generator, channels: int) -> list[tuple[float, float, float]]:
        curves = [(-1.0, 0.0, 1.0)] * channels
        for component in self.settings.augment if self.augmented else ():
            if isinstance(component, Grey):
                for channel in component.channels:
                    if channel >= channels:
                        raise ConfigError(
                            f"grey.channels: {channel}: the images have {channels} channels, counted from 0"
                        )
                    curves[channel] = component.curve(random)
        return curves

    def _cut(
        self,
        cube: Cube,
        matrix: Matrix,
        curves: Sequence[tuple[float, float, float]],
        image: NDArray[np.float32],
        labels: NDArray[np.int16],
    ) -> None:
        for channel, curve in enumerate(curves):
            gather_image(cube.image[channel], matrix, np.float32(cube.scale), curve, image[channel])
        start, stride = (np.array(size, dtype=np.int64) for size in (self.geometry.offset, self.geometry.stride))
        gather_labels(cube.labels, matrix, start, stride, np.array(cube.origin, dtype=np.int64), labels)


def _extent(
    matrix: Matrix, first: NDArray[np.int_] | NDArray[np.float64], last: NDArray[np.int_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounding box of a box of patch voxels after the map; its corners are enough, the map is projective."""
    corners = np.array([[*corner, 1.0] for corner in product(*zip(first, last))]).T
    moved = matrix @ corners
    moved = moved[:3] / moved[3]
    return moved.min(1), moved.max(1)
