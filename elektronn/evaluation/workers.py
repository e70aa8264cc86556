"""Boxes of a volume are read and counted by several workers at once."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")

MOST = 4
"""Workers: each has a part of the volumes in memory."""


def workers(items: int) -> int:
    """As many as this process has cores, and no more than there is to do."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, items, MOST))


@contextmanager
def shared(items: Iterable[T], work: Callable[[T, S], R], own: Sequence[S]) -> Iterator[Iterator[R]]:
    """What ``work`` makes of each item, in the order of the items, by as many threads as there is of ``own``.

    ``work`` gets an item and something of ``own`` that no other thread uses meanwhile, such as a counter: what is summed up there does
    not depend on who counted what. A failure appears where its result would have, so that it is always that of the first
    item that fails. Items are taken as they are needed, and at most two for each thread wait or are worked on or are done
    and not yet asked for. No thread is left when the block ends. Gains nothing while ``work`` holds the interpreter;
    compiled loops, numpy and decompression do not.

    Example:
        >>> with shared(range(4), lambda item, seen: seen.append(item) or 10 * item, [[], []]) as found:
        ...     list(found)
        [0, 10, 20, 30]
    """
    free = list(own)

    def job(item: T) -> R:
        mine = free.pop()  # there are as many as threads
        try:
            return work(item, mine)
        finally:
            free.append(mine)

    pool = ThreadPoolExecutor(len(own), thread_name_prefix="count")
    try:
        yield _in_order(pool, job, iter(items), 2 * len(own))
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ThreadPoolExecutor, job: Callable[[T], R], items: Iterator[T], most: int) -> Iterator[R]:
    waiting: deque[Future[R]] = deque(pool.submit(job, item) for item in islice(items, most))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(job, item) for item in islice(items, 1))
        yield result
