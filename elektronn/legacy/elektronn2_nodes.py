"""What each class of ELEKTRONN2 nodes becomes: orders of axes turned, kernels flipped, once, here.

The original names its axes (``b,f,z,x,y``) and gives sizes and kernels in the order of its spatial axes; ours are
``(b, c, z, y, x)``, and an axis that a value does not have is of length 1. Its recurrence axis ``r`` becomes our z. Its
convolutions flip their kernels ``(n_out, n_in, …)``, its up-convolutions ``(n_out, n_in, …)`` and perceptrons
``(n_in, n_out)`` do not. A node there is: weights, pooling, batch normalisation, bias, activation, in this order;
here these are up to four nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.legacy.elektronn2_graph import Graph, Value
from elektronn.legacy.mdl_file import MdlNode
from elektronn.network.nodes import maxout_of

SIGNATURES = {
    "Input": "shape tags strides fov dtype hardcoded_shape name",
    "Input_like": "ref dtype name override_f hardcoded_shape",
    "Conv": "parent n_f filter_shape pool_shape conv_mode activation_func mfp batch_normalisation dropout_rate name",
    "UpConv": "parent n_f pool_shape activation_func identity_init batch_normalisation dropout_rate name",
    "Perceptron": "parent n_f activation_func flatten batch_normalisation dropout_rate name",
    "Pool": "parent pool_shape stride mfp mode name",
    "Crop": "parent crop name",
    "Pad": "parent pad value name",
    "FragmentsToDense": "parent name",
    "Concat": "nodes axis name",
    "FaithlessMerge": "hard easy axis failing_prob hardeasy_ratio name",
    "Add": "n1 n2 name",
    "MultMerge": "n1 n2 name",
    "Softmax": "parent n_class n_indep name",
    "ApplyFunc": "parent functor args kwargs",
    "LRN": "parent filter_shape mode alpha k beta",
    "InitialState_like": "parent override_f dtype name",
    "ValueNode": "shape tags strides fov dtype apply_train value init_kwargs name",
    "Reshape": "parent shape tags strides fov name",
    "GRU": "parent memory_state n_f activation_func",
    "LSTM": "parent memory_states n_f activation_func",
}
"""Names of the arguments that may be given by position."""

ACTIVATIONS = {"sig": "sigmoid", "logistic": "sigmoid", "lin": "linear", "soft+": "softplus"}
"""Names of activations that differ from ours."""

LARGEST = 10**7
"""Most numbers of an array that a file only describes."""

POOLINGS = {"max": "max", "sum": "sum", "average": "mean", "average_inc_pad": "mean", "average_exc_pad": "mean"}


def said(node: MdlNode) -> dict[str, Any]:
    """The arguments of a node by name."""
    names = SIGNATURES[node.kind].split()
    if len(node.arguments) > len(names):
        raise ConfigError(f"{len(node.arguments)} arguments by position; {', '.join(names)} are known")
    return {**dict(zip(names, node.arguments)), **node.options}


def _parents(graph: Graph, node: MdlNode, *names: str) -> list[Value]:
    """Values of the arguments of these names."""
    given = said(node)
    return [graph.value(given[name]) for name in names]


def turned(array: NDArray[Any], letters: Sequence[str], target: str) -> NDArray[Any]:
    """Axes ``letters`` put into the order ``target``; axes that are not there become 1 long."""
    for letter in target:
        if letter not in letters:
            array, letters = array[None], [letter, *letters]
    return array.transpose([list(letters).index(letter) for letter in target])


def _axes(tags: Any) -> tuple[str, ...]:
    """Axes from a list or a text with commas.

    Raises:
        ConfigError: some that cannot be converted.
    """
    axes = tuple(tag.strip() for tag in (tags.split(",") if isinstance(tags, str) else tags))
    if unknown := [axis for axis in axes if axis not in ("b", "f", "r", "z", "y", "x")]:
        raise ConfigError(f"axis '{unknown[0]}' of {','.join(axes)} cannot be converted; b, f, r, z, y, x can")
    if "r" in axes and "z" in axes:
        raise ConfigError(f"axes {','.join(axes)}: both r and z cannot be converted")
    return axes


def _ours(axes: Sequence[str]) -> str:
    """The original's axes in our letters."""
    return "".join({"f": "c", "r": "z"}.get(axis, axis) for axis in axes)


