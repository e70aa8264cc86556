"""Mission rows M156 (profile of speed against size) and M157 (prediction from store to store)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from elektronn.axes import Size, whole
from elektronn.cli.elektronn_profile import main
from elektronn.geometry import Stack
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import plan as planning
from elektronn.prediction import speed as measuring
from elektronn.prediction import stage
from elektronn.prediction.dense import Engine
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.speed import sizes_for, speeds
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume, load

CPU = torch.device("cpu")
FLAT = NetworkSettings(kernels=((1, 4, 4), (1, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(2, 2))
DEEP = NetworkSettings(
    kernels=((1, 4, 4), (3, 3, 3), (2, 2, 2)), pools=((1, 2, 2), (2, 1, 1), (1, 1, 1)), features=(2, 2, 2)
)
PARAMS = """\
experiments:
  flat:
    network: {kernels: [[1, 4, 4], [1, 3, 3]], pools: [[1, 2, 2], [1, 1, 1]], features: [2, 2], patch: [1, 30, 30]}
  deep:
    network: {kernels: [[1, 4, 4], [3, 3, 3]], pools: [[1, 2, 2], [1, 1, 1]], features: [2, 2], patch: [3, 31, 31]}
predict: {device: cpu, threads: 1, memory_gb: 0.004}
"""


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_M156_the_profile_has_the_header_growing_sizes_and_positive_speeds(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    assert main([f"{tmp_path}/params.yaml", "--gpu=false", "--out", str(tmp_path), "--repeats", "2"]) == 0
    for name, network in (("flat", "1"), ("deep", "3")):
        table = tmp_path / f"Speed_{name}.csv"
        assert table.read_text().startswith("z-shape\txy-shape\tpixel\tSpeed [MPix/s]\t")
        rows = rows_of(table)
        assert len(rows) >= 3
        widths = [int(row["xy-shape"]) for row in rows]
        assert widths == sorted(widths)
        assert len(set(widths)) >= 3
        assert all(float(row["Speed [MPix/s]"]) > 0 for row in rows)
        assert all(float(row["Memory formula [MB]"]) <= 4 for row in rows), "stops at the limit"
        best = max(rows, key=lambda row: float(row["Speed [MPix/s]"]))
        assert [row["Optimum"] for row in rows].count("*") == 1
        assert best["Optimum"] == "*"
        assert rows[0]["z-shape"] == network
        assert (tmp_path / f"Speed_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_M156_a_config_of_the_ancestor_is_profiled_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--gpu=false", "--seconds", "0", "--repeats", "1"]
    assert main(["neuro_3d_config", *options]) == 0
    (table,) = tmp_path.glob("Speed_*.csv")
    assert len(rows_of(table)) == 1


@pytest.mark.parametrize("settings", [FLAT, DEEP])
def test_M156_sizes_are_valid_with_all_fragments(settings: NetworkSettings) -> None:
    geometry = build(chain(settings), seed=0).geometry
    stacks = [
        Stack(tuple(k[a] for k in settings.kernels), tuple(p[a] for p in settings.pools), (True,) * len(settings.pools))
        for a in range(3)
    ]
    for size, _ in zip(sizes_for(geometry), range(12)):
        assert all(stack.is_valid(n) for stack, n in zip(stacks, size))
        assert all(n % s == 0 for n, s in zip(geometry.dense(size), geometry.stride))


def test_M156_the_speed_is_outputs_by_the_median_time_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Size] = []
    ticks = iter(np.cumsum([0, 0, 1, 0, 5, 0, 3, 99]))
    monkeypatch.setattr(Engine, "block", lambda self, image: calls.append(Size(*image.shape[1:])))
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: float(next(ticks)))
    (found,) = speeds(build(chain(FLAT), seed=0), CPU, memory=1e9, seconds=10)
    assert len(calls) == 4
    assert found.seconds == 3
    assert found.spread_s == 4
    assert found.rate == pytest.approx(8 * 8 / 3e6)


def test_M156_too_little_memory_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    assert main([f"{tmp_path}/params.yaml", "--memory-gb", "1e-7", "--out", str(tmp_path)]) == 2
    assert "no input fits into 1e-07 GB" in capsys.readouterr().err
    assert main([f"{tmp_path}/params.yaml", "--experiment", "flt"]) == 2
    assert "did you mean 'flat'" in capsys.readouterr().err


def test_M156_what_cannot_be_read_or_written_is_said_once_and_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measuring, "speeds", lambda *_, **__: pytest.fail("nothing is to be measured"))
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "file").touch()
    assert main([f"{tmp_path}/params.yaml", "--out", f"{tmp_path}/file/x"]) == 5
    assert capsys.readouterr().err.startswith(f"elektronn-profile: {tmp_path}/file")
    assert main([f"{tmp_path}/none.yaml"]) == 2
    assert capsys.readouterr().err.count("none.yaml") == 1


@pytest.mark.parametrize("settings", [FLAT, DEEP])
def test_M157_zarr_in_zarr_out_equals_the_prediction_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: NetworkSettings
) -> None:
    monkeypatch.setattr(planning, "SHARD", Size(8, 64, 64))
    monkeypatch.setattr("elektronn.prediction.work.CHUNKS", Size(2, 16, 16))
    monkeypatch.setattr(planning, "LARGEST", 1)
    network = build(chain(settings), seed=3)
    save_model(tmp_path / "m", network, {"fingerprint": "f"})
    image = np.random.default_rng(0).integers(0, 256, (21, 90, 150), np.uint8)
    source, out = (parse_address(f"{tmp_path}/{name}.zarr") for name in ("image", "out"))
    with create_volume(source, image.shape, image.dtype, chunks=(4, 32, 32)) as sink:
        sink.write(whole(image.shape), image)
    chosen = PredictSettings(output="float32", classes="all", memory_gb=0.001, threads=1)
    stage.predict(tmp_path / "m", source, out, tmp_path / "out.json", chosen, device=CPU)
    in_memory = Engine(network, CPU).block(image[None])
    found = load(out, order="czyx")
    assert found.shape == in_memory.shape
    np.testing.assert_allclose(found, in_memory, atol=2e-6)
