"""How the chunks of a zarr array lie in a local folder, for the arrays whose chunks can be read without the library."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from elektronn.volumes.stored import Array

Index = tuple[int, ...]
Decoder = Callable[[bytes], Any]

CODECS = ("zstd", "blosc", "gzip", "zlib")
ABSENT = 2**64 - 1
"""Place and length of a chunk that its shard does not hold."""
BLOSC_HEADER = 16


class CutOffError(ValueError):
    """A chunk ends too early, and the library would not notice."""


@dataclass(frozen=True)
class Table:
    """Where the chunks of a shard lie in its file.

    Attributes:
        counts: chunks per shard.
        is_last: whether the table is at the end of the file, else at its beginning.
        is_checked: whether its checksum follows it.

    Source:
        https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
    """

    counts: Index
    is_last: bool
    is_checked: bool

    def read(self, file: FileIO, end: int) -> Array:
        """Place and length of each chunk, bytes; ``end`` is the length of the file.

        Raises:
            ValueError: the file is shorter than its table, or the checksum is another.
        """
        from google_crc32c import value as checksum

        size = 16 * prod(self.counts)
        length = size + 4 * self.is_checked
        raw = bytes_of(file, end - length if self.is_last else 0, length, end)
        if self.is_checked and checksum(raw[:size]) != int.from_bytes(raw[size:], "little"):
            raise ValueError("the checksum of a shard's table is wrong")
        return np.frombuffer(raw, "<u8", size // 8).reshape(*self.counts, 2)


@dataclass(frozen=True)
class Layout:
    """What must be known to find and to decode the chunks of an array.

    Attributes:
        folder: of the array.
        file: extent of what one file holds: a chunk, or a shard of several.
        chunk: extent of what is decoded at once.
        dtype: of a value.
        fill: the value where no chunk is.
        name: of the file at a place in the grid of files.
        decode: from the bytes of a chunk to those of its values.
        table: of a shard.
    """

    folder: Path
    file: Index
    chunk: Index
    dtype: np.dtype[Any]
    fill: Any
    name: Callable[[Index], str]
    decode: Decoder
    table: Table | None


def bytes_of(file: FileIO, start: int, length: int, end: int) -> bytes:
    """Bytes of a file of length ``end``; any number of threads may ask.

    Raises:
        ValueError: the file does not hold them.
    """
    found = os.pread(file.fileno(), length, start) if 0 <= start <= end - length else b""
    if len(found) != length:
        raise ValueError(f"bytes {start} to {start + length} are not in the file")
    return found


def layout_of(array: Any) -> Layout | None:
    """The layout of a zarr array; ``None`` where reading it is left to the library.

    Known are arrays of numbers in a local folder, in the order and bytes of this machine (little-endian), of version 2
    or 3, plain or in shards, compressed by one of ``CODECS`` or not at all, without filters and transposition.
    """
    from zarr.storage import LocalStore

    is_near = type(array.store) is LocalStore and hasattr(os, "pread") and sys.byteorder == "little"
    dtype: np.dtype[Any] = np.dtype(array.dtype)
    if not is_near or not array.shape or dtype.kind not in "buif" or not dtype.isnative:
        return None
    said = array.metadata.to_dict()
    found = _old(said) if said["zarr_format"] == 2 else _new(said)
    if found is None:
        return None
    file, chunk, decode, table = found
    fill = dtype.type(0) if array.fill_value is None else array.fill_value
    folder, name = Path(array.store.root) / array.path, array.metadata.encode_chunk_key
    return Layout(folder, file, chunk, dtype, fill, name, decode, table)


Found = tuple[Index, Index, Decoder, Table | None]


def _old(said: Mapping[str, Any]) -> Found | None:
    """Version 2."""
    codec, chunk = said["compressor"], tuple(said["chunks"])
    decode = _decoder([] if codec is None else [codec["id"]])
    is_known = decode is not None and said["order"] == "C" and not said["filters"]
    return (chunk, chunk, decode, None) if decode and is_known else None


def _new(said: Mapping[str, Any]) -> Found | None:
    """Version 3."""
    if said["chunk_grid"]["name"] != "regular" or said.get("storage_transformers"):
        return None
    file, codecs, table = tuple(said["chunk_grid"]["configuration"]["chunk_shape"]), said["codecs"], None
    chunk = file
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        shard = codecs[0]["configuration"]
        chunk, codecs, index = tuple(shard["chunk_shape"]), shard["codecs"], _behind_bytes(shard["index_codecs"])
        if index not in ([], ["crc32c"]):
            return None
        table = Table(tuple(n // c for n, c in zip(file, chunk)), shard["index_location"] == "end", bool(index))
    decode = _decoder(_behind_bytes(codecs))
    return (file, chunk, decode, table) if decode else None


def _behind_bytes(codecs: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Names of the codecs behind the one that makes little-endian bytes; ``None`` where another one is the first."""
    first, *others = codecs
    is_little = first["name"] == "bytes" and first.get("configuration", {}).get("endian", "little") == "little"
    return [one["name"] for one in others] if is_little else None


def _decoder(names: list[str] | None) -> Decoder | None:
    import numcodecs

    if names == []:
        return bytes
    if names is None or len(names) != 1 or names[0] not in CODECS:
        return None
    decode: Decoder = numcodecs.get_codec({"id": names[0]}).decode
    return partial(_blosc, decode) if names == ["blosc"] else decode


def _blosc(decode: Decoder, raw: bytes) -> Any:
    """What is decoded; the decoder believes the length in the header, and reads on in memory where the rest is missing.

    Source:
        https://github.com/Blosc/c-blosc/blob/main/README_HEADER.rst: bytes 12 to 15 are the length, little-endian.
    """
    if len(raw) < BLOSC_HEADER or int.from_bytes(raw[12:BLOSC_HEADER], "little") > len(raw):
        raise CutOffError(f"a chunk is cut off after {len(raw)} bytes")
    return decode(raw)
