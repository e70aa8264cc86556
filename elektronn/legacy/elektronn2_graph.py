"""A document of ours while it grows out of an ELEKTRONN2 graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.legacy.mdl_file import MdlNode
from elektronn.network.catalogue import layer_of
from elektronn.network.nodes import Node

Array = NDArray[np.float32]
BatchNorm = Literal["file", "stored", "off"]

MODULES = nn.ModuleDict()
"""Names that torch keeps for itself are attributes of it."""


@dataclass(frozen=True)
class Value:
    """The output of a converted node.

    Attributes:
        name: of our node.
        axes: the original's, in its order.
        size: zyx; 0 where the file does not say it.
        features: number of them.
    """

    name: str
    axes: tuple[str, ...]
    size: Size
    features: int

    @property
    def spatial(self) -> tuple[str, ...]:
        """The spatial axes in the original's order."""
        return tuple(axis for axis in self.axes if axis in "zyx")

    def triple(self, given: Any, missing: int = 1) -> list[int]:
        """A number per spatial axis (or one for all) as zyx."""
        numbers = [given] * len(self.spatial) if isinstance(given, int) else list(given)
        if len(numbers) != len(self.spatial):
            raise ConfigError(f"{numbers} has {len(numbers)} numbers for the axes {','.join(self.spatial)}")
        of = dict(zip(self.spatial, numbers))
        return [int(of.get(axis, missing)) for axis in "zyx"]


@dataclass
class Graph:
    """The document while it grows.

    Attributes:
        originals: all nodes of the file by name.
        batch_norm: how batch normalisation is converted.
        nodes, weights: of ours so far.
        values: by the original's names.
        notes: for people.
    """

    originals: Mapping[str, MdlNode]
    batch_norm: BatchNorm
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(
        self, kind: str, name: str, parents: Sequence[Value], arguments: Mapping[str, Any], **arrays: NDArray[Any]
    ) -> Value:
        """Append a node and its arrays; its value has the axes of its first parent."""
        name = self._free(name)
        node = Node(kind=kind, name=name, parents=tuple(p.name for p in parents), arguments=dict(arguments))
        layer = layer_of(node, [p.features for p in parents])
        self.nodes.append(node)
        for key, array in arrays.items():
            self.weights[f"layers.{name}.{key}"] = np.ascontiguousarray(array, np.float32)
        size = layer.size(*(p.size for p in parents))
        return Value(name, parents[0].axes if parents else (), size, layer.features)

    def input(self, name: str, axes: tuple[str, ...], channels: int, size: Size) -> Value:
        """Append an input."""
        shown = ("btc" if "r" in axes else "bc") + "".join(axis for axis in "zyx" if axis in axes)
        name = self._free(name)
        self.nodes.append(Node(kind="input", name=name, arguments={"channels": channels, "axes": shown}))
        return Value(name, axes, size, channels)

    def _free(self, name: str) -> str:
        """A name that no node has yet and that torch takes for a module."""
        name = name.replace(".", "_")
        taken = {node.name for node in self.nodes}
        while name in taken or hasattr(MODULES, name):
            name += "_"
        return name

    def value(self, pointer: Any) -> Value:
        """Value of a node that an argument points at."""
        match pointer:
            case {"node": str(name)}:
                return self.values[name]
        raise ConfigError(f"{pointer!r} where a node was expected")

    def array(self, node: MdlNode, key: str) -> NDArray[Any]:
        """An array of a node, its own or one that it shares with another."""
        if key in node.parameters:
            return node.parameters[key]
        match node.options.get(key):
            case {"state": dict(state)}:
                texts = [text for text in state.values() if isinstance(text, str)]
                for other in (self.originals[text] for text in texts if text in self.originals):
                    for text in texts:
                        if text in other.parameters:
                            return other.parameters[text]
        raise ConfigError(f"has no array '{key}'; weights that are shared in another way cannot be converted")
