"""What may be replaced by an output: nothing that holds more than an output of the same name would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from elektronn.errors import ConfigError
from elektronn.volumes.address import Address
from elektronn.volumes.ngff import levels, multiscale


def require_replaceable(address: Address) -> None:
    """Refuse to replace what is not an earlier output of the same name: a whole file goes when an output takes its place.

    An HDF5 file may be replaced if its only data set is the one that is named and says its axes, as ours do; a folder
    if it is an OME-NGFF image of ours with that name. A ``.npy`` file is one array, and is replaced like any file.

    Raises:
        ConfigError: something else is there.
    """
    look = {"hdf5": _in_hdf5, "zarr": _in_zarr}.get(address.format)
    if look is None or not address.path.exists():
        return
    if found := look(address):
        raise ConfigError(
            f"{address}: is there already and {found}, which would be lost; name another file, or remove it first"
        )


def _in_hdf5(address: Address) -> str:
    """What a file holds that no output of this name does; empty if there is nothing."""
    import h5py

    key, others, is_ours = address.key or "data", list[str](), False
    try:
        with h5py.File(address.path) as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            others = [name for name in names if name != key.strip("/")]
            is_ours = all("axes" in file[name].attrs for name in names)
    except OSError:
        return "is not an HDF5 file that can be read"
    if others:
        return f"holds {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}"
    return "" if is_ours else f"holds '{key}', which this program did not write"


def _in_zarr(address: Address) -> str:
    """The same of a folder."""
    if address.path.is_dir() and not any(address.path.iterdir()):
        return ""
    said: Mapping[str, Any] = {}
    with suppress(OSError, ValueError, KeyError):
        said = json.loads((address.path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    with suppress(OSError, ValueError, KeyError):
        said = json.loads((address.path / ".zattrs").read_text(encoding="utf-8"))
    image = multiscale(said) if "elektronn" in said else None
    if image is None:
        return "holds what this program did not write"
    finest = levels(image)[0]
    return "" if finest == (address.key or "0") else f"holds '{finest}'"
