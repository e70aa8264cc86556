"""Mission rows O1 to O12, D1, D3, D13 of ELEKTRONN2: its nodes and whole graphs, converted, against recorded numbers."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.legacy.elektronn2 import Converted, from_mdl
from elektronn.legacy.mdl_file import MdlFile, MdlNode
from elektronn.network.build import Network, build
from elektronn.network.document import Document, Node, geometry, layers, table
from elektronn.network.layers import activation_of


@pytest.fixture(scope="module")
def golden(spec_data: Path) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads((spec_data / "e2_nodes_golden.json").read_text())
    return recorded


def original(
    name: str, kind: str, *arguments: Any, parameters: dict[str, Any] | None = None, **options: Any
) -> MdlNode:
    """A node as a file holds it; texts among the arguments that begin with @ point at other nodes."""

    def pointed(value: Any) -> Any:
        if isinstance(value, list) and value and all(isinstance(v, str) and v.startswith("@") for v in value):
            return [pointed(v) for v in value]
        return {"node": value[1:]} if isinstance(value, str) and value.startswith("@") else value

    given = tuple(pointed(a) for a in arguments)
    parents = [p["node"] for a in given for p in (a if isinstance(a, list) else [a]) if isinstance(p, dict)]
    return MdlNode(name, kind, tuple(dict.fromkeys(parents)), given, options, parameters or {})


def file(*nodes: MdlNode) -> MdlFile:
    return MdlFile(nodes, {"prediction_node": nodes[-1].name, "input_node": nodes[0].name}, Path("x.mdl"))


def network_of(made: Converted) -> Network:
    network = build(made.document)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in made.weights.items()})
    return network.eval()


def run(nodes: list[MdlNode], *inputs: Any) -> np.ndarray:
    """Output of a graph for inputs in our order."""
    with torch.inference_mode():
        found = network_of(from_mdl(file(*nodes)))(*(torch.from_numpy(np.float32(x)) for x in inputs))
    return found.numpy()


RANDOM = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def weighted(rows: list[Any], source: list[int], tags: str) -> list[MdlNode]:
    """The layers of a recorded net with drawn weights of the shapes that their arguments ask for."""
    nodes, features = [original("raw", "Input", source, tags)], source[1]
    sizes = [source[2:]]
    for i, (kind, given, options) in enumerate(rows):
        parameters = {}
        if kind in ("Conv", "UpConv"):
            parameters = {"w": drawn(given[0], features, *given[1]), "b": drawn(given[0])}
        elif kind == "Perceptron":
            inputs = features * int(np.prod(sizes[-1])) if options.get("flatten") else features
            parameters = {"w": drawn(inputs, given[0]), "b": drawn(given[0])}
        features = given[0] if parameters else features
        nodes.append(original(f"n{i}", kind, f"@{nodes[-1].name}", *given, parameters=parameters, **options))
        spatial = sorted(set(tags) & set("zyx"), key=tags.index)
        after = table(from_mdl(file(*nodes)).document, patch_of(source, tags))[-1]["size"].split("×")
        sizes.append([int(dict(zip("zyx", after))[axis]) for axis in spatial])
    return nodes


def patch_of(source: list[int], tags: str) -> Size:
    sizes = dict(zip(tags.split(","), source))
    return Size(sizes.get("z", 1), sizes.get("y", 1), sizes.get("x", 1))


def recorded_nets(golden: dict[str, Any]) -> list[dict[str, Any]]:
    return [case for case in golden["shapes"] if "expect" in case or "expect_fixed" in case]


def test_D1_D13_sizes_fields_strides_parameters_and_costs_of_recorded_nets(golden: dict[str, Any]) -> None:
    for case in recorded_nets(golden):
        nodes = weighted(case["layers"], case["input"], case["tags"])
        expected = case.get("expect") or case["expect_fixed"]
        spatial = [tag for tag in case["tags"].split(",") if tag in "zyx"]
        assert len(expected) == len(nodes) - 1
        for i, row in enumerate(expected, 2):
            document = from_mdl(file(*nodes[:i])).document
            last = table(document, patch_of(case["input"], case["tags"]))[-1]
            assert last["features"] == row["shape"][1], case["name"]
            size = dict(zip("zyx", last["size"].split("×")))
            assert [int(size[axis]) for axis in spatial][: len(row["shape"]) - 2] == row["shape"][2:], case["name"]
            kind, _, options = case["layers"][i - 2]
            if kind == "Conv" and "conv_mode" not in options:
                assert last["multiply_adds"] * case["input"][0] == row["cost"], case["name"]
            if any(layer.whole for layer in layers(document)):
                continue
            reach = geometry(document)
            assert [getattr(reach.stride, axis) for axis in spatial] == row["strides"], case["name"]
            if "Crop" not in [kind for kind, _, _ in case["layers"][: i - 1]]:
                assert [getattr(reach.field, axis) for axis in spatial] == row["fov"], case["name"]
        rows = table(from_mdl(file(*nodes)).document, patch_of(case["input"], case["tags"]))
        assert sum(row["parameters"] for row in rows) == case["total_params"], case["name"]


def test_O1_a_perceptron_on_any_axes_is_a_product_over_the_features() -> None:
    w, b = drawn(3, 7), drawn(7)
    point = original("dot", "Perceptron", "@raw", 7, parameters={"w": w, "b": b}, activation_func="lin")
    for tags, shape, ours in (
        ("b,f", (2, 3), (2, 3, 1, 1, 1)),
        ("r,b,f", (5, 2, 3), (2, 3, 5, 1, 1)),
        ("b,f,z,x,y", (2, 3, 4, 5, 6), (2, 3, 4, 6, 5)),
    ):
        x = drawn(*ours)
        found = run([original("raw", "Input", shape, tags), point], x)
        expected = np.einsum("bfzyx,fo->bozyx", x, w) + b[:, None, None, None]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_O1_a_flattening_perceptron_takes_features_first_then_the_original_order() -> None:
    w, b, x = drawn(3 * 4 * 5 * 6, 7), drawn(7), drawn(2, 3, 4, 6, 5)
    point = original("dot", "Perceptron", "@raw", 7, "tanh", True, parameters={"w": w, "b": b})
    found = run([original("raw", "Input", (2, 3, 4, 5, 6), "b,f,z,x,y"), point], x)
    flat = x.swapaxes(3, 4).reshape(2, -1)
    np.testing.assert_allclose(found[:, :, 0, 0, 0], np.tanh(flat @ w + b), rtol=1e-4, atol=1e-5)


def brute_conv(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A true convolution of any number of axes, written out: x (c, …), w (o, c, …)."""
    kernel = w.shape[2:]
    out = np.zeros((w.shape[0], *(n - k + 1 for n, k in zip(x.shape[1:], kernel))))
    for place in np.ndindex(*out.shape[1:]):
        part = x[(slice(None), *(slice(p, p + k) for p, k in zip(place, kernel)))]
        flipped = w[(slice(None), slice(None), *[slice(None, None, -1)] * len(kernel))]
        out[(slice(None), *place)] = (flipped * part).reshape(w.shape[0], -1).sum(1)
    return out


