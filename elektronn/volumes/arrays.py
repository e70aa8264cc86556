"""Open and create volumes: every format behind one small reading and one writing object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from elektronn.artefacts import storage, writing
from elektronn.axes import Box, Size, check_order, reorder, whole
from elektronn.errors import ConfigError, DataError
from elektronn.volumes.address import Address
from elektronn.volumes.hdf5 import make_hdf5, open_hdf5
from elektronn.volumes.npy import make_npy, open_npy
from elektronn.volumes.replaceable import require_replaceable
from elektronn.volumes.stored import Array, Plan, Reindexed, Stored, reading
from elektronn.volumes.tiff import open_tiff
from elektronn.volumes.zarr_store import make_zarr, open_zarr

OPENERS = {"hdf5": open_hdf5, "zarr": open_zarr, "npy": open_npy, "tiff": open_tiff}
"""Format → what opens an array of it, with what the file says about it."""
MAKERS = {"hdf5": make_hdf5, "zarr": make_zarr, "npy": make_npy}
"""Format → what makes an array of it."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Volume:
    """An open volume: reads boxes as ``zyx`` or ``czyx`` arrays whatever the order on disk.

    Attributes:
        address: where it came from.
        stored: the array on disk, read lazily.
        axes: order of the axes on disk, such as ``zyx`` or ``cxyz``.
        part: the box (in the coordinates on disk, zyx) that this volume is.
        voxel_nm: voxel size z, y, x in nanometres; ``None`` where nobody said.
        origin_nm: position z, y, x of the centre of this volume's first voxel, nanometres; ``None`` where nobody said.
        attributes: what the file says about itself.
    """

    address: Address
    stored: Stored
    axes: str
    part: Box
    voxel_nm: Triple | None
    origin_nm: Triple | None
    attributes: Mapping[str, Any]

    @property
    def size(self) -> Size:
        """Spatial extent z, y, x, voxels."""
        return self.part.size

    @property
    def channels(self) -> int:
        """Number of channels; 1 without a channel axis."""
        return self.stored.shape[self.axes.index("c")] if "c" in self.axes else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value, in the byte order of this machine."""
        dtype: np.dtype[Any] = np.dtype(self.stored.dtype)
        return dtype.newbyteorder("=")

    @property
    def chunks(self) -> Size | None:
        """What the file stores in one piece, zyx, voxels; ``None`` where it has no such pieces."""
        chunks = getattr(self.stored, "chunks", None)
        return Size(*(chunks[self.axes.index(letter)] for letter in "zyx")) if chunks else None

    def position_nm(self, voxel: Iterable[int]) -> Triple | None:
        """Position z, y, x of a voxel's centre in space, nanometres; ``None`` where the file does not say."""
        if self.voxel_nm is None or self.origin_nm is None:
            return None
        z, y, x = (o + n * v for o, n, v in zip(self.origin_nm, voxel, self.voxel_nm))
        return z, y, x

    def read(self, box: Box | None = None, order: str = "zyx") -> Array:
        """Read a box (in this volume's coordinates) as a contiguous array in ``order``.

        Raises:
            DataError: the file breaks off or is damaged, or ``zyx`` was asked of a volume of several channels.
        """
        check_channels(self, order)
        box = box or whole(self.size)
        assert box.within(self.size) == box, f"{box} reaches outside {self.size}"
        place = box.shifted(self.part.start)
        spans = dict(zip("zyx", place.slices))
        if "c" not in order and "c" in self.axes:
            index = tuple(0 if letter == "c" else spans[letter] for letter in self.axes)
            source = self.axes.replace("c", "")
        else:
            index = tuple(spans.get(letter, slice(None)) for letter in self.axes)
            source = self.axes
        with reading(self.address):
            values = np.asarray(self.stored[index])
        return np.ascontiguousarray(reorder(values, source, order), dtype=self.dtype)


def check_channels(volume: Volume, order: str) -> None:
    """Refuse to choose one of several channels.

    Raises:
        DataError: ``order`` has no ``c`` and the volume has several channels.
    """
    if "c" not in order and volume.channels > 1:
        raise DataError(
            f"{volume.address}: has {volume.channels} channels where one was expected; name a volume of one channel"
        )


