"""Read ahead, compute, write behind: three things at a time, one item each, with bounded queues between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

Read = TypeVar("Read")
Made = TypeVar("Made")

DEPTH = 1
"""Items that wait between two of the three; one more is in the hands of each of them."""
LOOK_S = 0.1


@dataclass(frozen=True)
class Waits:
    """What the computing part waited for, seconds.

    Attributes:
        input_s: for the reader, the first item included.
        output_s: for the writer, until the last item was written.
        total_s: from the beginning to the end.
    """

    input_s: float = 0.0
    output_s: float = 0.0
    total_s: float = 0.0

    def __add__(self, other: Waits) -> Waits:
        return Waits(self.input_s + other.input_s, self.output_s + other.output_s, self.total_s + other.total_s)

    def __str__(self) -> str:
        total = max(self.total_s, 1e-9)
        return (
            f"{self.total_s:.1f} s, {100 * self.input_s / total:.1f} % of it waiting for input, "
            f"{100 * self.output_s / total:.1f} % for output"
        )


class Line(Generic[Read, Made]):
    """One run of items from a reader (thread) through ``work`` (here) to a writer (thread).

    Whatever fails, items that were made before it are written; then the first failure is raised.

    Args:
        source: gives the items; ends early when the event that it gets is set.
        work: makes of each what is to be written.
        sink: writes it.

    Example:
        >>> kept = []
        >>> waits = Line(lambda stop: iter(range(4)), lambda n: n * n, kept.append).run()
        >>> kept
        [0, 1, 4, 9]
    """

    def __init__(
        self,
        source: Callable[[threading.Event], Iterable[Read]],
        work: Callable[[Read], Made],
        sink: Callable[[Made], None],
    ) -> None:
        self._source, self._work, self._sink = source, work, sink
        # items travel as tuples of one; an empty one is the end
        self._read: Queue[tuple[Read, ...]] = Queue(DEPTH)
        self._made: Queue[tuple[Made, ...]] = Queue(DEPTH)
        self._stop = threading.Event()
        self._failures: list[BaseException] = []

    def run(self) -> Waits:
        """Do it all."""
        start = time.perf_counter()
        threads = [threading.Thread(target=job, name=job.__name__, daemon=True) for job in (self._reader, self._writer)]
        for thread in threads:
            thread.start()
        waits = Waits()
        try:
            waits = self._compute()
        except BaseException as error:
            self._failures.insert(0, error)
            self._stop.set()
        last = time.perf_counter()
        self._made.put(())
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        end = time.perf_counter()
        return waits + Waits(0.0, end - last, end - start)

    def _compute(self) -> Waits:
        waits = Waits()
        while not self._stop.is_set():
            begin = time.perf_counter()
            item = self._take()
            waits += Waits(input_s=time.perf_counter() - begin)
            if not item:
                break
            made = self._work(item[0])
            begin = time.perf_counter()
            self._made.put((made,))
            waits += Waits(output_s=time.perf_counter() - begin)
        return waits

    def _take(self) -> tuple[Read, ...]:
        """The next item; none at the end or when the writer failed."""
        while not self._stop.is_set():
            try:
                return self._read.get(timeout=LOOK_S)
            except Empty:
                continue
        return ()

    def _reader(self) -> None:
        try:
            for item in self._source(self._stop):
                if not self._offer((item,)):
                    return
        except BaseException as error:  # carried over to the thread that waits for the items
            self._failures.append(error)
        self._offer(())

    def _offer(self, item: tuple[Read, ...]) -> bool:
        while not self._stop.is_set():
            try:
                self._read.put(item, timeout=LOOK_S)
            except Full:
                continue
            return True
        return False

    def _writer(self) -> None:
        is_broken = False
        while item := self._made.get():
            if is_broken:
                continue
            try:
                self._sink(item[0])
            except BaseException as error:  # carried over to the thread that computes
                self._failures.append(error)
                self._stop.set()
                is_broken = True
