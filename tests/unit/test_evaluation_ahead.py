"""Reading ahead: in order, one at a time, and over when the block ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from elektronn.evaluation.ahead import ahead


def test_the_next_block_is_read_while_the_caller_works() -> None:
    second = threading.Event()
    with ahead([lambda: 1, lambda: second.set() or 2]) as found:
        assert next(found) == 1
        assert second.wait(10)  # nobody asked for it yet
        assert list(found) == [2]


def test_one_call_at_a_time_and_never_more_than_one_block_in_front() -> None:
    running, began, consumed = threading.Lock(), 0, 0

    def reads() -> Iterator[Callable[[], int]]:
        for number in range(20):
            yield lambda number=number: read(number)

    def read(number: int) -> int:
        nonlocal began
        assert running.acquire(blocking=False)
        began += 1
        assert began <= consumed + 2
        time.sleep(0.001)
        running.release()
        return number

    with ahead(reads()) as found:
        for number in found:
            assert number == consumed
            consumed += 1
    assert consumed == 20


def test_a_failure_appears_in_its_place_and_the_rest_is_not_read() -> None:
    read: list[int] = []

    def fails() -> int:
        raise OSError("damaged")

    with pytest.raises(OSError, match="damaged"), ahead([lambda: 0, fails, lambda: read.append(2) or 2]) as found:  # noqa: PT012
        assert next(found) == 0
        next(found)
    assert len(read) <= 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read ahead")]


def test_leaving_early_ends_the_reader() -> None:
    with ahead(lambda: 0 for _ in range(9)) as found:
        next(found)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read ahead")]
