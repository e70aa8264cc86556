"""TIFF: files of many sections, and folders of files of one section each. Read only, section by section."""

from __future__ import annotations

import logging
import re
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from lzma import LZMAError
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from elektronn.errors import DataError
from elektronn.volumes.address import Address
from elektronn.volumes.stored import Array, Facts, Stored, key_of, reading
from elektronn.volumes.tiff_facts import axes_of, facts_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

_Region = tuple[slice | int, ...]
DAMAGE = (ArithmeticError, AttributeError, IndexError, LZMAError, MemoryError, TypeError, struct.error, zlib.error)
"""What damaged tags and strips also lead to."""


@contextmanager
def open_tiff(address: Address) -> Iterator[tuple[Stored, Facts]]:
    """The image of a TIFF file, or the sections of a folder as one image; and its axes and voxel size.

    What is not compressed is mapped into memory, everything else is decoded strip by strip (tile by tile) when it
    is asked for. Axes and voxel size are those of ImageJ and OME metadata; pages that say nothing are sections.

    Raises:
        DataError: not TIFF, cut off, several images and no key, sections missing or unlike one another.
    """
    if address.is_stack:
        if address.key:
            raise DataError(f"{address.path}: a stack of files has no key '{address.key}'; leave the key out")
        yield _stack(address)
        return
    with _series(address) as (file, series):
        with reading(address, *DAMAGE):
            facts = facts_of(file, series)
        yield _Image(address, _array(address, file, series)), facts


@contextmanager
def _series(address: Address) -> Iterator[tuple[TiffFile, TiffPageSeries]]:
    """An open file, and the image of it that is meant."""
    from tifffile import TiffFile, TiffFileError

    with _Complaints() as complaints:
        with reading(address, TiffFileError, *DAMAGE):
            file = TiffFile(address.path)
        with file:
            with reading(address, TiffFileError, *DAMAGE):
                found = file.series
                complaints.check()
                chosen = found[int(key_of(address, [str(i) for i in range(len(found))]))]
            yield file, chosen


class _Complaints(logging.Handler):
    """Collects what the library only logs, in this thread: it would show the rest of a file that is cut off as if it were all."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep errors, and warnings about images of which parts are missing."""
        text = record.getMessage()
        if record.thread == self._thread and (record.levelno >= logging.ERROR or " series" in text):
            self._texts.append(re.sub(r"^<[^>]*> ", "", text))

    def check(self) -> None:
        """Raise the first complaint."""
        if self._texts:
            raise ValueError(self._texts[0])

    def __enter__(self) -> Self:
        logging.getLogger("tifffile").addHandler(self)
        return self

    def __exit__(self, *failure: object) -> None:
        logging.getLogger("tifffile").removeHandler(self)


def _array(address: Address, file: TiffFile, series: TiffPageSeries) -> Stored:
    """The image, mapped into memory where it lies in one piece, else a zarr array over its strips or tiles."""
    import zarr

    own = series.keyframe.parent is file and not series.is_multifile
    with reading(address, *DAMAGE):
        if own and series.dataoffset is not None and series.transform is None:
            dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
            return np.memmap(address.path, dtype, "r", series.dataoffset, series.shape)
        array: Stored = zarr.open_array(series.aszarr(level=0), mode="r")
        return array


@dataclass(frozen=True)
class _Image:
    """One image; what goes wrong when it is read names its file."""

    address: Address
    stored: Stored

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    @property
    def dtype(self) -> Any:
        return self.stored.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return getattr(self.stored, "chunks", None)

    def __getitem__(self, index: _Region) -> Array:
        from tifffile import TiffFileError

        with reading(self.address, TiffFileError, *DAMAGE):
            return np.asarray(self.stored[index])


@dataclass(frozen=True)
class _Stack:
    """Files of one section each, as one array with the sections first."""

    address: Address
    files: Sequence[Path]
    section: tuple[int, ...]
    dtype: Any
    inner: tuple[int, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.files), *self.section)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return self.inner and (1, *self.inner)

    def __getitem__(self, index: tuple[slice, *_Region]) -> Array:
        wanted = range(len(self.files))[index[0]]
        return np.stack([self._read(self.files[i], index[1:]) for i in wanted])

    def _read(self, file: Path, index: _Region) -> Array:
        address = replace(self.address, path=file)
        with _series(address) as (opened, series):
            if series.shape != self.section or series.dtype != self.dtype:
                raise DataError(
                    f"{file}: section is {series.shape} {series.dtype}, the first of the stack ({self.files[0].name}) "
                    f"is {self.section} {self.dtype}; make them alike, or name the files of one stack only"
                )
            return _Image(address, _array(address, opened, series))[index]


def _stack(address: Address) -> tuple[Stored, Facts]:
    """The sections of a folder, with the axes of the first of them."""
    files = address.files
    _check_numbers(address, files)
    first = replace(address, path=files[0])
    with _series(first) as (opened, series):
        axes = axes_of(series.axes)
        if "z" in axes or "t" in axes:
            raise DataError(
                f"{files[0]}: holds {series.shape[0]} sections, and in a stack of files each holds one; name one file"
            )
        chunks = getattr(_array(first, opened, series), "chunks", None)
        stack = _Stack(address, files, series.shape, series.dtype, chunks)
    return stack, {"axes": "z" + axes}


def _check_numbers(address: Address, files: Sequence[Path]) -> None:
    """Where the names differ in one number only, its steps must be equal: no section may be missing in between."""
    parts = [re.split(r"(\d+)", file.name) for file in files]
    if len({len(part) for part in parts}) != 1:
        return
    varying = [column for column in zip(*parts) if len(set(column)) > 1]
    if len(varying) != 1 or not all(text.isdigit() for text in varying[0]):
        return
    numbers = [int(text) for text in varying[0]]
    steps = [b - a for a, b in pairwise(numbers)]
    for file, step in zip(files, steps):
        if step != min(steps):
            raise DataError(
                f"{address}: the section after {file.name} is missing (next number {step} on, elsewhere {min(steps)}); "
                "put it there, or number the files without a gap"
            )
