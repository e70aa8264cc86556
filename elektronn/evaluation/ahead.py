"""Blocks are read while those before them are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def ahead(reads: Iterable[Callable[[], T]]) -> Iterator[Iterator[T]]:
    """What each of ``reads`` returns, in their order; another thread calls the next one while the caller works.

    One call at a time, so that files need not stand several readers, and none is left when the block ends; three results
    are alive at most. A failure appears where its result would have. Gains nothing while the caller holds the interpreter;
    compiled loops and numpy do not.

    Example:
        >>> with ahead((lambda: 1, lambda: 2)) as found:
        ...     list(found)
        [1, 2]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read ahead") as reader:
        yield _results(reader, reads)


def _results(reader: ThreadPoolExecutor, reads: Iterable[Callable[[], T]]) -> Iterator[T]:
    waiting: Future[T] | None = None
    for read in reads:
        done, waiting = waiting, reader.submit(read)
        if done is not None:
            yield done.result()
    if waiting is not None:
        yield waiting.result()
