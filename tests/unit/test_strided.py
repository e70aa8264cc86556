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
