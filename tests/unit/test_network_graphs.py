"""Branched networks: the runner, geometry and dense prediction of graphs, model files, weights of one for another."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elektronn.axes import Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.network.adapt import adapt
from elektronn.network.build import Network, build
from elektronn.network.document import Document, Node, conv_node, geometry, layers, require_dense, table
from elektronn.network.layers import convolve_plainly
from elektronn.network.weights import load_model, save_model
from elektronn.prediction.dense import Engine, by_shifting
from elektronn.prediction.tiles import bytes_of, choose_tile

INPUT = Node(kind="input", name="input", arguments={"channels": 1})


def node(kind: str, name: str, parents: str, **arguments: Any) -> Node:
    return Node(kind=kind, name=name, parents=tuple(parents.split()), arguments=arguments)


def graph(*nodes: Node) -> Document:
    return Document(nodes=(INPUT, *nodes))


def branched(pooling: str = "max") -> Document:
    """Two branches of one field behind a pooling, joined and pooled again with a stride of its own."""
    return graph(
        conv_node("a", "input", (2, 3, 3), (1, 2, 3), 4, "tanh"),
        conv_node("wide", "a", (1, 5, 3), (1, 1, 1), 3, "linear"),
        node("prelu", "wide_act", "wide"),
        node("crop", "narrow", "a", margin=[0, 2, 1]),
        node("concat", "joined", "wide_act narrow"),
        node("batch_norm", "norm", "joined", statistics="stored"),
        node("pool", "pool", "norm", shape=[1, 3, 2], stride=[1, 2, 2], pooling=pooling),
        conv_node("b", "pool", (2, 2, 2), (1, 1, 1), 7, "relu"),
        node("activation", "c", "b", activation="elu"),
        node("add", "d", "b c"),
        node("response_norm", "e", "d", neighbours=3, alpha=0.5, beta=0.75, k=1.0),
        node("multiply", "f", "e d"),
        conv_node("output", "f", (1, 1, 1), (1, 1, 1), 2, "linear"),
    )


def unet() -> Document:
    return graph(
        conv_node("a", "input", (1, 3, 3), (1, 1, 1), 3, "relu"),
        node("pool", "pool", "a", shape=[1, 2, 2]),
        conv_node("b", "pool", (1, 3, 3), (1, 1, 1), 4, "relu"),
        node("upconv", "up", "b", factor=[1, 2, 2], features=3, activation="relu"),
        node("crop", "crop", "a", margin=[0, 2, 2]),
        node("concat", "both", "up crop"),
        conv_node("output", "both", (1, 3, 3), (1, 1, 1), 2, "linear"),
    )


def built(document: Document, seed: int = 1) -> Network:
    network = build(document, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if "norm" in name or "slope" in name:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network.eval()


@pytest.mark.parametrize("pooling", ["max", "maxabs", "mean", "sum"])
def test_dense_prediction_of_a_graph_equals_the_strided_network_at_every_shift(pooling: str) -> None:
    network = built(branched(pooling))
    image = np.random.default_rng(0).random((1, 6, 33, 40)).astype(np.float32)
    for kind in ("probabilities", "values"):
        dense = Engine(network, torch.device("cpu"), kind).block(image)  # type: ignore[arg-type]
        np.testing.assert_allclose(dense, by_shifting(network, image, kind), rtol=1e-5, atol=2e-6)  # type: ignore[arg-type]
        assert dense.shape[1:] == network.geometry.dense(image.shape[1:])


def test_geometry_of_a_graph_is_that_of_the_chain_along_any_branch() -> None:
    found = geometry(branched())
    assert found.field == Size(3, 3 + 1 + 4 * 2 + 2 * 2 + 1 * 4, 3 + 2 + 2 * 3 + 1 * 3 + 1 * 6)
    assert found.stride == Size(1, 4, 6)
    x = torch.zeros(1, 1, *found.field)
    assert tuple(built(branched())(x).shape[2:]) == (1, 1, 1)


def test_geometry_sees_exactly_the_field_of_view() -> None:
    network = built(branched("mean")).double()
    field = network.geometry.field
    x = torch.rand(1, 1, *field, dtype=torch.float64, requires_grad=True)
    network(x).sum().backward()
    assert x.grad is not None
    seen = (x.grad[0, 0] != 0).nonzero()
    assert seen.amin(0).tolist() == [0, 0, 0]
    assert seen.amax(0).tolist() == [n - 1 for n in field]


def test_branches_of_different_fields_are_refused_by_geometry() -> None:
    uneven = graph(conv_node("a", "input", (1, 3, 3), (1, 1, 1), 1, "relu"), node("add", "b", "input a"))
    with pytest.raises(GeometryError, match=r"'b': its inputs have different fields of view \('input' 1×1×1"):
        geometry(uneven)
    with pytest.raises(GeometryError, match=r"'b': its inputs have different sizes \(1×9×9, 1×7×7, zyx\)"):
        build(uneven, seed=1)(torch.zeros(1, 1, 1, 9, 9))
    same_size = graph(
        conv_node("a", "input", (1, 5, 5), (1, 1, 1), 1, "relu"),
        node("pool", "p", "input", shape=[1, 2, 2]),
        node("add", "b", "a p"),
    )
    assert tuple(build(same_size, seed=1)(torch.zeros(1, 1, 1, 8, 8)).shape[2:]) == (1, 4, 4)
    with pytest.raises(GeometryError, match="different fields of view"):
        build(same_size, seed=1).dense(torch.zeros(1, 1, 1, 8, 8))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (unet(), "layer 'up' enlarges its input"),
        (graph(node("pad", "p", "input", margin=[0, 1, 1])), "layer 'p' pads its input"),
        (graph(node("batch_norm", "n", "input", statistics="batch")), "layer 'n' normalises by the statistics"),
        (graph(node("concat", "c", "input input", axis="x")), "layer 'c' puts images beside each other along x"),
    ],
)
def test_a_graph_without_a_field_per_output_says_which_node(document: Document, reason: str) -> None:
    for refuse in (require_dense, lambda d: build(d, seed=1).dense(torch.zeros(1, 1, 1, 28, 28))):
        with pytest.raises(GeometryError, match=f"{reason}.*use --strided"):
            refuse(document)
    assert not document.is_dense_capable


def test_a_u_net_runs_and_its_table_says_the_sizes() -> None:
    network = built(unet())
    assert tuple(network(torch.rand(2, 1, 1, 28, 28)).shape) == (2, 2, 1, 20, 20)
    rows = table(unet(), Size(1, 28, 28))
    assert [row["size"] for row in rows] == [f"1×{n}×{n}" for n in (26, 13, 11, 22, 22, 22, 20)]
    assert sum(row["parameters"] for row in rows) == sum(p.numel() for p in network.parameters())


def test_up_convolution_equals_torch_with_the_transposed_convolution_written_out() -> None:
    network = built(unet())
    up = network.layers["up"]
    x = torch.rand(1, 4, 1, 3, 5)
    spread = torch.zeros(1, 4, 1, 6, 10)
    spread[..., ::2, ::2] = x
    padded = torch.nn.functional.pad(spread, (1, 0, 1, 0))
    flipped = up.weight.flip(2, 3, 4).transpose(0, 1)
    torch.testing.assert_close(up(x), torch.relu(convolve_plainly(padded, flipped, up.bias)))


def test_values_are_freed_with_their_last_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    network = built(unet())
    made: dict[str, weakref.ref[Tensor]] = {}
    alive: dict[str, list[str]] = {}

    def watch(name: str) -> Any:
        def hook(module: Any, given: Any, result: Tensor) -> None:
            gc.collect()
            alive[name] = [other for other, value in made.items() if value() is not None]
            made[name] = weakref.ref(result)

        return hook

    for name, layer in network.layers.items():
        layer.register_forward_hook(watch(name))
    with torch.inference_mode():
        network(torch.rand(1, 1, 1, 28, 28))
    assert alive["pool"] == ["a"]
    assert alive["up"] == ["a", "b"], "the branch waits, the pooled image is gone"
    assert alive["output"] == ["both"], "crop shares memory with a, so nothing but the joined image is left"


def test_a_node_may_be_read_twice_by_one_node() -> None:
    twice = graph(node("concat", "c", "input input"), node("add", "d", "c c"))
    x = torch.rand(1, 1, 2, 3, 4)
    assert torch.equal(build(twice)(x), torch.cat([x, x], 1) * 2)


def test_several_inputs_are_taken_in_the_order_of_the_document() -> None:
    other = Node(kind="input", name="other", arguments={"channels": 2})
    document = graph(other, node("slice", "s", "other", start=1, stop=2), node("add", "sum", "input s"))
    x, y = torch.rand(1, 1, 2, 3, 4), torch.rand(1, 2, 2, 3, 4)
    assert torch.equal(build(document)(x, y), x + y[:, 1:])
    with pytest.raises(ConfigError, match="1 inputs given, the network takes 2"):
        build(document)(x)
    with pytest.raises(GeometryError, match=r"2 inputs \(input, other\); use --strided"):
        build(document).dense(x)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("add", "x", "input a")], r"its inputs have \[1, 4\] features; they must be the same"),
        ([node("softmax", "x", "a", classes=3)], "4 features are no multiple of 3 classes"),
        ([node("pool", "x", "a")], "a pool node needs the argument 'shape'"),
        ([node("gru", "x", "a", units=2, activation="tanh")], "a gru node needs more parents"),
        ([node("gru", "x", "a input", units=2, activation="tanh")], "its memory has 1 features; it needs 2"),
        ([node("crop", "a", "a", margin=[0, 0, 0])], "'a': stands twice in the document"),
    ],
)
def test_a_faulty_node_is_named_with_its_fault(nodes: list[Node], message: str) -> None:
    first = conv_node("a", "input", (1, 1, 1), (1, 1, 1), 4, "relu")
    with pytest.raises(ConfigError, match=message):
        layers(graph(first, *nodes))


def test_a_crop_that_leaves_nothing_says_so() -> None:
    network = build(graph(node("crop", "c", "input", margin=[0, 2, 0])))
    with pytest.raises(GeometryError, match="layer 'c': nothing is left of 4 voxels along y when 2 are cut away"):
        network(torch.zeros(1, 1, 1, 4, 4))


def test_model_files_hold_graphs(tmp_path: Path) -> None:
    network = built(branched())
    save_model(tmp_path / "m", network, {})
    again = load_model(tmp_path / "m").network.eval()
    x = torch.rand(1, 1, 5, 40, 40)
    assert again.document == network.document
    assert torch.equal(again(x), network(x))


def test_weights_of_a_graph_start_another_of_the_same_names() -> None:
    one, two = built(branched(), 1), built(branched(), 2)
    lines = adapt(two, one.state_dict())
    assert set(lines) == {f"{name}: loaded" for name in ("a", "wide", "wide_act", "norm", "b", "output")}
    assert all(torch.equal(one.state_dict()[name], tensor) for name, tensor in two.state_dict().items())


def test_the_tile_of_a_graph_keeps_what_a_branch_waits_for() -> None:
    document = branched()
    reach = geometry(document)
    tile = Size(2, 30, 30)
    joined_alone = 4 * 7 * (2 + 1) * (30 + 14) * (30 + 12)
    assert bytes_of(document, reach, tile) > joined_alone
    small = choose_tile(document, reach, Size(8, 200, 200), 2e6)
    assert bytes_of(document, reach, small) <= 2e6
