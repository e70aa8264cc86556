"""Boxes of zarr arrays that are read without the library are what the library reads, in every layout and when damaged."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec
from zarr.storage import MemoryStore, ZipStore

from elektronn.axes import Box, Size, whole
from elektronn.errors import DataError
from elektronn.prediction.gaps import gaps
from elektronn.prediction.memory import DECODED
from elektronn.volumes import zarr_direct
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import create_volume, open_volume
from elektronn.volumes.stored import Array, Reindexed
from elektronn.volumes.zarr_direct import Direct, together

SHAPE, CHUNK, SHARD = (10, 21, 33), (4, 8, 16), (8, 16, 32)
VALUES = np.random.default_rng(0).integers(0, 40, SHAPE).astype(np.uint8)


class Refuses:
    """Stands for the library where it must not be asked."""

    def __init__(self, array: Any) -> None:
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError(f"the library was asked for {index}")


class Counts(Refuses):
    """Counts how often the library is asked."""

    def __init__(self, array: Any) -> None:
        super().__init__(array)
        self.array, self.asked = array, 0

    def __getitem__(self, index: Any) -> Any:
        self.asked += 1
        return self.array[index]


def alone(array: Any) -> Direct:
    """An array that the library does not help to read."""
    direct = Direct(array)
    assert direct.layout is not None
    direct.array = Refuses(array)
    return direct


OLD: dict[str, Any] = {
    "zstd": numcodecs.Zstd(),
    "blosc": numcodecs.Blosc(),
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "none": None,
}
NEW: dict[str, Any] = {"zstd": ZstdCodec(), "blosc": BloscCodec(), "gzip": GzipCodec(), "none": None}
TYPES = ("uint8", "int16", "uint16", "uint32", "int64", "float16", "float32", "float64", "bool")


def stored(folder: str | Path, kind: str, shape: tuple[int, ...] = SHAPE, dtype: str = "uint8", **more: Any) -> Any:
    """An empty array; ``kind`` says version, codec, and where the table of its shards is, with or without checksum."""
    version, codec, *table = kind.split()
    if version == "2":
        more = {"zarr_format": 2, "compressors": OLD[codec], **more}
    else:
        more = {"compressors": NEW[codec], **more}
    chunk, shard = (tuple(extent[-len(shape) :]) for extent in ((1, *CHUNK), (2, *SHARD)))
    if table:
        inner = zarr.codecs.BytesCodec()
        codecs = (inner,) if NEW[codec] is None else (inner, NEW[codec])
        checked = (inner, Crc32cCodec()) if "checked" in table else (inner,)
        more["serializer"] = ShardingCodec(
            chunk_shape=chunk, codecs=codecs, index_codecs=checked, index_location=table[0]
        )
        more["compressors"], chunk = None, shard
    return zarr.create_array(folder, shape=shape, dtype=dtype, **{"chunks": chunk, **more})


KINDS = (
    *(f"2 {codec}" for codec in OLD),
    *(f"3 {codec}" for codec in NEW),
    *(f"3 {codec} {table}" for codec in NEW for table in ("end checked", "start checked", "end plain", "start plain")),
)


def filled(folder: Path, kind: str, values: Array = VALUES, **more: Any) -> Any:
    array = stored(folder, kind, values.shape, values.dtype.name, **more)
    array[...] = values
    return array


def files(folder: Path) -> list[Path]:
    """Those with values."""
    return sorted(f for f in folder.rglob("*") if f.is_file() and f.suffix != ".json" and not f.name.startswith(".z"))


# the same values


@st.composite
def parts(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """A box in any of the words of an index, with something in it, and at least one slice."""
    spans = [sorted(draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in shape]
    found: list[Any] = [slice(a, max(b, a + 1)) for a, b in spans]
    for axis, n in enumerate(shape[:-1]):
        some = draw(st.sampled_from(["slice", "slice", "whole", "number", "from behind", "numpy"]))
        found[axis] = {
            "slice": found[axis],
            "whole": slice(None),
            "number": found[axis].start,
            "from behind": found[axis].start - n,
            "numpy": np.int64(found[axis].start),
        }[some]
    some = draw(st.sampled_from(["all", "all", "ellipsis", "behind", "beyond"]))
    if some == "ellipsis":
        found[draw(st.integers(0, len(shape) - 1))] = ...
    elif some == "behind":
        found = found[:-1]
    elif some == "beyond":
        found[-1] = slice(-5, 1000, 1)
    return tuple(found)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_box_of_any_layout_is_what_the_library_reads(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    shape = tuple(data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4)))
    dtype = data.draw(st.sampled_from(TYPES))
    fill = np.dtype(dtype).type(data.draw(st.sampled_from([0, 1, 7])))
    keys = (
        {} if kind[0] == "2" or data.draw(st.booleans()) else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    )
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_direct, "WORTH", 1)  # several threads where there is anything to share
        patch.setattr(zarr_direct, "HANDS", data.draw(st.integers(1, 3)))
        array = stored(folder, kind, shape, dtype, fill_value=fill, **keys)
        part = tuple(slice(random.integers(n), None) for n in shape)  # chunks before it are not there
        array[part] = (99 * random.random([n - one.start for n, one in zip(shape, part)])).astype(dtype)
        direct = alone(array)
        for index in (..., data.draw(parts(shape)), data.draw(parts(shape))):
            found, expected = direct[index], array[index]
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


def test_missing_chunks_and_files_give_the_fill_value(tmp_path: Path) -> None:
    array = stored(tmp_path, "3 zstd end checked", dtype="float32", fill_value=np.nan)
    assert np.isnan(alone(array)[...]).all()
    array[:4, :8, :16] = 3
    assert np.array_equal(np.isnan(alone(array)[...]), np.isnan(array[...]))
    old = stored(tmp_path / "old", "2 zstd", dtype="int16", fill_value=None)
    assert np.array_equal(alone(old)[...], np.zeros(SHAPE, np.int16))


def test_volumes_of_stores_are_read_directly_also_without_time(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", data=VALUES[None, None], chunks=(1, 1, *CHUNK))
    array.attrs["axes"] = "tczyx"
    with open_volume(Address(tmp_path / "a.zarr")) as volume:
        assert isinstance(volume.stored, Reindexed)
        assert isinstance(volume.stored.stored, Direct)
        volume.stored.stored = alone(volume.stored.stored.array)
        assert np.array_equal(volume.read(), VALUES)
        assert np.array_equal(volume.read(order="czyx"), VALUES[None])


@pytest.mark.parametrize("layout", ["", "@ngff0.4"])
@pytest.mark.parametrize("shape", [SHAPE, (2, *SHAPE)])
def test_stores_of_ours_are_read_directly(tmp_path: Path, layout: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).integers(0, 60000, shape).astype(np.uint16)
    with create_volume(parse_address(f"{tmp_path}/a.zarr{layout}"), shape, np.uint16, chunks=CHUNK) as sink:
        sink.write(whole(Size(*SHAPE)), values)
    with open_volume(Address(tmp_path / "a.zarr")) as volume:
        volume = replace(volume, stored=alone(volume.stored.array))  # type: ignore[attr-defined]
        assert np.array_equal(volume.read(order="czyx"), values.reshape(-1, *SHAPE))
        box = Box(Size(3, 5, 7), Size(9, 20, 33))
        assert np.array_equal(volume.read(box, "czyx"), values.reshape(-1, *SHAPE)[(slice(None), *box.slices)])


def test_a_store_that_is_written_again_is_read_as_it_is_then(tmp_path: Path) -> None:
    array = filled(tmp_path, "3 zstd end checked")
    direct = alone(array)
    assert np.array_equal(direct[...], VALUES)
    array[...] = np.random.default_rng(1).integers(0, 255, SHAPE)
    assert np.array_equal(direct[...], array[...])


def test_chunks_that_are_missing_are_found_in_front_of_the_direct_route(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", "3 zstd end checked")[:8] = 1
    with open_volume(Address(tmp_path / "a.zarr")) as volume:
        assert gaps(volume).missing == 9


# what is left to the library


def foreign(folder: Path) -> Iterator[Any]:
    """Arrays that are not ours to read."""
    yield zarr.create_array(MemoryStore(), data=VALUES)
    yield zarr.create_array(ZipStore(folder / "a.zip", mode="w"), data=VALUES)
    yield filled(folder / "ends", "3 zstd", VALUES.astype(np.uint16), serializer=zarr.codecs.BytesCodec(endian="big"))
    yield filled(folder / "turned", "3 zstd", filters=[TransposeCodec(order=(2, 1, 0))])
    yield filled(folder / "two", "3 none", compressors=[ZstdCodec(), GzipCodec()])
    yield filled(folder / "sums", "3 none", compressors=[Crc32cCodec()])
    yield filled(folder / "columns", "2 zstd", order="F")
    yield filled(folder / "steps", "2 zstd", filters=[numcodecs.Delta("u1")])
    yield filled(folder / "lz4", "2 zstd", compressors=numcodecs.LZ4())
    inner = ShardingCodec(chunk_shape=(4, 8, 8))
    yield filled(
        folder / "nested", "3 none", serializer=ShardingCodec(chunk_shape=CHUNK, codecs=(inner,)), chunks=SHARD
    )
    array = zarr.create_array(folder / "old", shape=SHAPE, chunks=CHUNK, dtype=">u2", zarr_format=2)
    array[...] = VALUES
    yield array
    yield zarr.create_array(folder / "complex", data=VALUES.astype(np.complex64))
    yield zarr.create_array(folder / "scalar", data=np.array(3))


def test_what_is_not_known_is_left_to_the_library(tmp_path: Path) -> None:
    arrays = list(foreign(tmp_path))
    assert [str(array.store_path) for array in arrays if Direct(array).layout is not None] == []
    assert all(np.array_equal(Direct(array)[...], array[...]) for array in arrays)
    arrays[1].store.close()


INDICES = (
    (slice(0, 8, 2),),
    ([0, 3],),
    (slice(3, 3),),
    (slice(5, 2),),
    (1, 2, 3),
)


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_that_is_no_box_is_left_to_the_library(tmp_path: Path, index: Any) -> None:
    direct = Direct(filled(tmp_path, "3 zstd"))
    direct.array = counted = Counts(direct.array)
    assert np.array_equal(direct[index], VALUES[index])
    assert counted.asked == 1


@pytest.mark.parametrize(
    "index",
    [(10,), (-11,), (0, 0, 0, 0), (..., ...), (slice(None, None, -1),), (slice(0.0, 2),), (slice(None), 0, True)],
)
def test_a_wrong_index_is_refused_by_the_library(tmp_path: Path, index: Any) -> None:
    array = filled(tmp_path, "3 zstd")
    with pytest.raises(Exception) as expected:  # noqa: PT011
        array[index]
    with pytest.raises(type(expected.value)):
        Direct(array)[index]


# damage


def outcome(folder: Path, by_library: bool) -> Array | str:
    """The values, or what is said of the damage."""
    with open_volume(Address(folder)) as volume:
        assert isinstance(volume.stored, Direct)
        try:
            return (replace(volume, stored=volume.stored.array) if by_library else volume).read()
        except DataError as error:
            return str(error)


def flip(raw: bytearray, random: np.random.Generator) -> bytes:
    raw[random.integers(len(raw))] ^= 1 << random.integers(8)
    return bytes(raw)


DAMAGES: dict[str, Any] = {
    "flipped": flip,
    "cut off": lambda raw, random: raw[: random.integers(len(raw))],
    "longer": lambda raw, random: raw + b"12345678",
    "empty": lambda raw, random: b"",
}


@pytest.mark.filterwarnings("ignore:overflow encountered")  # in the library, by a wrong table
@pytest.mark.parametrize("kind", KINDS)
def test_damage_leads_to_what_it_led_to_in_the_library(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "a.zarr"
    filled(folder, kind)
    random = np.random.default_rng(1)
    told = 0
    for name, damage in DAMAGES.items():
        if name == "flipped" and "blosc" in kind:
            continue  # its decoder is not safe against wrong bytes
        for file in files(folder)[:3]:
            content = file.read_bytes()
            file.write_bytes(damage(bytearray(content), random))
            expected, found = outcome(folder, True), outcome(folder, False)
            if isinstance(found, str):
                assert str(folder) in found
                assert "copy it again" in found
                assert (
                    isinstance(expected, str) or "blosc" in kind
                )  # which may take what it finds in memory for the rest
                told += 1
            else:
                assert np.array_equal(found, expected), (name, file)
            file.write_bytes(content)
    assert told
    files(folder)[0].unlink()
    assert np.array_equal(outcome(folder, False), outcome(folder, True))


@pytest.mark.parametrize("table", ["end", "start"])
def test_each_wrong_bit_of_a_table_with_a_checksum_is_told(tmp_path: Path, table: str) -> None:
    folder = tmp_path / "a.zarr"
    filled(folder, f"3 none {table} checked")
    file = files(folder)[0]
    content = file.read_bytes()
    length = 16 * 8 + 4
    start = len(content) - length if table == "end" else 0
    for byte in range(start, start + length, 7):
        wrong = bytearray(content)
        wrong[byte] ^= 16
        file.write_bytes(wrong)
        assert "checksum" in str(outcome(folder, False))


@pytest.mark.parametrize("kept", [0, 15, 16, 40, -1])
def test_nothing_is_made_up_for_the_end_of_a_chunk(tmp_path: Path, kept: int) -> None:
    folder = tmp_path / "a.zarr"
    filled(folder, "2 blosc")
    file = files(folder)[0]
    file.write_bytes(file.read_bytes()[:kept])
    assert "is cut off" in str(outcome(folder, False))


@pytest.mark.parametrize(("kind", "codec"), [("2 zstd", numcodecs.Zstd()), ("2 blosc", numcodecs.Blosc())])
@pytest.mark.parametrize("share", [0.5, 2])
def test_a_chunk_of_another_length_is_never_taken(tmp_path: Path, kind: str, codec: Any, share: float) -> None:
    folder = tmp_path / "a.zarr"
    filled(folder, kind)
    files(folder)[0].write_bytes(codec.encode(np.ones(int(4 * 8 * 16 * share), np.uint8)))
    assert "cannot be read" in str(outcome(folder, False))


# threads


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three threads for the smallest read."""
    zarr_direct._pool.cache_clear()
    monkeypatch.setattr(zarr_direct, "HANDS", 3)
    monkeypatch.setattr(zarr_direct, "WORTH", 1)
    yield
    zarr_direct._pool().shutdown()
    zarr_direct._pool.cache_clear()