@contextmanager
def open_volume(address: Address, axes: str | None = None, voxel_nm: Triple | None = None) -> Iterator[Volume]:
    """Open a volume for reading.

    Args:
        address: file, key and crop.
        axes: order on disk; by default what the address says, then what the file says, else ``zyx`` (3 axes) or
            ``czyx`` (4 axes).
        voxel_nm: voxel size zyx where the file does not say one.

    Raises:
        DataError: no such file or key, not a volume, damaged.
    """
    with _stored(address) as (stored, attributes):
        yield _volume(address, stored, attributes, axes or address.axes, voxel_nm)


def load_raw(address: Address) -> Array:
    """An array of any number of axes as it lies on disk: labels of sections, masks of classes.

    Raises:
        DataError: no such file or key, damaged.
    """
    with _stored(address) as (stored, _), reading(address):
        return np.asarray(stored[...])


@contextmanager
def _stored(address: Address) -> Iterator[tuple[Stored, Mapping[str, Any]]]:
    if address.layout:
        raise ConfigError(f"{address}: @{address.layout} is for a store to be made; leave it out where one is read")
    if not address.files:
        raise DataError(
            f"{address.path}: no such file; check the path, or set ELEKTRONN_DATA to the folder that holds it"
        )
    with OPENERS[address.format](address) as found:
        yield found


def _volume(
    address: Address, stored: Stored, attributes: Mapping[str, Any], axes: str, voxel_nm: Triple | None
) -> Volume:
    said = _text(attributes.get("axes")) or ""
    stored, said = _spatial(address, stored, said, axes)
    if len(stored.shape) not in (3, 4):
        raise DataError(
            f"{address}: has {len(stored.shape)} axes {tuple(stored.shape)}; a volume has 3 (zyx) or 4 (czyx): "
            "name another key, or store it with an axis of length 1"
        )
    order = _order(address, axes or said or "czyx"[-len(stored.shape) :], stored.shape)
    if np.dtype(stored.dtype).kind not in "buif":
        raise DataError(f"{address}: holds {stored.dtype}, not numbers; name another key, or store integers or floats")
    size = Size(*(stored.shape[order.index(letter)] for letter in "zyx"))
    if min(stored.shape) < 1:
        raise DataError(f"{address}: is empty {tuple(stored.shape)}; write the data again")
    told = attributes.get("voxel_nm")
    voxel = voxel_nm if told is None else _voxel(address, told)
    part = address.box(size)
    origin = attributes.get("origin_nm") if voxel else None
    if voxel and origin is not None:
        z, y, x = (float(o) + n * v for o, n, v in zip(origin, part.start, voxel))
        origin = (z, y, x)
    return Volume(address, stored, order, part, voxel, origin, attributes)


def _spatial(address: Address, stored: Stored, said: str, given: str) -> tuple[Stored, str]:
    """The array, and its axes by the file's own words, without time and with z; as it is where others are given."""
    shape = tuple(stored.shape)
    fits = len(said) == len(shape) == len(set(said)) and set(said) <= set("tczyx") and {"y", "x"} <= set(said)
    if not fits or (given and len(given) == len(shape)) or ("z" in said and "t" not in said):
        return stored, said
    if "t" in said and shape[said.index("t")] != 1:
        raise DataError(
            f"{address}: axes {said} {shape} have {shape[said.index('t')]} points in time, and a volume has one; "
            "store one of them, or write @zyx behind the address if that axis is z"
        )
    seen = Reindexed(stored, said)
    return seen, seen.axes


def _order(address: Address, order: str, shape: tuple[int, ...]) -> str:
    try:
        fits = len(check_order(order)) == len(shape)
    except ConfigError as error:
        raise DataError(f"{address}: {error}") from None
    if not fits:
        raise DataError(
            f"{address}: axes '{order}' do not fit the {len(shape)} axes of shape {tuple(shape)}; "
            "correct them in the table of volumes, behind @ or in the file"
        )
    return order


def _voxel(address: Address, said: Any) -> Triple:
    try:
        z, y, x = (float(n) for n in said)
    except (TypeError, ValueError):
        z = y = x = 0.0
    if not all(0 < n < np.inf for n in (z, y, x)):
        raise DataError(
            f"{address}: attribute voxel_nm is {said!r}; correct it in the file: three lengths z, y, x above 0"
        )
    return z, y, x


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else (str(value) if isinstance(value, str) else None)


