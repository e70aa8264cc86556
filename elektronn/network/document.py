"""The network as a document: a plain-data list of nodes from which geometry and cost follow without building it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.geometry import Geometry
from elektronn.registry import lookup
from elektronn.settings import Positive, Settings, Triple, checked

Activation = Literal["relu", "tanh", "sigmoid", "abs", "linear"]


class NetworkSettings(Settings):
    """A chain of valid convolutions, each followed by max pooling, written layer by layer."""

    kernels: tuple[Triple, ...] = ((1, 4, 4), (1, 3, 3), (3, 3, 3), (3, 3, 3), (1, 2, 2))
    """Kernel per layer, zyx, voxels."""
    pools: tuple[Triple, ...] = ((1, 2, 2), (1, 2, 2), (1, 1, 1), (1, 1, 1), (1, 1, 1))
    """Pooling factor per layer, zyx."""
    features: tuple[Positive, ...] = (10, 20, 40, 40, 40)
    """Feature maps per layer; the output layer is added."""
    activation: Activation = "relu"
    """Activation of all layers but the output."""
    classes: Positive = 2
    """Number of classes; class 1 is the boundary."""
    patch: Triple = (7, 127, 127)
    """Wanted input size in training, zyx, voxels; the largest valid size not above it is taken."""

    @checked
    def _same_length(self) -> NetworkSettings:
        lengths = {"kernels": len(self.kernels), "pools": len(self.pools), "features": len(self.features)}
        if len(set(lengths.values())) > 1 or not self.features:
            said = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            raise ValueError(f"write one entry per layer in each list: {said}")
        return self


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
        return int(self.nodes[-1].arguments["features"])


@dataclass(frozen=True)
class Layer:
    """What one node does to sizes and what it costs.

    Attributes:
        name: the node's name.
        kernel, pool: zyx.
        features_in, features: feature maps before and after.
        weights: number of trained numbers, biases included.
    """

    name: str
    kernel: Size
    pool: Size
    features_in: int
    features: int
    activation: str

    @property
    def weights(self) -> int:
        """Number of trained numbers, biases included."""
        return self.features * (self.features_in * self.kernel.voxels + 1)


def _convolution(node: Node, features_in: int) -> Layer:
    said = node.arguments
    return Layer(
        node.name, Size(*said["kernel"]), Size(*said["pool"]), features_in, said["features"], said["activation"]
    )


KINDS: Mapping[str, Callable[[Node, int], Layer]] = {"conv": _convolution}
"""Node kind → what it does to sizes (the torch side stands in ``network.layers``)."""


def chain(settings: NetworkSettings, channels: int = 1) -> Document:
    """The document of a chain network with its output layer (1×1×1, linear).

    Example:
        >>> [node.name for node in chain(NetworkSettings()).nodes]
        ['input', 'conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'output']
    """
    nodes = [Node(kind="input", name="input", arguments={"channels": channels})]
    rows = [*zip(settings.kernels, settings.pools, settings.features)]
    for i, (kernel, pool, features) in enumerate(rows, 1):
        nodes.append(_conv(f"conv{i}", nodes[-1].name, kernel, pool, features, settings.activation))
    nodes.append(_conv("output", nodes[-1].name, (1, 1, 1), (1, 1, 1), settings.classes, "linear"))
    return Document(nodes=tuple(nodes))


def _conv(name: str, parent: str, kernel: Triple, pool: Triple, features: int, activation: str) -> Node:
    said = {"kernel": list(kernel), "pool": list(pool), "features": features, "activation": activation}
    return Node(kind="conv", name=name, parents=(parent,), arguments=said)


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
    """Field of view, stride and offset of the whole network.

    Example:
        >>> geometry(chain(NetworkSettings())).field
        Size(z=5, y=31, x=31)
    """
    rows = layers(document)
    return Geometry.of([row.kernel for row in rows], [row.pool for row in rows])


def table(document: Document, patch: Size) -> list[dict[str, Any]]:
    """One row per layer for people: sizes for an input ``patch`` (zyx), parameters, multiply-adds.

    Example:
        >>> table(chain(NetworkSettings()), Size(7, 127, 127))[-1]["size"]
        '3×25×25'
    """
    size, rows = patch, []
    for layer in layers(document):
        conv = Size(*(n - k + 1 for n, k in zip(size, layer.kernel)))
        size = Size(*(n // p for n, p in zip(conv, layer.pool)))
        operations = conv.voxels * layer.features * layer.features_in * layer.kernel.voxels
        rows.append(
            {
                "layer": layer.name,
                "kernel": str(layer.kernel),
                "pool": str(layer.pool),
                "features": layer.features,
                "activation": layer.activation,
                "size": str(size),
                "parameters": layer.weights,
                "multiply_adds": operations,
            }
        )
    return rows
