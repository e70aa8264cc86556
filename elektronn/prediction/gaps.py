"""Chunks that are not in the file of an image: parts that are empty, or what a copy that broke off left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from elektronn.errors import DataError
from elektronn.volumes.arrays import Volume
from elektronn.volumes.stored import Reindexed, reading
from elektronn.volumes.zarr_direct import Direct
from elektronn.volumes.zarr_layout import ABSENT, Index


@dataclass(frozen=True)
class Gaps:
    """Chunks that are not there.

    Attributes:
        image: of which.
        missing: how many.
        chunks: how many there should be, of the part that is predicted.
        first: place of the first voxel of the first one, in the order of the axes on disk.
        value: that they are read as.
    """

    image: str
    missing: int
    chunks: int
    first: Index
    value: Any

    def refuse(self) -> None:
        """Refuse to predict what may not be there.

        Raises:
            DataError: chunks are missing.
        """
        if self.missing:
            raise DataError(
                f"{self.image}: {self._counted}: if a copy broke off, copy the image again; if the image is empty there, "
                f"set predict.missing_chunks to fill, and they count as {self.value}"
            )

    @property
    def sentence(self) -> str:
        """What to warn of; empty where nothing is missing."""
        return f"{self._counted}; they count as {self.value}" if self.missing else ""

    @property
    def _counted(self) -> str:
        some = "chunk is" if self.missing == 1 else "chunks are"
        return f"{self.missing} of {self.chunks} {some} not in the file (the first at {self.first})"


def gaps(volume: Volume) -> Gaps:
    """The chunks of a zarr or HDF5 volume that are not in its file; other formats have none.

    Only the part that the address names is looked at. A chunk that is not there is not damage by itself: stores leave
    out what holds nothing but the fill value.

    Raises:
        DataError: the file is damaged.
    """
    stored, spans = _on_disk(volume)
    look = {"zarr": _of_zarr, "hdf5": _of_hdf5}.get(volume.address.format)
    if look is None or not all(
        hasattr(stored, name) for name in ("chunks", "fillvalue" if look is _of_hdf5 else "shards")
    ):
        return Gaps(str(volume.address), 0, 0, (), 0)
    extent = tuple(stored.chunks or stored.shape)
    wanted = [range(a // n, -(-b // n)) for (a, b), n in zip(spans, extent)]
    with reading(volume.address):
        missing, value = look(volume.address.path, stored, wanted)
        first = min(missing, default=())
    place = tuple(i * n for i, n in zip(first, extent))
    return Gaps(str(volume.address), len(missing), prod(map(len, wanted)), place, value)


def _on_disk(volume: Volume) -> tuple[Any, list[tuple[int, int]]]:
    """The array as the library gives it, and what of each of its axes is wanted."""
    stored: Any = volume.stored
    letters = volume.axes
    if isinstance(stored, Reindexed):
        stored, letters = stored.stored, stored.letters
    stored = stored.array if isinstance(stored, Direct) else stored
    spans = dict(zip("zyx", zip(*volume.part)))
    return stored, [spans.get(letter, (0, n)) for letter, n in zip(letters, stored.shape)]


def _of_zarr(store: Path, array: Any, wanted: Sequence[range]) -> tuple[list[Index], Any]:
    folder = store / array.path
    name: Callable[[Index], str] = array.metadata.encode_chunk_key
    value = array.fill_value.item() if array.fill_value is not None else 0
    if not array.shards:
        return [place for place in product(*wanted) if not (folder / name(place)).exists()], value
    counts = tuple(s // c for s, c in zip(array.shards, array.chunks))
    held = _shard_reader(array.metadata.codecs[0], counts)
    missing: list[Index] = []
    for shard in product(*(range(r.start // n, -(-r.stop // n)) for r, n in zip(wanted, counts))):
        inside = [range(max(0, r.start - i * n), min(n, r.stop - i * n)) for r, i, n in zip(wanted, shard, counts)]
        there = held(folder / name(shard))
        lost = (place for place in product(*inside) if not there[place])
        missing += [tuple(i * n + p for i, n, p in zip(shard, counts, place)) for place in lost]
    return missing, value


def _shard_reader(codec: Any, counts: Index) -> Callable[[Path], np.ndarray[Any, Any]]:
    """What tells which chunks a shard holds, from the table at its end or beginning.

    Source:
        https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html: pairs of place and length
        as 64-bit numbers, in the order of the chunks, as little-endian bytes unless the codecs of the table differ.
    """
    names = [type(one).__name__ for one in codec.index_codecs]
    size, end = 16 * prod(counts), 4 * ("Crc32cCodec" in names)
    at_end = codec.index_location.value == "end"
    is_big = any(getattr(getattr(one, "endian", None), "value", "little") == "big" for one in codec.index_codecs)

    def held(file: Path) -> np.ndarray[Any, Any]:
        try:
            with file.open("rb") as opened:
                if at_end:
                    opened.seek(-size - end, 2)
                table = np.frombuffer(opened.read(size), ">u8" if is_big else "<u8")
        except FileNotFoundError:
            return np.zeros(counts, bool)
        except OSError:  # shorter than its table; the damage shows when the chunk is read
            return np.ones(counts, bool)
        return np.asarray(table.reshape(*counts, 2)[..., 0] != ABSENT)

    return held


def _of_hdf5(file: Path, data: Any, wanted: Sequence[range]) -> tuple[list[Index], Any]:
    value = data.fillvalue.item()
    if data.is_virtual or data.external or data.id.get_create_plist().get_layout() == 0:  # 0: kept beside the metadata
        return [], value
    if not data.chunks:
        return ([] if data.id.get_offset() is not None else [(0,) * data.ndim]), value
    return sorted(set(product(*wanted)).difference(_allocated(data))), value


def _allocated(data: Any) -> list[Index]:
    """Numbers of the chunks that have a place in the file, in one walk over its table of chunks."""
    found: list[Index] = []

    def note(chunk: Any) -> None:
        found.append(tuple(int(p) // n for p, n in zip(chunk.chunk_offset, data.chunks)))

    data.id.chunk_iter(note)
    return found
