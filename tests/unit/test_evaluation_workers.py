"""Several workers: in order, each with its own, the first failure is the one that is told, and nobody is left behind."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from elektronn.axes import whole
from elektronn.errors import DataError
from elektronn.evaluation import compare as compare_module
from elektronn.evaluation import evaluate as evaluate_module
from elektronn.evaluation.compare import compare
from elektronn.evaluation.evaluate import Measured, Pair, evaluate
from elektronn.evaluation.settings import EvaluateSettings
from elektronn.evaluation.workers import shared, workers
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import create_volume

SIZE = (9, 40, 44)


def left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("count")]


def store(path: Path, values: np.ndarray, chunks: tuple[int, int, int] = (4, 16, 16)) -> Address:
    with create_volume(Address(path), values.shape, values.dtype, chunks=chunks) as sink:
        sink.write(whole(values.shape), values)
    return Address(path)


def pair(folder: Path, dtype: str) -> Pair:
    random = np.random.default_rng(0)
    labels = random.integers(-1, 2, SIZE).astype(np.int8)
    p = random.random(SIZE, np.float32)
    scores = p if dtype == "float32" else (p * np.iinfo(dtype).max).astype(dtype)
    return Pair("a", "test", store(folder / "p.zarr", scores), store(folder / "l.zarr", labels, (3, 40, 44)))


def use(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    for module in (evaluate_module, compare_module):
        monkeypatch.setattr(module, "workers", lambda _: count)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order_however_long_each_takes(count: int) -> None:
    def work(n: int, _: None) -> int:
        time.sleep(0.002 * (n % 3 == 0))
        return n

    with shared(range(20), work, [None] * count) as found:
        assert list(found) == list(range(20))
    assert left() == []


def test_both_work_at_the_same_time_and_each_with_its_own() -> None:
    meet, busy = threading.Barrier(2, timeout=10), [threading.Lock(), threading.Lock()]

    def work(_: int, mine: threading.Lock) -> int:
        assert mine.acquire(blocking=False)
        meet.wait()  # neither gets on without the other
        mine.release()
        return busy.index(mine)

    with shared(range(20), work, busy) as found:
        assert sorted(found) == [0] * 10 + [1] * 10


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(20):
            taken.append(n)
            yield n

    with shared(items(), lambda n, _: n, [None, None]) as found:
        for done, _ in enumerate(found, 1):
            assert len(taken) <= done + 4
    assert len(taken) == 20


def test_the_first_failure_in_the_order_of_the_items_is_told_even_if_it_comes_late() -> None:
    later, begun = threading.Event(), []

    def work(n: int, _: None) -> int:
        begun.append(n)
        if n == 1:
            assert later.wait(10)
            raise OSError("first")
        if n == 2:
            later.set()
            raise OSError("second")
        return n

    with pytest.raises(OSError, match="first"), shared(range(50), work, [None, None]) as found:  # noqa: PT012
        assert next(found) == 0
        next(found)
    assert left() == []
    assert len(begun) < 10


def test_an_interrupt_leaves_no_thread_behind() -> None:
    started = []

    def work(n: int, _: None) -> None:
        started.append(n)
        if n == 3:
            signal.raise_signal(signal.SIGINT)  # the main thread takes it
        time.sleep(0.002)

    with pytest.raises(KeyboardInterrupt), shared(range(1000), work, [None, None]) as found:
        list(found)
    assert left() == []
    assert len(started) < 100


def test_there_are_no_more_workers_than_there_is_to_do() -> None:
    assert workers(0) == workers(1) == 1
    assert 1 <= workers(1000) <= 4


def facts(measured: Measured) -> list[object]:
    parts = [(0, measured.histogram), *measured.sections, *enumerate(measured.blocks)]
    return [(place, part.counts.tolist(), part.ignored, part.divisor, part.exact) for place, part in parts]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_workers_and_blocks_change_nothing(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, results = pair(tmp_path, dtype), []
    for count, block in ((1, SIZE), (1, (4, 16, 16)), (2, (4, 16, 16)), (3, (2, 7, 44)), (3, (5, 40, 9))):
        use(monkeypatch, count)
        given = EvaluateSettings(block=block, bins=4096, bootstrap=10, bootstrap_block=(3, 11, 12))
        results.append(facts(evaluate([volume], given, sections=True).volumes[0]))
    assert len(results[0]) == 1 + 9 + 3 * 4 * 4
    assert all(result == results[0] for result in results)


def test_workers_and_blocks_change_no_table_of_overlaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random, results = np.random.default_rng(1), []
    truth = np.repeat(random.integers(0, 6, (9, 40, 11)), 4, 2).astype(np.uint32)
    found = np.where(random.random(SIZE) < 0.9, np.roll(truth, 1, 1), 7).astype(np.uint64)
    addresses = store(tmp_path / "f.zarr", found), store(tmp_path / "t.zarr", truth)
    for count, block in ((1, SIZE), (2, (4, 16, 16)), (3, (2, 7, 44))):
        use(monkeypatch, count)
        seen: list[tuple[int, int]] = []
        table, _ = compare(*addresses, block, progress=lambda *done, seen=seen: seen.append(done))
        results.append([table.truth.tolist(), table.found.tolist(), table.counts.tolist(), table.ignored])
        assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))
    assert results[0] == results[1] == results[2]


def test_a_damaged_chunk_in_the_middle_is_told_and_no_thread_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = pair(tmp_path, "uint8")
    shard = next(path for path in (volume.prediction.path / "0" / "c").rglob("*") if path.is_file())
    raw = bytearray(shard.read_bytes())
    chunks = [found.start() for found in re.finditer(rb"\x28\xb5\x2f\xfd", raw)]  # how zstd begins
    assert len(chunks) == 27
    raw[chunks[13]] ^= 0xFF
    shard.write_bytes(raw)
    use(monkeypatch, 3)
    with pytest.raises(DataError, match=r"volume a: .*p\.zarr: cannot be read"):
        evaluate([volume], EvaluateSettings(block=(4, 16, 16)))
    assert left() == []


def test_a_wrong_label_in_the_middle_is_told_with_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = pair(tmp_path, "uint16")
    labels = np.zeros(SIZE, np.int8)
    labels[5, 20, 20] = 3
    labels[8, 39, 43] = 9  # of a later block
    wrong = Pair("a", "test", volume.prediction, store(tmp_path / "wrong.zarr", labels))
    use(monkeypatch, 3)
    for sections in (False, True):
        with pytest.raises(DataError, match=r"p\.zarr and .*wrong\.zarr: labels hold 3;"):
            evaluate([wrong], EvaluateSettings(block=(4, 16, 16)), sections=sections)
    assert left() == []