def load(address: Address, axes: str | None = None, order: str = "zyx") -> Array:
    """Read a whole volume into memory in ``order``."""
    with open_volume(address, axes) as volume:
        return volume.read(order=order)


def load_labels(address: Address, image: Size, axes: str | None = None) -> Array:
    """Read labels (``zyx``); an empty array stands for labels that are 0 all over the image.

    Args:
        address: labels, or an array of size 0 of any shape.
        image: size zyx of the image that they belong to.
        axes: order on disk, as in :func:`open_volume`.

    Source:
        ELEKTRONN 1 takes a label data set of size 0 as a cube without a single object.
    """
    with _stored(address) as (stored, _):
        if 0 in stored.shape:
            return np.zeros(image, np.int16)
    return load(address, axes)


class Sink(Protocol):
    """A volume that is being written; boxes in zyx, values zyx or czyx as created."""

    def write(self, box: Box, values: Array) -> None:
        """Store ``values`` at ``box``."""


@dataclass(frozen=True)
class _Store:
    target: Any
    channels: bool
    path: Path

    def write(self, box: Box, values: Array) -> None:
        with storage(self.path):
            self.target[(slice(None), *box.slices) if self.channels else box.slices] = values


@contextmanager
def create_volume(
    address: Address,
    shape: tuple[int, ...],
    dtype: Any,
    *,
    voxel_nm: Triple | None = None,
    offset_vox: tuple[int, int, int] | None = None,
    origin_nm: Triple | None = None,
    attributes: Mapping[str, Any] | None = None,
    chunks: tuple[int, int, int] = (32, 128, 128),
) -> Iterator[Sink]:
    """Create a volume that appears whole when the block ends without a failure.

    Args:
        address: target; ``.zarr`` becomes OME-NGFF 0.5 (zarr v3), or 0.4 (zarr v2) with ``@ngff0.4`` behind it,
            ``.h5`` a compressed data set (key ``data`` if none is given), ``.npy`` a plain array.
        shape: zyx or czyx.
        dtype: type of a value.
        voxel_nm: voxel size zyx, nanometres.
        offset_vox: position of this volume's first voxel in the image it belongs to, zyx, voxels; ``None``: unknown.
        origin_nm: position of the first voxel's centre in space, zyx, nanometres; ``None``: offset × voxel size.
        attributes: plain data stored with the array.
        chunks: zyx, voxels.

    Raises:
        ConfigError: nothing can be written to the address; see :func:`check_target`.
        StorageError: disk full or no permission.
    """
    check_target(address)
    shape = tuple(shape)  # a Size would be written by name into the header of an .npy file
    facts = {"axes": "czyx"[-len(shape) :], **(attributes or {})}
    places = {"offset_vox": offset_vox, "voxel_nm": voxel_nm, "origin_nm": origin_nm}
    facts |= {name: list(triple) for name, triple in places.items() if triple is not None}
    with writing(address.path) as part:
        plan = Plan(part, address.key, shape, np.dtype(dtype), facts, chunks, address.layout)
        with MAKERS[address.format](plan) as target:
            yield _Store(target, len(shape) == 4, address.path)


def check_target(address: Address) -> None:
    """Refuse an address that nothing can be written to.

    Raises:
        ConfigError: a format that is only read, a part of a volume, an order of axes, a key in an ``.npy`` file, or a
            file that holds something else than an earlier output of this name.
    """
    if address.format not in MAKERS:
        raise ConfigError(f"{address}: TIFF files are read only; name an output ending .zarr, .h5 or .npy")
    if address.crop:
        raise ConfigError(f"{address}: an output has no [part]; leave it out")
    if address.axes:
        raise ConfigError(f"{address}: an output is written in the order zyx (czyx); leave @{address.axes} out")
    if address.format == "npy" and address.key:
        raise ConfigError(f"{address}: an .npy file holds one array and has no key '{address.key}'; leave the key out")
    require_replaceable(address)


def triple_of(volume: Volume, name: str) -> Size:
    """Three whole numbers zyx, voxels, that a volume says about itself, such as ``offset_vox``.

    Raises:
        DataError: the attribute holds something else.
    """
    try:
        z, y, x = (int(n) for n in volume.attributes[name])
    except (TypeError, ValueError):
        raise DataError(
            f"{volume.address}: attribute {name} is {volume.attributes[name]!r}; expected three whole numbers z, y, x"
        ) from None
    return Size(z, y, x)
