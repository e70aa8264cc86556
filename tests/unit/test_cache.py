"""A cached volume reads what the plain one reads, from any number of threads, within its limit of bytes."""

from __future__ import annotations

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from elektronn.axes import Box, Size, whole
from elektronn.errors import ConfigError, DataError
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import Volume, open_volume
from elektronn.volumes.cache import PIECE, SMALL, CachedVolume, block_of
from elektronn.volumes.stored import Array

SIZE = Size(40, 70, 90)
VALUES = np.random.default_rng(0).integers(0, 60000, SIZE).astype(np.uint16)
CHANNELS = np.stack([VALUES, VALUES + 1, VALUES + 2])


def store(folder: Path, kind: str) -> str:
    """The values in one kind of file; its address."""
    path = folder / kind.split(" ")[0]
    if kind.startswith("a.h5"):
        with h5py.File(path, "w") as file:
            chunks = None if "contiguous" in kind else (8, 16, 32)
            file.create_dataset("raw", data=VALUES.transpose(2, 1, 0), chunks=chunks and chunks[::-1])
        return f"{path}:raw@xyz"
    if kind.startswith("a.zarr"):
        array = zarr.create_array(
            path, shape=CHANNELS.shape, dtype=np.uint16, chunks=(1, 8, 16, 32), shards=(1, 16, 32, 64)
        )
        array[...] = CHANNELS
    elif kind.startswith("a.tif"):
        tifffile.imwrite(path, VALUES, compression="zlib", metadata={"axes": "ZYX"}, ome=True)
    else:
        np.save(path, VALUES)
    return str(path)


KINDS = ("a.h5", "a.h5 contiguous", "a.zarr", "a.tif", "a.npy")


def boxes(count: int, size: Size, seed: int = 1) -> list[Box]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        low, high = np.sort(random.integers(0, [[n + 1] * 2 for n in size]), axis=1).T
        high = np.maximum(high, np.minimum(low + 1, size))
        found.append(Box(Size(*map(int, np.minimum(low, high - 1))), Size(*map(int, high))))
    return found


class Counting:
    """Stands for an array on disk; counts how often each voxel's block was read, and may refuse."""

    def __init__(self, values: Array, chunks: tuple[int, ...], *, broken: int = 0, slow: bool = False) -> None:
        self.values, self.chunks, self.reads, self.broken = values, chunks, 0, broken
        self.shape, self.dtype = values.shape, values.dtype
        self.gate = threading.Event()
        self.gate.set() if not slow else None

    def __getitem__(self, index: Any) -> Array:
        self.reads += 1
        self.gate.wait(5)
        if self.reads <= self.broken:
            raise OSError("disk gone")
        part: Array = self.values[index]
        return part


def volume_of(stored: Counting) -> Volume:
    return Volume(Address(Path("a.npy")), stored, "zyx", whole(stored.shape), None, None, {})


@pytest.mark.parametrize("part", ["", "[3:37,9:61,20:]"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_box_has_the_values_of_the_plain_volume(tmp_path: Path, kind: str, part: str) -> None:
    text = store(tmp_path, kind)
    text = text.replace("@", f"{part}@") if "@" in text else text + part
    with open_volume(parse_address(text)) as volume:
        cached = CachedVolume(volume, 1 << 20)
        assert (cached.size, cached.channels, cached.dtype) == (volume.size, volume.channels, volume.dtype)
        for box in [*boxes(25, volume.size), whole(volume.size)]:
            for order in ("czyx", "xcyz", *(["zyx", "xyz"] if volume.channels == 1 else [])):
                found, truth = cached.read(box, order), volume.read(box, order)
                assert (found.shape, found.dtype) == (truth.shape, truth.dtype)
                assert np.array_equal(found, truth)
                assert found.flags.c_contiguous
        assert np.array_equal(cached.read(order="czyx"), volume.read(order="czyx"))
        assert cached.use.held <= cached.limit


@pytest.mark.parametrize("kind", KINDS)
def test_threads_read_what_one_reads(tmp_path: Path, kind: str) -> None:
    """The limit is small, so that blocks are forgotten while others want them."""
    with open_volume(parse_address(store(tmp_path, kind))) as volume:
        cached = CachedVolume(volume, 600_000)
        wanted = boxes(120, volume.size, seed=2)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda box: cached.read(box, "czyx"), wanted))
        source = CHANNELS if kind == "a.zarr" else VALUES[None]
        assert all(np.array_equal(part, source[(slice(None), *box.slices)]) for part, box in zip(found, wanted))
        assert cached.use.held <= cached.limit
        assert (cached.use.misses > 0) == (kind != "a.npy")


def test_reader_may_change_what_it_got() -> None:
    cached = CachedVolume(volume_of(Counting(VALUES.copy(), SIZE)), VALUES.nbytes)
    cached.read()[...] = 0
    assert np.array_equal(cached.read(), VALUES)


def test_block_is_read_once_while_it_is_held() -> None:
    stored = Counting(VALUES, (10, 70, 90))
    cached = CachedVolume(volume_of(stored), 2 * 10 * 70 * 90 * 2)
    for z in (0, 3, 12, 5, 15):
        cached.read(Box(Size(z, 1, 2), Size(z + 5, 8, 9)))
    assert stored.reads == 2
    assert cached.use == (3, 2, 2 * 10 * 70 * 90 * 2)