@pytest.mark.parametrize(("tags", "kernel"), [("b,f,x", (3,)), ("b,f,x,y", (3, 2)), ("b,f,z,x,y", (2, 3, 1))])
@pytest.mark.parametrize("mode", ["valid", "full"])
def test_O2_convolutions_of_one_to_three_axes(tags: str, kernel: tuple[int, ...], mode: str) -> None:
    spatial = tags.split(",")[2:]
    shape, w = (1, 2, *(6, 5, 4)[: len(kernel)]), drawn(3, 2, *kernel)
    x = drawn(*shape)
    node = original("conv", "Conv", "@raw", 3, kernel, None, mode, "lin", parameters={"w": w, "b": np.zeros(3, "f")})
    letters = "bf" + "".join(spatial)
    wide = x.reshape(*shape, *[1] * (3 - len(spatial)))
    order = [(letters + "".join(a for a in "zyx" if a not in letters)).index(a) for a in "bfzyx"]
    found = run([original("raw", "Input", shape, tags), node], np.ascontiguousarray(wide.transpose(order)))
    padded = np.pad(x[0], [(0, 0), *[(k - 1,) * 2 if mode == "full" else (0, 0) for k in kernel]])
    expected = brute_conv(padded, w)
    back = found.transpose(np.argsort(order)).reshape(1, *expected.shape)
    np.testing.assert_allclose(back[0], expected, rtol=1e-4, atol=1e-5)


