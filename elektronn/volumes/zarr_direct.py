"""Boxes of zarr arrays in local folders, read without the library's event loop, which costs as much as the decoding.

The library opens, checks and writes; here chunks are only found in their files, decoded by the codecs that the library
uses too, and put in their places. What is not known here, and what fails, the library reads.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import product
from math import prod
from typing import Any

import numpy as np

from elektronn.volumes.stored import Array
from elektronn.volumes.zarr_layout import ABSENT, CutOffError, Index, Layout, bytes_of, layout_of

Spans = tuple[tuple[int, int], ...]
"""First place and last place + 1 along each axis."""
Job = Callable[[], None]

NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""How a file is absent, in the eyes of the library too."""
DAMAGE = (ArithmeticError, EOFError, MemoryError, OSError, RuntimeError, ValueError, zlib.error)
"""What files lead to that are damaged, or are just being replaced."""
HANDS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Threads that decode for one reader at the same time, at most; it is one of them."""
WORTH = 1 << 20
"""Decoded bytes that are worth another thread."""
SHARES = 4
"""Jobs per thread, so that all end at about the same time."""


class Direct:
    """A zarr array that reads boxes by itself where it can, and everything else through the library.

    Any number of threads may read. Nothing is remembered between two reads: other processes may be writing.

    Attributes:
        array: of the library.
        layout: how it lies in its folder; ``None`` where all is left to the library.
    """

    def __init__(self, array: Any) -> None:
        self.array, self.layout = array, layout_of(array)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per axis."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> Any:
        """Type of a value."""
        return self.array.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Extent of what is decoded at once."""
        return tuple(self.array.chunks)

    def __getitem__(self, index: Any) -> Any:
        spans = spans_of(index, self.shape) if self.layout else None
        if not self.layout or not spans:
            return self.array[index]
        try:
            values = read(self.layout, spans)
        except CutOffError:
            raise
        except DAMAGE:  # the library has the last word on what is damaged, and says it
            return self.array[index]
        kept = [isinstance(part, slice) for part in _full(index, len(spans))]
        return values.reshape([n for n, is_kept in zip(values.shape, kept) if is_kept])


def spans_of(index: Any, shape: tuple[int, ...]) -> Spans | None:
    """The box that an index is; ``None`` where it is none, is empty, is a single value or reaches outside.

    Example:
        >>> spans_of((3, slice(2, 99)), (5, 6, 7))
        ((3, 4), (2, 6), (0, 7))
        >>> spans_of(slice(0, 4, 2), (5, 6, 7))
    """
    parts = _full(index, len(shape))
    if len(parts) != len(shape) or not any(isinstance(part, slice) for part in parts):
        return None
    spans = tuple(map(_span, parts, shape))
    return spans if all(a < b for a, b in spans) else None


def _full(index: Any, axes: int) -> tuple[Any, ...]:
    """One entry for each axis; the axes that an index does not name are taken whole."""
    parts = index if isinstance(index, tuple) else (index,)
    place = next((i for i, part in enumerate(parts) if part is ...), len(parts))
    rest = (slice(None),) * (axes - len(parts) + (place < len(parts)))
    return parts[:place] + rest + parts[place + 1 :]


def _span(part: Any, extent: int) -> tuple[int, int]:
    """First and last + 1; nothing where that is not what a part of an index means."""
    if isinstance(part, int | np.integer) and not isinstance(part, bool) and -extent <= part < extent:
        first = int(part) % extent
        return first, first + 1
    if isinstance(part, slice) and all(n is None or isinstance(n, int | np.integer) for n in (part.start, part.stop)):
        return part.indices(extent)[:2] if part.step in (None, 1) else (0, 0)
    return 0, 0


def read(layout: Layout, spans: Spans) -> Array:
    """The values in a box, which holds at least one and reaches nowhere outside the array.

    Raises:
        OSError, RuntimeError, ValueError, and others of ``DAMAGE``: the files are damaged.
    """
    values: Array = np.empty([b - a for a, b in spans], layout.dtype)
    count = prod(-(-b // n) - a // n for (a, b), n in zip(spans, layout.chunk))
    size = prod(layout.chunk) * layout.dtype.itemsize
    hands = max(1, min(HANDS, count, count * size // WORTH))
    most = max(1, count // (SHARES * hands)) if hands > 1 else count
    jobs = [
        partial(_fill, layout, file, chunks[i : i + most], spans, values)
        for file, chunks in _files(layout, spans)
        for i in range(0, len(chunks), most)
    ]
    together(jobs, hands)
    return values


def _files(layout: Layout, spans: Spans) -> Iterator[tuple[Index, list[Index]]]:
    """The files that a box touches, and the chunks in each that it touches."""
    for file in product(*(range(a // n, -(-b // n)) for (a, b), n in zip(spans, layout.file))):
        inner = (
            range(max(a, i * n) // c, -(-min(b, (i + 1) * n) // c))
            for (a, b), i, n, c in zip(spans, file, layout.file, layout.chunk)
        )
        yield file, list(product(*inner))


def _fill(layout: Layout, file: Index, chunks: Sequence[Index], spans: Spans, values: Array) -> None:
    """Put some chunks of one file in their places."""
    try:
        opened = (layout.folder / layout.name(file)).open("rb", buffering=0)
    except NOT_THERE:
        for chunk in chunks:
            _put(layout, chunk, None, spans, values)
        return
    with opened:
        end = os.fstat(opened.fileno()).st_size
        table = layout.table.read(opened, end) if layout.table else None
        for chunk in chunks:
            start, length = 0, end
            if table is not None:
                start, length = table[tuple(i % n for i, n in zip(chunk, table.shape))].tolist()
            is_there = table is None or (start, length) != (ABSENT, ABSENT)
            _put(layout, chunk, bytes_of(opened, start, length, end) if is_there else None, spans, values)


def _put(layout: Layout, chunk: Index, raw: bytes | None, spans: Spans, values: Array) -> None:
    """Decode a chunk, or take its values as the fill value, and copy what lies in the box."""
    starts = [i * n for i, n in zip(chunk, layout.chunk)]
    common = [(max(s, a), min(s + n, b)) for s, n, (a, b) in zip(starts, layout.chunk, spans)]
    target = tuple(slice(low - a, high - a) for (low, high), (a, _) in zip(common, spans))
    if raw is None:
        values[target] = layout.fill
        return
    # decoders that are given a place leave the rest of it as it was where a chunk is too short; `reshape` refuses it
    made = np.frombuffer(layout.decode(raw), layout.dtype).reshape(layout.chunk)
    values[target] = made[tuple(slice(low - s, high - s) for (low, high), s in zip(common, starts))]


def together(jobs: Sequence[Job], hands: int) -> None:
    """Do all jobs in up to ``hands`` threads; the caller is one of them.

    Whatever the others are busy with, the caller does what is left, so that any thread may call and none waits for ever.
    """
    queue = iter(jobs)  # threads may share it: `next` of the iterator of a list is one step of the interpreter

    def hand() -> None:
        for job in queue:
            job()

    others = [_pool().submit(hand) for _ in range(hands - 1)]
    try:
        hand()
    finally:
        for _ in queue:  # where one has failed, nobody needs the rest
            pass
        begun = [one for one in others if not one.cancel()]
        failures = [error for one in begun if (error := one.exception())]
    if failures:
        raise failures[0]


@cache
def _pool() -> ThreadPoolExecutor:
    """The threads that help all readers of the process."""
    return ThreadPoolExecutor(max(1, HANDS - 1), thread_name_prefix="zarr")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # the threads stay in the parent
