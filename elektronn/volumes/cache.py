"""A volume with a bounded memory: blocks that were read stay until others need their place."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from elektronn.axes import Box, Size, reorder, whole
from elektronn.errors import ConfigError
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Volume, check_channels
from elektronn.volumes.stored import Array, is_mapped

PIECE = Size(16, 64, 64)
"""Block of files that are not stored in pieces of their own."""
SMALL = 1 << 16
"""Stored pieces of fewer bytes are read several at once."""


class Use(NamedTuple):
    """What a cache was good for so far.

    Attributes:
        hits: blocks that were there.
        misses: blocks that were read from the file.
        held: bytes that the blocks take now.
    """

    hits: int
    misses: int
    held: int


class CachedVolume:
    """Reads the same values as ``volume``, keeps the blocks it was read by, and forgets those unused for longest.

    Blocks are whole pieces of the file (chunks, strips, pages), so that nothing is decoded twice while it is held.
    Any number of threads may read; two that want the same block read it once. The volume must stay open.
    Files that are mapped into memory (``.npy``, uncompressed TIFF) are read without blocks: what the operating
    system keeps of them costs no copy.

    Args:
        volume: an open volume.
        limit: most bytes that the blocks may take together; what a reader asks for comes on top of it.

    Raises:
        ConfigError: ``limit`` is less than one block.

    Example:
        >>> import tempfile
        >>> from elektronn.volumes.address import parse_address
        >>> from elektronn.volumes.arrays import create_volume, open_volume
        >>> file = parse_address(tempfile.mkdtemp() + "/a.h5")
        >>> with create_volume(file, (64, 64, 64), np.uint8, chunks=(16, 64, 64)):
        ...     pass
        >>> with open_volume(file) as volume:
        ...     cached = CachedVolume(volume, 200_000)
        ...     for z in (0, 8, 16):
        ...         part = cached.read(Box(Size(z, 0, 0), Size(z + 8, 20, 20)))
        >>> cached.use
        Use(hits=1, misses=2, held=131072)
    """

    def __init__(self, volume: Volume, limit: int) -> None:
        self.volume, self.limit = volume, limit
        self.block, self._mapped = block_of(volume), is_mapped(volume.stored)
        largest = Size(*map(min, self.block, volume.size)).voxels * volume.channels * volume.dtype.itemsize
        if largest > limit and not self._mapped:
            raise ConfigError(
                f"{volume.address}: is read in blocks of {self.block} voxels, {largest} bytes, and the cache may hold "
                f"{limit}; allow it {8 * largest} bytes or more, or store the volume in smaller chunks"
            )
        self._blocks: OrderedDict[Size, Future[Array]] = OrderedDict()
        self._bytes: dict[Size, int] = {}
        self._lock = threading.Lock()
        self._hits = self._misses = self._total = 0

    @property
    def address(self) -> Address:
        """Where the volume came from."""
        return self.volume.address

    @property
    def size(self) -> Size:
        """Spatial extent z, y, x, voxels."""
        return self.volume.size

    @property
    def channels(self) -> int:
        """Number of channels; 1 without a channel axis."""
        return self.volume.channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        return self.volume.dtype

    @property
    def use(self) -> Use:
        """Hits, misses and bytes held."""
        with self._lock:
            return Use(self._hits, self._misses, self._total)

    def read(self, box: Box | None = None, order: str = "zyx") -> Array:
        """Read a box as a contiguous array in ``order``, as :meth:`Volume.read` does.

        Raises:
            DataError: the file breaks off or is damaged, or ``zyx`` was asked of a volume of several channels.
        """
        if self._mapped:
            return self.volume.read(box, order)
        check_channels(self.volume, order)
        box = box or whole(self.size)
        assert box.within(self.size) == box, f"{box} reaches outside {self.size}"
        values = np.empty((self.channels, *box.size), self.dtype)
        for place in self._places(box):
            block = self._box(place)
            common = Box(Size(*map(max, box.start, block.start)), Size(*map(min, box.stop, block.stop)))
            source = common.shifted(-n for n in block.start).slices
            target = common.shifted(-n for n in box.start).slices
            values[(slice(None), *target)] = self._held(place, block)[(slice(None), *source)]
        found = values if "c" in order else values[0]
        return np.ascontiguousarray(reorder(found, "czyx"[-found.ndim :], order))

    def _places(self, box: Box) -> Iterator[Size]:
        """The blocks that a box touches, counted along z, y, x."""
        start = self.volume.part.start
        ranges = (range((a + o) // n, -(-(b + o) // n)) for a, b, o, n in zip(box.start, box.stop, start, self.block))
        return (Size(*place) for place in product(*ranges))

    def _box(self, place: Size) -> Box:
        """What a block covers, in the volume's coordinates: aligned to the file, cut to the volume."""
        start = Size(*(p * n for p, n in zip(place, self.block)))
        on_disk = Box(start, Size(*(a + n for a, n in zip(start, self.block))))
        return on_disk.shifted(-n for n in self.volume.part.start).within(self.size)

    def _held(self, place: Size, box: Box) -> Array:
        """A block ``czyx``; whoever comes first reads it, others wait for it."""
        with self._lock:
            found = self._blocks.get(place)
            if found is not None:
                self._hits += 1
                self._blocks.move_to_end(place)
            else:
                self._misses += 1
                made = self._blocks[place] = Future[Array]()
                self._make_room(place, box.size.voxels * self.channels * self.dtype.itemsize)
        if found is not None:
            return found.result()
        try:
            made.set_result(self.volume.read(box, "czyx"))
        except BaseException as error:
            with self._lock:
                self._forget(place)
            made.set_exception(error)
        return made.result()

    def _make_room(self, place: Size, size: int) -> None:
        """Count ``size`` bytes for the new block, which is the last, and forget the oldest of the others."""
        self._bytes[place] = size
        self._total += size
        while self._total > self.limit:
            self._forget(next(iter(self._blocks)))

    def _forget(self, place: Size) -> None:
        self._blocks.pop(place, None)
        self._total -= self._bytes.pop(place, 0)


def block_of(volume: Volume) -> Size:
    """What is read at once, zyx, voxels: a piece of the file, or several where it is small.

    Pieces are put together along the axis on which the block is shortest.
    """
    block = volume.chunks or PIECE
    cell = volume.dtype.itemsize * volume.channels
    while block.voxels * cell < SMALL and any(b < n for b, n in zip(block, volume.size)):
        shortest = min((axis for axis in range(3) if block[axis] < volume.size[axis]), key=lambda axis: block[axis])
        block = Size(*(2 * n if axis == shortest else n for axis, n in enumerate(block)))
    return block