def test_O2_a_kernel_of_one_voxel_is_a_perceptron_and_wrong_dimensions_are_refused() -> None:
    w, b, x = drawn(3, 4), drawn(4), drawn(1, 3, 1, 5, 6)
    raw = original("raw", "Input", (1, 3, 6, 5), "b,f,x,y")
    conv = original("a", "Conv", "@raw", 4, (1, 1), parameters={"w": w.T[:, :, None, None], "b": b})
    dot = original("a", "Perceptron", "@raw", 4, parameters={"w": w, "b": b})
    np.testing.assert_array_equal(run([raw, conv], x), run([raw, dot], x))
    wrong = original("a", "Conv", "@raw", 4, (1, 1, 1), parameters={"w": w.T[:, :, None, None], "b": b})
    with pytest.raises(ConfigError, match=r"node 'a' \(Conv\): .* has 3 numbers for the axes x,y"):
        run([raw, wrong], x)


@pytest.mark.parametrize(("mode", "of"), [("max", np.max), ("average_exc_pad", np.mean), ("sum", np.sum)])
def test_O3_pooling_with_a_stride_of_its_own(mode: str, of: Any) -> None:
    x = drawn(1, 2, 5, 9, 8)
    pool = original("p", "Pool", "@raw", (3, 2, 3), (2, 1, 2), parameters={}, mode=mode)
    found = run([original("raw", "Input", (1, 2, 5, 8, 9), "b,f,z,x,y"), pool], x)
    for z, y, i in product(range(2), range(4), range(7)):
        part = x[0, :, 2 * z : 2 * z + 3, 2 * y : 2 * y + 3, i : i + 2]
        np.testing.assert_allclose(found[0, :, z, y, i], of(part, axis=(1, 2, 3)), rtol=1e-5, atol=1e-5)
    assert found.shape == (1, 2, 2, 4, 7)


@pytest.mark.parametrize(("tags", "factor"), [("b,f,x", (3,)), ("b,f,x,y", (2, 3)), ("b,f,z,x,y", (1, 2, 3))])
def test_O4_up_convolution_follows_its_formula(tags: str, factor: tuple[int, ...]) -> None:
    spatial = tags.split(",")[2:]
    shape, w, b = (1, 4, *(3, 4, 2)[: len(factor)]), drawn(6, 4, *factor), drawn(6)
    x = drawn(*shape)
    expected = np.zeros((6, *(n * p for n, p in zip(shape[2:], factor))))
    for place in np.ndindex(*shape[2:]):
        for k in np.ndindex(*factor):
            at = tuple(i * p + j for i, p, j in zip(place, factor, k))
            expected[(slice(None), *at)] = w[(slice(None), slice(None), *k)] @ x[(0, slice(None), *place)] + b
    letters = "bf" + "".join(spatial)
    order = [(letters + "".join(a for a in "zyx" if a not in letters)).index(a) for a in "bfzyx"]
    wide = x.reshape(*shape, *[1] * (3 - len(spatial))).transpose(order)
    node = original("up", "UpConv", "@raw", 6, factor, "lin", parameters={"w": w, "b": b})
    found = run([original("raw", "Input", shape, tags), node], np.ascontiguousarray(wide))
    back = found.transpose(np.argsort(order)).reshape(1, *expected.shape)
    np.testing.assert_allclose(back[0], expected, rtol=1e-5, atol=1e-5)


def test_O4_a_fresh_up_convolution_mostly_repeats_voxels() -> None:
    node = Node(
        kind="upconv",
        name="up",
        parents=("input",),
        arguments={"factor": [1, 2, 2], "features": 3, "activation": "linear"},
    )
    document = Document(nodes=(Node(kind="input", name="input", arguments={"channels": 3}), node))
    up = build(document, seed=1).layers["up"]
    identity = np.einsum("io->io", np.eye(3))[:, :, None, None, None]
    assert np.abs(up.weight.detach().numpy() - identity)[~np.eye(3, dtype=bool)].max() < 0.3
    assert (up.weight.detach().numpy()[range(3), range(3)] == 1).all()
    assert (up.bias == 0).all()


