"""ELEKTRONN 1 networks as documents and weights of ours: orders of axes turned, kernels flipped, once, here.

The original keeps convolution weights as ``(n_out, ch, x, y)`` (2-D) or ``(n_out, z, ch, x, y)`` (3-D) and performs true
convolutions; ours are cross-correlations with ``(n_out, ch, z, y, x)``. Perceptrons there take ``(n_in, n_out)`` and flatten
images as ``(ch, x, y)`` or ``(z, ch, x, y)``; ours take ``(n_out, n_in)`` and flatten ``(ch, z, y, x)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.geometry import Geometry, Stack
from elektronn.network.document import Document, Node, conv_node

Array = NDArray[np.float32]
OldLayer = Mapping[str, Array]
"""Arrays of one original layer: ``W``, ``b``; recurrent: ``W_in``, ``W_hid``, ``b_hid``, ``hid_0``."""

ALIASES = {"sig": "sigmoid", "lin": "linear", "none": "linear"}


def convert(
    layers: Sequence[OldLayer],
    *,
    pools: Sequence[Any],
    activations: Sequence[str],
    poolings: Sequence[str],
    patch: Sequence[int] | None = None,
) -> tuple[Document, dict[str, Array]]:
    """The document and weights of an original network.

    Args:
        layers: arrays in the original's order and orientation, output layer last.
        pools: pooling per convolution, in the original's order: ``(x, y)`` or ``(z, x, y)``, or one number.
        activations: per layer without the output, whose activation is linear.
        poolings: ``max`` or ``maxabs`` per convolution without the output.
        patch: input size in the original's order ``(x, y)`` or ``(z, x, y)``; needed when perceptrons follow
            convolutions.

    Returns:
        The document, and the weights by the names of our modules.

    Raises:
        ConfigError: arrays that do not fit each other or the lists.
    """
    nodes = [_input(layers[0])]
    weights: dict[str, Array] = {}
    sizes: list[tuple[Size, Size]] = []
    for i, layer in enumerate(layers):
        last = i == len(layers) - 1
        name = "output" if last else f"layer{i + 1}"
        activation = "linear" if last else spelled(activations[i])
        if "W_in" in layer:
            node, arrays = _recurrent(name, layer, activation)
        elif layer["W"].ndim in (4, 5):
            pool = pools[i] if i < len(pools) else 1
            mode = "max" if last else poolings[i]
            node, arrays = _convolution(name, layer, pool, activation, mode)
            sizes.append((Size(*node.arguments["kernel"]), Size(*node.arguments["pool"])))
        else:
            flat = _flattened(sizes, patch, layers[i - 1], layer) if sizes and layers[i - 1]["W"].ndim > 2 else None
            node, arrays = _perceptron(name, layer, activation, flat)
        nodes.append(node.model_copy(update={"parents": (nodes[-1].name,)}))
        weights |= {f"layers.{name}.{key}": np.ascontiguousarray(value) for key, value in arrays.items()}
    return Document(nodes=tuple(nodes)), weights


def spelled(activation: str) -> str:
    """An original activation's name as we write it: ``sig``, ``ReLU`` …"""
    return ALIASES.get(activation.lower(), activation.lower())


def _input(first: OldLayer) -> Node:
    if "W_in" in first:
        channels = first["W_in"].shape[0]
    else:
        weight = first["W"]
        channels = weight.shape[{5: 2, 4: 1, 2: 0}[weight.ndim]]
    return Node(kind="input", name="input", arguments={"channels": int(channels)})


def per_axis(value: Any, dimensions: int) -> Size:
    """A size in the original's order, ``(x, y)`` or ``(z, x, y)`` or one number, as zyx.

    Example:
        >>> per_axis([3, 2], 2)
        Size(z=1, y=2, x=3)
    """
    if isinstance(value, int | np.integer):
        value = [value] * dimensions
    if len(value) != dimensions:
        raise ConfigError(f"{list(value)}: has {len(value)} numbers for {dimensions} axes; write one per axis")
    z, x, y = ([1] * (3 - dimensions) + [int(n) for n in value])[-3:]
    return Size(z, y, x)


def _convolution(name: str, layer: OldLayer, pool: Any, activation: str, pooling: str) -> tuple[Node, dict[str, Array]]:
    weight = layer["W"]
    dimensions = weight.ndim - 2
    # → (n_out, ch, z, x, y) → (n_out, ch, z, y, x), then flipped along all three
    weight = weight[:, :, None] if dimensions == 2 else weight.transpose(0, 2, 1, 3, 4)
    weight = weight.swapaxes(3, 4)[:, :, ::-1, ::-1, ::-1]
    by = per_axis(pool, dimensions)
    kernel = (int(weight.shape[2]), int(weight.shape[3]), int(weight.shape[4]))
    node = conv_node(name, "", kernel, (by.z, by.y, by.x), int(weight.shape[0]), activation, pooling)
    return node, {"weight": weight, "bias": layer["b"]}


