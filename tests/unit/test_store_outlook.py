"""What a prediction says that it needs: of disk and time, before it begins and while it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from elektronn.axes import Size, whole
from elektronn.errors import DataError
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import outlook as outlooks
from elektronn.prediction import rehearsal, stage
from elektronn.prediction.forecast import Forecast
from elektronn.prediction.outlook import Outlook
from elektronn.prediction.pace import Pace
from elektronn.prediction.plan import Plan
from elektronn.prediction.rehearsal import Fate, samples
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.tiles import work_of
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume

CPU = torch.device("cpu")
NET = NetworkSettings(kernels=((1, 3, 3), (2, 2, 2)), pools=((1, 2, 2), (1, 1, 1)), features=(2, 3))
FATE = Fate(store=0.5, coarse=0.1, file=0.0, store_s=0.0, coarse_s=0.0, file_s=0.0, voxel_s=0.0)


@pytest.fixture(scope="module")
def network() -> Network:
    return build(chain(NET), seed=1)


@pytest.mark.parametrize(
    ("out", "settings"),
    [
        ("p.zarr", {"pyramid": 2}),
        ("p.zarr", {"output": "float16", "classes": "all"}),
        ("p.zarr@ngff0.4", {"output": "float32"}),
        ("p.h5", {"output": "float32"}),
    ],
    ids=str,
)
def test_the_disk_that_is_forecast_is_the_one_that_is_taken(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch, out: str, settings: dict[str, Any]
) -> None:
    save_model(tmp_path / "m", network, {"fingerprint": "f"})
    size = (40, 150, 200)
    values = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    with create_volume(parse_address(f"{tmp_path}/image.zarr"), size, np.uint8) as sink:
        sink.write(whole(size), values)
    said, stored = list[Forecast](), list[int]()
    line, publish = Forecast.line, stage.finish
    monkeypatch.setattr(
        Forecast, "line", lambda self, *given, **named: said.append(self) or line(self, *given, **named)
    )

    def finish(job: Any, claims: Any) -> Any:
        stored.append(sum(file.stat().st_size for file in job.work.store.rglob("*") if file.is_file()))
        return publish(job, claims)

    monkeypatch.setattr(stage, "finish", finish)
    target = parse_address(f"{tmp_path}/{out}")
    chosen = PredictSettings(certificate=1, **settings)
    stage.predict(
        tmp_path / "m", parse_address(f"{tmp_path}/image.zarr"), target, tmp_path / "p.json", chosen, device=CPU
    )
    copy = target.path.stat().st_size if target.format == "hdf5" else 0
    assert said[-1].disk == pytest.approx(stored[0] + copy, rel=0.04)


def test_the_time_of_a_tile_is_that_of_its_multiplications(network: Network) -> None:
    pace = Pace(network.document, network.geometry)
    large, small = Size(8, 64, 64), Size(2, 8, 8)
    assert pace.seconds({large: 1}) == 0
    pace.saw(large, 2.0)
    ratio = small.voxels * work_of(network.document, network.geometry, small)
    ratio /= large.voxels * work_of(network.document, network.geometry, large)
    assert ratio > small.voxels / large.voxels, "halos count"
    assert pace.seconds({large: 3, small: 2}) == pytest.approx(6 + 4 * ratio)
    pace.saw(large, 4.0)
    assert pace.seconds({large: 1}) == pytest.approx(3)
    pace.forget()
    assert pace.seconds({large: 1}) == 0


class World:
    """A job of tiles of one size, whose clock stands still unless it is told."""

    def __init__(self, network: Network, patch: pytest.MonkeyPatch, tiles: int) -> None:
        self.now, self.said = 0.0, list[str]()
        self.tile = Size(8, 32, 32)
        plan = Plan(Size(8, 32, 32 * tiles), Size(8, 32, 64), self.tile, {})
        trained = SimpleNamespace(network=network)
        result = SimpleNamespace(dtype="uint8", is_single=True)
        self.job: Any = SimpleNamespace(
            plan=plan,
            trained=trained,
            geometry=network.geometry,
            result=result,
            settings=PredictSettings(threads=1, certificate=0),
            work=SimpleNamespace(out="p"),
        )
        patch.setattr(outlooks.time, "perf_counter", lambda: self.now)
        known = Forecast(1.0, 1.0, 1.0, 1.0)
        for name in ("packed", "seen"):
            patch.setattr(Forecast, name, lambda self, *given: self)
        patch.setattr(Forecast, "of", lambda *given: known)
        patch.setattr(Forecast, "line", lambda self, seconds, is_rough=False: f"{'~' * is_rough}{seconds:.0f}")
        self.outlook = Outlook(self.job, set(), lambda text: self.said.append(text.removeprefix("p: ")))

    def run(self, name: str, *seconds: float, done: tuple[str, ...] = ()) -> None:
        self.outlook.begin(name, set(done))
        for one in seconds:
            self.now += one
            self.outlook.saw(self.tile, one, lambda: FATE)


def test_the_time_is_said_after_three_tiles_of_which_the_first_does_not_count(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(network, monkeypatch, 20)
    names = world.job.plan.names
    world.run(names[0], 50, 2)
    assert world.said == []
    world.run(names[1], 2, 2)
    assert world.said == ["34"], "17 tiles of two seconds"
    for name in names[2:]:
        world.run(name, 2.1, 2.1)
    assert world.said == ["34"], "it is right, and not said again"


def test_another_time_is_said_when_it_turns_out_otherwise(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(network, monkeypatch, 20)
    names = world.job.plan.names
    for name in names[:4]:
        world.run(name, 1, 1) if name in names[:2] else world.run(name, 5, 5)
    mean = (2 + 5 * 4) / 7  # of the second tile on but for the first two: 3 and 4 took 1 s, 5 to 8 took 5 s
    assert world.said[0] == "17"
    assert len(world.said) == 2
    assert float(world.said[1]) == pytest.approx(12 * mean, rel=0.15)


def test_blocks_of_others_are_not_waited_for_twice(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(network, monkeypatch, 20)
    names = world.job.plan.names
    world.run(names[0], 1, 1)
    world.run(names[2], 1, done=(names[0], names[1]))
    assert world.said == ["9"], "15 tiles are left, of which two processes do the same share: three fifths of 15"


def test_a_prediction_of_few_tiles_says_what_is_left_at_its_end(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(network, monkeypatch, 2)
    world.run(world.job.plan.names[0], 1, 1)
    assert world.said == ["0"]


@pytest.fixture
def rehearsed(network: Network, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Size]]:
    """Sizes of samples of a plan whose tiles take so many seconds per million voxels."""

    def run(size: Size, tile: Size, cost: float, unreadable: int = 0) -> list[Size]:
        clock, failures = [0.0], iter([True] * unreadable)

        def read(box: Any) -> np.ndarray:
            if next(failures, False):
                raise DataError("damaged")
            return np.zeros((1, *box.size), np.uint8)

        def block(patch: np.ndarray) -> np.ndarray:
            found = network.geometry.dense(patch.shape[1:])
            clock[0] += cost * found.voxels / 1e6
            return np.zeros((2, *found), np.float32)

        monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: clock[0])
        monkeypatch.setattr(rehearsal, "fate_of", lambda *given: FATE)
        job: Any = SimpleNamespace(
            plan=Plan(size, size, tile, {}),
            geometry=network.geometry,
            image=SimpleNamespace(read=read),
            result=SimpleNamespace(stored=lambda outputs: outputs[1]),
            around=lambda box: box.grown((0, 0, 0), [f - 1 for f in network.geometry.field]),
        )
        return [sample.tile for sample in samples(job, SimpleNamespace(block=block), None)]  # type: ignore[arg-type]

    return run


def test_samples_grow_while_they_take_no_time_and_end_with_a_warm_one(rehearsed: Callable[..., list[Size]]) -> None:
    volume, tile = Size(200, 1000, 1000), Size(20, 128, 256)
    first, second = rehearsal.SIZES[:2]
    assert rehearsed(volume, tile, 20.0) == [first, first], "slow: the smallest is enough"
    assert rehearsed(volume, tile, 3.0) == [first, second, second]
    assert rehearsed(volume, tile, 0.01) == [first, second, Size(20, 128, 160), Size(20, 128, 160)]
    assert rehearsed(Size(500, 1000, 1000), tile, 0.01)[2:] == [Size(20, 128, 160), tile, tile]
    assert rehearsed(Size(30, 400, 400), tile, 0.01) == [first, first], "a small part of the whole"
    assert rehearsed(Size(10, 100, 100), tile, 0.01) == [], "too little to do"


def test_places_that_cannot_be_read_are_passed_over(rehearsed: Callable[..., list[Size]]) -> None:
    volume, tile = Size(200, 1000, 1000), Size(20, 128, 256)
    assert rehearsed(volume, tile, 20.0, unreadable=2) == [rehearsal.SIZES[0]] * 2
    assert rehearsed(volume, tile, 20.0, unreadable=6) == []
