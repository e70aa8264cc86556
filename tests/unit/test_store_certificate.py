"""Faults put into predictions on purpose: each is found every time, while predicting and afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.cli.main import main
from elektronn.errors import CheckFailed
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import plan as planning
from elektronn.prediction import stage
from elektronn.prediction.blocks import Blocks
from elektronn.prediction.certificate import chosen, places_in, share
from elektronn.prediction.dense import Engine
from elektronn.prediction.plan import Plan
from elektronn.prediction.recheck import recheck
from elektronn.prediction.settings import PredictSettings
from elektronn.volumes.address import parse_address

CPU = torch.device("cpu")
NET = NetworkSettings(
    kernels=((1, 4, 4), (2, 3, 3), (2, 2, 2)), pools=((1, 2, 2), (1, 1, 1), (1, 1, 1)), features=(4, 5, 6)
)
SEEDS = range(4)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD", Size(8, 64, 64))
    monkeypatch.setattr(planning, "LARGEST", 1)
    monkeypatch.setattr("elektronn.prediction.work.CHUNKS", Size(2, 16, 16))


def predict(folder: Path, seed: int, name: str = "p.zarr", **settings: Any) -> Path:
    """A prediction of noise; ``folder`` holds image and model."""
    save_model(folder / "m.safetensors", build(chain(NET), seed=seed), {"fingerprint": "f"})
    np.save(folder / "image.npy", np.random.default_rng(seed).integers(0, 256, (14, 105, 105), np.uint8))
    image, out = parse_address(f"{folder}/image.npy"), parse_address(f"{folder}/{name}")
    chosen_settings = PredictSettings(threads=1, **{"output": "float32", **settings})
    stage.predict(folder / "m.safetensors", image, out, folder / f"{name}.json", chosen_settings, device=CPU)
    return out.path


def check(folder: Path, name: str = "p.zarr") -> None:
    recheck(
        parse_address(f"{folder}/{name}"),
        folder / "m.safetensors",
        parse_address(f"{folder}/image.npy"),
        folder / f"{name}.json",
    )


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Right ones, without their manifests: only the voxels can tell."""
    folders = []
    with pytest.MonkeyPatch.context() as patch:
        small_blocks.__wrapped__(patch)  # type: ignore[attr-defined]
        for seed in SEEDS:
            folder = tmp_path_factory.mktemp(f"seed{seed}")
            predict(folder, seed)
            (folder / "p.zarr.json").unlink()
            folders.append(folder)
    return folders


Spoil = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def shifted(axis: int, by: int) -> Spoil:
    return lambda right, other: np.roll(right, by, axis)


