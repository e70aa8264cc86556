"""Training cubes: image and labels with the place of the labels in the image, in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.errors import ConfigError, DataError, at
from elektronn.registry import nearest
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.extras import Lazy, load_info, load_weights, weights_of_channel
from elektronn.sampling.lazy import LazyVolume
from elektronn.sampling.sections import fitted, section_labels
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import load, load_labels, load_raw, open_volume
from elektronn.volumes.downsample import downsample
from elektronn.volumes.registration import centre

Labelled = tuple[str, Address, Address]
"""Name, image, labels."""

Image = NDArray[np.generic] | LazyVolume
Labels = NDArray[np.uint8] | NDArray[np.int16] | NDArray[np.float32] | LazyVolume


@dataclass(frozen=True)
class Cube:
    """One labelled volume.

    Attributes:
        name: for messages and history.
        image: ``(c, z, y, x)``, uint8 or float32.
        labels: ``(z, y, x)`` class numbers as uint8 or int16, −1 = ignore, or float32 values, NaN = ignore; ``(z, k)`` where each
            section is an image of its own.
        origin: image voxel at which the labels begin, zyx; negative where labels reach beyond the image.
        scale: factor that brings image values to [0, 1].
        weights: how much each label counts, as large as the labels; None: all alike.
        lazy: which classes the labels tell; None: all.
    """

    name: str
    image: Image
    labels: Labels
    origin: Size
    scale: float
    weights: NDArray[np.float32] | None = None
    lazy: Lazy | None = None

    @property
    def size(self) -> Size:
        """Spatial extent of the image."""
        return Size(*self.image.shape[1:])

    @cached_property
    def frame(self) -> NDArray[np.int64]:
        """Size of the image, first voxel and size of the labels (0 where sections have their own), zyx each."""
        labels = (0, 0, 0) if self.of_sections else self.labels.shape
        return np.array([self.size, self.origin, labels], np.int64)

    def read(self, box: Box) -> NDArray[Any]:
        """A box of the image, ``czyx``, as stored."""
        if isinstance(self.image, LazyVolume):
            return self.image.channels(box)
        return self.image[(slice(None), *box.slices)]

    @property
    def of_sections(self) -> bool:
        """Whether each section is an image with labels of its own."""
        return self.labels.ndim == 2


@dataclass(frozen=True)
class Wanted:
    """What a training makes of its volumes.

    Attributes:
        classes: number of classes; 0 where labels are values.
        settings: of the sampling.
        sections: input of a network that gives one output per image, zyx; None: labels are volumes.
    """

    classes: int
    settings: SamplingSettings
    sections: Size | None = None


def make_cube(name: str, image: Image, labels: NDArray[Any] | LazyVolume, classes: int) -> Cube:
    """Check and register one image (``czyx``) and its labels (``zyx``) by their centres.

    Args:
        name: for messages.
        image, labels: arrays, or volumes on disk.
        classes: number of classes; 0 where labels are values.

    Raises:
        DataError: odd surplus, labels out of range or no whole numbers, no label but −1, NaN.
    """
    _check_labels(name, pieces(labels), classes)
    size, inner = Size(*image.shape[1:]), Size(*labels.shape)
    with at(name):
        centre(size, inner)
    origin = Size(*((a - b) // 2 for a, b in zip(size, inner)))
    kept, scale = normalised(name, image)
    if isinstance(labels, np.ndarray):
        # bytes stay bytes: two volumes of labels in memory, one of them twice as large, would be the peak of a training
        whole = np.uint8 if labels.dtype == np.uint8 else np.int16
        labels = np.ascontiguousarray(labels, dtype=whole if classes else np.float32)
    return Cube(name, kept, labels, origin, scale)


def _check_labels(name: str, pieces: Iterable[NDArray[Any]], classes: int) -> None:
    """Refuse labels that no loss can take."""
    low, high = np.inf, -np.inf
    for piece in pieces:
        if not classes:
            if not np.isfinite(piece[~np.isnan(piece)] if piece.dtype.kind == "f" else piece).all():
                raise DataError(
                    f"{name}: labels hold infinite values; repair them, or write NaN where nothing is known"
                )
            low, high = 0, 0
            continue
        if piece.dtype.kind not in "bui":
            raise DataError(
                f"{name}: labels are {piece.dtype}, and classes are whole numbers; store them as integers, or set "
                "training.loss.kind to regression if they are values"
            )
        if piece.size == 0:
            raise DataError(f"{name}: the labels are empty; give one per voxel")
        low, high = min(low, int(piece.min())), max(high, int(piece.max()))
    if classes and (low < -1 or high >= classes):
        raise DataError(
            f"{name}: labels reach from {low} to {high}, expected −1 (ignore) to {classes - 1}; convert IDs with `elektronn boundaries` first"
        )
    if high < 0:
        raise DataError(f"{name}: every label is −1 (ignore), so there is nothing to learn; check the labels")


def normalised(name: str, image: Image) -> tuple[Image, float]:
    """The image as the sampler keeps it, and the factor to [0, 1]: by dtype for integers, 1 for floats.

    Raises:
        DataError: NaN or infinite values, floats outside [0, 1], an image of one single value.
    """
    low, high = np.inf, -np.inf
    for piece in pieces(image):
        if piece.dtype.kind == "f" and not np.isfinite(piece).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(piece))[0])
            raise DataError(f"{name}: NaN or infinite value at czyx {place}; repair or cut out that part")
        low, high = min(low, float(piece.min())), max(high, float(piece.max()))
    if image.dtype.kind == "f" and (low < 0 or high > 1):
        raise DataError(f"{name}: float image reaches from {low:g} to {high:g}; scale it to 0…1 or store it as uint8")
    if low == high:
        raise DataError(f"{name}: every voxel of the image is {low:g}; check that this is the right image")
    if image.dtype.kind in "ui":
        scale = 1 / float(np.iinfo(image.dtype.str).max)
        if image.dtype == np.uint8 or isinstance(image, LazyVolume):
            return (np.ascontiguousarray(image) if isinstance(image, np.ndarray) else image), scale
        return np.ascontiguousarray(image, dtype=np.float32) * np.float32(scale), 1.0
    return (np.ascontiguousarray(image, dtype=np.float32) if isinstance(image, np.ndarray) else image), 1.0


def pieces(values: NDArray[Any] | LazyVolume) -> Iterator[NDArray[Any]]:
    """An array as one piece, a volume on disk piece by piece."""
    return values.pieces() if isinstance(values, LazyVolume) else iter([values])


def load_cubes(rows: Sequence[Labelled], wanted: Wanted) -> list[Cube]:
    """Read ``(name, image, labels)`` triples into memory, or open them where they are too large for it.

    Raises:
        DataError: unreadable or unfit files, images of one grey value; different numbers of channels.
        ConfigError: a name stands twice, or a setting names a volume that is not there.
    """
    names = [name for name, _, _ in rows]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"volume '{twice[0]}' is given twice; give each volume once, under its own name")
    _check_names(names, wanted.settings)
    limit = _limit(rows, wanted)
    cubes = [_load(row, wanted, limit) for row in rows]
    channels = {cube.image.shape[0] for cube in cubes}
    if len(channels) > 1:
        said = ", ".join(f"{image} has {cube.image.shape[0]}" for cube, (_, image, _) in zip(cubes, rows))
        raise DataError(f"images differ in their number of channels: {said}; take images that fit together")
    return cubes


def _check_names(names: Sequence[str], settings: SamplingSettings) -> None:
    for place, said in (("weights", settings.weights), ("example_weights", settings.example_weights)):
        for name in said:
            if name not in names:
                raise ConfigError(f"sampling.{place}: '{name}' is no volume of this experiment: {nearest(name, names)}")


def _limit(rows: Sequence[Labelled], wanted: Wanted) -> int | None:
    """Bytes of cache per opened file where the volumes are too large for memory; None: read them whole."""
    if wanted.sections is not None:
        return None
    allowed, total = wanted.settings.memory_gb * 1e9, 0
    for _, *pair in rows:
        for address in pair:
            with open_volume(address) as volume:
                total += volume.size.voxels * volume.channels * (1 if volume.dtype == np.uint8 else 4)
    return None if total <= allowed else max(int(allowed / (2 * len(rows))), 1)


def _load(row: Labelled, wanted: Wanted, limit: int | None) -> Cube:
    """One cube; messages name it as the table does and by its files."""
    name, image, labels = row
    said = f"volume {name} ({image} and {labels})"
    if wanted.sections is not None:
        return replace(_sections(said, image, labels, wanted, wanted.sections), name=name)
    if limit is not None:
        if wanted.settings.downsample > 1 or wanted.settings.weights_from_last_channel:
            raise ConfigError(
                "sampling: downsample and weights_from_last_channel need the volumes in memory; raise sampling.memory_gb"
            )
        pair: tuple[Image, Any] = LazyVolume(image, limit, "czyx"), LazyVolume(labels, limit, "zyx")
    else:
        pair = _in_memory(said, image, labels, wanted)
    return replace(_with_extras(make_cube(said, *pair, wanted.classes), row, wanted), name=name)


def _in_memory(said: str, image: Address, labels: Address, wanted: Wanted) -> tuple[Image, NDArray[Any]]:
    grey = load(image, order="czyx")
    classes = load_labels(labels, Size(*grey.shape[1:]))
    if wanted.settings.downsample == 1:
        return grey, classes
    if classes.dtype.kind not in "bui":
        raise DataError(
            f"{said}: labels are {classes.dtype}; sampling.downsample counts classes, which are whole numbers"
        )
    with at(said):
        coarse, fewer = downsample(grey, classes, wanted.settings.downsample)
    return coarse, fewer


def _with_extras(cube: Cube, row: Labelled, wanted: Wanted) -> Cube:
    name, _, labels = row
    settings, weights = wanted.settings, None
    if name in settings.example_weights:
        weights = load_weights(parse_address(settings.example_weights[name]), Size(*cube.labels.shape))
    elif settings.weights_from_last_channel:
        last = np.asarray(cube.image[-1], np.float32) * np.float32(cube.scale)
        assert isinstance(cube.labels, np.ndarray)
        weights = weights_of_channel(last, cube.labels.astype(np.int16), cube.origin)
    lazy = load_info(labels, wanted.classes) if settings.lazy_labels and wanted.classes else None
    return replace(cube, weights=weights, lazy=lazy)


def _sections(said: str, image: Address, labels: Address, wanted: Wanted, patch: Size) -> Cube:
    """A stack of images with one row of labels each."""
    if patch.z != 1:
        raise DataError(f"{said}: one label per image needs a 2-D network, and its input has {patch.z} sections")
    grey = load(image, order="czyx")
    rows = section_labels(said, load_raw(labels), grey.shape[1])
    _check_labels(said, [rows], wanted.classes)
    kept, scale = normalised(said, fitted(said, grey, patch, wanted.settings.border))
    told: Labels = rows.astype(np.int16) if wanted.classes else rows.astype(np.float32)
    return Cube(said, kept, told, Size(0, 0, 0), scale)