@pytest.mark.usefixtures("three")
def test_several_threads_share_a_read() -> None:
    met = threading.Barrier(3, timeout=20)
    names = set()

    def job() -> None:
        met.wait()  # goes on when three jobs are worked on
        names.add(threading.current_thread().name)

    together([job] * 3, 3)
    assert len(names) == 3
    assert threading.current_thread().name in names


@pytest.mark.usefixtures("three")
def test_readers_in_many_threads_and_in_the_pool_itself_wait_for_nobody(tmp_path: Path) -> None:
    direct = alone(filled(tmp_path, "3 zstd end checked"))
    boxes = [(slice(z, z + 5), slice(y, y + 9)) for z in range(6) for y in range(12)]

    def right(box: tuple[slice, ...]) -> bool:
        return np.array_equal(direct[box], VALUES[box])

    with ThreadPoolExecutor(8) as readers:
        assert all(readers.map(right, boxes, timeout=20))
    assert all(zarr_direct._pool().map(right, boxes, timeout=20))


@pytest.mark.usefixtures("three")
def test_what_fails_in_another_thread_fails_for_the_reader() -> None:
    caller, helped = threading.current_thread(), threading.Event()

    def job() -> None:
        if threading.current_thread() is not caller:
            helped.set()
            raise ValueError("damaged")
        assert helped.wait(20)

    with pytest.raises(ValueError, match="damaged"):
        together([job] * 4, 2)


