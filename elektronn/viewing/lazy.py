"""A channel of a volume as an array that reads from disk only what it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size, reorder
from elektronn.viewing.scene import Layer
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import Volume, open_volume


class Lazy:
    """What viewers need of an array: ``shape``, ``dtype`` and reading of a box. May be read from several threads.

    Args:
        volume: open as long as this is used.
        channel: of the volume.
        dtype: of the values as they are given; below 0 they become 0 where it has no sign.
        order: of the axes as they are seen, such as ``xyz``.
        owner: what closes the volume, where nobody else keeps it.
    """

    def __init__(
        self, volume: Volume, channel: int, dtype: np.dtype[Any], order: str = "zyx", owner: object = None
    ) -> None:
        self._volume, self._channel, self._order, self._owner = volume, channel, order, owner
        self._lock = threading.Lock()  # not every library reads one file from several threads
        self.dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per axis."""
        return tuple(self._volume.size["zyx".index(letter)] for letter in self._order)

    @property
    def ndim(self) -> int:
        """Three."""
        return 3

    @property
    def size(self) -> int:
        """Number of voxels."""
        return self._volume.size.voxels

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Values of a part: numbers, slices and ``...`` as in numpy, steps of 1 or more."""
        parts = _complete(index if isinstance(index, tuple) else (index,))
        spans = [_span(part, n) for part, n in zip(parts, self.shape)]
        box = Box(
            Size(*(spans[self._order.index(letter)].start for letter in "zyx")),
            Size(*(spans[self._order.index(letter)].stop for letter in "zyx")),
        )
        inner = tuple(slice(None, None, span.step) if isinstance(p, slice) else 0 for p, span in zip(parts, spans))
        if min(box.size) < 1:
            return np.zeros([max(0, len(span)) for span in spans], self.dtype)[inner]
        return reorder(self._read(box), "zyx", self._order)[inner]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype)

    def transpose(self) -> NDArray[Any]:
        """All of it in memory, axes reversed."""
        return self[...].transpose()

    def _read(self, box: Box) -> NDArray[Any]:
        order = "czyx" if self._volume.channels > 1 else "zyx"
        with self._lock:
            values = self._volume.read(box, order)
        values = values[self._channel] if order == "czyx" else values
        if self.dtype.kind == "u" and values.dtype.kind == "i":
            values = np.maximum(values, 0)
        return values.astype(self.dtype, copy=False)


def _complete(index: tuple[Any, ...]) -> list[Any]:
    """An index of three parts."""
    at = next((place for place, part in enumerate(index) if part is Ellipsis), len(index))
    before, behind = list(index[:at]), list(index[at + 1 :])
    return [*before, *([slice(None)] * (3 - len(before) - len(behind))), *behind]


def _span(part: Any, length: int) -> range:
    """What a part of an index covers."""
    if isinstance(part, slice):
        return range(*part.indices(length))
    place = int(part)
    return range(place % length, place % length + 1)


@contextmanager
def opened(layers: Sequence[Layer], order: str = "zyx") -> Iterator[list[Lazy]]:
    """The arrays of layers, in their order; one file is opened once.

    Raises:
        DataError: a file is no longer what it was.
    """
    with ExitStack() as stack:
        volumes: dict[str, Volume] = {}
        for layer in layers:
            text = str(layer.source.address)
            if text not in volumes:
                volumes[text] = stack.enter_context(open_volume(layer.source.address))
        yield [Lazy(volumes[str(layer.source.address)], layer.channel, layer.dtype, order) for layer in layers]


def lazy(address: str, channel: int = 0, dtype: Any = None) -> Lazy:
    """An array ``zyx`` of a volume, which stays open as long as the array is used.

    Args:
        address: of the volume, such as ``raw.h5:raw``.
        channel: of the volume.
        dtype: of the values; by default that on disk.
    """
    owner = ExitStack()
    volume = owner.enter_context(open_volume(parse_address(address)))
    return Lazy(volume, channel, np.dtype(dtype or volume.dtype), owner=owner)
