"""ELEKTRONN2 graphs as documents and weights of ours: the way from the inputs to the prediction, and nothing else.

What each class of node becomes stands in :mod:`elektronn.legacy.elektronn2_nodes`. Targets, losses, errors and other
nodes that the prediction does not need are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from elektronn.errors import ConfigError, at
from elektronn.legacy.elektronn2_graph import Array, BatchNorm, Graph, Value
from elektronn.legacy.elektronn2_nodes import CONVERSIONS
from elektronn.legacy.mdl_file import MdlFile, MdlNode
from elektronn.network.document import Document, Node
from elektronn.registry import nearest


@dataclass(frozen=True)
class Converted:
    """A converted graph.

    Attributes:
        document: the network.
        weights: by the names of our modules.
        output: ``probabilities``: scores whose softmax is the original's output; ``values``: the output itself.
        has_fragments: the original pools max-fragments and puts them together, so that its output is the dense one.
        notes: what was left out or is done differently, one line each.
    """

    document: Document
    weights: Mapping[str, Array]
    output: Literal["probabilities", "values"]
    has_fragments: bool
    notes: tuple[str, ...]


def from_mdl(file: MdlFile, batch_norm: BatchNorm = "file") -> Converted:
    """Convert the graph of a model file, from its inputs to its prediction node.

    A softmax at the end is left out, as it stands in every model of ours that gives probabilities.

    Args:
        file: as :func:`elektronn.legacy.mdl_file.read_mdl` gives it.
        batch_norm: ``file``: batch normalisation as the file says, mostly by the statistics of the batch at hand;
            ``stored``: by those of training; ``off``: none, weights as they are.

    Raises:
        ConfigError: a node that cannot be converted; names it and says why.
    """
    prediction = _prediction(file)
    needed = _ancestors(file, prediction)
    graph = Graph({node.name: node for node in file.nodes}, batch_norm)
    for node in sorted(needed, key=lambda n: n.name != file.roles.get("input_node")):
        if node.kind in ("Input", "Input_like"):
            _convert(graph, node)
    for node in needed:
        if node.name not in graph.values:
            _convert(graph, node)
    left = ", ".join(node.name for node in file.nodes if node.name not in graph.values)
    notes = [f"prediction node '{prediction.name}'" + (f"; left out: {left}" if left else ""), *graph.notes]
    nodes, output = _without_softmax(graph.nodes, graph.values[prediction.name])
    has_fragments = any(node.kind == "FragmentsToDense" for node in needed)
    return Converted(Document(nodes=nodes), graph.weights, output, has_fragments, tuple(notes))


def _convert(graph: Graph, node: MdlNode) -> None:
    if node.kind not in CONVERSIONS:
        raise ConfigError(
            f"node '{node.name}' is a {node.kind}, which cannot be converted: {nearest(node.kind, CONVERSIONS)}"
        )
    with at(f"node '{node.name}' ({node.kind})"):
        try:
            graph.values[node.name] = CONVERSIONS[node.kind](graph, node)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ConfigError(
                f"its arguments or arrays are not those of a {node.kind} ({type(error).__name__}: {error}); "
                "save the model again, or name another file"
            ) from error


def _prediction(file: MdlFile) -> MdlNode:
    """The node whose output is the prediction: the designated one, else the last that computes something known."""
    name = file.roles.get("prediction_node")
    found = [node for node in file.nodes if node.name == name]
    if name is None:
        found = [node for node in file.nodes if node.kind in CONVERSIONS and node.parents][-1:]
    if not found:
        said = (
            "no prediction node is designated" if name is None else f"the prediction node '{name}' is not in the file"
        )
        raise ConfigError(f"{said}, so there is nothing to convert; save the model again with a prediction node")
    return found[0]


def _ancestors(file: MdlFile, node: MdlNode) -> list[MdlNode]:
    """The node and all that it needs, in the order of the file."""
    needed = {node.name}
    for other in reversed(file.nodes):
        if other.name in needed:
            needed |= set(other.parents)
    return [other for other in file.nodes if other.name in needed]


def _without_softmax(nodes: list[Node], last: Value) -> tuple[tuple[Node, ...], Literal["probabilities", "values"]]:
    end = nodes[-1]
    whole = end.arguments.get("classes", last.features) == last.features
    if end.kind == "softmax" and end.name == last.name and whole and len(nodes) > 2:
        return tuple(nodes[:-1]), "probabilities"
    return tuple(nodes), "values"
