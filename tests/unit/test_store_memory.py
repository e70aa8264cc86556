"""The promise of ``predict.memory_gb``: what is measured, remembered, refused and given back; processes: tests/workflow."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from elektronn.axes import Box, Size
from elektronn.errors import ConfigError
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import memory
from elektronn.prediction.dense import Engine
from elektronn.prediction.images import Image
from elektronn.prediction.memory import MARGIN, UNMEASURED, Allowance, Keeper, OnTheWay, Program, measure, on_the_way
from elektronn.prediction.plan import Plan
from elektronn.prediction.result import Result
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.stage import predict
from elektronn.prediction.tiles import bytes_of, choose_tile
from elektronn.prediction.work import Work
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import open_volume

NET = NetworkSettings(kernels=((1, 4, 4), (2, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(4, 5))
WANTED = Size(64, 256, 256)
WAY = OnTheWay(images=5e7, outputs=5e7, read=4e7, made=3e7, one=2e7)


@pytest.fixture
def network() -> Network:
    return build(chain(NET), seed=1)


class Eater:
    """An engine whose tiles take ``factor`` times what the formula says; counts them and the memory of the process."""

    name = "eater"

    def __init__(self, network: Network, patch: pytest.MonkeyPatch, factor: float) -> None:
        self.network, self.factor, self.sizes, self.has = network, factor, list[Size](), 3e8
        patch.setattr(memory, "resident", lambda: self.has)
        patch.setattr(memory, "give_back", lambda: setattr(self, "has", 3e8))

    def block(self, image: np.ndarray) -> np.ndarray:
        self.sizes.append(tile := self.network.geometry.dense(image.shape[1:]))
        self.has = max(self.has, 3e8 + self.factor * bytes_of(self.network.document, self.network.geometry, tile))
        return image


def measured(network: Network, engine: Callable[[], Eater], limit: float, wanted: Size = WANTED) -> Program:
    dtype = np.dtype(np.uint8)
    return measure(network.document, network.geometry, engine, wanted, lambda used: limit - used, dtype, [limit])  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("factor", [0.7, 1.3, 1.9])
def test_tiles_are_measured_in_a_part_of_the_room_and_the_figures_are_remembered(
    network: Network, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    eater, limit = Eater(network, monkeypatch, factor), 4e8
    found = measured(network, lambda: eater, limit)
    assert found.size == 3e8
    assert found.factor == pytest.approx(factor)
    assert len(eater.sizes) == 1 + 3 + 3
    assert eater.has == 3e8, "what the measurement took is given back"
    largest = max(bytes_of(network.document, network.geometry, size) for size in eater.sizes)
    assert 3e8 + factor * largest < 0.9 * limit
    again = measured(network, lambda: pytest.fail("is not measured again"), limit)
    assert again == found


def test_what_fits_anyway_is_not_measured(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    eater = Eater(network, monkeypatch, 1.0)
    assert measured(network, lambda: eater, 1e9, Size(4, 20, 20)) == Program(3e8, 0.0)
    assert len(eater.sizes) == 1


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.3])
def test_the_room_leaves_a_margin_beside_program_and_blocks(network: Network, factor: float) -> None:
    allowance = Allowance(6e8, WAY, Program(3e8, factor))
    room = allowance.room_for(network.document, network.geometry, WANTED)
    assert room * (MARGIN * factor or UNMEASURED) == pytest.approx(2e8)
    tile = choose_tile(network.document, network.geometry, WANTED, room)
    allowance.check(network.document, network.geometry, tile)
    with pytest.raises(
        ConfigError,
        match=r"predict.memory_gb: 0.6 is too little: the program takes 0.30 GB, blocks on their way 0.10 GB, .* at least",
    ):
        allowance.check(network.document, network.geometry, WANTED)


def test_what_is_expected_is_what_is_likely_and_what_was_seen_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    has = [3e8, 4e8]
    monkeypatch.setattr(memory, "resident", lambda: has[0])
    monkeypatch.setattr(memory, "peak", lambda: has[1])
    tiles = ((1e7, 3e7), (5e7, 6e7))
    allowance = Allowance(1e9, WAY, Program(3e8, 3.0, tiles))
    factor, beside = memory.USUAL * (2 * 3.0 + 1.2) / 3, memory.BESIDE + 4e7 + 3e7
    assert allowance.expected(1e8) == pytest.approx(3e8 + factor * 1e8 + beside), "between the two measured tiles"
    assert allowance.expected(1e6) == 4e8, "not less than what there was"
    assert allowance.seen(4.4e8) == 4.4e8
    has[:] = 5e8, 5e8
    assert allowance.seen(4.4e8) == pytest.approx(5e8 + 3e7 - 2e7)


@pytest.mark.parametrize("in_shards", [True, False])
def test_blocks_on_their_way_are_those_that_follow_each_other(
    tmp_path: Path, network: Network, in_shards: bool
) -> None:
    np.save(tmp_path / "image.npy", np.zeros((9, 260, 700), np.uint8))
    result = Result("probabilities", (0, 1), False, "float32", "float32")
    with open_volume(parse_address(f"{tmp_path}/image.npy")) as volume:
        image, size = Image(volume, "zyx", any_floats=False), Size(8, 257, 600)
        found = on_the_way(image, result, network.geometry, size, in_shards=in_shards)
    z, y, x = (f - 1 for f in network.geometry.field)
    made = [8 * 8 * rows * columns for rows in (256, 1) for columns in (256, 256, 88)]
    read = [(8 + z) * (rows + y) * (columns + x) for rows in (256, 1) for columns in (256, 256, 88)]
    file = 4 * 32 * 64 * 64 * (16 if in_shards else 1)
    assert found.one == made[0]
    assert found.made == made[0] + made[1] + file
    assert found.read == sum(read[:3])
    assert found.outputs == sum(made[:3]) + memory.PACKING * file
    assert sum(read[:3]) + read[0] < found.images <= sum(read[:3]) + 2 * read[0]


def test_the_least_that_is_named_is_enough(network: Network) -> None:
    way, program = WAY, Program(3e8, 1.3)
    with pytest.raises(ConfigError) as refused:
        Allowance(3e8, way, program).room_for(network.document, network.geometry, WANTED)
    least = float(str(refused.value).split()[-1])
    assert Allowance(1e9 * least, way, program).room_for(network.document, network.geometry, WANTED) > 0
    with pytest.raises(ConfigError):
        Allowance(1e9 * (least - 0.02), way, program).room_for(network.document, network.geometry, WANTED)


def kept(monkeypatch: pytest.MonkeyPatch, expected: float, after: list[float], low: float = 3.5e8) -> list[float]:
    """What a process of at most 6e8 bytes had when it gave memory back, with so much behind each tile."""
    has, given = [0.0], list[float]()

    def give() -> None:
        given.append(has[0])
        has[0] = low

    monkeypatch.setattr(memory, "resident", lambda: has[0])
    monkeypatch.setattr(memory, "give_back", give)
    keeper = Keeper(Allowance(6e8, OnTheWay(0, 0, 0, 0, 0), Program(3e8)), expected)
    assert given == [0.0], "what was needed before the first tile"
    given.clear()
    for one in after:
        has[0] = one
        keeper.look()
    return given


def test_unused_memory_is_given_back_when_little_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(monkeypatch, 9e8, [5.1e8, 5.3e8]) == []
    assert kept(monkeypatch, 9e8, [5.3e8, 5.41e8]) == [5.41e8], "nine tenths"
    assert kept(monkeypatch, 9e8, [4e8, 4.5e8, 5.26e8]) == [5.26e8], "the next one may add 1.5 times 76 MB"


def test_unused_memory_is_given_back_above_what_was_expected_unless_a_tile_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert kept(monkeypatch, 4.5e8, [4e8, 4.2e8, 4.4e8, 4.2e8]) == [4.4e8], "the next one may add 20 MB again"
    assert kept(monkeypatch, 4.5e8, [4e8, 4.4e8, 4.6e8, 4.55e8]) == [4.4e8], "4.6e8 and 40 MB more are expected then"
    assert kept(monkeypatch, 4.0e8, [4.2e8, 4.3e8, 4.3e8, 4.25e8]) == [4.2e8], "4.3e8 right after it was given back"


def test_a_process_that_does_other_things_too_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "give_back", lambda: pytest.fail("is not ours to give"))
    monkeypatch.setattr(memory, "resident", lambda: 1e12)
    Keeper(Allowance(1.0, OnTheWay(0, 0, 0, 0, 0)), 1.0).look()


@pytest.mark.parametrize("output", ["uint8", "float32"])
def test_outputs_are_gone_before_the_next_tile_is_computed(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch, output: Literal["uint8", "float32"]
) -> None:
    save_model(tmp_path / "m", network, {"fingerprint": "f"})
    np.save(tmp_path / "image.npy", np.random.default_rng(0).integers(0, 256, (8, 60, 60), np.uint8))
    made, block = list[weakref.ref[np.ndarray]](), Engine.block

    def watched(self: Engine, image: np.ndarray) -> np.ndarray:
        end = time.monotonic() + 5  # threads of the storage library may still be letting go
        while any(ref() is not None for ref in made):
            gc.collect()
            assert time.monotonic() < end, "lies in the way"
        found = block(self, image)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Engine, "block", watched)
    image, out = parse_address(f"{tmp_path}/image.npy"), parse_address(f"{tmp_path}/p.zarr")
    settings = PredictSettings(memory_gb=4e-4, output=output, engine="portable", certificate=1)
    predict(tmp_path / "m", image, out, tmp_path / "p.json", settings, device=torch.device("cpu"))
    assert len(made) > 4


def test_who_joins_takes_the_tiles_of_who_came_first(tmp_path: Path, network: Network) -> None:
    size, work = Size(8, 60, 60), Work(parse_address(f"{tmp_path}/p.zarr"))

    def plan(room: float, **settings: object) -> Plan:
        chosen = PredictSettings(memory_gb=room / 1e9, **settings)  # type: ignore[arg-type]
        return Plan.of(network.document, network.geometry, size, chosen, {"model": "m"}, room)

    first = work.begin(plan(1e9), tuple(size), "uint8", attributes={})
    small = plan(1e5)
    assert small.tile != first.tile
    joined = Work(work.out).begin(small, tuple(size), "uint8", attributes={})
    assert joined.tile == first.tile
    assert joined.fingerprint == first.fingerprint
    with pytest.raises(ConfigError, match=r"another predict.output \(uint8, now float16\)"):
        work.begin(plan(1e5, output="float16"), tuple(size), "uint8", attributes={})


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_a_mapped_image_is_read_without_keeping_its_pages(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (16, 700, 2000), np.uint8)
    np.save(tmp_path / "image.npy", values)

    def mapped() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("RssFile")).split()[1])

    with open_volume(parse_address(f"{tmp_path}/image.npy")) as volume:
        before = mapped()
        image = Image(volume, "zyx", any_floats=False)
        box = Box(Size(1, 0, 300), Size(16, 700, 900))
        np.testing.assert_array_equal(image.read(box)[0], values[box.slices])
        assert mapped() - before < 4e6 < values.nbytes
