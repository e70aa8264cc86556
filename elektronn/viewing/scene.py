"""One volume of a run as layers that lie on one another: what each is, where it begins, how bright it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from elektronn.axes import Box, Size, whole
from elektronn.errors import ConfigError, DataError, at
from elektronn.registry import nearest
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Triple, Volume, open_volume, triple_of
from elektronn.volumes.registration import centre

Kind = Literal["image", "labels", "boundaries", "prediction", "segmentation"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Labels are IDs of cells, boundaries are classes (1 = boundary, −1 = ignored) as a training sees them."""

_FRAMES: tuple[Kind, ...] = ("image", "prediction", "segmentation", "boundaries", "labels")
"""Which of several volumes says how large the frame is: the first that is there."""
_OVERLAYS: tuple[Kind, ...] = ("prediction", "boundaries", "segmentation", "labels")
"""What is shown over an image at the beginning: the first that is there."""
_SAMPLE = 512
"""Edge of the window in the middle whose values say how bright an image is, voxels."""


@dataclass(frozen=True)
class Source:
    """A volume that is to be seen.

    Attributes:
        kind: what it holds.
        address: where it is.
        voxel_nm: voxel size z, y, x where the file does not say one.
    """

    kind: Kind
    address: Address
    voxel_nm: Triple | None = None


@dataclass(frozen=True)
class Layer:
    """One channel of a volume, at its place.

    Attributes:
        name: for people.
        kind: what it holds.
        source: the volume.
        channel: which one of the volume.
        start: its first voxel in the frame, zyx, voxels.
        size: its extent, zyx, voxels.
        dtype: of a value as it is shown.
        bright: values that are drawn black and white (or not at all and fully).
        is_shown: at the beginning.
    """

    name: str
    kind: Kind
    source: Source
    channel: int
    start: Size
    size: Size
    dtype: np.dtype[Any]
    bright: tuple[float, float]
    is_shown: bool = False

    @property
    def box(self) -> Box:
        """Its place in the frame."""
        return whole(self.size).shifted(self.start)

    @property
    def is_ids(self) -> bool:
        """Whether values are names of cells."""
        return self.kind in ("labels", "segmentation")


@dataclass(frozen=True)
class Scene:
    """Layers of one volume.

    Attributes:
        name: of the volume.
        size: of the frame, zyx, voxels; the voxels of the image where there is one.
        voxel_nm: voxel size z, y, x, nanometres; ``None``: nobody said.
        layers: from the bottom to the top.
        notes: sentences about what is not shown, or not as it should be.
    """

    name: str
    size: Size
    voxel_nm: Triple | None
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    @property
    def focus(self) -> Box:
        """What to look at first: the prediction, else all."""
        return next((layer.box for layer in self.layers if layer.kind == "prediction"), whole(self.size))


def kind_of(text: str) -> Kind:
    """The kind of this name.

    Raises:
        ConfigError: there is none.
    """
    for kind in KINDS:
        if text == kind:
            return kind
    raise ConfigError(f"'{text}' is no kind of layer: {nearest(text, KINDS)}")


def kind_held(address: Address) -> Kind:
    """What a volume holds, by its own words, else by its type: large whole numbers are IDs.

    Raises:
        DataError: it cannot be opened.
    """
    with open_volume(address) as volume:
        said = volume.attributes.get("kind")
        if said == "segmentation" or (said is None and volume.dtype.kind in "iu" and volume.dtype.itemsize >= 4):
            return "segmentation"
        return "image" if said is None and not _is_placed(volume) else "prediction"


def scene_of(name: str, sources: Sequence[Source]) -> Scene:
    """Lay the volumes on one another.

    The image is the frame. A volume that says where it lies (``offset_vox``, as predictions and segmentations do) lies
    there; any other is concentric with the frame. Without an image the prediction says how large the image was.

    Args:
        name: of the volume.
        sources: what there is; every volume is opened and closed, and of images and values some voxels are read.

    Raises:
        DataError: none of the volumes can be shown; each reason is said.
    """
    notes: list[str] = []
    frame, layers, voxel = None, [], None
    for source in sorted(sources, key=lambda source: _FRAMES.index(source.kind)):
        try:
            with open_volume(source.address, voxel_nm=source.voxel_nm) as volume, at(f"{source.kind}"):
                frame = frame or _frame(volume)
                voxel = voxel or volume.voxel_nm
                _check_voxel(volume, voxel)
                layers += _layers(source, volume, frame)
        except DataError as error:
            notes.append(f"not shown: {error}")
    if frame is None or not layers:
        raise DataError("\n".join([f"{name}: nothing to show", *notes]))
    if voxel is None:
        notes.append("nobody says how large a voxel is; all are drawn as cubes")
    layers.sort(key=lambda layer: KINDS.index(layer.kind))
    return Scene(name, frame, voxel, _chosen(layers), tuple(notes))


