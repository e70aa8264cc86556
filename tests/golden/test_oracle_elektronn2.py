"""Model files of ELEKTRONN2 on the command line: converted, they give what the original program gave."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.cli.main import main
from tests.golden.test_oracle_elektronn1 import SPEC

TOLERANCE = 1e-5


@cache
def cases() -> dict[str, dict[str, Any]]:
    file = SPEC / "oracle" / "cases.json"
    if not file.exists():
        return {}
    return {c["id"]: c for c in json.loads(file.read_text())["cases"] if c["kind"] == "elektronn2_net"}


if not cases():
    pytest.skip(f"no oracle in {SPEC}; set ELEKTRONN_SPEC to the folder that holds it", allow_module_level=True)


def arrays(case: dict[str, Any]) -> Any:
    return np.load(SPEC / "oracle" / "data" / case["npz_file"])


def turned(array: np.ndarray) -> np.ndarray:
    """From the original's order of the last axes, x y, to ours, y x, and back; vectors stay."""
    return np.ascontiguousarray(array.swapaxes(-1, -2)) if array.ndim > 2 else array


def converted(case: dict[str, Any], folder: Path, *options: str) -> Path:
    model = folder / "m.safetensors"
    assert main(["convert", str(SPEC / "oracle" / "data" / case["mdl_file"]), str(model), *options]) == 0
    return model


def strided(model: Path, folder: Path, batch: np.ndarray) -> np.ndarray:
    np.save(folder / "in.npy", turned(batch))
    assert main(["predict", "--model", str(model), "--strided", str(folder / "in.npy"), str(folder / "out.npy")]) == 0
    return turned(np.load(folder / "out.npy"))


@pytest.mark.parametrize("name", cases())
def test_a_converted_model_gives_the_original_output(name: str, tmp_path: Path) -> None:
    case, data = cases()[name], arrays(cases()[name])
    found = strided(converted(case, tmp_path), tmp_path, data[f"in.{case['inputs_in_call_order'][0]}"])
    np.testing.assert_allclose(found, data["prediction"], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(("option", "array"), [("stored", "predict"), ("stored", "const"), ("off", "remove")])
def test_batch_normalisation_is_replaced_as_the_original_did(option: str, array: str, tmp_path: Path) -> None:
    case = cases()["e2_batchnorm"]
    data = arrays(case)
    found = strided(converted(case, tmp_path, "--batch-norm", option), tmp_path, data["in.raw"])
    np.testing.assert_allclose(found, data[f"prediction_bn_{array}"], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", [n for n, c in cases().items() if c.get("dense_shape")])
def test_a_converted_model_gives_the_original_dense_output(name: str, tmp_path: Path) -> None:
    data = arrays(cases()[name])
    np.save(tmp_path / "in.npy", turned(data["dense_image"]))
    everything = ["--set", "predict.output=float32", "--set", "predict.classes=all"]
    command = ["predict", "--model", str(converted(cases()[name], tmp_path)), *everything]
    assert main([*command, str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]) == 0
    found = turned(np.load(tmp_path / "out.npy"))
    np.testing.assert_allclose(found, data["dense_prediction"], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("e2_unet_2d", "layer 'upconv' enlarges its input"),
        ("e2_batchnorm", "layer 'conv_norm' normalises by the statistics of the whole batch"),
        ("e2_mnist_like_perceptron", "layer 'dot' is fully connected to the whole input"),
    ],
)
def test_a_network_without_dense_prediction_says_why(
    name: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "in.npy", np.zeros((1, 40, 40), np.uint8))
    command = ["predict", "--model", str(converted(cases()[name], tmp_path))]
    assert main([*command, str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert "use --strided" in said
    assert not (tmp_path / "out.npy").exists()


def test_the_mfp_arrays_of_the_original_are_our_dense_output(tmp_path: Path) -> None:
    data = arrays(cases()["e2_conv2d_pool"])
    np.save(tmp_path / "in.npy", turned(data["mfp_x"][0]))
    everything = ["--set", "predict.output=float32", "--set", "predict.classes=all"]
    command = ["predict", "--model", str(converted(cases()["e2_conv2d_pool"], tmp_path)), *everything]
    assert main([*command, str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]) == 0
    found = turned(np.load(tmp_path / "out.npy"))
    np.testing.assert_allclose(found, data["mfp_prediction"][0], rtol=TOLERANCE, atol=TOLERANCE)