def test_O6_gru_and_lstm_equal_the_recorded_steps(golden: dict[str, Any]) -> None:
    for kind, memory, expected in (("GRU", "h", "expect"), ("LSTM", "memory [h|c]", "expect [h|c]")):
        case = golden["nodes_and_losses"][kind]
        state = np.float32(case[memory])
        nodes = [original("raw", "Input", (2, 3), "b,f"), original("m", "Input", state.shape, "b,f")]
        parameters = {"w": np.float32(case["w"]), "b": np.float32(case["b"])}
        nodes.append(original("cell", kind, "@raw", "@m", case["n_f"], parameters=parameters))
        x, m = (np.float32(a)[..., None, None, None] for a in (case["x"], state))
        np.testing.assert_allclose(run(nodes, x, m)[..., 0, 0, 0], case[expected], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_O6_gradients_flow_through_both_cells(kind: str) -> None:
    width = 2 if kind == "gru" else 4
    inputs = [
        Node(kind="input", name=n, arguments={"channels": c, "axes": "bc"}) for n, c in (("input", 3), ("m", width))
    ]
    cell = Node(kind=kind, name="c", parents=("input", "m"), arguments={"units": 2, "activation": "tanh"})
    network = build(Document(nodes=(*inputs, cell)), seed=2).double()
    given = [torch.rand(2, c, 1, 1, 1, dtype=torch.float64, requires_grad=True) for c in (3, width)]
    assert torch.autograd.gradcheck(network, given)


def test_O6_the_first_state_may_be_learned() -> None:
    w, b, state, x = drawn(5, 6), drawn(6), drawn(2), drawn(4, 3, 1, 1, 1)
    nodes = [
        original("raw", "Input", (4, 3), "b,f"),
        original("h0", "InitialState_like", "@raw", 2, parameters={"value": state}),
        original("cell", "GRU", "@raw", "@h0", 2, parameters={"w": w, "b": b}),
    ]
    given = [nodes[0], original("h0", "Input", (4, 2), "b,f"), nodes[2]]
    everywhere = np.tile(state[None, :, None, None, None], (4, 1, 1, 1, 1))
    np.testing.assert_allclose(run(nodes, x), run(given, x, everywhere), rtol=1e-6)
    nodes[1] = original("h0", "ValueNode", (1, 2), "b,f", parameters={"value": state[None]})
    np.testing.assert_allclose(run(nodes, x), run(given, x, everywhere), rtol=1e-6)


def normalised(mode: str, parameters: dict[str, Any]) -> list[MdlNode]:
    dot = original("dot", "Perceptron", "@raw", 2, "lin", False, mode, parameters=parameters)
    return [original("raw", "Input", (4, 3), "b,f"), dot]


def test_O8_batch_normalisation_with_the_statistics_of_the_batch(golden: dict[str, Any]) -> None:
    case = golden["nodes_and_losses"]["BN"]
    parameters = {key: np.float32(case[key]) for key in ("w", "b", "gamma")}
    parameters |= {"mean": np.float32([1, 2]), "std": np.float32([2, 4])}
    x = np.float32(case["x"])[..., None, None, None]
    np.testing.assert_allclose(
        run(normalised("train", parameters), x)[..., 0, 0, 0], case["expect"], rtol=1e-4, atol=1e-5
    )
    linear = x[..., 0, 0, 0] @ parameters["w"]
    stored = parameters["gamma"] * (linear - [1, 2]) / [2, 4] + parameters["b"]
    np.testing.assert_allclose(run(normalised("predict", parameters), x)[..., 0, 0, 0], stored, rtol=1e-4)


def test_O8_stored_statistics_follow_training_steps_and_nothing_else() -> None:
    parameters = {key: np.ones(2, "f") for key in ("b", "gamma", "std")} | {
        "mean": np.zeros(2, "f"),
        "w": np.eye(3)[:, :2],
    }
    network = network_of(from_mdl(file(*normalised("train", parameters))))
    norm = network.layers["dot_norm"]
    x = torch.from_numpy(drawn(50, 3, 1, 1, 1)) * 3 + 7
    network(x)
    assert (norm.mean == 0).all()
    network.train()
    for _ in range(3):
        network(x)
    kept = 0.9995**3
    np.testing.assert_allclose(norm.mean, (1 - kept) * x[:, :2, 0, 0, 0].mean(0), rtol=1e-4)
    deviation = x[:, :2, 0, 0, 0].std(0, correction=0)
    np.testing.assert_allclose(norm.deviation, kept + (1 - kept) * deviation, rtol=1e-5)


def test_O10_activations_equal_the_recorded_values(golden: dict[str, Any]) -> None:
    names = {"sig": "sigmoid", "soft+": "softplus", "lin": "linear"}
    x = torch.tensor(golden["activations"]["x"], dtype=torch.float64)
    for name, expected in golden["activations"]["expect"].items():
        if name.startswith("prelu"):
            continue
        found = activation_of(names.get(name, name))(x).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)
    with pytest.raises(ConfigError, match="activation 'bogus'"):
        activation_of("bogus")


