"""Central slabs of volumes without labels: what the previews of a training are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.geometry import Geometry
from elektronn.sampling.cubes import normalised
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import open_volume


@dataclass(frozen=True)
class Slab:
    """As much of a volume as some planes of a dense prediction need.

    Attributes:
        name: of the volume: its key, or that of its file; both where several would have the same.
        image: ``(c, z, y, x)``, values 0 to 1.
        z: section of the volume that the first predicted plane is.
    """

    name: str
    image: NDArray[np.float32]
    z: int


def slabs_of(volumes: Sequence[str], reach: Geometry, channels: int, planes: int) -> tuple[Slab, ...]:
    """Read the central slab of each volume.

    Args:
        volumes: addresses; an HDF5 file without a key stands for all its volumes, in the order of their keys.
        reach: of the network.
        channels: that the network takes.
        planes: of the prediction; fewer where a volume has not as many.

    Raises:
        DataError: a volume cannot be read.
        GeometryError: a volume is smaller than the field of view.
        ConfigError: a volume has other channels.
    """
    addresses = [one for said in volumes for one in _inside(parse_address(said))]
    names = [Path(address.key or address.path.stem).name for address in addresses]
    slabs = [_slab(address, name, reach, channels, planes) for address, name in zip(addresses, names)]
    return tuple(
        replace(slab, name=f"{address.path.stem}_{slab.name}") if names.count(slab.name) > 1 else slab
        for slab, address in zip(slabs, addresses)
    )


def _inside(address: Address) -> list[Address]:
    if address.key or address.format != "hdf5" or not address.path.is_file():
        return [address]
    with h5py.File(address.path) as file:
        found = {key: file[key].ndim for key in sorted(file) if isinstance(file[key], h5py.Dataset)}
    # the axes that were given are those of space
    axes = {3: address.axes, 4: f"c{address.axes}" if len(address.axes) == 3 else address.axes}
    return [replace(address, key=key, axes=axes[n]) for key, n in found.items() if n in axes] or [address]


def _slab(address: Address, name: str, reach: Geometry, channels: int, planes: int) -> Slab:
    with open_volume(address) as volume:
        size, field = volume.size, reach.field
        if any(n < f for n, f in zip(size, field)):
            raise GeometryError(
                f"{address}: {size} voxels are less than the field of view ({field}); take a larger volume"
            )
        if volume.channels != channels:
            raise ConfigError(f"{address}: has {volume.channels} channels, and the network takes {channels}")
        most = size.z - field.z + 1
        count = min(planes, most)
        first = (most - count) // 2
        part = volume.read(Box(Size(first, 0, 0), Size(first + field.z - 1 + count, *size[1:])), "czyx")
    image, scale = normalised(str(address), part)
    assert isinstance(image, np.ndarray)
    return Slab(name, image.astype(np.float32) * np.float32(scale), first + reach.offset.z)
