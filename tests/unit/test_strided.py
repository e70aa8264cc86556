"""The plain output of a batch, as `elektronn predict --strided` writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from elektronn.cli.main import main
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import Document, Node
from elektronn.network.weights import save_model

VECTOR = Node(kind="input", name="input", arguments={"channels": 4})


def run(tmp_path: Path, document: Document, batch: np.ndarray, output: str = "probabilities") -> np.ndarray:
    save_model(tmp_path / "m.safetensors", build(document, seed=1), {"fingerprint": "f", "output": output})
    np.save(tmp_path / "in.npy", batch)
    command = ["predict", "--model", str(tmp_path / "m.safetensors"), "--strided"]
    assert main([*command, str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]) == 0
    found: np.ndarray = np.load(tmp_path / "out.npy")
    return found


@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 1, 7, 35, 39), (2, 2, 3, 2, 3)), ((2, 1, 7, 31, 31), (2, 2, 3, 1, 1))]
)
def test_a_batch_of_volumes_gives_strided_probabilities(
    tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    batch = np.random.default_rng(0).random(shape).astype(np.float32)
    found = run(tmp_path, chain(NetworkSettings()), batch)
    assert found.shape == expected
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    with torch.inference_mode():
        plain = torch.softmax(build(chain(NetworkSettings()), seed=1)(torch.from_numpy(batch)), 1)
    np.testing.assert_allclose(found, plain.numpy(), atol=1e-6)


def test_a_batch_of_images_keeps_its_two_axes(tmp_path: Path) -> None:
    flat = NetworkSettings(kernels=((1, 3, 3),), pools=((1, 1, 1),), features=(2,))
    assert run(tmp_path, chain(flat), np.zeros((3, 1, 8, 9), np.uint8)).shape == (3, 2, 6, 7)


def test_vectors_and_time_series(tmp_path: Path) -> None:
    perceptron = Node(
        kind="perceptron",
        name="output",
        parents=("input",),
        arguments={"inputs": 4, "units": 3, "activation": "linear"},
    )
    assert run(tmp_path, Document(nodes=(VECTOR, perceptron)), np.zeros((5, 4), np.float32)).shape == (5, 3)
    recurrent = Node(kind="recurrent", name="output", parents=("input",), arguments={"units": 3, "activation": "tanh"})
    assert run(tmp_path, Document(nodes=(VECTOR, recurrent)), np.zeros((5, 7, 4), np.float32)).shape == (5, 3)


def test_regression_gives_values_not_probabilities(tmp_path: Path) -> None:
    flat = NetworkSettings(kernels=((1, 1, 1),), pools=((1, 1, 1),), features=(2,))
    found = run(tmp_path, chain(flat), np.ones((1, 1, 1, 2, 2), np.float32), "values")
    assert not np.allclose(found.sum(1), 1)


def test_a_wrong_batch_names_what_the_network_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        run(tmp_path, chain(NetworkSettings()), np.zeros((2, 3, 4), np.float32))
    assert "has 3 axes (2, 3, 4); the network takes a batch of axes" in capsys.readouterr().err
    with pytest.raises(AssertionError):
        run(tmp_path, chain(NetworkSettings()), np.zeros((2, 3, 7, 31, 31), np.float32))
    assert "has 3 channels or features, the network takes 1" in capsys.readouterr().err


def two_inputs() -> Document:
    other = Node(kind="input", name="mask", arguments={"channels": 1, "axes": "bcyx"})
    merged = Node(kind="multiply", name="output", parents=("input", "mask"))
    return Document(nodes=(Node(kind="input", name="input", arguments={"channels": 1, "axes": "bcyx"}), other, merged))


def test_further_inputs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "m", build(two_inputs()), {"output": "values"})
    x, mask = np.random.default_rng(0).random((2, 2, 1, 4, 5)).astype(np.float32)
    np.save(tmp_path / "in.npy", x)
    np.save(tmp_path / "mask.npy", mask)
    command = ["predict", "--model", str(tmp_path / "m"), str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    assert main([*command, "--strided", "--input", f"mask={tmp_path / 'mask.npy'}"]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), x * mask)
    assert main([*command, "--strided"]) == 2
    assert (
        "takes 2 inputs (input, mask); name a file for each further one: --input mask=FILE" in capsys.readouterr().err
    )
    assert main([*command, "--strided", "--input", f"msk={tmp_path / 'mask.npy'}"]) == 2
    assert "no such input: did you mean 'mask'?" in capsys.readouterr().err
    assert main([*command, "--strided", "--input", "mask"]) == 2
    assert "write NAME=FILE" in capsys.readouterr().err
    assert main([*command, "--input", f"mask={tmp_path / 'mask.npy'}"]) == 2
    assert "only with --strided" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("bcx", (2, 3, 7), (2, 4, 7)),
        ("btc", (2, 7, 3), (2, 7, 4)),
        ("bcyx", (2, 3, 7, 5), (2, 4, 7, 5)),
        ("bcyx", (2, 3, 1, 7, 5), (2, 4, 1, 7, 5)),
        ("bczyx", (2, 3, 2, 7, 5), (2, 4, 2, 7, 5)),
        ("bc", (2, 3), (2, 4)),
    ],
)
def test_an_output_has_the_axes_of_its_batch(
    tmp_path: Path, axes: str, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    first = Node(kind="input", name="input", arguments={"channels": 3, "axes": axes})
    said = {"kernel": [1, 1, 1], "pool": [1, 1, 1], "features": 4, "activation": "linear"}
    document = Document(nodes=(first, Node(kind="conv", name="output", parents=("input",), arguments=said)))
    batch = np.random.default_rng(0).random(shape).astype(np.float32)
    found = run(tmp_path, document, batch, "values")
    assert found.shape == expected
    weight = build(document, seed=1).layers["output"].weight.detach().numpy()[:, :, 0, 0, 0]
    channel = -1 if axes == "btc" else 1
    np.testing.assert_allclose(
        np.moveaxis(found, channel, -1), np.moveaxis(batch, channel, -1) @ weight.T, rtol=1e-5, atol=1e-6
    )


def test_a_network_of_fragments_gives_its_dense_output(tmp_path: Path) -> None:
    flat = NetworkSettings(kernels=((1, 2, 2),), pools=((1, 2, 2),), features=(2,))
    save_model(tmp_path / "m", build(chain(flat), seed=1), {"output": "values", "fragments": True})
    np.save(tmp_path / "in.npy", np.zeros((1, 1, 8, 9), np.float32))
    command = ["predict", "--model", str(tmp_path / "m"), "--strided", str(tmp_path / "in.npy")]
    assert main([*command, str(tmp_path / "out.npy")]) == 0
    assert np.load(tmp_path / "out.npy").shape == (1, 2, 6, 7)
