"""Reading ahead: in order, one at a time, and over when the block ends."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from elektronn.evaluation.ahead import ahead


def same(result: int) -> int:
    return result


def test_the_next_block_is_read_while_the_caller_works() -> None:
    second = threading.Event()
    with ahead([lambda: 1, lambda: second.set() or 2], same) as found:
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

    with ahead(reads(), same) as found:
        for number in found:
            assert number == consumed
            consumed += 1
    assert consumed == 20


def test_a_failure_appears_in_its_place_and_the_rest_is_not_read() -> None:
    read: list[int] = []

    def fails() -> int:
        raise OSError("damaged")

    with pytest.raises(OSError, match="damaged"), ahead([lambda: 0, fails, lambda: read.append(2) or 2], same) as found:  # noqa: PT012
        assert next(found) == 0
        next(found)
    assert len(read) <= 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read ahead")]


def test_leaving_early_ends_the_reader() -> None:
    with ahead((lambda: 0 for _ in range(9)), same) as found:
        next(found)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read ahead")]


def test_two_results_are_alive_at_most() -> None:
    class Block:
        """Something that can be watched."""

    made: list[weakref.ref[Block]] = []
    most = 0

    def read() -> Block:
        nonlocal most
        block = Block()
        made.append(weakref.ref(block))
        most = max(most, sum(other() is not None for other in made))
        return block

    def use(block: Block) -> int:
        time.sleep(0.002)  # the next one is read meanwhile
        return id(block)

    with ahead((read for _ in range(20)), use) as found:
        assert len(list(found)) == 20
    assert most == 2


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux only")
def test_what_is_done_with_a_block_stands_back_and_nothing_else() -> None:
    def here() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    usual = here()
    with ahead([here], lambda reader: (reader, here())) as found:
        assert list(found) == [(usual, min(usual + 5, 19))]
    assert here() == usual
