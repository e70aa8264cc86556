"""Blocks are read while those before them are counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def ahead(reads: Iterable[Callable[[], T]], use: Callable[[T], R]) -> Iterator[Iterator[R]]:
    """What ``use`` makes of what each of ``reads`` returns, in their order; another thread meanwhile calls the next read.

    One read at a time, so that files need not stand several readers, and none is left when the block ends. Two results of
    reads are alive at most, as long as ``use`` keeps none: a third one would be new memory each time, and slower. A failure
    appears where its result would have. Gains nothing while ``use`` holds the interpreter; compiled loops and numpy do not.

    Example:
        >>> with ahead((lambda: 1, lambda: 2), lambda n: 10 * n) as found:
        ...     list(found)
        [10, 20]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read ahead") as reader:
        yield _results(reader, reads, use)


def _results(reader: ThreadPoolExecutor, reads: Iterable[Callable[[], T]], use: Callable[[T], R]) -> Iterator[R]:
    waiting: deque[Future[T]] = deque()
    for read in reads:
        waiting.append(reader.submit(read))
        if len(waiting) > 1:
            yield use(waiting.popleft().result())
    if waiting:
        yield use(waiting.popleft().result())
