"""Volumes that stay on disk: arrays as the sampler wants them, read box by box through a bounded cache."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size, blocks
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import open_volume
from elektronn.volumes.cache import CachedVolume

BLOCK = Size(32, 256, 256)
"""Voxels looked at at once where a whole volume must be looked at."""


class LazyVolume:
    """A volume on disk with the face of an array ``czyx`` or ``zyx``; as many threads as like may read.

    Args:
        address: of the volume.
        limit: most bytes that its blocks may take in memory.
        order: ``czyx`` or ``zyx``.
    """

    def __init__(self, address: Address, limit: int, order: str) -> None:
        stack = ExitStack()
        self._cached = CachedVolume(stack.enter_context(open_volume(address)), limit)
        self._order = order
        # the file is closed when nobody can ask for it any more
        self._end = weakref.finalize(self, stack.close)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per axis."""
        spatial = tuple(self._cached.size)
        return (self._cached.channels, *spatial) if "c" in self._order else spatial

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        return self._cached.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._order)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """A channel (a whole number, ``czyx`` only), or a box (three slices ``zyx``, read now)."""
        if isinstance(index, int):
            return LazyChannel(self, index)
        box = Box(Size(*(s.start for s in index)), Size(*(s.stop for s in index)))
        return self._cached.read(box, "zyx")

    def channels(self, box: Box) -> NDArray[Any]:
        """A box of all channels, ``czyx``."""
        return self._cached.read(box, "czyx")

    def pieces(self) -> Iterator[NDArray[Any]]:
        """The whole volume, piece by piece, ``czyx``."""
        for box in blocks(self._cached.size, BLOCK):
            yield self._cached.volume.read(box, "czyx")


class LazyChannel:
    """One channel of a volume on disk; boxes are read when asked for."""

    def __init__(self, volume: LazyVolume, channel: int) -> None:
        self._volume, self._channel = volume, channel

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        return self._volume.dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """A box, three slices ``zyx``."""
        box = Box(Size(*(s.start for s in index)), Size(*(s.stop for s in index)))
        found: NDArray[Any] = self._volume.channels(box)[self._channel]
        return found