def test_block_unused_for_longest_is_forgotten_first() -> None:
    stored = Counting(VALUES, (10, 70, 90))
    cached = CachedVolume(volume_of(stored), 2 * 10 * 70 * 90 * 2)

    def read(z: int) -> int:
        cached.read(Box(Size(z, 0, 0), Size(z + 1, 1, 1)))
        return stored.reads

    assert [read(z) for z in (0, 10, 0, 20, 0, 10)] == [1, 2, 2, 3, 3, 4]


def test_two_threads_that_want_one_block_read_it_once() -> None:
    stored = Counting(VALUES, SIZE, slow=True)
    cached = CachedVolume(volume_of(stored), VALUES.nbytes)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(cached.read) for _ in range(4)]
        while cached.use.hits < 3:
            threading.Event().wait(0.001)
        stored.gate.set()
        assert all(np.array_equal(part.result(), VALUES) for part in waiting)
    assert stored.reads == 1


def test_failure_is_told_and_not_kept() -> None:
    cached = CachedVolume(volume_of(Counting(VALUES, SIZE, broken=1)), VALUES.nbytes)
    with pytest.raises(DataError, match=r"a\.npy: cannot be read \(disk gone\)"):
        cached.read()
    assert cached.use.held == 0
    assert np.array_equal(cached.read(), VALUES)


def test_one_channel_is_not_chosen_silently(tmp_path: Path) -> None:
    said = pytest.raises(DataError, match="has 3 channels where one was expected")
    with open_volume(parse_address(store(tmp_path, "a.zarr"))) as volume, said:
        CachedVolume(volume, 1 << 20).read()


def test_limit_below_one_block_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"read in blocks of 40×70×90 voxels, 504000 bytes.*allow it 4032000 bytes"):
        CachedVolume(volume_of(Counting(VALUES, SIZE)), 503_999)


def test_box_outside_is_a_mistake_of_the_caller() -> None:
    volume = volume_of(Counting(VALUES, SIZE))
    for box in (Box(Size(-1, 0, 0), Size(2, 2, 2)), Box(Size(0, 0, 0), Size(41, 2, 2))):
        for source in (volume, CachedVolume(volume, VALUES.nbytes)):
            with pytest.raises(AssertionError, match="reaches outside"):
                source.read(box)


@pytest.mark.parametrize(
    ("chunks", "block"),
    [((8, 16, 32), (32, 32, 32)), ((1, 70, 90), (8, 70, 90)), ((40, 70, 90), (40, 70, 90)), ((1, 1, 1), (32, 32, 32))],
)
def test_blocks_are_whole_pieces_of_the_file(chunks: tuple[int, int, int], block: tuple[int, int, int]) -> None:
    found = block_of(volume_of(Counting(VALUES, chunks)))
    assert found == block
    assert all(b % c == 0 for b, c in zip(found, chunks))
    assert found.voxels * 2 >= SMALL


def test_file_without_pieces_is_read_in_ours(tmp_path: Path) -> None:
    with open_volume(parse_address(store(tmp_path, "a.h5 contiguous"))) as volume:
        assert block_of(volume) == PIECE


def test_file_that_is_mapped_into_memory_needs_no_blocks(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES[0])
    for name in (store(tmp_path, "a.npy"), f"{tmp_path}/a.tif"):
        with open_volume(parse_address(name)) as volume:
            cached = CachedVolume(volume, 0)
            assert np.array_equal(cached.read(), volume.read())
            assert cached.use == (0, 0, 0)


def test_small_volume_is_one_block() -> None:
    assert CachedVolume(volume_of(Counting(VALUES[:2, :3, :4], (1, 1, 1))), 48).read().shape == (2, 3, 4)


@pytest.mark.parametrize("ending", ["npy", "h5", "zarr", "tif"])
def test_memory_stays_within_the_limit(tmp_path: Path, ending: str) -> None:
    """A volume of 50 MB read all over by four threads; 4 MB of blocks and the patches are all that is ever held."""
    size, path = Size(100, 710, 710), tmp_path / f"a.{ending}"
    values = np.zeros(size, np.uint8)
    values[::7, ::3] = 5
    if ending == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", data=values, chunks=(16, 64, 64))
    elif ending == "zarr":
        zarr.create_array(path, data=values, chunks=(16, 64, 64))
    elif ending == "tif":
        tifffile.imwrite(path, values, photometric="minisblack", compression="zlib")
    else:
        np.save(path, values)
    starts = np.random.default_rng(0).integers(0, np.array(size) - (8, 100, 100), (100, 3))
    with open_volume(Address(path)) as volume:
        cached = CachedVolume(volume, 4_000_000)

        def one(start: Any) -> bool:
            box = Box(Size(*map(int, start)), Size(*(int(a) + n for a, n in zip(start, (8, 100, 100)))))
            return np.array_equal(cached.read(box), values[box.slices])

        tracemalloc.start()
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(one, starts))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert cached.use.held > 3_000_000 or ending == "npy"
    assert peak < 4_000_000 + 4 * 1_000_000
