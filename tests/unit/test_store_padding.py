"""Predictions as large as their image: what lies outside is its mirror image, from store to store as in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import settings as runs
from hypothesis import strategies as some

from elektronn.axes import Box, Size, whole
from elektronn.errors import CheckFailed, GeometryError
from elektronn.evaluation.placement import overlap
from elektronn.geometry import Geometry, Reach
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import plan as planning
from elektronn.prediction import stage
from elektronn.prediction.certificate import Certificate
from elektronn.prediction.dense import Engine, mirrored
from elektronn.prediction.images import Image
from elektronn.prediction.recheck import recheck
from elektronn.prediction.settings import PredictSettings
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import Volume, create_volume, load, open_volume

CPU = torch.device("cpu")
DEEP = NetworkSettings(
    kernels=((1, 4, 4), (2, 3, 3), (2, 2, 2)), pools=((1, 2, 2), (2, 1, 3), (1, 1, 1)), features=(4, 5, 6)
)
FLAT = NetworkSettings(kernels=((1, 4, 4), (1, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(4, 5))
REACHES = some.builds(Reach, some.integers(1, 12), some.just(1))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD", Size(8, 64, 64))
    monkeypatch.setattr(planning, "LARGEST", 1)
    monkeypatch.setattr("elektronn.prediction.work.CHUNKS", Size(2, 16, 16))


def predict(folder: Path, network: Network, image: np.ndarray, out: str, **settings: Any) -> Certificate:
    """A padded prediction of an image with a place in space; ``folder`` holds model and image."""
    save_model(folder / "m", network, {"fingerprint": "f"})
    source = parse_address(f"{folder}/image.{'npy' if image.ndim == 2 else 'zarr'}")
    if image.ndim == 2:
        np.save(source.path, image)
    else:
        with create_volume(source, image.shape, image.dtype, voxel_nm=(40, 8, 8), origin_nm=(400, 80, 8)) as sink:
            sink.write(whole(image.shape), image)
    chosen = PredictSettings(threads=1, **{"output": "float32", "classes": "all", "pad_raw": True, **settings})
    return stage.predict(
        folder / "m", source, parse_address(f"{folder}/{out}"), folder / f"{out}.json", chosen, device=CPU
    )


@runs(deadline=None, max_examples=150)
@given(
    some.tuples(REACHES, REACHES, REACHES),
    some.tuples(*[some.integers(1, 9)] * 3),
    some.lists(some.tuples(some.integers(0, 19), some.integers(1, 20)), min_size=3, max_size=3),
)
def test_any_box_of_a_padded_image_is_that_of_the_mirrored_array(
    reaches: tuple[Reach, Reach, Reach], size: tuple[int, int, int], spans: list[tuple[int, int]]
) -> None:
    geometry, values = Geometry(*reaches), np.arange(np.prod(size)).reshape(1, *size)
    address = parse_address("image.npy")
    volume = Volume(address, values, "czyx", address.box(Size(*size)), None, None, {})
    image, wanted = Image(volume, "zyx", any_floats=True).padded(geometry), mirrored(values, geometry)
    assert tuple(image.size) == wanted.shape[1:]
    start = Size(*(a % n for (a, _), n in zip(spans, image.size)))
    stop = Size(*(min(a + length, n) for a, (_, length), n in zip(start, spans, image.size)))
    found = image.read(Box(start, stop))
    assert np.array_equal(found, wanted[(slice(None), *Box(start, stop).slices)])
    assert found.dtype == values.dtype


@pytest.mark.parametrize("out", ["p.zarr", "p.h5", "p.npy"])
@pytest.mark.parametrize("memory_gb", [1.0, 0.002])
def test_a_padded_prediction_equals_the_one_in_memory_and_covers_the_image(
    tmp_path: Path, out: str, memory_gb: float
) -> None:
    network = build(chain(DEEP), seed=4)
    image = np.random.default_rng(0).integers(0, 256, (9, 70, 75), np.uint8)
    certificate = predict(tmp_path, network, image, out, memory_gb=memory_gb)
    wanted = Engine(network, CPU).block(mirrored(image[None], network.geometry))
    np.testing.assert_allclose(load(parse_address(f"{tmp_path}/{out}"), order="czyx"), wanted, atol=2e-6)
    assert wanted.shape[1:] == image.shape
    assert certificate.voxels >= 64
    found = recheck(
        parse_address(f"{tmp_path}/{out}"),
        tmp_path / "m",
        parse_address(f"{tmp_path}/image.zarr"),
        tmp_path / f"{out}.json",
    )
    assert found.largest == certificate.largest


def test_a_padded_output_overlays_its_image(tmp_path: Path) -> None:
    network = build(chain(DEEP), seed=4)
    predict(tmp_path, network, np.random.default_rng(0).integers(0, 256, (9, 30, 35), np.uint8), "p.zarr")
    addresses = (parse_address(f"{tmp_path}/{name}.zarr") for name in ("p", "image"))
    with open_volume(next(addresses)) as output, open_volume(next(addresses)) as image:
        assert output.size == image.size
        assert output.attributes["offset_vox"] == [0, 0, 0]
        assert output.attributes["padded"] is True
        assert (output.voxel_nm, output.origin_nm) == (image.voxel_nm, image.origin_nm)
        place = overlap(output, image)
        assert (place.size, place.prediction, place.labels) == (image.size, (0, 0, 0), (0, 0, 0))


def test_an_image_smaller_than_the_field_of_view_can_be_padded(tmp_path: Path) -> None:
    network = build(chain(DEEP), seed=4)
    assert min(network.geometry.field) > 3
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 2), np.uint8)
    predict(tmp_path, network, image, "p.zarr")
    wanted = Engine(network, CPU).block(mirrored(image[None], network.geometry))
    np.testing.assert_allclose(load(parse_address(f"{tmp_path}/p.zarr"), order="czyx"), wanted, atol=2e-6)
    with pytest.raises(GeometryError, match="is smaller than the field of view"):
        predict(tmp_path, network, image, "q.zarr", pad_raw=False)


def test_a_flat_image_is_padded_along_its_own_axes_only(tmp_path: Path) -> None:
    network = build(chain(FLAT), seed=4)
    image = np.random.default_rng(0).integers(0, 256, (20, 23), np.uint8)
    predict(tmp_path, network, image, "p.npy")
    wanted = Engine(network, CPU).block(mirrored(image[None, None], network.geometry))
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), wanted[:, 0], atol=2e-6)


@pytest.mark.parametrize("corner", [(0, 0, 0), (-1, -1, -1)])
def test_voxels_outside_the_field_of_view_are_covered_by_the_certificate(
    tmp_path: Path, corner: tuple[int, int, int]
) -> None:
    network = build(chain(DEEP), seed=4)
    predict(tmp_path, network, np.random.default_rng(0).integers(0, 256, (6, 16, 20), np.uint8), "p.zarr")
    (tmp_path / "p.zarr.json").unlink()
    array: Any = zarr.open_group(tmp_path / "p.zarr", mode="r+")["0"]
    values = array[...]
    reach = network.geometry.offset
    edge = tuple(slice(0, n) if c == 0 else slice(-n, None) for c, n in zip(corner, reach))
    values[(slice(None), *edge)] = values[(slice(None), *edge)][:, ::-1, ::-1, ::-1]
    array[...] = values
    with pytest.raises(CheckFailed, match="away from brute force"):
        recheck(
            parse_address(f"{tmp_path}/p.zarr"),
            tmp_path / "m",
            parse_address(f"{tmp_path}/image.zarr"),
            tmp_path / "none.json",
            128,
        )
