"""Mission rows M023 to M027, M080 to M088, M090: layers, options and losses of ELEKTRONN 1 networks."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.geometry import Stack
from elektronn.legacy.config_file import read_config
from elektronn.legacy.elektronn1 import from_options
from elektronn.network.adapt import adapt
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import Document, Node, conv_node
from elektronn.network.layers import activation_of, largest_magnitude, pool_strided
from elektronn.settings import parse
from elektronn.training.losses import nll, regression


def test_M023_printed_geometry_of_the_mnist_network() -> None:
    stack = Stack((3, 3), (2, 2))
    assert stack.sizes(26) == [(24, 12), (10, 5)]
    assert [(r.field, r.stride, r.field - r.stride) for r in stack.reaches()] == [(4, 2, 2), (10, 4, 6)]
    assert stack.reach.field / 2 == 5.0


def test_M025_anisotropic_kernels_give_anisotropic_weights() -> None:
    settings = NetworkSettings(kernels=((1, 2, 2), (2, 3, 3)), pools=((1, 1, 1),) * 2, features=(4, 5))
    shapes = [tuple(p.shape) for name, p in build(chain(settings)).named_parameters() if name.endswith("weight")]
    assert shapes == [(4, 1, 1, 2, 2), (5, 4, 2, 3, 3), (2, 5, 1, 1, 1)]


@pytest.mark.parametrize("pool", [2, 3])
def test_M027_a_size_is_valid_with_fragments_exactly_if_every_phase_fits(pool: int) -> None:
    stack = Stack((3, 2), (pool, pool), (True, True))
    for size in range(3, 60):
        convolved = size - 2
        phases = {(convolved - p) // pool for p in range(pool)} if convolved >= pool else set()
        first_fits = len(phases) == 1 and (convolved - pool + 1) % pool == 0
        inner = (convolved - pool + 1) // pool - 1
        second_fits = first_fits and inner >= pool and (inner - pool + 1) % pool == 0
        assert stack.is_valid(size) == second_fits
        if stack.is_valid(size):
            assert stack.sizes(size)[-1][1] * stack.fragment_stride == size - stack.reach.field + 1


REFERENCE = {
    "tanh": np.tanh,
    "abs": np.abs,
    "linear": lambda v: v,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "relu": lambda v: np.maximum(v, 0),
    "maxout 2": lambda v: v.reshape(2, 3, 2, 4).max(2),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_M080_activations_equal_their_formula(name: str) -> None:
    values = np.random.default_rng(0).normal(size=(2, 6, 4))
    np.testing.assert_allclose(
        activation_of(name)(torch.from_numpy(values)).numpy(), REFERENCE[name](values), rtol=1e-12
    )


def test_M080_per_layer_lists_and_wrong_names() -> None:
    settings = NetworkSettings(activation=("tanh", "abs", "linear", "sigmoid", "maxout 2"))
    assert [n.arguments["activation"] for n in chain(settings).nodes[1:]][:5] == list(settings.activation)
    with pytest.raises(ConfigError, match="did you mean 'tanh'"):
        parse(NetworkSettings, {"activation": "tnah"}, "network")
    with pytest.raises(ConfigError, match="activation has 2 entries for 5 layers"):
        parse(NetworkSettings, {"activation": ["tanh", "abs"]}, "network")


def test_M081_max_and_maxabs_pooling() -> None:
    x = torch.tensor([[1, -3, 2, 2], [2, -1, -2, 1], [0, 0, -5, 5], [-1, 1, 4, -4]]).float()[None, None, None]

    def pool(values: torch.Tensor) -> torch.Tensor:
        return pool_strided(values, Size(1, 2, 2))

    assert pool(x)[0, 0, 0].tolist() == [[2, 2], [1, 5]]
    assert largest_magnitude(pool, x)[0, 0, 0].tolist() == [[-3, 2], [1, 5]]


def test_M082_dropout_masks_single_units_in_training_only() -> None:
    settings = NetworkSettings(dropout=(0.5, 0.0, 0.0, 0.0, 0.0), activation="linear")
    network = build(chain(settings), seed=1)
    x = torch.rand(2, 1, 7, 31, 31)
    assert torch.equal(network.eval()(x), network.eval()(x))
    first = network.layers["conv1"].train()
    maps = first(x)
    dropped = maps == 0
    assert dropped.float().mean() == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(dropped[0], dropped[1]), "every example has a mask of its own"
    assert not torch.equal(dropped[:, 0], dropped[:, 1]), "every feature has a mask of its own"
    with pytest.raises(ConfigError, match="dropout has 2 entries for 5 layers"):
        parse(NetworkSettings, {"dropout": [0.1, 0.2]}, "network")


def test_M083_dense_prediction_equals_the_network_at_every_shift() -> None:
    settings = NetworkSettings(kernels=((1, 3, 3), (2, 2, 2)), pools=((1, 2, 3), (2, 1, 1)), features=(3, 4))
    network = build(chain(settings), seed=2)
    field = network.geometry.field
    x = torch.rand(1, 1, field.z + 4, field.y + 5, field.x + 6)
    with torch.inference_mode():
        dense = network.dense(x)
        for z, y, p in product(range(5), range(6), range(7)):
            patch = x[:, :, z : z + field.z, y : y + field.y, p : p + field.x]
            torch.testing.assert_close(network(patch)[..., 0, 0, 0], dense[..., z, y, p], atol=1e-5, rtol=1e-5)


def vector_network(*nodes: Node) -> Document:
    return Document(nodes=(Node(kind="input", name="input", arguments={"channels": 4}), *nodes))


def test_M084_the_recurrent_layer_equals_an_explicit_loop() -> None:
    node = Node(kind="recurrent", name="output", parents=("input",), arguments={"units": 6, "activation": "tanh"})
    network = build(vector_network(node), seed=3)
    x = torch.rand(5, 4, 7, 1, 1)
    layer = network.layers["output"]
    state = layer.first.detach().numpy()[None].repeat(5, 0)
    for step in range(7):
        inner = (
            x[:, :, step, 0, 0].numpy() @ layer.weight.detach().numpy().T + state @ layer.recurrence.detach().numpy().T
        )
        state = np.tanh(inner + layer.bias.detach().numpy())
    np.testing.assert_allclose(network(x)[..., 0, 0, 0].detach().numpy(), state, rtol=1e-5, atol=1e-6)
    assert float(torch.linalg.matrix_norm(layer.recurrence.detach(), 2)) == pytest.approx(1.0, rel=1e-5)


def test_M085_a_perceptron_flattens_what_the_convolutions_leave() -> None:
    nodes = [Node(kind="input", name="input", arguments={"channels": 1})]
    nodes.append(conv_node("conv1", "input", (1, 3, 3), (1, 2, 2), 16, "relu"))
    nodes.append(conv_node("conv2", "conv1", (1, 3, 3), (1, 2, 2), 32, "relu"))
    said = {"inputs": 800, "units": 10, "activation": "linear"}
    nodes.append(Node(kind="perceptron", name="output", parents=("conv2",), arguments=said))
    network = build(Document(nodes=tuple(nodes)), seed=4)
    assert network(torch.rand(3, 1, 1, 26, 26)).shape == (3, 10, 1, 1, 1)
    with pytest.raises(GeometryError, match="takes 800 numbers, an input of this size gives 1152"):
        network(torch.rand(3, 1, 1, 30, 30))
    with pytest.raises(GeometryError, match="no dense prediction; use --strided"):
        network.dense(torch.rand(1, 1, 1, 40, 40))


def test_M086_regression_is_the_mean_squared_difference() -> None:
    y, t = torch.rand(2, 3, 1, 4, 4), torch.rand(2, 3, 1, 4, 4)
    assert float(regression(y, t)) == pytest.approx(float(((y - t) ** 2).mean()))


def test_M087_class_weights_multiply_the_summands_only() -> None:
    scores, labels = torch.zeros(1, 2, 1, 1, 2), torch.tensor([[[[0, 1]]]])
    found = nll(scores, labels, class_weights=torch.tensor([1.0, 3.0]), epsilon=0)
    assert float(found) == pytest.approx(2 * math.log(2))


def test_M088_label_propagation_takes_a_sure_opinion_for_a_missing_label() -> None:
    sure = torch.tensor([math.log(0.95), math.log(0.05)]).reshape(1, 2, 1, 1, 1)
    missing = torch.tensor([[[[-1]]]])
    assert float(nll(sure, missing, propagate=0.9, epsilon=0)) == pytest.approx(-math.log(0.95), rel=1e-5)
    unsure = torch.tensor([math.log(0.8), math.log(0.2)]).reshape(1, 2, 1, 1, 1)
    assert float(nll(unsure, missing, propagate=0.9, epsilon=0)) == 0


def test_M090_evaluation_is_reproducible_with_dropout() -> None:
    network = build(chain(NetworkSettings(dropout=0.5)), seed=5)
    x = torch.rand(1, 1, 7, 31, 31)
    drawn = [network.train()(x) for _ in range(2)]
    assert not torch.equal(*drawn)
    assert torch.equal(network.eval()(x), network.eval()(x))
    assert not torch.equal(network.train()(x), network.eval()(x))


def small(features: tuple[int, ...], kernel: int = 3) -> NetworkSettings:
    count = len(features)
    return NetworkSettings(kernels=((1, kernel, kernel),) * count, pools=((1, 1, 1),) * count, features=features)


def test_M092_a_deeper_network_starts_from_the_layers_of_another() -> None:
    one, two = build(chain(small((3, 4, 5))), seed=1), build(chain(small((3, 4, 5, 6))), seed=2)
    before = {name: tensor.clone() for name, tensor in two.state_dict().items()}
    kept = {name: tensor for name, tensor in one.state_dict().items() if not name.startswith("layers.output")}
    lines = adapt(two, kept)
    assert lines[:3] == ["conv1: loaded", "conv2: loaded", "conv3: loaded"]
    assert lines[3] == "conv4: not in the file, left as drawn"
    for name, tensor in two.state_dict().items():
        same = kept.get(name, before[name])
        assert torch.equal(tensor, same)


def test_M094_shapes_that_differ_are_cut_tiled_and_centred() -> None:
    one, two = build(chain(small((4,), 3)), seed=1), build(chain(small((6,), 5)), seed=2)
    drawn = two.layers["conv1"].weight.detach().clone()
    lines = adapt(two, one.state_dict())
    assert lines[0] == "conv1: 4 maps tiled to 6, kernel 1×3×3 centred in 1×5×5"
    stored, ours = one.layers["conv1"].weight.detach(), two.layers["conv1"].weight.detach()
    assert torch.equal(ours[:4, :, :, 1:4, 1:4], stored)
    assert torch.equal(ours[4:, :, :, 1:4, 1:4], stored[:2])
    assert torch.equal(ours[..., 0], drawn[..., 0])
    with pytest.raises(ConfigError, match="weights do not fit: conv1: 4 maps tiled to 6"):
        adapt(build(chain(small((6,), 5)), seed=2), one.state_dict(), strict=True)


def test_M094_of_too_many_channels_the_middle_ones_are_taken() -> None:
    one, two = build(chain(small((5, 2))), seed=1), build(chain(small((3, 2))), seed=2)
    assert adapt(two, one.state_dict())[1] == "conv2: 5 channels cut, middle to 3"
    assert torch.equal(two.layers["conv2"].weight, one.layers["conv2"].weight[:, 1:4])


def test_M024_scalar_and_tuple_sizes_are_the_same_network(tmp_path: Path) -> None:
    lines = [
        "save_name = 'x'",
        "save_path = '/tmp/'",
        "n_steps = 1",
        "max_runtime = 1",
        "mode = 'img-img'",
        "n_dim = 3",
        "n_lab = 2",
        "data_path = label_path = '/tmp/'",
        "d_files = l_files = [('a', 'b')]",
        "nof_filters = [4, 5]",
        "desired_input = 30",
        "batch_size = 1",
    ]
    read = []
    for name, filters in (("scalar", "[2, 4]"), ("tuple", "[[2, 2, 2], [4, 4, 4]]")):
        (tmp_path / f"{name}.py").write_text("\n".join([*lines, f"filters = {filters}", "pool = [1, 1]", ""]))
        read.append(read_config(tmp_path / f"{name}.py", None).options)
    weights = [{"W": np.zeros((4, 2, 1, 2, 2), "f"), "b": np.zeros(4, "f")}]
    weights.append({"W": np.zeros((5, 4, 4, 4, 4), "f"), "b": np.zeros(5, "f")})
    weights.append({"W": np.zeros((2, 1, 5, 1, 1), "f"), "b": np.zeros(2, "f")})
    one, two = (from_options(options, weights)[0] for options in read)
    assert one == two
    assert tuple(next(build(one).parameters()).shape) == (4, 1, 2, 2, 2)
