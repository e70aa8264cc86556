"""Open and create volumes: HDF5, zarr and ``.npy`` behind one small reading and one writing object."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import storage, writing
from elektronn.axes import Box, Size, check_order, reorder, whole
from elektronn.errors import ConfigError, DataError
from elektronn.registry import nearest
from elektronn.volumes.address import Address
from elektronn.volumes.hdf5 import Watched, create_hdf5
from elektronn.volumes.ngff import Shardwise, ngff

Array = NDArray[Any]


class Stored(Protocol):
    """What h5py data sets, zarr arrays and numpy arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per axis."""

    @property
    def dtype(self) -> Any:
        """Type of a value."""

    def __getitem__(self, index: Any) -> Any: ...


@dataclass(frozen=True)
class Volume:
    """An open volume: reads boxes as ``zyx`` or ``czyx`` arrays whatever the order on disk.

    Attributes:
        address: where it came from.
        stored: the array on disk, read lazily.
        axes: order of the axes on disk, such as ``zyx`` or ``cxyz``.
        part: the box (in the coordinates on disk, zyx) that this volume is.
        voxel_nm: voxel size z, y, x in nanometres; ``None`` where nobody said.
        attributes: what the file says about itself.
    """

    address: Address
    stored: Stored
    axes: str
    part: Box
    voxel_nm: tuple[float, float, float] | None
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
        """Type on disk."""
        dtype: np.dtype[Any] = np.dtype(self.stored.dtype)
        return dtype

    def read(self, box: Box | None = None, order: str = "zyx") -> Array:
        """Read a box (in this volume's coordinates) as a contiguous array in ``order``.

        Raises:
            DataError: the file breaks off or is damaged, or ``zyx`` was asked of a volume of several channels.
        """
        if order == "zyx" and self.channels > 1:
            raise DataError(
                f"{self.address}: has {self.channels} channels where one was expected; name a volume of one channel"
            )
        place = (box or whole(self.size)).shifted(self.part.start)
        spans = dict(zip("zyx", place.slices))
        if "c" not in order and "c" in self.axes:
            index = tuple(0 if letter == "c" else spans[letter] for letter in self.axes)
            source = self.axes.replace("c", "")
        else:
            index = tuple(spans.get(letter, slice(None)) for letter in self.axes)
            source = self.axes
        with reading(self.address):
            values = np.asarray(self.stored[index])
        return np.ascontiguousarray(reorder(values, source, order))


@contextmanager
def reading(address: Address, *more: type[Exception]) -> Iterator[None]:
    """Turn what the storage libraries raise on damaged files (``more`` as well) into a DataError with a cure."""
    expected: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError, KeyError, EOFError, *more)
    try:
        yield
    except expected as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise DataError(
            f"{address}: cannot be read ({reason}); the file may be cut off or damaged: copy it again"
        ) from error


@contextmanager
def open_volume(
    address: Address, axes: str | None = None, voxel_nm: tuple[float, float, float] | None = None
) -> Iterator[Volume]:
    """Open a volume for reading.

    Args:
        address: file, key and crop.
        axes: order on disk; by default what the address says, then what the file says, else ``zyx`` (3 axes) or
            ``czyx`` (4 axes).
        voxel_nm: voxel size zyx where the file does not say one.

    Raises:
        DataError: no such file or key, not a volume, damaged.
    """
    if not address.path.exists():
        raise DataError(
            f"{address.path}: no such file; check the path, or set ELEKTRONN_DATA to the folder that holds it"
        )
    with _OPENERS[address.format](address) as (stored, attributes):
        yield _volume(address, stored, attributes, axes or address.axes or None, voxel_nm)


def _volume(
    address: Address,
    stored: Stored,
    attributes: Mapping[str, Any],
    axes: str | None,
    voxel_nm: tuple[float, float, float] | None,
) -> Volume:
    if len(stored.shape) not in (3, 4):
        raise DataError(
            f"{address}: has {len(stored.shape)} axes {tuple(stored.shape)}; a volume has 3 (zyx) or 4 (czyx): "
            "name another key, or store it with an axis of length 1"
        )
    order = _order(address, axes or _text(attributes.get("axes")) or "czyx"[-len(stored.shape) :], stored.shape)
    if np.dtype(stored.dtype).kind not in "buif":
        raise DataError(f"{address}: holds {stored.dtype}, not numbers; name another key, or store integers or floats")
    size = Size(*(stored.shape[order.index(letter)] for letter in "zyx"))
    if min(stored.shape) < 1:
        raise DataError(f"{address}: is empty {tuple(stored.shape)}; write the data again")
    said = attributes.get("voxel_nm")
    triple = voxel_nm if said is None else _voxel(address, said)
    return Volume(address, stored, order, address.box(size), triple, attributes)


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


def _voxel(address: Address, said: Any) -> tuple[float, float, float]:
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


@contextmanager
def _hdf5(address: Address) -> Iterator[tuple[Stored, Mapping[str, Any]]]:
    import h5py

    with reading(address):
        if not h5py.is_hdf5(address.path):
            raise DataError(f"{address.path}: is not an HDF5 file; correct the path, or copy the file again")
        file = h5py.File(address.path, "r")
    with file:
        names: list[str] = []
        with reading(address):
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            data = file[_key(address, names, names)]
            attributes = dict(data.attrs)
        yield data, attributes


def _key(address: Address, names: Sequence[str], default: Sequence[str]) -> str:
    """The key that is meant: the given one, else the only one of ``default``."""
    if not names:
        raise DataError(f"{address.path}: holds no array; correct the path, or write the data again")
    if not address.key and len(default) != 1:
        raise DataError(f"{address.path}: holds several arrays ({', '.join(names)}); name one: {address.path}:KEY")
    key = address.key or default[0]
    if key not in names:
        raise DataError(f"{address.path}: no array '{key}': {nearest(key, names)}")
    return key


@contextmanager
def _zarr(address: Address) -> Iterator[tuple[Stored, Mapping[str, Any]]]:
    import zarr

    with reading(address, TypeError, AttributeError):
        node: Any = zarr.open(address.path, mode="r")
        attributes = dict(node.attrs)
        if isinstance(node, zarr.Group):
            node = _zarr_array(address, node)
            attributes |= dict(node.attrs)
        elif address.key:
            raise DataError(f"{address.path}: is an array itself and has no key '{address.key}'; leave the key out")
        attributes |= dict(attributes.get("elektronn", {}))
    yield node, attributes


def _zarr_array(address: Address, group: Any) -> Any:
    """The array of a group; groups are only listed when it is not where it should be, which is slow and warns."""
    import zarr

    found = group.get(address.key or "0")
    if isinstance(found, zarr.Array):
        return found
    names = sorted(name for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array))
    return group[_key(address, names, names)]


@contextmanager
def _npy(address: Address) -> Iterator[tuple[Stored, Mapping[str, Any]]]:
    if address.key:
        raise DataError(
            f"{address.path}: an .npy file holds one array and has no key '{address.key}'; leave the key out"
        )
    with reading(address):
        try:
            array = np.lib.format.open_memmap(address.path, mode="r")
        except ValueError as error:
            if "Python objects" in str(error):
                raise DataError(
                    f"{address.path}: holds Python objects, not numbers; save it again as integers or floats"
                ) from None
            raise
    yield array, {}


_OPENERS = {"hdf5": _hdf5, "zarr": _zarr, "npy": _npy}


def load(address: Address, axes: str | None = None, order: str = "zyx") -> Array:
    """Read a whole volume into memory in ``order``."""
    with open_volume(address, axes) as volume:
        return volume.read(order=order)


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
    voxel_nm: tuple[float, float, float] | None = None,
    offset_vox: tuple[int, int, int] | None = None,
    attributes: Mapping[str, Any] | None = None,
    chunks: tuple[int, int, int] = (32, 128, 128),
) -> Iterator[Sink]:
    """Create a volume that appears whole when the block ends without a failure.

    Args:
        address: target; ``.zarr`` becomes OME-NGFF 0.5 (zarr v3), ``.h5`` a compressed data set
            (key ``data`` if none is given), ``.npy`` a plain array.
        shape: zyx or czyx.
        dtype: type of a value.
        voxel_nm: voxel size zyx, nanometres.
        offset_vox: position of this volume's first voxel in the image it belongs to, zyx, voxels; ``None``: unknown.
        attributes: plain data stored with the array.
        chunks: zyx, voxels.

    Raises:
        StorageError: disk full or no permission.
    """
    if address.crop:
        raise ConfigError(f"{address}: an output has no [part]; leave it out")
    shape = tuple(shape)  # a Size would be written by name into the header of an .npy file
    said = {"axes": "czyx"[-len(shape) :], **(attributes or {})}
    if offset_vox is not None:
        said["offset_vox"] = list(offset_vox)
    if voxel_nm is not None:
        said["voxel_nm"] = list(voxel_nm)
    with writing(address.path) as part:
        maker = {"hdf5": _create_hdf5, "zarr": _create_zarr, "npy": _create_npy}[address.format]
        with maker(part, address.key, shape, np.dtype(dtype), said, chunks) as target:
            yield _Store(target, len(shape) == 4, address.path)


@contextmanager
def _create_hdf5(
    part: Path,
    key: str,
    shape: tuple[int, ...],
    dtype: Any,
    said: Mapping[str, Any],
    chunks: tuple[int, int, int],
) -> Iterator[Any]:
    with create_hdf5(part) as (file, raw):
        cut = tuple(min(c, n) for c, n in zip(((1,) if len(shape) == 4 else ()) + chunks, shape))
        data = file.create_dataset(
            key or "data", shape, dtype, chunks=cut, compression="gzip", compression_opts=1, track_times=False
        )
        for name, value in said.items():
            data.attrs[name] = value
        yield Watched(data, raw)


@contextmanager
def _create_zarr(
    part: Path,
    key: str,
    shape: tuple[int, ...],
    dtype: Any,
    said: Mapping[str, Any],
    chunks: tuple[int, int, int],
) -> Iterator[Any]:
    import zarr
    from zarr.codecs import ZstdCodec

    lead = (1,) if len(shape) == 4 else ()
    group = zarr.open_group(part, mode="w", zarr_format=3)
    group.attrs.update({"ome": ngff(said, key or "0", len(shape)), "elektronn": dict(said)})
    array = group.create_array(
        key or "0",
        shape=shape,
        dtype=dtype,
        chunks=lead + chunks,
        shards=lead + tuple(c * max(1, min(4, -(-n // c))) for c, n in zip(chunks, shape[-3:])),
        compressors=ZstdCodec(level=1),
        dimension_names=list("czyx"[-len(shape) :]),
    )
    yield Shardwise(array)


@contextmanager
def _create_npy(
    part: Path,
    key: str,
    shape: tuple[int, ...],
    dtype: Any,
    said: Mapping[str, Any],
    chunks: tuple[int, int, int],
) -> Iterator[Any]:
    if key:
        raise ConfigError(f"an .npy file holds one array and has no key '{key}'; leave the key out")
    array = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
    with part.open("r+b") as file:
        # a full disk under a memory map would kill the process instead of raising an error
        os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
    yield array
    array.flush()