@pytest.mark.usefixtures("three")
def test_when_a_job_has_failed_nobody_does_the_rest() -> None:
    caller, helped, done = threading.current_thread(), threading.Event(), list[int]()

    def job() -> None:
        helped.set()
        if threading.current_thread() is caller:
            raise ValueError("damaged")
        time.sleep(0.005)
        done.append(1)

    def first() -> None:
        assert helped.wait(20)
        if threading.current_thread() is caller:
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        together([first, *[job] * 200], 2)
    assert len(done) < 100


def test_a_small_read_wakes_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = alone(filled(tmp_path, "3 zstd"))
    monkeypatch.setattr(zarr_direct, "_pool", None)
    monkeypatch.setattr(zarr_direct, "HANDS", 4)
    assert np.array_equal(direct[...], VALUES)
    monkeypatch.setattr(zarr_direct, "WORTH", 1)
    with pytest.raises(TypeError, match="callable"):  # a large one does
        direct[...]


@pytest.mark.usefixtures("three")
def test_a_read_takes_no_more_memory_than_a_prediction_expects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr_direct._pool.cache_clear()
    monkeypatch.setattr(zarr_direct, "HANDS", 8)  # on a machine with as many cores
    values = np.random.default_rng(0).integers(0, 256, (64, 256, 256)).astype(np.uint8)
    chunk = (4, 256, 256)
    direct = alone(zarr.create_array(tmp_path, data=values, chunks=chunk))
    tracemalloc.start()
    found = direct[...]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(found, values)
    assert peak - values.nbytes < (DECODED + 1) * np.prod(chunk)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.usefixtures("three")
def test_a_forked_process_has_threads_of_its_own(tmp_path: Path) -> None:
    direct = alone(filled(tmp_path, "3 zstd"))
    assert np.array_equal(direct[...], VALUES)
    child = os.fork()
    if not child:
        is_new = zarr_direct._pool.cache_info().currsize == 0
        os._exit(0 if is_new and np.array_equal(direct[...], VALUES) else 1)
    assert os.waitpid(child, 0)[1] == 0