def test_O10_prelu_has_its_slope_beside_the_bias() -> None:
    w, b, x = drawn(3, 2), drawn(2, 2), drawn(4, 3, 1, 1, 1)
    dot = original("dot", "Perceptron", "@raw", 2, "prelu", parameters={"w": w, "b": b})
    inner = x[..., 0, 0, 0] @ w + b[:, 0]
    expected = np.where(inner > 0, inner, inner * b[:, 1])
    found = run([original("raw", "Input", (4, 3), "b,f"), dot], x)
    np.testing.assert_allclose(found[..., 0, 0, 0], expected, rtol=1e-4, atol=1e-6)


def test_O10_maxout_takes_groups_of_neighbouring_features(golden: dict[str, Any]) -> None:
    case = golden["maxout"]
    x = torch.tensor(case["x"]).movedim(case["axis"], 1)
    found = activation_of(f"maxout {case['factor']}")(x).movedim(1, case["axis"])
    np.testing.assert_array_equal(found.numpy(), case["expect"])


def test_O11_local_response_normalisation_in_both_modes(golden: dict[str, Any]) -> None:
    for case in golden["nodes_and_losses"]["LRN"]:
        x = np.float32(case["x"])
        scalars = {key: np.float32(case[key]) for key in ("alpha", "k", "beta")}
        node = original("lrn", "LRN", "@raw", case["filter_shape"], case["mode"], parameters=scalars)
        found = run([original("raw", "Input", x.shape, "b,f,x,y"), node], x.swapaxes(2, 3)[:, :, None])
        np.testing.assert_allclose(found[:, :, 0].swapaxes(2, 3), case["expect"], rtol=1e-4, atol=1e-5)


