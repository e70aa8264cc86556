"""Reader, work and writer side by side: order, overlap, and failures that lose nothing that was made before."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from elektronn.prediction.pipeline import Line


def numbers(stop: threading.Event) -> Iterator[int]:
    yield from range(6)


def broken(stop: threading.Event) -> Iterator[int]:
    yield from range(3)
    raise ValueError("no more")


def test_reading_computing_and_writing_overlap() -> None:
    def slow(stop: threading.Event) -> Iterator[int]:
        for n in range(10):
            time.sleep(0.03)
            yield n

    waits = Line(slow, lambda n: time.sleep(0.04), lambda made: time.sleep(0.03)).run()
    assert waits.total_s < 0.75 * 10 * 0.1
    # one item is waited for at each end; the others are there in time
    assert waits.input_s < 0.15
    assert waits.output_s < 0.15


def test_waiting_is_counted_where_it_happens() -> None:
    slow_input = Line(lambda stop: (time.sleep(0.05) or n for n in range(5)), lambda n: n, lambda made: None).run()
    slow_output = Line(numbers, lambda n: n, lambda made: time.sleep(0.05)).run()
    assert slow_input.input_s > 0.2 > 0.1 > slow_input.output_s
    assert slow_output.output_s > 0.2 > 0.1 > slow_output.input_s


def test_what_was_read_before_a_failure_is_computed_and_written() -> None:
    kept: list[int] = []
    with pytest.raises(ValueError, match="no more"):
        Line(broken, lambda n: n, kept.append).run()
    assert kept == [0, 1, 2]


def test_what_was_computed_before_a_failure_is_written() -> None:
    kept: list[int] = []

    def work(n: int) -> int:
        if n == 4:
            raise ValueError("four")
        return n

    with pytest.raises(ValueError, match="four"):
        Line(numbers, work, kept.append).run()
    assert kept == [0, 1, 2, 3]


def test_a_writer_that_fails_stops_it_all() -> None:
    kept: list[int] = []

    def sink(n: int) -> None:
        if n == 2:
            raise OSError("full")
        kept.append(n)

    def endless(stop: threading.Event) -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1

    with pytest.raises(OSError, match="full"):
        Line(endless, lambda n: n, sink).run()
    assert kept == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name in ("_reader", "_writer")]
