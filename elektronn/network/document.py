"""The network as a document: a plain-data list of nodes from which geometry and cost follow without building it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.geometry import Geometry
from elektronn.registry import lookup, nearest
from elektronn.settings import Settings, Triple

ACTIVATIONS = ("relu", "tanh", "sigmoid", "abs", "linear")
"""Names of activations; besides them ``maxout K``, the largest of every K neighbouring features."""

Pooling = Literal["max", "maxabs"]


def maxout_of(activation: str) -> int:
    """K of ``maxout K``; 1 for every other activation.

    Raises:
        ConfigError: neither a known name nor ``maxout`` with a whole number of 1 or more.

    Example:
        >>> maxout_of("maxout 2"), maxout_of("tanh")
        (2, 1)
    """
    if activation in ACTIVATIONS:
        return 1
    word, _, number = activation.partition(" ")
    if word == "maxout" and number.isdecimal() and int(number) >= 1:
        return int(number)
    raise ConfigError(f"activation '{activation}': {nearest(activation, (*ACTIVATIONS, 'maxout 2'))}")


class Node(Settings):
    """One node of a network: what it does, to which parents, with which arguments."""

    kind: str
    name: str
    parents: tuple[str, ...] = ()
    arguments: dict[str, Any] = {}


class Document(Settings):
    """A network: nodes in an order in which parents come first; the last node is the output."""

    nodes: tuple[Node, ...]

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return int(self.nodes[0].arguments["channels"])

    @property
    def classes(self) -> int:
        """Features of the output node."""
        return layers(self)[-1].features

    @property
    def is_dense_capable(self) -> bool:
        """Whether every output sees a field of view of its own: no node mixes the whole input."""
        return all(isinstance(layer, ConvLayer) for layer in layers(self))


@dataclass(frozen=True)
class ConvLayer:
    """A valid convolution, pooling, bias and activation, in this order.

    Attributes:
        name: the node's name.
        kernel, pool: zyx.
        features_in: feature maps before.
        maps: kernels; ``maxout K`` makes one feature of every K of them.
        activation, pooling: by name.
        dropout: share of activations set to 0 in training.
    """

    name: str
    kernel: Size
    pool: Size
    features_in: int
    maps: int
    activation: str
    pooling: Pooling = "max"
    dropout: float = 0.0

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.maps // maxout_of(self.activation)

    @property
    def weights(self) -> int:
        """Number of trained numbers, biases included."""
        return self.maps * (self.features_in * self.kernel.voxels + 1)


@dataclass(frozen=True)
class PerceptronLayer:
    """A fully connected layer on everything that one example has: features × z × y × x, in this order.

    Attributes:
        name: the node's name.
        inputs: numbers per example before; ``units``: after.
        activation: by name.
        dropout: share of activations set to 0 in training.
    """

    name: str
    inputs: int
    units: int
    activation: str
    dropout: float = 0.0

    @property
    def features(self) -> int:
        """Features after; one voxel is left of the image."""
        return self.units // maxout_of(self.activation)

    @property
    def weights(self) -> int:
        """Number of trained numbers, biases included."""
        return self.units * (self.inputs + 1)


@dataclass(frozen=True)
class RecurrentLayer:
    """``h_t = act(x_t W + h_(t−1) V + b)`` along the first spatial axis, which is time; the last h goes on.

    Attributes:
        name: the node's name.
        inputs: features per time step; ``units``: of the state h.
        activation: by name.
    """

    name: str
    inputs: int
    units: int
    activation: str

    @property
    def features(self) -> int:
        """Features after."""
        return self.units

    @property
    def weights(self) -> int:
        """Number of trained numbers, with bias and first state."""
        return self.units * (self.inputs + self.units + 2)


@dataclass(frozen=True)
class TiedLayer:
    """The way back of a fully connected layer: its weights transposed and shared, a bias of its own.

    Attributes:
        name: the node's name.
        of: name of the perceptron node whose weights it shares.
        inputs: numbers per example before; ``units``: after.
        activation: by name.
        noise: standard deviation of normal noise on the input, in training only.
    """

    name: str
    of: str
    inputs: int
    units: int
    activation: str
    noise: float

    @property
    def features(self) -> int:
        """Features after."""
        return self.units

    @property
    def weights(self) -> int:
        """Number of trained numbers of its own: the bias."""
        return self.units


Layer = ConvLayer | PerceptronLayer | RecurrentLayer | TiedLayer


def _convolution(node: Node, features_in: int) -> ConvLayer:
    said = node.arguments
    kernel, pool = Size(*said["kernel"]), Size(*said["pool"])
    style = said["activation"], said.get("pooling", "max"), said.get("dropout", 0.0)
    return ConvLayer(node.name, kernel, pool, features_in, said["features"], *style)


def _perceptron(node: Node, features_in: int) -> PerceptronLayer:
    said = node.arguments
    return PerceptronLayer(node.name, said["inputs"], said["units"], said["activation"], said.get("dropout", 0.0))


def _recurrent(node: Node, features_in: int) -> RecurrentLayer:
    return RecurrentLayer(node.name, features_in, node.arguments["units"], node.arguments["activation"])


def _tied(node: Node, features_in: int) -> TiedLayer:
    said = node.arguments
    return TiedLayer(node.name, said["of"], features_in, said["units"], said["activation"], said.get("noise", 0.0))


KINDS: Mapping[str, Callable[[Node, int], Layer]] = {
    "conv": _convolution,
    "perceptron": _perceptron,
    "recurrent": _recurrent,
    "tied": _tied,
}
"""Node kind → what it does to sizes (the torch side stands in ``network.layers``)."""


def conv_node(
    name: str, parent: str, kernel: Triple, pool: Triple, features: int, activation: str, pooling: str = "max"
) -> Node:
    """A convolution node; kernel and pool zyx."""
    said = {"kernel": list(kernel), "pool": list(pool), "features": features, "activation": activation}
    return Node(kind="conv", name=name, parents=(parent,), arguments=said | {"pooling": pooling})


def layers(document: Document) -> list[Layer]:
    """The layers in order, input first.

    Raises:
        ConfigError: a node of unknown kind or with an unknown parent.
    """
    done, features = [], {document.nodes[0].name: document.channels}
    for node in document.nodes[1:]:
        missing = [p for p in node.parents if p not in features]
        if missing:
            raise ConfigError(f"network node '{node.name}': parent '{missing[0]}' does not stand before it")
        layer = lookup(KINDS, node.kind, "node kind")(node, features[node.parents[0]])
        features[node.name] = layer.features
        done.append(layer)
    return done


def geometry(document: Document) -> Geometry:
    """Field of view, stride and offset of the convolutions.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> geometry(chain(NetworkSettings())).field
        Size(z=5, y=31, x=31)
    """
    rows = [row for row in layers(document) if isinstance(row, ConvLayer)]
    return Geometry.of([row.kernel for row in rows], [row.pool for row in rows])


def table(document: Document, patch: Size) -> list[dict[str, Any]]:
    """One row per layer for people: sizes for an input ``patch`` (zyx), parameters, multiply-adds.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> table(chain(NetworkSettings()), Size(7, 127, 127))[-1]["size"]
        '3×25×25'
    """
    size, rows = patch, []
    for layer in layers(document):
        row: dict[str, Any] = {"layer": layer.name, "kernel": "", "pool": "", "features": layer.features}
        if isinstance(layer, ConvLayer):
            conv = Size(*(n - k + 1 for n, k in zip(size, layer.kernel)))
            size = Size(*(n // p for n, p in zip(conv, layer.pool)))
            row |= {"kernel": str(layer.kernel), "pool": str(layer.pool)}
            operations = conv.voxels * layer.maps * layer.features_in * layer.kernel.voxels
        else:
            steps = size.z if isinstance(layer, RecurrentLayer) else 1
            operations = steps * layer.weights
            size = Size(1, 1, 1)
        row |= {"activation": layer.activation, "size": str(size), "parameters": layer.weights}
        rows.append(row | {"multiply_adds": operations})
    return rows
