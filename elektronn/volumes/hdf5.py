"""HDF5 files. The library crashes when it must close a new file on a full disk; this one lets it close."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elektronn.errors import DataError
from elektronn.volumes.address import Address
from elektronn.volumes.stored import Facts, Plan, Stored, key_of, reading

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Patient(io.FileIO):
    """A file that keeps its first failure to itself, and from then on only pretends to write.

    Attributes:
        failure: what the operating system said, or ``None``.
    """

    failure: OSError | None = None

    def write(self, values: ReadableBuffer) -> int:
        """Write all of ``values``."""
        rest = memoryview(values).cast("B")
        size = len(rest)
        while self.failure is None and rest:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Cut or lengthen the file."""
        try:
            return super().truncate(size) if self.failure is None else (size or 0)
        except OSError as error:
            self.failure = error
            return size or 0

    def complain(self) -> None:
        """Raise the failure if there was one."""
        if self.failure is not None:
            raise self.failure


@contextmanager
def create_hdf5(path: Path) -> Iterator[tuple[Any, Patient]]:
    """A new HDF5 file, and the file under it, whose ``complain`` says whether what was written so far has arrived.

    Raises:
        OSError: not all could be written, for instance because the disk is full.
    """
    import h5py

    with Patient(path, "w+") as raw:
        with h5py.File(raw, "w", track_order=True) as file:
            yield file, raw
        raw.complain()


class Watched:
    """A data set that tells at every write whether it arrived."""

    def __init__(self, data: Any, raw: Patient) -> None:
        self.data, self.raw = data, raw

    def __setitem__(self, index: Any, values: Any) -> None:
        self.data[index] = values
        self.raw.complain()


@contextmanager
def open_hdf5(address: Address) -> Iterator[tuple[Stored, Facts]]:
    """A data set of an HDF5 file, and its attributes.

    Raises:
        DataError: not an HDF5 file, cut off, no such key.
    """
    import h5py

    with reading(address):
        if not h5py.is_hdf5(address.path):
            raise DataError(f"{address.path}: is not an HDF5 file; correct the path, or copy the file again")
        file = h5py.File(address.path, "r")
    with file:
        names: list[str] = []
        with reading(address):
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            data = file[key_of(address, names)]
            facts = dict(data.attrs)
        yield data, facts


@contextmanager
def make_hdf5(plan: Plan) -> Iterator[Watched]:
    """A new HDF5 file with one compressed data set (key ``data`` if none is given)."""
    with create_hdf5(plan.part) as (file, raw):
        lead = (1,) * (len(plan.shape) - 3)
        cut = tuple(min(c, n) for c, n in zip(lead + plan.chunks, plan.shape))
        data = file.create_dataset(
            plan.key or "data",
            plan.shape,
            plan.dtype,
            chunks=cut,
            compression="gzip",
            compression_opts=1,
            track_times=False,
        )
        for name, value in plan.facts.items():
            data.attrs[name] = value
        yield Watched(data, raw)


def holds(address: Address) -> bool:
    """Whether an HDF5 file has the data set that an address names.

    Raises:
        DataError: the file cannot be read.
    """
    import h5py

    with reading(address), h5py.File(address.path) as file:
        return address.key in file
