"""Networks with perceptrons and recurrent layers from settings, and the losses that go with them."""

from __future__ import annotations

import math

import pytest
import torch

from elektronn.errors import ConfigError
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.settings import parse
from elektronn.training.losses import Criterion
from elektronn.training.settings import Loss

MNIST = {
    "kernels": [[1, 3, 3], [1, 3, 3]],
    "pools": [[1, 2, 2], [1, 2, 2]],
    "features": [16, 32],
    "perceptrons": [300, 300],
    "activation": "relu",
    "classes": 10,
    "patch": [1, 26, 26],
}


def test_perceptrons_follow_convolutions_and_flatten_what_these_leave() -> None:
    network = build(chain(parse(NetworkSettings, MNIST, "network")), seed=1)
    assert [n.name for n in network.document.nodes] == [
        "input",
        "conv1",
        "conv2",
        "perceptron3",
        "perceptron4",
        "output",
    ]
    assert network.layers["perceptron3"].weight.shape == (300, 32 * 5 * 5)
    assert network(torch.zeros(2, 1, 1, 26, 26)).shape == (2, 10, 1, 1, 1)


def test_a_network_of_perceptrons_alone_takes_vectors() -> None:
    said = {"kernels": [], "pools": [], "features": [], "perceptrons": [12, 5], "classes": 3, "patch": [1, 1, 1]}
    network = build(chain(parse(NetworkSettings, said, "network"), channels=7), seed=1)
    assert network(torch.zeros(4, 7, 1, 1, 1)).shape == (4, 3, 1, 1, 1)


def test_a_recurrent_layer_stands_before_the_perceptrons() -> None:
    said = {"kernels": [], "pools": [], "features": [], "perceptrons": [6], "recurrent": {"units": 5}, "classes": 2}
    network = build(chain(parse(NetworkSettings, said, "network"), channels=3), seed=1)
    assert network(torch.zeros(4, 3, 9, 1, 1)).shape == (4, 2, 1, 1, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recurrent": {"units": 5}}, "does not go with convolutions"),
        ({"activation": ["relu", "relu"]}, "activation has 2 entries for 4 layers"),
        ({"dropout": [0.1]}, "dropout has 1 entries for 4 layers"),
        ({"pooling": ["max"] * 4}, "pooling has 4 entries for 2 layers"),
        ({"perceptrons": [3], "activation": "maxout 2"}, "layer 3: maxout 2 needs a multiple"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(NetworkSettings, MNIST | change, "network")


def test_dropout_of_a_perceptron_acts_in_training_only_and_before_the_bias() -> None:
    said = {"kernels": [], "pools": [], "features": [], "perceptrons": [400], "dropout": 0.5, "activation": "linear"}
    network = build(chain(parse(NetworkSettings, said, "network"), channels=2), seed=1)
    assert network.has_dropout
    layer = network.layers["perceptron1"]
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(0.25)
    x = torch.ones(50, 2, 1, 1, 1)
    torch.manual_seed(0)
    values = layer.train()(x)
    assert set(values.unique().tolist()) == {0.25, 4.25}
    assert float((values == 0.25).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert set(layer.eval()(x).unique().tolist()) == {2.25}


def test_binary_loss_and_error_by_hand() -> None:
    """The sigmoid of an output is the probability of label 0."""
    scores = torch.tensor([[2.0, -1.0, 0.5]])[..., None, None, None]
    labels = torch.tensor([[0, 1, -1]])[..., None, None, None]
    criterion = Criterion(Loss(kind="binary"))
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert float(criterion.loss(scores, labels)) == pytest.approx(by_hand)
    assert criterion.mistakes(scores, labels) == (0.0, 2.0)
    assert criterion.mistakes(-scores, labels) == (2.0, 2.0)
    weighted = Criterion(Loss(kind="binary", class_weights=(1.0, 3.0)), torch.tensor([1.0, 3.0]))
    assert float(weighted.loss(scores, labels)) == pytest.approx(
        (math.log(1 + math.exp(-2)) + 3 * math.log(1 + math.exp(-1))) / 2
    )


def test_error_of_a_regression_is_the_root_of_the_mean_square() -> None:
    criterion = Criterion(Loss(kind="regression"))
    outputs, targets = torch.zeros(2, 1, 1, 1, 1), torch.tensor([3.0, 4.0])[:, None, None, None, None]
    assert float(criterion.loss(outputs, targets)) == 12.5
    assert criterion.error(*criterion.mistakes(outputs, targets)) == pytest.approx(math.sqrt(12.5))


def test_standardising_is_a_node_and_acts_alike_strided_and_densely() -> None:
    said = {"kernels": [[1, 3, 3]], "pools": [[1, 2, 2]], "features": [4]}
    settings = parse(NetworkSettings, said, "network")
    plain = build(chain(settings, 2), seed=1)
    network = build(chain(settings, 2, ([0.5, 0.25], [0.1, 0.2])), seed=1)
    assert set(network.state_dict()) == set(plain.state_dict())
    x = torch.rand(1, 2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    shifted = (x - torch.tensor([0.5, 0.25])[:, None, None, None]) / torch.tensor([0.1, 0.2])[:, None, None, None]
    torch.testing.assert_close(network(x), plain(shifted))
    torch.testing.assert_close(network.dense(x), plain.dense(shifted))
    assert network.geometry == plain.geometry
