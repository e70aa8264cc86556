"""Blocks are read while those before them are counted."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_BEHIND = 5
"""By how much what is done with a block stands back behind reading, in the steps of ``nice``."""


@contextmanager
def ahead(reads: Iterable[Callable[[], T]], use: Callable[[T], R]) -> Iterator[Iterator[R]]:
    """What ``use`` makes of what each of ``reads`` returns, in their order; meanwhile the next read is called.

    Both run in threads of their own. One read at a time, so that files need not stand several readers, and none is left when
    the block ends. Two results of reads are alive at most, as long as ``use`` keeps none: a third one would be new memory
    each time, and slower. A failure appears where its result would have. Gains nothing while ``use`` holds the interpreter;
    compiled loops and numpy do not.

    Reading has threads of the library's own that wait for one another; ``use`` gets the time that they leave, so
    that it does not stand in their way (Linux; elsewhere all are alike).

    Example:
        >>> with ahead((lambda: 1, lambda: 2), lambda n: 10 * n) as found:
        ...     list(found)
        [10, 20]
    """
    with (
        ThreadPoolExecutor(1, thread_name_prefix="read ahead") as reader,
        ThreadPoolExecutor(1, thread_name_prefix="use", initializer=_stand_back) as user,
    ):
        yield _results(reader, user, reads, use)


def _results(
    reader: ThreadPoolExecutor, user: ThreadPoolExecutor, reads: Iterable[Callable[[], T]], use: Callable[[T], R]
) -> Iterator[R]:
    def used() -> R:
        return user.submit(lambda: use(waiting.popleft().result())).result()

    waiting: deque[Future[T]] = deque()
    for read in reads:
        waiting.append(reader.submit(read))
        if len(waiting) > 1:
            yield used()
    if waiting:
        yield used()


def _stand_back() -> None:
    """Let this thread have what others leave."""
    if sys.platform == "linux":  # elsewhere the number of a thread means something else
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(os.nice(0) + _BEHIND, 19))