def _flattened(
    sizes: Sequence[tuple[Size, Size]], patch: Sequence[int] | None, before: OldLayer, layer: OldLayer
) -> tuple[int, Size, bool]:
    """Features and size of what a perceptron flattens, and whether the original flattens z first."""
    solid = before["W"].ndim == 5
    if patch is None:
        raise ConfigError(
            "perceptrons follow convolutions: the input size (desired_input) is needed to turn their weights"
        )
    reach = Geometry.of([k for k, _ in sizes], [p for _, p in sizes])
    outputs = reach.outputs(per_axis(list(patch), 3 if solid else 2))
    features, rest = divmod(layer["W"].shape[0], outputs.voxels)
    if rest:
        raise ConfigError(
            f"a perceptron takes {layer['W'].shape[0]} numbers, but the convolutions give multiples of "
            f"{outputs.voxels} for an input of {list(patch)}; correct desired_input, filters or pool"
        )
    return features, outputs, solid


def _perceptron(
    name: str, layer: OldLayer, activation: str, flat: tuple[int, Size, bool] | None
) -> tuple[Node, dict[str, Array]]:
    weight = layer["W"]
    if flat is not None:
        features, size, solid = flat
        if solid:
            weight = weight.reshape(size.z, features, size.x, size.y, -1).transpose(1, 0, 3, 2, 4)
        else:
            weight = weight.reshape(features, size.z, size.x, size.y, -1).swapaxes(2, 3)
        weight = weight.reshape(layer["W"].shape)
    said = {"inputs": int(weight.shape[0]), "units": int(weight.shape[1]), "activation": activation}
    return Node(kind="perceptron", name=name, arguments=said), {"weight": weight.T, "bias": layer["b"]}


def _recurrent(name: str, layer: OldLayer, activation: str) -> tuple[Node, dict[str, Array]]:
    node = Node(
        kind="recurrent", name=name, arguments={"units": int(layer["W_hid"].shape[0]), "activation": activation}
    )
    arrays = {"weight": layer["W_in"].T, "recurrence": layer["W_hid"].T}
    return node, {**arrays, "bias": layer["b_hid"], "first": layer["hid_0"]}


def from_options(options: Mapping[str, Any], layers: Sequence[OldLayer]) -> tuple[Document, dict[str, Array]]:
    """The document and weights of a network from its normalised options and the layers of its parameter file.

    Args:
        options: as :func:`elektronn.legacy.config_file.read_config` gives them; sizes ``(x, y)`` or ``(z, x, y)``.
        layers: in the order of the file.

    Raises:
        ConfigError: options and layers are not of the same network; says what differs.
    """
    recurrent = options.get("rnn_layer_kwargs")
    activations = list(options["activation_func"])
    if recurrent:
        activations.insert(0, recurrent.get("activation_func", "tanh"))
    if len(layers) != len(activations) + 1:
        raise ConfigError(
            f"the parameter file has {len(layers)} layers, the config describes {len(activations) + 1} with the output; "
            "give the config that the network was trained with"
        )
    return convert(
        layers,
        pools=options["pool"],
        activations=activations,
        poolings=options["pooling_mode"],
        patch=_patch(options) if options["filters"] else None,
    )


def loose_weights(layers: Sequence[OldLayer], options: Mapping[str, Any]) -> dict[str, Array]:
    """Weights of a parameter file in our order and orientation, by number, for a network that may be another one.

    Args:
        layers: in the order of the file; with or without the output layer.
        options: of the network that they shall go into; its pooling and input size decide how a perceptron behind
            convolutions is turned. One that does not fit them is left as it is: it has another size anyway.
    """
    weights: dict[str, Array] = {}
    sizes: list[tuple[Size, Size]] = []
    for i, layer in enumerate(layers):
        if "W_in" in layer:
            arrays = _recurrent("", layer, "linear")[1]
        elif layer["W"].ndim in (4, 5):
            pools = options["pool"]
            node, arrays = _convolution("", layer, pools[i] if i < len(pools) else 1, "linear", "max")
            sizes.append((Size(*node.arguments["kernel"]), Size(*node.arguments["pool"])))
        else:
            flat = None
            if sizes and options["filters"] and layers[i - 1]["W"].ndim > 2:
                with suppress(ConfigError):
                    flat = _flattened(sizes, _patch(options), layers[i - 1], layer)
            arrays = _perceptron("", layer, "linear", flat)[1]
        weights |= {f"layers.layer{i + 1}.{key}": np.ascontiguousarray(value) for key, value in arrays.items()}
    return weights


def _patch(options: Mapping[str, Any]) -> list[int]:
    """The input size that the original chose, in its order."""
    dimensions, wanted = options["n_dim"], options["desired_input"]
    sizes = [wanted] * dimensions if isinstance(wanted, int) or wanted is None else list(wanted)
    return [stack.choose(size)[0] for stack, size in zip(stacks_of(options), sizes)]


def stacks_of(options: Mapping[str, Any]) -> list[Stack]:
    """The convolutions of normalised options along each axis, in the original's order of axes."""

    def along(rows: Sequence[Any], axis: int) -> tuple[int, ...]:
        return tuple(row if isinstance(row, int) else row[axis] for row in rows)

    return [Stack(along(options["filters"], a), along(options["pool"], a)) for a in range(options["n_dim"])]