def test_O12_basic_operations() -> None:
    raw, x = original("raw", "Input", (1, 4, 6, 5), "b,f,x,y"), drawn(1, 4, 1, 5, 6)
    pad = original("pad", "Pad", "@raw", (1, 2), 7.0)
    padded = run([raw, pad], x)
    assert padded.shape == (1, 4, 1, 9, 8)
    assert padded[0, 0, 0, 0, 0] == 7
    np.testing.assert_array_equal(run([raw, pad, original("crop", "Crop", "@pad", (1, 2))], x), x)
    np.testing.assert_array_equal(run([raw, original("add", "Add", "@raw", "@raw")], x), x + x)
    np.testing.assert_array_equal(run([raw, original("mul", "MultMerge", "@raw", "@raw")], x), x * x)
    both = original("both", "Concat", ["@raw", "@mul"])
    np.testing.assert_array_equal(
        run([raw, original("mul", "MultMerge", "@raw", "@raw"), both], x), np.concatenate([x, x * x], 1)
    )
    along = run([raw, original("along", "Concat", ["@raw", "@raw"], "x")], x)
    np.testing.assert_array_equal(along, np.concatenate([x, x], 4))
    soft = run([raw, original("soft", "Softmax", "@raw", 2, 2)], x)
    np.testing.assert_allclose(soft[:, :2].sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(soft[:, 2:].sum(1), 1, rtol=1e-6)
    flat = run([raw, original("flat", "Reshape", "@raw", (None, 120), "b,f")], x)
    np.testing.assert_array_equal(flat[..., 0, 0, 0], x[:, :, 0].swapaxes(2, 3).reshape(1, -1))


def test_O12_parts_of_the_features_joined_are_the_whole() -> None:
    first = Node(kind="input", name="input", arguments={"channels": 5})
    parts = [
        Node(kind="slice", name=f"s{a}", parents=("input",), arguments={"start": a, "stop": b})
        for a, b in ((0, 2), (2, 5))
    ]
    joined = Node(kind="concat", name="joined", parents=("s0", "s2"))
    x = torch.rand(2, 5, 3, 4, 5)
    assert torch.equal(build(Document(nodes=(first, *parts, joined)))(x), x)


def test_D3_the_recorded_dense_prediction(golden: dict[str, Any]) -> None:
    case, net = golden["predict_dense_2d"], golden["mfp_2d"]
    first = original(
        "a",
        "Conv",
        "@raw",
        2,
        (4, 4),
        (2, 2),
        "valid",
        "tanh",
        parameters={"w": np.float32(net["w1"]), "b": np.float32(net["b1"])},
    )
    second = original(
        "b",
        "Conv",
        "@a",
        1,
        (3, 3),
        activation_func="tanh",
        parameters={"w": np.float32(net["w2"]), "b": np.float32(net["b2"])},
    )
    network = network_of(from_mdl(file(original("raw", "Input", (1, 1, 12, 12), "b,f,x,y"), first, second)))
    for image, expected in ((case["raw"], case["dense"]), (net["x"][0], net["dense"][0])):
        x = torch.from_numpy(np.float32(image).swapaxes(1, 2)[None, :, None].copy())
        with torch.inference_mode():
            found = network.dense(x)[0, :, 0].numpy().swapaxes(1, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_node_that_cannot_be_converted_is_named() -> None:
    nodes = [original("raw", "Input", (2, 3), "b,f"), original("z", "GaussianRV", "@raw", "@raw")]
    with pytest.raises(ConfigError, match="node 'z' is a GaussianRV, which cannot be converted"):
        from_mdl(file(*nodes))
    fading = {key: np.ones(2, "f") for key in ("w", "b", "gamma", "mean", "std")} | {"w": np.ones((3, 2), "f")}
    with pytest.raises(ConfigError, match="batch_normalisation 'fadeout' cannot be converted"):
        from_mdl(file(*normalised("fadeout", fading)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("@raw",), "KeyError: 'n_f'"),
        (("@raw", "many"), "are not those of a Perceptron"),
        (("raw", 7), "'raw' where a node was expected"),
        (("@raw", 8), r"its weights are \(3, 7\) in our order, its arguments and parent ask for \(3, 8\)"),
        (("@raw", 7, "sinus"), "activation 'sinus': "),
    ],
)
def test_a_faulty_original_node_is_named_with_its_fault(arguments: tuple[Any, ...], message: str) -> None:
    dot = original("dot", "Perceptron", *arguments, parameters={"w": drawn(3, 7), "b": drawn(7)})
    dot = MdlNode(dot.name, dot.kind, ("raw",), dot.arguments, dot.options, dot.parameters)
    with pytest.raises(ConfigError, match=rf"node 'dot' \(Perceptron\): .*{message}"):
        from_mdl(file(original("raw", "Input", (2, 3), "b,f"), dot))


def test_what_the_prediction_does_not_need_is_left_out_and_said() -> None:
    raw, x = original("raw", "Input", (1, 1, 6, 5), "b,f,x,y"), drawn(1, 1, 1, 5, 6)
    conv = original(
        "c",
        "Conv",
        "@raw",
        2,
        (1, 1),
        activation_func="lin",
        parameters={"w": drawn(2, 1, 1, 1), "b": drawn(2)},
        dropout_rate=0.5,
    )
    end = [
        original("soft", "Softmax", "@c"),
        original("t", "Input", (1, 1, 6, 5), "b,f,x,y"),
        original("nll", "MultinoulliNLL", "@soft", "@t"),
    ]
    made = from_mdl(MdlFile((raw, conv, *end), {"prediction_node": "soft"}, Path("x.mdl")))
    assert [node.name for node in made.document.nodes] == ["raw", "c"]
    assert made.output == "probabilities"
    assert made.notes == (
        "prediction node 'soft'; left out: t, nll",
        "c: dropout 0.5 is for training only and left out",
    )
    assert network_of(made)(torch.from_numpy(x)).shape == (1, 2, 1, 5, 6)
    made = from_mdl(MdlFile((raw, conv, *end), {"prediction_node": "c"}, Path("x.mdl")))
    assert made.output == "values"


def test_branches_of_different_sizes_are_refused_with_their_sizes() -> None:
    raw = original("raw", "Input", (1, 1, 6, 5), "b,f,x,y")
    nodes = [raw, original("crop", "Crop", "@raw", (1, 0)), original("add", "Add", "@raw", "@crop")]
    with pytest.raises(
        GeometryError, match=r"node 'add' \(Add\): layer 'add': its inputs have different sizes \(1×5×6, 1×5×4"
    ):
        from_mdl(file(*nodes))