def _frame(volume: Volume) -> Size:
    """Size of the image that a volume belongs to."""
    return triple_of(volume, "image_size") if _is_placed(volume) else volume.size


def _is_placed(volume: Volume) -> bool:
    return {"image_size", "offset_vox"} <= set(volume.attributes)


def _start(volume: Volume, frame: Size) -> Size:
    """First voxel of a volume in the frame."""
    if not _is_placed(volume):
        return centre(frame, volume.size).origin
    if (said := triple_of(volume, "image_size")) != frame:
        raise DataError(f"{volume.address}: was made from an image of {said} voxels, and this one has {frame}")
    return Size(*map(sum, zip(triple_of(volume, "offset_vox"), volume.part.start)))


def _check_voxel(volume: Volume, voxel: Triple | None) -> None:
    if volume.voxel_nm and voxel and not np.allclose(volume.voxel_nm, voxel, rtol=1e-3):
        raise DataError(
            f"{volume.address}: has voxels of {_text(volume.voxel_nm)} nm where the others have {_text(voxel)} nm "
            "(z, y, x); name a volume of the same resolution, or correct the voxel size"
        )


def _text(voxel: Triple) -> str:
    return " × ".join(f"{n:g}" for n in voxel)


def _layers(source: Source, volume: Volume, frame: Size) -> list[Layer]:
    """A layer for each channel that tells something."""
    if source.kind in ("labels", "boundaries", "segmentation") and volume.dtype.kind not in "biu":
        raise DataError(f"{volume.address}: holds {volume.dtype}, not whole numbers; name a volume of IDs or classes")
    start, found = _start(volume, frame), []
    said = list(volume.attributes.get("classes", range(volume.channels)))
    names = {channel: str(channel) for channel in range(volume.channels)}
    if source.kind == "prediction" and volume.channels > 1:
        # class 0 is what none of the others is
        names = {channel: f"class {said[channel]}" for channel in range(1, volume.channels)}
    for channel, text in names.items():
        name = source.kind if volume.channels == 1 else f"{source.kind} {text}"
        bright = _bright(source.kind, volume, channel)
        found.append(
            Layer(name, source.kind, source, channel, start, volume.size, _shown_dtype(source.kind, volume), bright)
        )
    return found


def _shown_dtype(kind: Kind, volume: Volume) -> np.dtype[Any]:
    """Type in which values are handed to viewers: IDs without sign, no half or double precision, no 64-bit grey."""
    dtype = volume.dtype
    if kind in ("labels", "segmentation"):
        return np.dtype(np.uint32 if dtype.itemsize <= 4 and dtype.kind != "i" else np.uint64)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return dtype if dtype.kind in "iu" and dtype.itemsize <= 4 else np.dtype(np.float32)


def _bright(kind: Kind, volume: Volume, channel: int) -> tuple[float, float]:
    """Probabilities have a scale; that of grey values is where nearly all in the middle are."""
    if kind == "prediction" and volume.attributes.get("kind") != "values":
        return 0.0, float(np.iinfo(volume.dtype).max) if volume.dtype.kind in "iu" else 1.0
    if kind not in ("image", "prediction"):
        return 0.0, 1.0
    size = volume.size
    low = Size(size.z // 2, max(0, (size.y - _SAMPLE) // 2), max(0, (size.x - _SAMPLE) // 2))
    high = Size(low.z + 1, min(size.y, low.y + _SAMPLE), min(size.x, low.x + _SAMPLE))
    values = volume.read(Box(low, high), "czyx")[channel].astype(np.float64)
    known = values[np.isfinite(values)]
    dark, light = np.percentile(known, (0.5, 99.5)) if known.size else (0.0, 1.0)
    return float(dark), float(light if light > dark else dark + 1)


def _chosen(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers, of which the first of the image and of one overlay are shown at the beginning."""
    names = {layer.kind: layer.name for layer in reversed(layers)}
    over = next((names[kind] for kind in _OVERLAYS if kind in names), "")
    return tuple(replace(layer, is_shown=layer.name in (names.get("image"), over)) for layer in layers)