def fragments(right: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    y, x = (n - n % 2 for n in right.shape[-2:])
    wrong = right.copy()
    for i, j in ((0, 1), (1, 0)):
        wrong[..., i:y:2, j:x:2] = right[..., j:y:2, i:x:2]
    return wrong


def turned(right: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    return right.swapaxes(-1, -2)


def stale(number: int) -> Spoil:
    def spoil(right: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        box = planning.blocks(right.shape, planning.SHARD)[number]
        wrong = right.copy()
        wrong[box.slices] = other[box.slices]
        return wrong

    return spoil


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "spoil",
    [shifted(0, 1), shifted(1, -1), shifted(2, 1), fragments, turned, *(stale(n) for n in range(8))],
    ids=["off-z", "off-y", "off-x", "fragments", "axes", *(f"stale-{n}" for n in range(8))],
)
def test_wrong_values_are_found(predictions: list[Path], tmp_path: Path, seed: int, spoil: Spoil) -> None:
    folder = tmp_path / "spoiled"
    shutil.copytree(predictions[seed], folder)
    array: Any = zarr.open_group(folder / "p.zarr", mode="r+")["0"]
    other: Any = zarr.open_group(predictions[seed - 1] / "p.zarr", mode="r")["0"]
    array[...] = spoil(array[...], other[...])
    with pytest.raises(CheckFailed, match="away from brute force"):
        check(folder)


@pytest.mark.parametrize("axis", range(3))
def test_a_wrong_offset_in_the_metadata_is_found(predictions: list[Path], tmp_path: Path, axis: int) -> None:
    for by in (-1, 1):
        folder = tmp_path / f"spoiled{by}"
        shutil.copytree(predictions[0], folder)
        group = zarr.open_group(folder / "p.zarr", mode="r+")
        said: dict[str, Any] = dict(group.attrs["elektronn"])  # type: ignore[arg-type,call-overload]
        said["offset_vox"][axis] += by
        group.attrs["elektronn"] = said
        with pytest.raises(CheckFailed, match="reach outside what the model can say"):
            check(folder)


def test_right_predictions_pass_in_every_format(predictions: list[Path], tmp_path: Path) -> None:
    for folder in predictions:
        check(folder)
    for name in ("p.h5", "p.npy"):
        predict(tmp_path, 0, name)
        check(tmp_path, name)
    predict(tmp_path, 0, "all.zarr", classes="all", output="float16")
    check(tmp_path, "all.zarr")


@pytest.mark.parametrize("what", ["image.npy", "m.safetensors", "p.zarr"])
def test_another_image_model_or_store_is_found_by_its_hash(tmp_path: Path, what: str) -> None:
    predict(tmp_path, 0)
    if what == "image.npy":
        np.save(tmp_path / what, np.load(tmp_path / what))
        check(tmp_path)
        np.save(tmp_path / what, np.load(tmp_path / what).astype(np.uint16) * 257)
    elif what == "p.zarr":
        (tmp_path / what / "0" / "more").touch()
    else:
        save_model(tmp_path / what, build(chain(NET), seed=0), {"fingerprint": "g"})
    with pytest.raises(CheckFailed, match=r"was not made of|is not what"):
        check(tmp_path)


def off_by_one(patch: pytest.MonkeyPatch) -> None:
    right = Blocks._read
    patch.setattr(
        Blocks,
        "_read",
        lambda self, stop: (replace(block, values=np.roll(block.values, 1, -2)) for block in right(self, stop)),
    )


def of_engine(how: Callable[[Any, Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        right = Engine.block
        patch.setattr(Engine, "block", lambda self, image: how(lambda part: right(self, part), image))

    return spoil


def half_halo(engine: Any, image: Any) -> Any:
    """The outer half of the surroundings is taken for empty."""
    without = image.copy()
    without[..., :2], without[..., -2:] = 0, 0
    return engine(without)


FAULTS = {
    "off-by-one": off_by_one,
    "fragments": of_engine(lambda engine, image: fragments(engine(image), image)),
    "half-halo": of_engine(half_halo),
    "swapped": of_engine(
        lambda engine, image: engine(np.ascontiguousarray(image.swapaxes(-1, -2))).reshape(engine(image).shape)
    ),
    "nan": of_engine(lambda engine, image: engine(image) * np.nan),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_prediction_that_goes_wrong_gives_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, fault: str
) -> None:
    FAULTS[fault](monkeypatch)
    with pytest.raises(CheckFailed, match="certificate failed"):
        predict(tmp_path, seed)
    assert not (tmp_path / "p.zarr").exists()
    assert not (tmp_path / "p.zarr.json").exists()


def test_every_block_has_its_voxels_and_half_of_them_lie_on_its_faces() -> None:
    plan = Plan(Size(20, 100, 100), planning.SHARD, planning.SHARD, {})
    found = list(chosen(plan, 64))
    assert {index for index, _ in found} == set(range(len(plan.boxes)))
    assert len(found) >= 64
    for index, place in found:
        box = plan.boxes[index]
        assert all(a <= p < b for a, p, b in zip(box.start, place, box.stop))
    box = Box(Size(10, 20, 30), Size(50, 60, 70))
    faces = [any(p in (a, b - 1) for a, p, b in zip(box.start, place, box.stop)) for place in places_in(box, 40)]
    assert all(faces[1::2])
    assert not all(faces[::2])
    assert share(plan, 0) == 0
    assert list(chosen(plan, 0)) == []
    few = list(chosen(Plan(Size(80, 640, 640), planning.SHARD, planning.SHARD, {}), 64))
    assert len({index for index, _ in few}) == len(few) == 64


def test_the_command_says_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], predictions: list[Path]
) -> None:
    folder = predictions[0]
    command = ["check", f"{folder}/image.npy", "--prediction", f"{folder}/p.zarr", "--json", f"{tmp_path}/c.json"]
    assert main([*command, "--model", f"{folder}/m.safetensors"]) == 0
    assert "64 random voxels recomputed by brute force differ by at most" in capsys.readouterr().err
    assert '"voxels": 64' in (tmp_path / "c.json").read_text()
    assert main(command) == 2
    assert "prediction: wants --model FILE" in capsys.readouterr().err
    assert main(["check", f"{folder}/image.npy"]) == 2
    assert "LABELS is missing" in capsys.readouterr().err


def test_the_word_prediction_says_what_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], predictions: list[Path]
) -> None:
    folder = predictions[0]
    image, made, model = f"{folder}/image.npy", f"{folder}/p.zarr", ["--model", f"{folder}/m.safetensors"]
    assert main(["check", "prediction", image, made, *model, "--json", f"{tmp_path}/c.json"]) == 0
    assert '"voxels": 64' in (tmp_path / "c.json").read_text()
    capsys.readouterr()
    for wrong in (["prediction"], ["prediction", made], ["prediction", made, *model]):
        assert main(["check", *wrong]) == 2
        assert "write `elektronn check prediction IMAGE PREDICTION --model FILE`" in capsys.readouterr().err
    assert main(["check", image, image, image]) == 2
    assert "one volume too many" in capsys.readouterr().err
