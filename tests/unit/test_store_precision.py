"""Less than float32 on request: where it is refused, what it does to an output, and what the output says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.errors import CheckFailed, ConfigError, DataError
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import stage
from elektronn.prediction.dense import Engine
from elektronn.prediction.engines import engine_for
from elektronn.prediction.precision import arithmetic
from elektronn.prediction.recheck import recheck
from elektronn.prediction.result import Result
from elektronn.prediction.settings import PredictSettings
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import load

CPU = torch.device("cpu")
NET = NetworkSettings(kernels=((1, 4, 4), (2, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(8, 8))


@pytest.fixture(scope="module")
def network() -> Network:
    return build(chain(NET), seed=1)


@pytest.fixture
def image(tmp_path: Path, network: Network) -> Address:
    save_model(tmp_path / "m", network, {"fingerprint": "f"})
    np.save(tmp_path / "in.npy", np.random.default_rng(0).integers(0, 256, (6, 60, 70), np.uint8))
    return parse_address(f"{tmp_path}/in.npy")


def predict(folder: Path, image: Address, name: str, said: list[str] | None = None, **settings: object) -> float:
    chosen = PredictSettings(threads=1, output="float32", **settings)  # type: ignore[arg-type]
    out = parse_address(f"{folder}/{name}.zarr")
    say = (said if said is not None else []).append
    return stage.predict(folder / "m", image, out, folder / f"{name}.json", chosen, device=CPU, say=say).largest


def test_bf16_is_near_and_every_word_of_the_output_says_so(tmp_path: Path, image: Address) -> None:
    said: list[str] = []
    largest = predict(tmp_path, image, "half", said, precision="bf16")
    predict(tmp_path, image, "full")
    half, full = (load(parse_address(f"{tmp_path}/{name}.zarr")) for name in ("half", "full"))
    assert 1e-4 < np.abs(half - full).max() < 3e-2
    assert 1e-4 < largest < 3e-2
    assert "; bf16 is off by up to" in said[0]
    manifest = json.loads((tmp_path / "half.json").read_text())
    assert manifest["attributes"]["precision"] == manifest["settings"]["precision"] == "bf16"
    assert manifest["certificate"]["largest_difference"] == largest
    assert "precision" not in json.loads((tmp_path / "full.json").read_text())["attributes"]
    place = parse_address(f"{tmp_path}/half.zarr")
    assert recheck(place, tmp_path / "m", image, tmp_path / "half.json").largest < 3e-2


def test_another_precision_of_the_same_output_is_made_anew_or_refused(
    tmp_path: Path, image: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(tmp_path, image, "p")
    predict(tmp_path, image, "p", precision="bf16")
    assert json.loads((tmp_path / "p.json").read_text())["settings"]["precision"] == "bf16"
    with monkeypatch.context() as patch:
        patch.setattr(stage, "finish", lambda *given: (_ for _ in ()).throw(CheckFailed("stopped")))
        with pytest.raises(CheckFailed, match="stopped"):
            predict(tmp_path, image, "q")
    with pytest.raises(ConfigError, match=r"another predict.precision \(float32, now bf16\)"):
        predict(tmp_path, image, "q", precision="bf16")
    assert list(tmp_path.glob("q.*part"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "tf32"}, "tf32 is arithmetic of GPUs, not of cpu; write float32 or bf16"),
        ({"precision": "fp16"}, "fp16 is slower than float32 on a CPU; write float32 or bf16"),
        ({"precision": "bf16", "engine": "lanes"}, "lanes computes in float32, not in bf16; write engine: auto"),
    ],
    ids=str,
)
def test_what_is_not_there_is_refused_before_anything_is_written(
    tmp_path: Path, image: Address, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=f"predict.precision: {words}"):
        predict(tmp_path, image, "p", **settings)
    assert not list(tmp_path.glob("p.*"))


def test_a_setting_that_turns_out_wrong_later_leaves_nothing_behind(
    tmp_path: Path, image: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object, **settings: object) -> None:
        raise ConfigError("no such engine here")

    monkeypatch.setattr("elektronn.prediction.blocks.engine_for", refused)
    with pytest.raises(ConfigError, match=r"^no such engine here$"):
        predict(tmp_path, image, "p")
    assert not list(tmp_path.glob("p.*"))


def test_auto_takes_the_engine_that_has_the_precision(network: Network) -> None:
    size = Size(1000, 10_000, 10_000)
    engine = engine_for(network, "auto", size, device=CPU, kind="values", threads=1, precision="bf16")
    assert isinstance(engine, Engine)
    assert (engine.name, engine.precision) == ("portable", "bf16")


def test_a_defect_is_found_in_less_than_float32_too(
    tmp_path: Path, image: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Engine.block
    monkeypatch.setattr(Engine, "block", lambda self, image: 1 - right(self, image))
    with pytest.raises(CheckFailed, match="certificate failed"):
        predict(tmp_path, image, "p", precision="bf16")


def test_an_unknown_precision_of_an_output_is_said() -> None:
    said = {"kind": "values", "classes": [0]}
    assert Result.read({**said, "precision": "fp16"}, "float32").tolerance > Result.read(said, "float32").tolerance
    with pytest.raises(DataError, match="was computed in 'int4', which is not known"):
        Result.read({**said, "precision": "int4"}, "float32")


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_torch_rounds_to_tf32_only_where_it_is_asked_to(precision: str) -> None:
    libraries = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [library.allow_tf32 for library in libraries]  # type: ignore[attr-defined]
    with arithmetic(precision, torch.device("cuda")):  # type: ignore[arg-type]
        inside = [library.allow_tf32 for library in libraries]  # type: ignore[attr-defined]
    assert inside == [precision == "tf32"] * 2
    assert [library.allow_tf32 for library in libraries] == before  # type: ignore[attr-defined]