def _input(graph: Graph, node: MdlNode) -> Value:
    given = said(node)
    axes = _axes(given["tags"])
    sizes = {axis: int(n or 0) for axis, n in zip(axes, given["shape"])}
    size = Size(sizes.get("r", sizes.get("z", 1)), sizes.get("y", 1), sizes.get("x", 1))
    return graph.input(node.name, axes, sizes.get("f", 1), size)


def _input_like(graph: Graph, node: MdlNode) -> Value:
    given = said(node)
    like = graph.value(given["ref"])
    return graph.input(node.name, like.axes, int(given.get("override_f") or like.features), like.size)


def _conv(graph: Graph, node: MdlNode) -> Value:
    given, (parent,) = said(node), _parents(graph, node, "parent")
    kernel, pool = (
        parent.triple(1 if given.get(key) is None else given[key]) for key in ("filter_shape", "pool_shape")
    )
    mode = given.get("conv_mode", "valid")
    if mode not in ("valid", "full", "same"):
        raise ConfigError(f"conv_mode '{mode}' cannot be converted; valid, full and same can")
    if mode != "valid":
        margin = [k - 1 if mode == "full" else k // 2 for k in kernel]
        parent = graph.add("pad", f"{node.name}_pad", [parent], {"margin": margin})
    weight = turned(graph.array(node, "w"), ["o", "i", *parent.spatial], "oizyx")[:, :, ::-1, ::-1, ::-1]
    _check(weight, (int(given["n_f"]), parent.features, *kernel))
    if given.get("mfp"):
        graph.notes.append(
            f"{node.name}: max-fragment pooling becomes plain pooling; dense prediction gives all fragments"
        )
    return _neurons(
        graph, node, "conv", [parent], {"kernel": kernel, "pool": pool, "features": weight.shape[0]}, weight
    )


def _upconv(graph: Graph, node: MdlNode) -> Value:
    given, (parent,) = said(node), _parents(graph, node, "parent")
    factor = parent.triple(given["pool_shape"])
    weight = turned(graph.array(node, "w"), ["o", "i", *parent.spatial], "iozyx")
    _check(weight, (parent.features, int(given["n_f"]), *factor))
    return _neurons(graph, node, "upconv", [parent], {"factor": factor, "features": weight.shape[1]}, weight)


def _perceptron(graph: Graph, node: MdlNode) -> Value:
    given, (parent,) = said(node), _parents(graph, node, "parent")
    weight, flat = graph.array(node, "w"), bool(given.get("flatten"))
    inputs = parent.features * (parent.size.voxels if flat else 1)
    _check(weight, (inputs, int(given["n_f"])))
    if flat and parent.spatial:
        order = ["c", *parent.spatial]
        extent = {"c": parent.features} | dict(zip("zyx", parent.size))
        weight = turned(weight.reshape(*(extent[axis] for axis in order), -1), [*order, "o"], "czyxo")
        weight = weight.reshape(inputs, -1)
    if flat or set(parent.axes) == {"b", "f"}:
        value = _neurons(graph, node, "perceptron", [parent], {"inputs": inputs, "units": weight.shape[1]}, weight.T)
        return replace(value, axes=("b", "f"))
    point = {"kernel": [1, 1, 1], "pool": [1, 1, 1], "features": weight.shape[1]}
    return _neurons(graph, node, "conv", [parent], point, weight.T[:, :, None, None, None])


def _check(weight: NDArray[Any], expected: tuple[int, ...]) -> None:
    if weight.shape != expected:
        raise ConfigError(f"its weights are {weight.shape} in our order, its arguments and parent ask for {expected}")


def _neurons(
    graph: Graph, node: MdlNode, kind: str, parents: list[Value], arguments: dict[str, Any], weight: NDArray[Any]
) -> Value:
    """Weights, batch normalisation, bias and activation of one original node."""
    given, bias = said(node), graph.array(node, "b")
    if given.get("gradnet_mode"):
        raise ConfigError("gradnet_mode cannot be converted; only models without it can")
    if given.get("dropout_rate"):
        graph.notes.append(f"{node.name}: dropout {given['dropout_rate']} is for training only and left out")
    activation = spelled(given.get("activation_func", "relu"))
    slope = None
    if activation == "prelu":
        activation, slope, bias = "linear", bias[:, 1], bias[:, 0]
    statistics = _statistics(graph, given.get("batch_normalisation"))
    if statistics is None:
        said_of = arguments | {"activation": activation}
        value = graph.add(kind, node.name, parents, said_of, weight=weight, bias=bias)
    else:
        said_of = arguments | {"activation": "linear"}
        value = graph.add(kind, node.name, parents, said_of, weight=weight, bias=np.zeros_like(bias))
        gamma, mean, deviation = (graph.array(node, key) for key in ("gamma", "mean", "std"))
        arrays = {"gamma": gamma, "bias": bias, "mean": mean, "deviation": deviation}
        value = graph.add("batch_norm", f"{node.name}_norm", [value], {"statistics": statistics}, **arrays)
        if activation != "linear":
            value = graph.add("activation", f"{node.name}_act", [value], {"activation": activation})
    if slope is not None:
        value = graph.add("prelu", f"{node.name}_act", [value], {}, slope=slope)
    return value


def _statistics(graph: Graph, mode: Any) -> str | None:
    """Which statistics a batch normalisation takes; None for none."""
    if not mode or graph.batch_norm == "off":
        return None
    if mode not in ("train", "predict", "const"):
        raise ConfigError(f"batch_normalisation '{mode}' cannot be converted; train, predict and const can")
    return "batch" if mode == "train" and graph.batch_norm == "file" else "stored"


def spelled(activation: str) -> str:
    """An original activation's name as we write it.

    Raises:
        ConfigError: an unknown one.

    Example:
        >>> spelled("soft+"), spelled("maxout 2")
        ('softplus', 'maxout 2')
    """
    name = ACTIVATIONS.get(activation, activation)
    if name != "prelu":
        maxout_of(name)
    return name


def _pool(graph: Graph, node: MdlNode) -> Value:
    given, (parent,) = said(node), _parents(graph, node, "parent")
    shape = parent.triple(given["pool_shape"])
    stride = shape if given.get("stride") is None else parent.triple(given["stride"])
    mode = given.get("mode", "max")
    if mode not in POOLINGS:
        raise ConfigError(f"mode '{mode}' cannot be converted; {', '.join(POOLINGS)} can")
    return graph.add("pool", node.name, [parent], {"shape": shape, "stride": stride, "pooling": POOLINGS[mode]})


def _crop(graph: Graph, node: MdlNode) -> Value:
    (parent,) = _parents(graph, node, "parent")
    return graph.add("crop", node.name, [parent], {"margin": parent.triple(said(node)["crop"], 0)})


def _pad(graph: Graph, node: MdlNode) -> Value:
    given, (parent,) = said(node), _parents(graph, node, "parent")
    margin, value = parent.triple(given["pad"], 0), float(given.get("value", 0.0))
    return graph.add("pad", node.name, [parent], {"margin": margin, "value": value})


def _same(graph: Graph, node: MdlNode) -> Value:
    return _parents(graph, node, "parent")[0]


def _concat(graph: Graph, node: MdlNode) -> Value:
    given = said(node)
    parents = [graph.value(pointer) for pointer in given["nodes"]]
    return _joined(graph, node, parents, given.get("axis", "f"))


def _faithless(graph: Graph, node: MdlNode) -> Value:
    graph.notes.append(f"{node.name}: the random zeroing of one input is for training only and left out")
    return _joined(graph, node, _parents(graph, node, "hard", "easy"), said(node).get("axis", "f"))


def _joined(graph: Graph, node: MdlNode, parents: list[Value], axis: str | int) -> Value:
    name = parents[0].axes[axis] if isinstance(axis, int) else axis
    ours = _ours([name])
    if ours not in ("c", "z", "y", "x"):
        raise ConfigError(f"axis '{name}' cannot be joined; f, r, z, y, x can")
    return graph.add("concat", node.name, parents, {"axis": ours})


def _merge(kind: str) -> Callable[[Graph, MdlNode], Value]:
    def convert(graph: Graph, node: MdlNode) -> Value:
        return graph.add(kind, node.name, _parents(graph, node, "n1", "n2"), {})

    return convert


def _softmax(graph: Graph, node: MdlNode) -> Value:
    given, (parent,) = said(node), _parents(graph, node, "parent")
    classes = given.get("n_class", "auto")
    blocks = int(given.get("n_indep", 1))
    count = parent.features // blocks if classes == "auto" else int(classes)
    return graph.add("softmax", node.name, [parent], {"classes": count})


def _apply(graph: Graph, node: MdlNode) -> Value:
    given, (parent,) = said(node), _parents(graph, node, "parent")
    function = str(given["functor"]).rpartition(".")[2]
    return graph.add("activation", node.name, [parent], {"activation": spelled(function)})


def _response(graph: Graph, node: MdlNode) -> Value:
    given, (parent,) = said(node), _parents(graph, node, "parent")
    defaults = {"alpha": 1e-4, "beta": 0.75, "k": 1.0}
    arguments = {key: float(node.parameters.get(key, given.get(key, value))) for key, value in defaults.items()}
    mode = given.get("mode", "spatial")
    if mode not in ("spatial", "channel"):
        raise ConfigError(f"mode '{mode}' cannot be converted; spatial and channel can")
    window = given["filter_shape"]
    around: dict[str, Any] = {"neighbours": window} if mode == "channel" else {"around": parent.triple(window)}
    return graph.add("response_norm", node.name, [parent], arguments | around)


def _state(graph: Graph, node: MdlNode) -> Value:
    (parent,) = _parents(graph, node, "parent")
    value = graph.array(node, "value").reshape(-1)
    return graph.add("state", node.name, [parent], {"units": len(value)}, value=value)


def _constant(graph: Graph, node: MdlNode) -> Value:
    given = said(node)
    axes = _axes(given["tags"])
    value = node.parameters.get("value")
    if value is None:
        if math.prod(int(n or 1) for n in given["shape"]) > LARGEST:
            raise ConfigError(f"shape {list(given['shape'])}: more than {LARGEST} numbers that the file does not hold")
        value = np.broadcast_to(np.float32(given.get("value") or 0.0), [int(n or 1) for n in given["shape"]])
    value = turned(value, _ours(axes), "bczyx")
    return replace(graph.add("constant", node.name, [], {"shape": list(value.shape)}, value=value), axes=axes)


def _reshape(graph: Graph, node: MdlNode) -> Value:
    given, (parent,) = said(node), _parents(graph, node, "parent")
    axes = parent.axes if given.get("tags") is None else _axes(given["tags"])
    if len(axes) != len(given["shape"]) or "b" not in axes:
        raise ConfigError(f"shape {list(given['shape'])} does not fit the axes {','.join(axes)}")
    lengths = [-1 if axis == "b" else n for axis, n in zip(axes, given["shape"])]
    known = [n for n in lengths if n is not None and n > 0]
    shape = [parent.features * parent.size.voxels // math.prod(known) if n is None else int(n) for n in lengths]
    arguments = {"source": _ours(parent.axes), "shape": shape, "target": _ours(axes)}
    return replace(graph.add("reshape", node.name, [parent], arguments), axes=axes)


def _gated(kind: str, memory: str) -> Callable[[Graph, MdlNode], Value]:
    def convert(graph: Graph, node: MdlNode) -> Value:
        given = said(node)
        arguments = {"units": int(given["n_f"]), "activation": spelled(given.get("activation_func", "tanh"))}
        arrays = {"weight": graph.array(node, "w").T, "bias": graph.array(node, "b")}
        return graph.add(kind, node.name, _parents(graph, node, "parent", memory), arguments, **arrays)

    return convert


CONVERSIONS: Mapping[str, Callable[[Graph, MdlNode], Value]] = {
    "Input": _input,
    "Input_like": _input_like,
    "Conv": _conv,
    "UpConv": _upconv,
    "Perceptron": _perceptron,
    "Pool": _pool,
    "Crop": _crop,
    "Pad": _pad,
    "FragmentsToDense": _same,
    "Concat": _concat,
    "FaithlessMerge": _faithless,
    "Add": _merge("add"),
    "MultMerge": _merge("multiply"),
    "Softmax": _softmax,
    "ApplyFunc": _apply,
    "LRN": _response,
    "InitialState_like": _state,
    "ValueNode": _constant,
    "Reshape": _reshape,
    "GRU": _gated("gru", "memory_state"),
    "LSTM": _gated("lstm", "memory_states"),
}
"""Class of the original → what makes our nodes of it."""
