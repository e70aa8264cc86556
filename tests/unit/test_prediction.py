"""Dense prediction: exact whatever the tile, from store to store, with a certificate that can fail."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.errors import CheckFailed, DataError, GeometryError
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import stage
from elektronn.prediction.dense import Engine, at_voxel, by_shifting
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.tiles import bytes_of, choose_tile
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import load, open_volume

CPU = torch.device("cpu")
SMALL = NetworkSettings(
    kernels=((1, 4, 4), (2, 3, 3), (2, 2, 2)), pools=((1, 2, 2), (2, 1, 3), (1, 1, 1)), features=(4, 5, 6)
)


@pytest.fixture
def network() -> Network:
    return build(chain(SMALL), seed=4)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (11, 37, 41), dtype=np.uint8)


@pytest.fixture
def model(tmp_path: Path, network: Network) -> Path:
    save_model(tmp_path / "model.safetensors", network, {"fingerprint": "f"})
    return tmp_path / "model.safetensors"


@pytest.fixture
def source(tmp_path: Path, image: np.ndarray) -> Path:
    with h5py.File(tmp_path / "image.h5", "w") as file:
        file["raw"] = image
    return tmp_path / "image.h5"


def test_dense_equals_shift_and_stitch_and_single_fields(network: Network, image: np.ndarray) -> None:
    dense = Engine(network, CPU).block(image[None])
    np.testing.assert_allclose(dense, by_shifting(network, image[None]), atol=2e-6)
    field = network.geometry.field
    slow = build(chain(SMALL), seed=4).double()
    for z, y, x in ((0, 0, 0), (3, 7, 11), tuple(n - 1 for n in dense.shape[1:])):
        patch = image[None, z : z + field.z, y : y + field.y, x : x + field.x]
        np.testing.assert_allclose(dense[:, z, y, x], at_voxel(slow, patch), atol=2e-6)


def predict(model: Path, source: Path, out: Path, **settings: object) -> stage.Certificate:
    chosen = PredictSettings(**settings)  # type: ignore[arg-type]
    manifest = out.with_name(out.name + ".json")
    return stage.predict(model, parse_address(f"{source}:raw"), parse_address(str(out)), manifest, chosen, device=CPU)


@pytest.mark.parametrize("memory", [0.001, 0.0002, 1.0])
def test_tiles_do_not_change_the_result(
    model: Path, source: Path, tmp_path: Path, network: Network, image: np.ndarray, memory: float
) -> None:
    predict(model, source, tmp_path / "p.zarr", memory_gb=memory, output="float32")
    whole = Engine(network, CPU).block(image[None])[1]
    np.testing.assert_allclose(load(parse_address(str(tmp_path / "p.zarr"))), whole, atol=2e-6)


def test_output_overlays_its_image(model: Path, tmp_path: Path, source: Path, network: Network) -> None:
    with h5py.File(source, "a") as file:
        file["raw"].attrs["voxel_nm"] = (40.0, 8.0, 8.0)
    predict(model, source, tmp_path / "p.zarr")
    meta = json.loads((tmp_path / "p.zarr" / "zarr.json").read_text())["attributes"]
    scale, translation = meta["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale == {"type": "scale", "scale": [40.0, 8.0, 8.0]}
    offset = network.geometry.offset
    assert translation["translation"] == [40.0 * offset.z, 8.0 * offset.y, 8.0 * offset.x]
    with open_volume(parse_address(str(tmp_path / "p.zarr"))) as volume:
        assert volume.size == network.geometry.dense((11, 37, 41))
        assert volume.attributes["value"] == "p * 255"
        assert volume.attributes["image_size"] == [11, 37, 41]


def test_manifest_holds_hash_settings_and_certificate(model: Path, source: Path, tmp_path: Path) -> None:
    certificate = predict(model, source, tmp_path / "p.zarr", certificate=5)
    said = json.loads((tmp_path / "p.zarr.json").read_text())
    assert said["certificate"]["voxels"] == certificate.voxels == 5
    assert said["certificate"]["largest_difference"] <= said["certificate"]["tolerance"]
    assert len(said["sha256"]) == 64
    assert said["settings"]["output"] == "uint8"


def test_same_inputs_give_the_same_bytes(model: Path, source: Path, tmp_path: Path) -> None:
    sums = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        predict(model, source, tmp_path / name / "p.zarr")
        sums.append(json.loads((tmp_path / name / "p.zarr.json").read_text())["sha256"])
    assert sums[0] == sums[1]


def test_a_wrong_engine_fails_the_certificate_and_leaves_nothing(
    model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Engine.block
    monkeypatch.setattr(Engine, "block", lambda self, image: np.roll(right(self, image), 1, axis=2))
    with pytest.raises(CheckFailed, match="certificate failed"):
        predict(model, source, tmp_path / "p.zarr")
    assert not (tmp_path / "p.zarr").exists()
    assert not (tmp_path / "p.zarr.json").exists()
    assert not list(tmp_path.glob(".*part"))


def test_an_image_below_the_field_of_view_is_refused(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", np.zeros((3, 5, 5), np.uint8))
    with pytest.raises(GeometryError, match=r"small.npy: image of 3×5×5 voxels \(zyx\) is smaller"):
        stage.predict(
            model,
            parse_address(f"{tmp_path}/small.npy"),
            parse_address(f"{tmp_path}/p.zarr"),
            tmp_path / "p.json",
            PredictSettings(),
            device=CPU,
        )


def test_nan_is_refused_with_its_place(model: Path, tmp_path: Path) -> None:
    image = np.full((11, 37, 41), 0.5, np.float32)
    image[5, 6, 7] = np.nan
    np.save(tmp_path / "nan.npy", image)
    with pytest.raises(DataError, match=r"nan.npy: NaN or infinite value at zyx \(5, 6, 7\)"):
        stage.predict(
            model,
            parse_address(f"{tmp_path}/nan.npy"),
            parse_address(f"{tmp_path}/p.zarr"),
            tmp_path / "p.json",
            PredictSettings(),
            device=CPU,
        )
    assert not (tmp_path / "p.zarr").exists()


def test_the_tile_respects_the_memory_it_was_given(network: Network) -> None:
    document = network.document
    wanted = Size(64, 256, 256)
    sizes = [choose_tile(document, network.geometry, wanted, memory) for memory in (1e12, 1e8, 1e7)]
    assert sizes[0] == wanted
    assert sizes[1].voxels > sizes[2].voxels
    assert bytes_of(document, network.geometry, sizes[2]) <= 1e7


def test_more_than_two_classes_give_all_of_them(tmp_path: Path, source: Path) -> None:
    network = build(chain(SMALL.model_copy(update={"classes": 3})), seed=4)
    save_model(tmp_path / "three.safetensors", network, {"fingerprint": "f"})
    predict(tmp_path / "three.safetensors", source, tmp_path / "p.zarr", output="float32")
    values = load(parse_address(str(tmp_path / "p.zarr")), order="czyx")
    assert values.shape[0] == 3
    np.testing.assert_allclose(values.sum(0), 1, atol=1e-5)
