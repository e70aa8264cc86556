"""Old parameter files and configs on the command line: converted, they give what the original program gave."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.cli.main import main
from tests.golden.test_oracle_elektronn1 import SPEC, TOLERANCE, arrays, as_original, cases

if not cases():
    pytest.skip(f"no oracle in {SPEC}; set ELEKTRONN_SPEC to the folder that holds it", allow_module_level=True)

NOT_READ = ("data_path", "label_path")


def config_text(case: dict[str, Any]) -> str:
    """The case's options as a config file, with the data options that every config must have."""
    lines = ["save_name = 'x'", "save_path = '/tmp/'", "n_steps = 1", "max_runtime = 1"]
    if case["config"]["mode"] != "vect-scalar":
        lines += ["data_path = '/tmp/'", "label_path = '/tmp/'", "d_files = [('a', 'b')]", "l_files = [('a', 'b')]"]
    else:
        lines += ["data_class_name = 'MNISTData'", "data_load_kwargs = {}", "data_batch_kwargs = {}"]
    return "\n".join([*lines, *(f"{name} = {value!r}" for name, value in case["config"].items()), ""])


def as_batch(x: np.ndarray, order: str) -> np.ndarray:
    """An original input as a person would save it for us: batch, channel, z, y, x."""
    if order == "bs,ch,x,y":
        return np.ascontiguousarray(x.swapaxes(2, 3))
    return np.ascontiguousarray(x.transpose(0, 2, 1, 4, 3)) if order == "bs,z,ch,x,y" else x


def converted(name: str, folder: Path) -> Path:
    """The case's parameter file and config as a model file."""
    case = cases()[name]
    old = SPEC / "oracle" / "data" / case["param_file"]["file"] if isinstance(case["param_file"], dict) else None
    old = old or next((SPEC / "oracle" / "data").glob(f"{name}.param*"))
    (folder / "old.py").write_text(config_text(case))
    model = folder / "m.safetensors"
    assert main(["convert", str(old), "--config", str(folder / "old.py"), str(model)]) == 0
    return model


@pytest.mark.parametrize("name", cases())
def test_a_converted_parameter_file_gives_the_original_output(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    case = cases()[name]
    data = arrays(case)
    model = converted(name, tmp_path)
    np.save(tmp_path / "in.npy", as_batch(data["x"], case["input"]["axis_order"]))
    command = ["predict", "--model", str(model), "--strided", str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    assert main(command) == 0
    found = np.load(tmp_path / "out.npy")
    order = case["output"]["axis_order"]
    if order == "bs,class,x,y":
        found = found.swapaxes(2, 3)
    elif order == "bs,class,z,x,y":
        found = as_original(found, order)
    np.testing.assert_allclose(found, data[case["output"]["array"]], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", [n for n, c in cases().items() if c.get("dense")])
def test_a_converted_parameter_file_gives_the_original_dense_output(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    data = arrays(cases()[name])
    model = converted(name, tmp_path)
    np.save(tmp_path / "in.npy", np.ascontiguousarray(turned(data["dense_image"])))
    everything = ["--set", "predict.output=float32", "--set", "predict.classes=all"]
    command = ["predict", "--model", str(model), str(tmp_path / "in.npy"), str(tmp_path / "out.npy"), *everything]
    assert main(command) == 0
    found = turned(np.load(tmp_path / "out.npy"))
    np.testing.assert_allclose(found, data["dense_prediction"], rtol=TOLERANCE, atol=TOLERANCE)


def turned(array: np.ndarray) -> np.ndarray:
    """From the original's order, channel x y or channel x y z, to ours, and back."""
    return array.transpose(0, *range(array.ndim - 1, 0, -1))


def test_a_config_of_another_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = cases()["e1_2d_relu"]
    (tmp_path / "old.py").write_text(
        config_text(case)
        .replace("nof_filters = [4, 6]", "nof_filters = [4]")
        .replace("[4, 3]", "[4]")
        .replace("[2, 1]", "[2]")
    )
    old = SPEC / "oracle" / "data" / "e1_2d_relu.param"
    code = main(["convert", str(old), "--config", str(tmp_path / "old.py"), str(tmp_path / "m.safetensors")])
    assert code == 2
    assert "has 3 layers, the config describes 2 with the output" in capsys.readouterr().err
    assert not (tmp_path / "m.safetensors").exists()


def test_a_damaged_parameter_file_is_refused(tmp_path: Path) -> None:
    case = cases()["e1_neuro_3d"]
    (tmp_path / "old.py").write_text(config_text(case))
    whole = gzip.decompress((SPEC / "oracle" / "data" / "e1_neuro_3d.param.gz").read_bytes())
    (tmp_path / "old.param").write_bytes(whole[:-1000])
    command = ["convert", str(tmp_path / "old.param"), "--config", str(tmp_path / "old.py")]
    assert main([*command, str(tmp_path / "m.safetensors")]) == 4


def test_independent_binary_outputs_are_probabilities_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    case = cases()["e1_v_mlp_acts"]
    monkeypatch.setitem(case, "config", case["config"] | {"target": "nll_mutiple_binary"})
    model = converted("e1_v_mlp_acts", tmp_path)
    assert "each output is the probability of class 0" in capsys.readouterr().err
    np.save(tmp_path / "in.npy", arrays(case)["x"])
    command = ["predict", "--model", str(model), "--strided", str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    assert main(command) == 0
    odds = np.log(np.load(tmp_path / "out.npy")) - np.log1p(-np.load(tmp_path / "out.npy"))
    softmax = np.exp(odds) / np.exp(odds).sum(1, keepdims=True)
    np.testing.assert_allclose(softmax, arrays(case)["class_probabilities"], rtol=1e-3, atol=1e-4)
