"""Dense prediction: exact whatever the tile, from store to store, with a certificate that can fail."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.cli.main import main
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


FLAT = NetworkSettings(kernels=((1, 4, 4), (1, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(4, 5))


def predicted(folder: Path, network: Network, image: np.ndarray, card: dict[str, object], *options: str) -> np.ndarray:
    """The result of the command line for an image in an ``.npy`` file."""
    save_model(folder / "m.safetensors", network, {"fingerprint": "f", **card})
    np.save(folder / "in.npy", image)
    command = ["predict", str(folder / "in.npy"), str(folder / "out.npy"), "--model", str(folder / "m.safetensors")]
    assert main([*command, *(part for option in options for part in ("--set", option))]) == 0
    found: np.ndarray = np.load(folder / "out.npy")
    return found


ALL = ("predict.classes=all", "predict.output=float32")


@pytest.mark.parametrize(
    ("channels", "shape", "boundary", "everything"),
    [
        (1, (20, 23), (12, 15), (2, 12, 15)),
        (1, (1, 20, 23), (1, 12, 15), (2, 12, 15)),
        (2, (2, 20, 23), (1, 12, 15), (2, 12, 15)),
        (1, (3, 20, 23), (3, 12, 15), (2, 3, 12, 15)),
        (2, (2, 3, 20, 23), (3, 12, 15), (2, 3, 12, 15)),
    ],
)
def test_a_flat_image_gives_a_result_of_its_axes(
    tmp_path: Path,
    channels: int,
    shape: tuple[int, ...],
    boundary: tuple[int, ...],
    everything: tuple[int, ...],
) -> None:
    network = build(chain(FLAT, channels), seed=4)
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    whole = Engine(network, CPU).block(image.reshape(channels, -1, *shape[-2:]))
    one = predicted(tmp_path, network, image, {}, "predict.output=float32")
    assert one.shape == boundary
    np.testing.assert_allclose(one.reshape(whole[1].shape), whole[1], atol=2e-6)
    both = predicted(tmp_path, network, image, {}, *ALL)
    assert both.shape == everything
    np.testing.assert_allclose(both.reshape(whole.shape), whole, atol=2e-6)


def test_values_are_stored_as_they_are_whatever_type_is_asked_for(tmp_path: Path) -> None:
    network = build(chain(SMALL.model_copy(update={"classes": 2})), seed=4)
    image = np.random.default_rng(0).random((11, 37, 41)).astype(np.float32)
    found = predicted(tmp_path, network, image, {"output": "values"})
    with torch.inference_mode():
        expected = network.eval().dense(torch.from_numpy(image)[None, None])[0].numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    said = json.loads((tmp_path / "out.npy.json").read_text())
    assert said["attributes"]["kind"] == "values"
    assert said["attributes"]["classes"] == [0, 1]


def test_the_certificate_of_values_fails_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Engine.block
    monkeypatch.setattr(Engine, "block", lambda self, image: right(self, image) * np.float32(1.001))
    network = build(chain(SMALL), seed=4)
    save_model(tmp_path / "m", network, {"fingerprint": "f", "output": "values"})
    np.save(tmp_path / "in.npy", np.random.default_rng(0).random((11, 37, 41)) * 100)
    save_model(tmp_path / "m", network, {"fingerprint": "f", "output": "values", "floats": "any"})
    with pytest.raises(CheckFailed, match="a stored number is"):
        stage.predict(
            tmp_path / "m",
            parse_address(f"{tmp_path}/in.npy"),
            parse_address(f"{tmp_path}/out.npy"),
            tmp_path / "out.json",
            PredictSettings(),
            device=CPU,
        )
    assert not (tmp_path / "out.npy").exists()


def test_any_floats_only_for_a_model_that_takes_them_and_never_nan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build(chain(FLAT), seed=4)
    image = np.random.default_rng(0).normal(size=(20, 23)).astype(np.float32) * 3
    found = predicted(tmp_path, network, image, {"floats": "any"}, *ALL)
    np.testing.assert_allclose(found, Engine(network, CPU).block(image[None, None])[:, 0], atol=2e-6)
    with pytest.raises(AssertionError):
        predicted(tmp_path, network, image, {})
    assert "a float image must lie in 0…1" in capsys.readouterr().err
    image[5, 6] = np.inf
    with pytest.raises(AssertionError):
        predicted(tmp_path, network, image, {"floats": "any"})
    assert "NaN or infinite value at zyx (0, 5, 6)" in capsys.readouterr().err


def test_an_image_of_other_channels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        predicted(tmp_path, build(chain(FLAT, 2), seed=4), np.zeros((3, 20, 23), np.uint8), {})
    assert "has 1 channels, the model was made for 2" in capsys.readouterr().err


def test_a_flat_image_becomes_a_volume_in_a_store(tmp_path: Path) -> None:
    network = build(chain(FLAT), seed=4)
    save_model(tmp_path / "m", network, {"fingerprint": "f"})
    np.save(tmp_path / "in.npy", np.zeros((20, 23), np.uint8))
    assert main(["predict", str(tmp_path / "in.npy"), str(tmp_path / "p.zarr"), "--model", str(tmp_path / "m")]) == 0
    assert load(parse_address(str(tmp_path / "p.zarr"))).shape == (1, 12, 15)
