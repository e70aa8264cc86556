"""Which engine predicts, and how the choice is remembered; tiles and their memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import engines, stage, tiles
from elektronn.prediction.allocator import keep_memory
from elektronn.prediction.engines import engine_for, faster
from elektronn.prediction.lanes import why_not
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.tiles import FRESH, bytes_of, choose_tile, work_of
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import load

CPU = torch.device("cpu")
SMALL = NetworkSettings(kernels=((1, 3, 3), (2, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(8, 8))
LARGE = Size(1000, 10_000, 10_000)
with_lanes = pytest.mark.skipif(bool(why_not(build(chain(SMALL)))), reason="this CPU has no vectors of 16 floats")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "elektronn" / "engines"


@pytest.fixture
def network() -> Network:
    return build(chain(SMALL), seed=1)


def chosen(network: Network, wanted: str, size: Size = LARGE, device: torch.device = CPU) -> str:
    return engine_for(network, wanted, size, device=device, kind="probabilities", threads=1).name  # type: ignore[arg-type]


@with_lanes
def test_the_engine_asked_for_is_taken(network: Network, cache: Path) -> None:
    assert (chosen(network, "portable"), chosen(network, "lanes")) == ("portable", "lanes")
    assert not cache.exists()


def test_lanes_are_refused_where_they_do_not_fit(network: Network) -> None:
    with pytest.raises(ConfigError, match=r"predict.engine: lanes computes on the CPU, not on meta"):
        chosen(network, "lanes", device=torch.device("meta"))


def test_auto_is_portable_on_other_devices_and_for_little_work(network: Network, cache: Path) -> None:
    assert chosen(network, "auto", Size(10, 100, 100)) == "portable"
    assert chosen(network, "auto", device=torch.device("meta")) == "portable"
    unfit = build(chain(SMALL.model_copy(update={"activation": "maxout 2"})), seed=1)
    assert chosen(unfit, "auto") == "portable"
    assert not cache.exists()


@with_lanes
@pytest.mark.parametrize("winner", ["portable", "lanes"])
def test_auto_takes_the_faster_one_and_remembers_it(
    network: Network, cache: Path, monkeypatch: pytest.MonkeyPatch, winner: str
) -> None:
    timed = []
    monkeypatch.setattr(engines, "faster", lambda network, both: timed.append(both) or winner)
    assert [chosen(network, "auto") for _ in range(3)] == [winner] * 3
    assert len(timed) == 1
    assert [json.loads(file.read_text()) for file in cache.iterdir()] == [{"engine": winner}]
    other = build(chain(SMALL.model_copy(update={"features": (8, 16)})), seed=1)
    assert chosen(other, "auto") == winner
    assert len(timed) == 2


@with_lanes
def test_a_damaged_or_unwritable_cache_does_no_harm(
    network: Network, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "faster", lambda network, both: "lanes")
    chosen(network, "auto")
    (file,) = cache.iterdir()
    for text in ("", "[]", '{"engine": "steam"}', '{"engine": []}'):
        file.write_text(text)
        assert chosen(network, "auto") == "lanes"
    file.unlink()
    cache.rmdir()
    cache.write_text("a file where the folder should be")
    assert chosen(network, "auto") == "lanes"


def test_the_engine_of_least_time_is_the_faster_one(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(engines.time, "perf_counter", lambda: clock[0])

    class Timed:
        def __init__(self, name: str, first: float, later: float) -> None:
            self.name, self.takes, self.later = name, first, later

        def block(self, image: np.ndarray) -> np.ndarray:
            clock[0] += self.takes
            self.takes = self.later
            return image

    assert faster(network, (Timed("portable", 1, 3), Timed("lanes", 50, 2))) == "lanes"  # type: ignore[arg-type]
    assert faster(network, (Timed("portable", 1, 2), Timed("lanes", 1, 3))) == "portable"  # type: ignore[arg-type]


@with_lanes
def test_the_manifest_names_the_engine_and_the_result_does_not_depend_on_it(tmp_path: Path, network: Network) -> None:
    save_model(tmp_path / "m", network, {"fingerprint": "f"})
    np.save(tmp_path / "in.npy", np.random.default_rng(0).integers(0, 256, (5, 40, 50), dtype=np.uint8))
    found = {}
    for engine in ("portable", "lanes"):
        out = tmp_path / f"{engine}.zarr"
        settings = PredictSettings(engine=engine, output="float32", memory_gb=0.002)  # type: ignore[arg-type]
        addresses = parse_address(f"{tmp_path}/in.npy"), parse_address(str(out))
        stage.predict(tmp_path / "m", *addresses, tmp_path / f"{engine}.json", settings, device=CPU)
        assert json.loads((tmp_path / f"{engine}.json").read_text())["engine"] == engine
        found[engine] = load(parse_address(str(out)))
    np.testing.assert_allclose(found["lanes"], found["portable"], rtol=0, atol=1e-5)


def test_tiles_are_flat_where_kernels_are_and_no_larger_than_memory_allows() -> None:
    network = build(chain(NetworkSettings()))
    document, geometry, wanted = network.document, network.geometry, Size(128, 256, 256)
    for memory in (5e7, 2e8, 1e9):
        tile = choose_tile(document, geometry, wanted, memory)
        assert memory / 3 < bytes_of(document, geometry, tile) <= memory
        assert tile.z < tile.y
        assert tile.z < tile.x
    assert choose_tile(document, geometry, wanted, 1e12) == wanted


def test_a_small_volume_is_not_given_memory_that_it_cannot_repay() -> None:
    network = build(chain(NetworkSettings()))
    document, geometry, wanted = network.document, network.geometry, Size(64, 512, 512)

    def cost(tile: Size, voxels: int) -> float:
        return voxels * work_of(document, geometry, tile) + FRESH * bytes_of(document, geometry, tile)

    fits = choose_tile(document, geometry, wanted, 2e9)
    small = choose_tile(document, geometry, wanted, 2e9, wanted.voxels)
    assert bytes_of(document, geometry, small) < 0.8 * bytes_of(document, geometry, fits)
    assert cost(small, wanted.voxels) < cost(fits, wanted.voxels)
    assert choose_tile(document, geometry, wanted, 2e9, 1000 * wanted.voxels) == fits
    tiny = choose_tile(document, geometry, Size(8, 64, 64), 2e9, Size(8, 64, 64).voxels)
    assert tiny == Size(8, 64, 64)  # saves nothing worth a second tile


def test_one_voxel_is_not_cut_however_much_memory_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "LARGE", 0)
    network = build(chain(NetworkSettings()))
    one = Size(1, 1, 1)
    assert choose_tile(network.document, network.geometry, one, 2e9, 1) == one


def test_memory_of_lanes_counts_where_it_is_the_larger() -> None:
    flat = chain(NetworkSettings(kernels=((1, 3, 3), (3, 9, 9)), pools=((1, 1, 1),) * 2, features=(4, 4)))
    network, tile = build(flat), Size(1, 16, 16)
    branched = flat.model_copy(
        update={
            "nodes": (
                *flat.nodes[:-1],
                flat.nodes[-1].model_copy(update={"kind": "activation", "arguments": {"activation": "tanh"}}),
            )
        }
    )
    assert bytes_of(flat, network.geometry, tile) > bytes_of(branched, network.geometry, tile)


def test_kept_memory_is_not_returned() -> None:
    code = """
import sys, numpy as np
from elektronn.prediction.allocator import keep_memory
if sys.argv[1] == "keep": assert keep_memory()
import resource
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5): np.ones(64_000_000, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(); print(faults())
"""
    counts = {
        how: int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "leave")
    }
    assert counts["keep"] * 10 < counts["leave"]


def test_an_allocator_that_cannot_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert not keep_memory()
