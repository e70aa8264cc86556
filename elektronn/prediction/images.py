"""Images as dense prediction reads them and writes its result: volumes, and flat ``.npy`` images of a 2-D network."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import writing
from elektronn.axes import Box, Size, whole
from elektronn.errors import DataError
from elektronn.geometry import Geometry
from elektronn.network.document import Document
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Sink, Volume, check_target, create_volume, open_volume
from elektronn.volumes.npy import open_npy
from elektronn.volumes.stored import Stored, is_mapped

NOTHING = Size(0, 0, 0)


@dataclass(frozen=True)
class Image:
    """An open image.

    Attributes:
        volume: with z of extent 1 for a flat image.
        axes: ``zyx`` for every volume; ``yx`` or ``cyx`` for a flat image, whose result has the same axes.
        any_floats: whether floats outside [0, 1] are taken.
        before, behind: voxels by which the image is continued by its mirror image, zyx; boxes are counted from there.
    """

    volume: Volume
    axes: str
    any_floats: bool
    before: Size = NOTHING
    behind: Size = NOTHING

    def padded(self, geometry: Geometry) -> Image:
        """The image continued on all sides, so that outputs cover all of it; as :func:`.dense.mirrored` does in memory."""
        behind = Size(*(f - 1 - o for o, f in zip(geometry.offset, geometry.field)))
        return replace(self, before=geometry.offset, behind=behind)

    @property
    def size(self) -> Size:
        """Extent zyx, voxels, with what it is continued by."""
        return Size(*map(sum, zip(self.volume.size, self.before, self.behind)))

    def read(self, box: Box) -> NDArray[np.generic]:
        """A box as ``(c, z, y, x)``.

        Raises:
            DataError: the file is damaged there; NaN, infinite, or floats outside [0, 1] that the model does not take.
        """
        places = [_mirrored(a - low, b - low, n) for a, b, low, n in zip(*box, self.before, self.volume.size)]
        inner = Box(Size(*(int(p.min()) for p in places)), Size(*(int(p.max()) + 1 for p in places)))
        block = self._read(inner)
        if inner.shifted(self.before) == box:
            return block
        for axis, (place, first) in enumerate(zip(places, inner.start), start=1):
            block = np.take(block, place - first, axis)
        return block

    def _read(self, box: Box) -> NDArray[np.generic]:
        """A box of the file."""
        try:
            block = _from_map(self.volume, box) if is_mapped(self.volume.stored) else self.volume.read(box, "czyx")
        except DataError as error:
            error.args = (f"{error}; what is damaged lies in zyx {tuple(box.start)} to {tuple(box.stop)}",)
            raise
        if not np.issubdtype(block.dtype, np.floating):
            return block
        low, high = block.min(), block.max()
        if (low >= 0 and high <= 1) or (self.any_floats and np.isfinite(low) and np.isfinite(high)):
            return block
        wrong = ~np.isfinite(block) if self.any_floats else ~((block >= 0) & (block <= 1))
        place = tuple(map(int, np.argwhere(wrong)[0][1:] + np.array(box.start)))
        value = block[wrong][0]
        if not np.isfinite(value):
            raise DataError(f"{self.volume.address}: NaN or infinite value at zyx {place}; repair that part")
        raise DataError(
            f"{self.volume.address}: value {value:g} at zyx {place}, and a float image must lie in 0…1; "
            "scale it as in training, or store it as uint8"
        )


@contextmanager
def open_image(
    address: Address,
    document: Document,
    *,
    any_floats: bool = False,
    voxel_nm: tuple[float, float, float] | None = None,
    model: str = "",
) -> Iterator[Image]:
    """Open an image for a network.

    An ``.npy`` file of two axes is one image ``yx``; one of three axes, for a 2-D network and with as many entries along
    the first axis as the network has channels, is one image ``cyx``. Everything else is a volume ``zyx`` or ``czyx``.

    Raises:
        DataError: no such file, not an image, damaged, or of another number of channels than the network takes.
    """
    flat = _flat(address, document)
    if flat is not None:
        array, axes = flat
        size = Size(1, *array.shape[-2:])
        stored = array[:, None] if axes == "cyx" else array[None, None]
        volume = Volume(address, stored, "czyx", address.box(size), voxel_nm, None, {})
        yield Image(_fitting(volume, document, model), axes, any_floats)
        return
    with open_volume(address, voxel_nm=voxel_nm) as volume:
        yield Image(_fitting(volume, document, model), "zyx", any_floats)


def _flat(address: Address, document: Document) -> tuple[NDArray[Any], str] | None:
    """The array and its axes if it is a flat image."""
    if address.format != "npy" or address.key or address.axes or not address.path.is_file():
        return None
    with open_npy(address) as (mapped, _):
        array = np.asarray(mapped)
    if array.size == 0 or array.dtype.kind not in "buif":
        return None
    if array.ndim == 2:
        return array, "yx"
    is_channels = array.ndim == 3 and array.shape[0] == document.channels
    return (array, "cyx") if is_channels and document.is_flat else None


def _from_map(volume: Volume, box: Box) -> NDArray[Any]:
    """A box of a file that is mapped into memory, section by section, so that little of the file counts as our memory."""
    block: NDArray[Any] = np.empty((volume.channels, *box.size), volume.dtype)
    for z in range(box.size.z):
        section = Box(box.start, Size(box.start.z + 1, *box.stop[1:])).shifted((z, 0, 0))
        block[:, z : z + 1] = volume.read(section, "czyx")
        let_go(volume.stored)
    return block


def _mirrored(start: int, stop: int, extent: int) -> NDArray[np.int64]:
    """Places in an axis of ``extent`` that is continued by its mirror image again and again; edges are repeated."""
    turn = np.arange(start, stop) % (2 * extent)
    return np.minimum(turn, 2 * extent - 1 - turn)


def _fitting(volume: Volume, document: Document, model: str) -> Volume:
    if volume.channels != document.channels:
        behind = volume.axes == "czyx" and not volume.address.axes and volume.size.x <= 4
        raise DataError(
            f"{volume.address}: has {volume.channels} channels, the model was made for {document.channels}{model and f' ({model})'}; "
            + (
                f"if its channels come last, write {volume.address}@zyxc"
                if behind
                else "choose an image or a model that fits"
            )
        )
    return volume


@contextmanager
def create_result(image: Image, out: Address, shape: tuple[int, ...], dtype: str, **said: Any) -> Iterator[Sink]:
    """Create what a prediction is written to, of the image's axes; it appears whole when the block ends.

    Args:
        image: what is predicted.
        out: target; see :func:`elektronn.volumes.arrays.create_volume`. A flat image becomes flat in ``.npy`` only.
        shape: zyx or czyx.
        dtype: of a value.
        said: voxel size, offset and attributes for a volume.
    """
    if image.axes == "zyx" or out.format != "npy":
        with create_volume(out, shape, dtype, **said) as sink:
            yield sink
        return
    check_target(out)
    flat = _Flat(np.empty(shape, dtype))
    yield flat
    result = flat.values[..., 0, :, :]
    if image.axes == "cyx" and result.ndim == 2:
        result = result[None]
    with writing(out.path) as part, part.open("wb") as file:
        np.save(file, result)


def let_go(stored: Stored) -> None:
    """Take the pages of a mapped file out of the memory of this process; they are read again when they are needed."""
    inner = getattr(stored, "stored", None)
    if inner is not None:
        let_go(inner)
    elif isinstance(stored, np.memmap) and hasattr(mmap.mmap, "madvise"):
        pages: Any = stored.base
        while not isinstance(pages, mmap.mmap):
            pages = pages.base
        pages.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class _Flat:
    values: NDArray[Any]

    def write(self, box: Box, values: NDArray[Any]) -> None:
        assert box.within(whole(self.values.shape[-3:]).size) == box
        self.values[(..., *box.slices)] = values
