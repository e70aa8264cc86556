"""The boundary is found in every selection and order of classes, by all who read predictions."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elektronn.axes import Size, whole
from elektronn.errors import DataError
from elektronn.evaluation.placement import score
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import stage
from elektronn.prediction.dense import Engine
from elektronn.prediction.settings import PredictSettings
from elektronn.report.panels import _Sight
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume, open_volume
from elektronn.volumes.classes import boundary_channel

CPU = torch.device("cpu")
NET = NetworkSettings(kernels=((1, 4, 4), (1, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(2, 3), classes=3)
IMAGE = np.random.default_rng(0).integers(0, 256, (2, 14, 15), dtype=np.uint8)
SELECTIONS: list[Any] = [*permutations(range(3)), *permutations(range(3), 2), (1,), "all", "boundary"]


def predict(folder: Path, out: str, network: NetworkSettings = NET, **settings: Any) -> None:
    save_model(folder / "m", build(chain(network), seed=4), {"fingerprint": "f"})
    np.save(folder / "image.npy", IMAGE)
    image, target = parse_address(f"{folder}/image.npy"), parse_address(f"{folder}/{out}")
    chosen = PredictSettings(threads=1, output="float32", certificate=1, **settings)
    stage.predict(folder / "m", image, target, folder / "p.json", chosen, device=CPU)


@pytest.mark.parametrize("out", ["p.zarr", "p.h5"])
@pytest.mark.parametrize("classes", SELECTIONS, ids=str)
def test_the_boundary_is_found_in_every_selection(tmp_path: Path, classes: Any, out: str) -> None:
    predict(tmp_path, out, classes=classes)
    boundary = Engine(build(chain(NET), seed=4), CPU).block(IMAGE[None])[1]
    with open_volume(parse_address(f"{tmp_path}/{out}")) as volume:
        sight = _Sight(volume, Size(0, 0, 0), volume, Size(0, 0, 0), 0.5)
        if classes not in ("all", "boundary") and 1 not in classes:
            for read in (lambda: score(volume, whole(volume.size)), lambda: sight.scores(whole(volume.size))):
                with pytest.raises(
                    DataError, match=rf"holds the classes {classes[0]}, {classes[1]} and not the boundary"
                ):
                    read()
            return
        np.testing.assert_allclose(score(volume, whole(volume.size)), boundary, atol=2e-6)
        np.testing.assert_allclose(sight.scores(whole(volume.size)), boundary, atol=2e-6)


@pytest.mark.parametrize(("channels", "wanted"), [(1, 0), (2, 1), (3, 1)])
@pytest.mark.parametrize("attributes", [{}, {"classes": [5, 6, 7], "kind": "values"}])
def test_without_classes_the_boundary_is_channel_1_or_the_only_one(
    tmp_path: Path, channels: int, wanted: int, attributes: dict[str, Any]
) -> None:
    address = parse_address(f"{tmp_path}/p.zarr")
    with create_volume(address, (channels, 1, 2, 2), "uint8", attributes=attributes):
        pass
    with open_volume(address) as volume:
        assert boundary_channel(volume) == wanted


def test_another_number_of_classes_than_channels_is_refused(tmp_path: Path) -> None:
    address = parse_address(f"{tmp_path}/p.zarr")
    with create_volume(address, (2, 1, 2, 2), "uint8", attributes={"classes": [0, 1, 2]}):
        pass
    with open_volume(address) as volume, pytest.raises(DataError, match="names 3 classes and has 2 channels"):
        boundary_channel(volume)
