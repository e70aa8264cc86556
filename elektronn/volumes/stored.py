"""What the file formats have in common: arrays as they lie on disk, plans of arrays to be made, and their failures."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import DataError
from elektronn.registry import nearest
from elektronn.volumes.address import Address

Array = NDArray[Any]


class Stored(Protocol):
    """What h5py data sets, zarr arrays, TIFF stacks and numpy arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per axis."""

    @property
    def dtype(self) -> Any:
        """Type of a value."""

    def __getitem__(self, index: Any) -> Any: ...


Facts = Mapping[str, Any]
"""What a file says about its array: ``axes``, ``voxel_nm``, ``origin_nm``, and whatever else was stored with it."""


@dataclass(frozen=True)
class Plan:
    """An array to be made.

    Attributes:
        part: where to write it.
        key: its name inside the file; may be empty.
        shape: zyx or czyx.
        dtype: type of a value.
        facts: what to store beside it.
        chunks: zyx, voxels.
        layout: of a zarr store.
    """

    part: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    facts: Facts
    chunks: tuple[int, int, int]
    layout: str

    @property
    def axes(self) -> str:
        """``zyx`` or ``czyx``."""
        return "czyx"[-len(self.shape) :]


class Reindexed:
    """An array without its axes of time (one point), and with an axis z of length 1 where it has none.

    Attributes:
        stored: the array on disk.
        letters: its axes; ``t`` for time, others as usual.
    """

    def __init__(self, stored: Stored, letters: str) -> None:
        self.stored, self.letters = stored, letters
        self._kept = [axis for axis, letter in enumerate(letters) if letter != "t"]
        self._flat = "z" not in letters

    @property
    def axes(self) -> str:
        """The axes as seen from outside."""
        return "z" * self._flat + "".join(self.letters[axis] for axis in self._kept)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per axis."""
        return (1,) * self._flat + tuple(self.stored.shape[axis] for axis in self._kept)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Extent of what is read at once, where the file says it."""
        chunks = getattr(self.stored, "chunks", None)
        return chunks and (1,) * self._flat + tuple(chunks[axis] for axis in self._kept)

    @property
    def dtype(self) -> Any:
        """Type of a value."""
        return self.stored.dtype

    def __getitem__(self, index: tuple[Any, ...]) -> Any:
        inner: list[Any] = [0] * len(self.letters)
        for axis, part in zip(self._kept, index[self._flat :]):
            inner[axis] = part
        values = np.asarray(self.stored[tuple(inner)])
        return values[None][index[0]] if self._flat else values


def is_mapped(stored: Stored) -> bool:
    """Whether an array is a part of memory that the operating system fills from the file and may take back."""
    inner = getattr(stored, "stored", None)
    return isinstance(stored, np.memmap) if inner is None else is_mapped(inner)


CURES = (
    (
        r"<?([\w.: ]+?)>? requires the 'imagecodecs'",
        "is compressed as {}, which needs one more library; run `pip install imagecodecs`, or save the file again "
        "uncompressed or with ZIP (deflate)",
    ),
    (r"required filter '?([\w ]+)", "is compressed with the filter {}, which is not there; save it again with gzip"),
    (r"(Permission denied|unable to lock)", "cannot be read ({}); give yourself the right to read it, or copy it"),
    ("(.*)", "cannot be read ({}); the file may be cut off or damaged: copy it again"),
)
"""What a storage library says (the first that fits counts) → what we say, around the part in brackets."""


@contextmanager
def reading(address: Address, *more: type[Exception]) -> Iterator[None]:
    """Turn what the storage libraries raise on damaged files (``more`` as well) into a DataError with a cure."""
    usual = (OSError, RuntimeError, SystemError, ValueError, KeyError, EOFError, zlib.error)
    expected: tuple[type[Exception], ...] = (*usual, *more)
    try:
        yield
    except expected as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise DataError(f"{address}: {_cure(said)}") from error


def _cure(said: str) -> str:
    found, sentence = next((match, text) for sign, text in CURES if (match := re.search(sign, said)))
    return sentence.format(found[1])


def key_of(address: Address, names: Sequence[str]) -> str:
    """The key that is meant: the given one, else the only one of ``names``.

    Raises:
        DataError: no such key, or none given where there are several.
    """
    if not names:
        raise DataError(f"{address.path}: holds no array; correct the path, or write the data again")
    if not address.key and len(names) != 1:
        raise DataError(f"{address.path}: holds several arrays ({', '.join(names)}); name one: {address.path}:KEY")
    key = address.key or names[0]
    if key not in names:
        raise DataError(f"{address.path}: no array '{key}': {nearest(key, names)}")
    return key
