"""M091: the tied auto-encoder chain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elektronn.errors import ConfigError
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import Document, Node
from elektronn.network.edits import with_tied_chain
from elektronn.training.losses import regression


def encoder(*units: int) -> Document:
    nodes = [Node(kind="input", name="input", arguments={"channels": 16})]
    for i, (before, after) in enumerate(zip((16, *units), units), 1):
        said = {"inputs": before, "units": after, "activation": "tanh"}
        nodes.append(Node(kind="perceptron", name=f"code{i}", parents=(nodes[-1].name,), arguments=said))
    return Document(nodes=tuple(nodes))


def test_M091_weights_are_shared_and_biases_are_trained() -> None:
    network = build(with_tied_chain(encoder(8, 3)), seed=1)
    names = [name for name, _ in network.named_parameters()]
    assert names == [
        "layers.code1.weight",
        "layers.code1.bias",
        "layers.code2.weight",
        "layers.code2.bias",
        "layers.back_code2.bias",
        "layers.back_code1.bias",
    ]
    x = torch.rand(4, 16, 1, 1, 1, dtype=torch.float64)
    network.double()
    regression(network(x).double(), x).backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in network.parameters())
    # the gradient of the shared weight is that of both places together
    weight = network.layers["code1"].weight
    with torch.no_grad():
        before, step = weight.clone(), torch.randn_like(weight) * 1e-4
        losses = []
        for sign in (1, -1):
            weight.copy_(before + sign * step)
            losses.append(float(((network(x) - x) ** 2).mean()))
        weight.copy_(before)
    assert (losses[0] - losses[1]) / 2 == pytest.approx(float((weight.grad * step).sum()), rel=1e-4)


def test_M091_it_reconstructs_better_than_the_mean_and_its_noise_is_off_in_evaluation() -> None:
    random = np.random.default_rng(0)
    data = torch.from_numpy(
        np.tanh(random.normal(size=(200, 3)) @ random.normal(size=(3, 16))).astype(np.float32) * 0.8
    )
    x = data[..., None, None, None]
    network = build(with_tied_chain(encoder(10, 4), noise=0.05), seed=2)
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(300):
        optimiser.zero_grad()
        regression(network.train()(x), x).backward()
        optimiser.step()
    network.eval()
    assert torch.equal(network(x), network(x))
    assert not torch.equal(network.train()(x), network(x))
    baseline = float(((data - data.mean(0)) ** 2).mean())
    assert regression(network.eval()(x), x).item() < 0.3 * baseline


def test_M091_only_perceptrons_can_be_mirrored() -> None:
    with pytest.raises(ConfigError, match="'output' is no perceptron"):
        with_tied_chain(chain(NetworkSettings()))
    with pytest.raises(ConfigError, match="5 layers to mirror, the network has 2"):
        with_tied_chain(encoder(8, 3), 5)
