"""A batch is a pure function of (settings, cubes, seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.geometry import Geometry
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.chain import Chain, Outcome, must_fit
from elektronn.sampling.cubes import Cube, Labels
from elektronn.sampling.cut import cut_image, cut_labels
from elektronn.sampling.draws import Restarted, key_of
from elektronn.sampling.grey import Change, Curve
from elektronn.sampling.lazy import LazyVolume
from elektronn.sampling.maps import Map, Points
from elektronn.sampling.outputs import Outputs
from elektronn.sampling.places import room, settle
from elektronn.sampling.recipe import Recipe
from elektronn.sampling.spatial import Numbers, Part

RESTARTED = Restarted()

TRIES = 200
"""Draws of one example before an impossible ``ignore_above`` is reported."""


@dataclass(frozen=True)
class Batch:
    """Examples of one step; arrays, or tensors where ``sampling.device`` is no CPU.

    Attributes:
        image: ``(b, c, z, y, x)`` float32 in [0, 1].
        labels: ``(b, z', y', x')`` at the network's outputs, of the type of the cubes' labels: int16 classes or
            float32 targets.
        warped: how many examples are warped as drawn; ``shrunk``: how many are warped less, because the warp would not
            have fitted; ``plain``: how many for that reason not at all.
        weights: ``(b, z', y', x')``, how much each output counts; None: all alike.
        labelled, absent: ``(b, classes)``, which classes the labels tell, which the volume does not hold; None: all, none.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.int16] | NDArray[np.float32]
    warped: int = 0
    plain: int = 0
    shrunk: int = 0
    weights: NDArray[np.float32] | None = None
    labelled: NDArray[np.int16] | None = None
    absent: NDArray[np.int16] | None = None

    @classmethod
    def of(cls, image: Any, labels: Any, weights: Any, origins: Sequence[tuple[Cube, Outcome]]) -> Batch:
        """Examples with what their cubes and warps add."""
        outcomes = [outcome for _, outcome in origins]
        told = [cube.lazy for cube, _ in origins if cube.lazy is not None]
        return cls(
            image,
            labels,
            outcomes.count("warped"),
            outcomes.count("plain"),
            outcomes.count("shrunk"),
            weights=weights,
            labelled=np.stack([lazy.labelled for lazy in told]) if told else None,
            absent=np.stack([lazy.absent for lazy in told]) if told else None,
        )


@dataclass(frozen=True)
class Place:
    """Where one example comes from.

    Attributes:
        map: patch voxel → image voxel.
        box: voxels of the image that the map asks for; ``labels``: of the label volume.
        outcome: of its warp.
        parts: of the map, and how much of each is in it.
    """

    map: Map
    box: Box
    labels: Box
    outcome: Outcome
    parts: Sequence[tuple[Part, float]]


@dataclass(frozen=True)
class Drawn:
    """What was drawn for one example.

    Attributes:
        volume: it was cut from.
        centre: image voxel under the middle of the patch, zyx.
        outcome: of its warp.
        numbers: of the augmentations, from all their parts and channels.
    """

    volume: str
    centre: Size
    outcome: Outcome
    numbers: Numbers


class Supply(Protocol):
    """Where batches come from."""

    @property
    def is_pure(self) -> bool:
        """Whether a batch depends on its step alone, so that several threads may ask for them in any order."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        ...

    def drawn(self, step: int, example: int) -> Drawn | None:
        """What was drawn for one example of that batch; ``None``: nothing of ours was."""
        ...

    def changed(self, settings: SamplingSettings) -> Supply:
        """The same with other numbers in the augmentations."""
        ...


_CORNER = Size(0, 0, 0)


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
        examples: those of a batch that are made; all.

    Raises:
        GeometryError: a cube is too small for one patch with its labels; says which and the sizes.
        ConfigError: a component cannot work on such patches.
    """

    cubes: Sequence[Cube]
    geometry: Geometry
    patch: Size
    settings: SamplingSettings
    seed: int
    purpose: str = "train"
    augmented: bool = True
    examples: range | None = None
    shares: NDArray[np.float64] = field(init=False, repr=False)
    chain: Chain = field(init=False, repr=False)
    outputs: Outputs = field(init=False, repr=False)
    recipe: Recipe | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        components = self.settings.augment if self.augmented else ()
        # a frozen value may compute a field once, at birth
        object.__setattr__(self, "chain", Chain(components, self.patch, len(self.cubes[0].image)))
        object.__setattr__(self, "outputs", Outputs.of(self.geometry, self.patch))
        places = np.array([self._places(cube) for cube in self.cubes], dtype=np.float64)
        if self.augmented and self.settings.weights:
            places = np.array([self.settings.weights.get(cube.name, 0.0) for cube in self.cubes])
        if not places.sum() > 0:
            raise ConfigError("sampling.weights: all are 0, so nothing would ever be drawn; give one volume more")
        object.__setattr__(self, "shares", np.cumsum(places) / places.sum())
        object.__setattr__(self, "recipe", self._recipe())

    def _recipe(self) -> Recipe | None:
        key = key_of(self.seed, self.purpose)
        return Recipe.of(self.cubes, self.chain, self.outputs, self.settings, key=key, shares=self.shares)

    @property
    def is_pure(self) -> bool:
        """A batch depends on its step alone."""
        return True

    def changed(self, settings: SamplingSettings) -> Sampler:
        """The same with other numbers in the augmentations."""
        return replace(self, settings=settings)

    def _places(self, cube: Cube) -> int:
        low, high = room(*self._spans(Map()), cube.frame, not cube.of_sections)
        if (high < low).any():
            need, have = self.patch, cube.size
            raise GeometryError(
                f"{cube.name}: no place for a patch of {need} voxels (zyx) whose outputs all have labels: image {have}, "
                f"labels {Size(*cube.labels.shape)}, field of view {self.geometry.field}; use a smaller network.patch"
            )
        return int(np.prod(high - low + 1))

    def batch(self, step: int) -> Batch:
        """The batch of a step; the same whoever asks, whenever, in whichever thread."""
        examples = self.examples or range(self.settings.batch_size)
        count = len(examples)
        image = np.empty((count, len(self.cubes[0].image), *self.patch), np.float32)
        labels = np.empty((count, *self.label_shape), self.label_type)
        weights = np.empty(labels.shape, np.float32) if any(c.weights is not None for c in self.cubes) else None
        drawn = [
            self._example(step, number, image[i], labels[i], None if weights is None else weights[i])
            for i, number in enumerate(examples)
        ]
        return Batch.of(image, labels, weights, drawn)

    def drawn(self, step: int, example: int) -> Drawn:
        """What was drawn for one example of a batch; nothing is cut but labels that decide which draw counts."""
        cube, place, changes = self.draw(step, example)
        middle = [np.array([n // 2]) for n in self.patch]
        centre = place.map.coordinates(middle, place.map.image_shifts).ravel()
        numbers = [part.numbers(share) for part, share in place.parts]
        # all channels share the defect of a section
        numbers += [change.numbers for change in {id(c): c for channel in changes for c in channel}.values()]
        pooled: dict[str, list[float]] = {}
        for name, values in (item for said in numbers for item in said.items()):
            pooled.setdefault(name, []).extend(values)
        return Drawn(cube.name, Size(*np.rint(centre).astype(int).tolist()), place.outcome, pooled)

    @property
    def label_type(self) -> np.dtype[Any]:
        """Of a batch: values as they are, classes of whatever cube as int16."""
        found = self.cubes[0].labels.dtype
        return found if found.kind == "f" else np.dtype(np.int16)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Of one example's labels: the outputs of the network, or what an image has as a whole."""
        cube = self.cubes[0]
        if not cube.of_sections:
            return tuple(self.outputs.count)
        answers = cube.labels.shape[1]
        return (1, 1, 1) if answers == 1 else (answers, 1, 1, 1)

    def _example(
        self,
        step: int,
        example: int,
        image: NDArray[np.float32],
        labels: NDArray[np.int16] | NDArray[np.float32],
        weights: NDArray[np.float32] | None,
    ) -> tuple[Cube, Outcome]:
        if self.recipe is not None and (made := self.recipe.example(step, example, image, labels)) is not None:
            return made
        cube, place, changes = self.draw(step, example, labels)
        self._cut(cube, place, changes, image)
        if weights is not None:
            self._weigh(cube, place, weights)
        return cube, place.outcome

    def draw(
        self, step: int, example: int, labels: NDArray[np.int16] | NDArray[np.float32] | None = None
    ) -> tuple[Cube, Place, list[list[Change]]]:
        """All draws of one example: its cube, its place, the changes per channel.

        Nothing is cut but the labels: if they are asked for, or if they decide whether the draw counts.
        """
        random = RESTARTED.draws(self.seed, step, example, self.purpose)
        limit = self.settings.ignore_above
        if labels is None and limit < 1:
            labels = np.empty(self.label_shape, self.label_type)
        for _ in range(TRIES):
            cube = self.cubes[int(self.shares.searchsorted(random.random(), side="right"))]
            place, changes = self.place(cube, random), self.chain.changes(random)
            if labels is None:
                return cube, place, changes
            self._label(cube, place, labels)
            # what a volume does not hold at all is learnt from unlabelled voxels, too
            if limit >= 1 or _ignored(labels) <= limit or (cube.lazy is not None and cube.lazy.absent.any()):
                return cube, place, changes
        raise ConfigError(f"sampling.ignore_above: {limit}: {TRIES} draws in a row had more ignored labels; raise it")

    def _label(self, cube: Cube, place: Place, labels: NDArray[np.int16] | NDArray[np.float32]) -> None:
        if cube.of_sections:
            labels.flat[:] = cube.labels[place.box.start.z]
        else:
            self._at_outputs(cube.labels, cube.origin, place, labels)

    def _at_outputs(self, volume: Labels, origin: Size, place: Place, out: NDArray[Any]) -> None:
        part = volume[place.labels.slices] if isinstance(volume, LazyVolume) else volume
        begin = origin if part is volume else Size(*(o + n for o, n in zip(origin, place.labels.start)))
        cut_labels(part, place.map, self.outputs.first, self.outputs.stride, begin, out)

    def _weigh(self, cube: Cube, place: Place, weights: NDArray[np.float32]) -> None:
        if cube.weights is None:
            weights[:] = 1
        else:
            self._at_outputs(cube.weights, cube.origin, place, weights)

    def place(self, cube: Cube, random: np.random.Generator) -> Place:
        """Draw the spatial components, then a place where everything they ask for is there.

        Raises:
            GeometryError: a warp fits nowhere and says ``too_large: error``.
        """
        parts = self.chain.parts(random)
        where = random.random(3)
        for map, outcome, strengths in self.chain.maps(parts):
            patch, outputs = self._spans(map)
            fits, outer, boxes = settle(where, map.outer, patch, outputs, cube.frame, not cube.of_sections)
            if fits:
                start, stop, *of_labels = boxes.tolist()
                box = _box(start, stop)
                inner = box if cube.of_sections else _box(*of_labels)
                return Place(map._replace(outer=outer), box, inner, outcome, list(zip(parts, strengths)))
            if must_fit(parts):
                need = Size(*(np.ceil(patch[1] - patch[0]) + 1).astype(int).tolist())
                raise GeometryError(
                    f"{cube.name}: the warp of this example needs {need} voxels (zyx) of the image of {cube.size}, and "
                    "labels for all outputs; lower its ranges, or set too_large: shrink or plain"
                )
        raise GeometryError(f"{cube.name}: no place for the patch")  # unreachable: checked at birth

    def _spans(self, map: Map) -> tuple[Points, Points]:
        """What patch and outputs span under a map, ``(2, zyx)`` each."""
        patch = map.extent(_CORNER, self.outputs.corner, map.image_shifts)
        return patch, map.extent(self.outputs.first, self.outputs.last, map.label_shifts)

    def _cut(self, cube: Cube, place: Place, changes: Sequence[list[Change]], image: NDArray[np.float32]) -> None:
        for channel, todo in enumerate(changes):
            # a curve that comes first is bent while the samples are still in the cache
            curve = todo[0] if todo and isinstance(todo[0], Curve) else None
            cut_image(
                cube.image[channel],
                place.map,
                place.box,
                scale=cube.scale,
                interpolation=self.settings.interpolation,
                curve=curve,
                out=image[channel],
            )
            for change in todo[1:] if curve else todo:
                change.apply(image[channel])


def _box(start: Sequence[int], stop: Sequence[int]) -> Box:
    return Box(Size(*start), Size(*stop))


def _ignored(labels: NDArray[np.int16] | NDArray[np.float32]) -> float:
    """Share of labels that say nothing: −1 among classes, NaN among targets."""
    return float((np.isnan(labels) if labels.dtype.kind == "f" else labels < 0).mean())
