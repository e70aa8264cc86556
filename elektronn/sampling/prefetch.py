"""Batches prepared ahead by threads, delivered in the order of the steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Calls ``make(step)`` for the coming steps in ``workers`` threads and hands the results out in order.

    The kernels run without the interpreter's lock and share the data, so threads cost no copies. With 0 workers
    the caller's thread makes each batch when asked. What comes out does not depend on either number.

    Example:
        >>> with Prefetch(lambda step: step * 2, first=3, workers=2, ahead=4) as batches:
        ...     [batches.take() for _ in range(3)]
        [6, 8, 10]
    """

    def __init__(self, make: Callable[[int], T], *, first: int, workers: int, ahead: int) -> None:
        self._make, self._next, self._ahead = make, first, ahead
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sampler") if workers else None
        self._waiting: deque[Future[T]] = deque()

    def take(self) -> T:
        """The next batch; a failure in a worker is raised here with its own traceback."""
        if self._pool is None:
            self._next += 1
            return self._make(self._next - 1)
        while len(self._waiting) < self._ahead:
            self._waiting.append(self._pool.submit(self._make, self._next))
            self._next += 1
        return self._waiting.popleft().result()

    def close(self) -> None:
        """Drop what waits and end the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
