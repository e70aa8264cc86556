"""The network as a document: a plain-data list of nodes from which geometry and cost follow without building it."""

from __future__ import annotations

from typing import Any

from elektronn.axes import Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.geometry import Geometry, Reach
from elektronn.network.catalogue import layer_of
from elektronn.network.nodes import ConvLayer as ConvLayer
from elektronn.network.nodes import Layer
from elektronn.network.nodes import Node as Node
from elektronn.settings import Settings, Triple


class Document(Settings):
    """A network: nodes in an order in which parents come first; the first is an input, the last is the output."""

    nodes: tuple[Node, ...]

    @property
    def channels(self) -> int:
        """Channels of the first input."""
        return int(self.nodes[0].arguments["channels"])

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The input nodes; mostly one."""
        return (self.nodes[0], *(node for node in self.nodes[1:] if node.kind == "input"))

    @property
    def classes(self) -> int:
        """Features of the output node."""
        return layers(self)[-1].features

    @property
    def is_flat(self) -> bool:
        """Whether no node looks along z, as in a 2-D network."""
        return all(layer.window.z == layer.step.z == 1 for layer in layers(self))

    @property
    def is_dense_capable(self) -> bool:
        """Whether every output sees a field of view of its own: no node mixes the whole input."""
        return len(self.inputs) == 1 and not any(layer.whole for layer in layers(self))


def conv_node(
    name: str, parent: str, kernel: Triple, pool: Triple, features: int, activation: str, pooling: str = "max"
) -> Node:
    """A convolution node; kernel and pool zyx."""
    said = {"kernel": list(kernel), "pool": list(pool), "features": features, "activation": activation}
    return Node(kind="conv", name=name, parents=(parent,), arguments=said | {"pooling": pooling})


def layers(document: Document) -> list[Layer]:
    """The layers of all nodes but the first input, in order.

    Raises:
        ConfigError: a node of unknown kind, with an unknown parent, or twice of the same name.
    """
    done: list[Layer] = []
    features = {document.nodes[0].name: document.channels}
    for node in document.nodes[1:]:
        missing = [p for p in node.parents if p not in features]
        if missing:
            raise ConfigError(f"network node '{node.name}': parent '{missing[0]}' does not stand before it")
        if node.name in features:
            raise ConfigError(f"network node '{node.name}': stands twice in the document; names must differ")
        layer = layer_of(node, [features[p] for p in node.parents])
        features[node.name] = layer.features
        done.append(layer)
    return done


def reaches(document: Document) -> dict[str, Geometry]:
    """What one unit of each node sees, by name. A fully connected layer counts as looking at one voxel.

    Raises:
        GeometryError: a node behind which there is no field of view, or branches that see different parts of the image.
    """
    seen = {node.name: Geometry(*[Reach(1, 1)] * 3) for node in document.inputs}
    for node, layer in zip(document.nodes[1:], layers(document)):
        if node.name in seen:
            continue
        if not layer.has_reach:
            raise _no_field(layer)
        before = {seen[p] for p in node.parents}
        if len(before) > 1:
            said = ", ".join(f"'{p}' {seen[p].field} with stride {seen[p].stride}" for p in node.parents)
            raise GeometryError(
                f"layer '{node.name}': its inputs have different fields of view ({said}, zyx); crop the larger image"
            )
        axes = zip(next(iter(before)).axes, layer.window, layer.step)
        seen[node.name] = Geometry(*(Reach(r.field + (w - 1) * r.stride, r.stride * s) for r, w, s in axes))
    return seen


def geometry(document: Document) -> Geometry:
    """Field of view, stride and offset of the output; of the convolutions alone where fully connected layers follow.

    Raises:
        GeometryError: see :func:`reaches`.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> geometry(chain(NetworkSettings())).field
        Size(z=5, y=31, x=31)
    """
    return reaches(document)[document.nodes[-1].name]


def require_dense(document: Document) -> None:
    """Do nothing if every output sees a field of view of its own.

    Raises:
        GeometryError: a node mixes the whole input, or there are several inputs; names it and the way out.
    """
    for layer in layers(document):
        if layer.whole:
            raise _no_field(layer)
    if len(document.inputs) > 1:
        names = ", ".join(node.name for node in document.inputs)
        raise GeometryError(
            f"the network has {len(document.inputs)} inputs ({names}); use --strided for its plain output"
        )


def _no_field(layer: Layer) -> GeometryError:
    return GeometryError(
        f"layer '{layer.name}' {layer.whole}, so there is no dense prediction; use --strided for the plain output"
    )


def table(document: Document, patch: Size) -> list[dict[str, Any]]:
    """One row per layer for people: sizes for an input ``patch`` (zyx), parameters, multiply-adds.

    Raises:
        GeometryError: branches that have different sizes for this patch.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> table(chain(NetworkSettings()), Size(7, 127, 127))[-1]["size"]
        '3×25×25'
    """
    sizes, rows = {document.nodes[0].name: patch}, []
    for node, layer in zip(document.nodes[1:], layers(document)):
        before = [sizes[p] for p in node.parents] or [patch]
        after = sizes[node.name] = layer.size(*before)
        row: dict[str, Any] = {"layer": layer.name, "kernel": "", "pool": "", "features": layer.features}
        row |= {"activation": "", "size": str(after), "parameters": layer.weights} | layer.style
        rows.append(row | {"multiply_adds": layer.operations(before[0], after)})
    return rows
