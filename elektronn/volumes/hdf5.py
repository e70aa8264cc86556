"""HDF5 files for writing. The library crashes when it must close a file on a full disk; this one lets it close."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
