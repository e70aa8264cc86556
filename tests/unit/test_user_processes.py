"""A user's class in processes of its own: the same batches, its failures with their traceback, an end at once."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elektronn.errors import ConfigError, DataError
from elektronn.sampling.batch import Batch
from elektronn.sampling.data import DataSettings
from elektronn.sampling.prefetch import Prefetch
from elektronn.sampling.processes import ProcessBatches, spread
from elektronn.sampling.user_data import UserBatches, open_user_data

CLASSES = """
import os, time
import numpy as np

class Pure:
    def getbatch(self, batch_size, source="train", step=0, seed=0):
        if step == 50:
            raise ValueError("fifty is too much")
        if step == 60:
            time.sleep(600)
        if step == 70:
            os._exit(7)
        random = np.random.default_rng([seed, step])
        return random.random((batch_size, 1, 4, 4), np.float32), random.integers(0, 2, batch_size)

class Old:
    def getbatch(self, batch_size, source="train"):
        return np.random.rand(batch_size, 1, 4, 4), np.random.randint(0, 2, batch_size)
"""


def source(folder: Path, name: str, processes: int) -> tuple[UserBatches, UserBatches | ProcessBatches]:
    path = folder / "mine.py"
    path.write_text(CLASSES)
    said = DataSettings(name=f"{path}:{name}", processes=processes)
    alone = UserBatches(open_user_data(said), said.name, "train", 3, 7)
    return alone, spread(alone, said)


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[UserBatches, ProcessBatches]]:
    alone, spread_out = source(tmp_path_factory.mktemp("pure"), "Pure", 2)
    assert isinstance(spread_out, ProcessBatches)
    yield alone, spread_out
    spread_out.close()


def content(batch: Batch) -> tuple[Any, ...]:
    return batch.image.tobytes(), batch.labels.tobytes(), batch.image.shape, batch.labels.dtype


@pytest.mark.parametrize(("workers", "first"), [(0, 0), (1, 20), (4, 3)])
def test_processes_change_no_byte(pure: tuple[UserBatches, ProcessBatches], workers: int, first: int) -> None:
    alone, spread_out = pure
    with Prefetch(spread_out.batch, first=first, workers=workers, ahead=5) as batches:
        for step in range(first, first + 9):
            assert content(batches.take()) == content(alone.batch(step))


def test_a_failure_comes_with_the_traceback_of_its_process(pure: tuple[UserBatches, ProcessBatches]) -> None:
    alone, spread_out = pure
    with pytest.raises(
        DataError, match=r"getbatch of step 50: ValueError: fifty is too much \(.*mine.py, line 8\)"
    ) as caught:
        spread_out.batch(50)
    assert 'raise ValueError("fifty is too much")' in str(caught.value.__cause__)
    # and whoever goes on elsewhere can
    assert content(spread_out.batch(51)) == content(alone.batch(51))


def test_an_old_class_gets_one_process_and_its_order(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.processes: 2: .*does not take step and seed.* write processes: 1"):
        source(tmp_path, "Old", 2)
    alone, spread_out = source(tmp_path, "Old", 1)
    assert not spread_out.is_pure
    assert [content(spread_out.batch(step)) for step in range(4)] == [content(alone.batch(step)) for step in range(4)]


def test_none_are_the_callers_own_thread(tmp_path: Path) -> None:
    alone, same = source(tmp_path, "Pure", 0)
    assert same is alone


def test_the_end_is_at_once_and_leaves_nobody_behind(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    _, spread_out = source(tmp_path, "Pure", 1)
    assert isinstance(spread_out, ProcessBatches)
    spread_out.batch(59)  # has step 60 made ahead, which takes ten minutes
    (helper,) = set(multiprocessing.active_children()) - before
    start = time.monotonic()
    spread_out.close()
    assert time.monotonic() - start < 1
    assert not helper.is_alive()
    assert set(multiprocessing.active_children()) <= before


def test_a_process_that_dies_is_reported_and_an_unused_one_ends(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    _, spread_out = source(tmp_path, "Pure", 1)
    with pytest.raises(DataError, match=r"its process ended with 7 at step 70"):
        spread_out.batch(70)
    del spread_out
    assert set(multiprocessing.active_children()) <= before
