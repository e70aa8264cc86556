"""From the document to a torch module, strided (training) or dense (prediction)."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.geometry import Geometry
from elektronn.network.blocks import modules_of
from elektronn.network.document import Document, geometry, layers, reaches, require_dense
from elektronn.network.layers import Block, Convolution, Perceptron, Tied, Windowed


class Step(NamedTuple):
    """One node to compute: from which values, and which of them nobody needs afterwards."""

    name: str
    parents: tuple[str, ...]
    last: tuple[str, ...]


class Network(nn.Module):
    """A network built from its document.

    Attributes:
        document: the plain-data graph it was built from.
    """

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.document = document
        self.layers = nn.ModuleDict(modules_of(layers(document)))
        self._inputs = [node.name for node in document.inputs]
        self._plan = _plan(document)

    @cached_property
    def geometry(self) -> Geometry:
        """Field of view, stride, offset.

        Raises:
            GeometryError: the outputs of this network have none.
        """
        return geometry(self.document)

    @cached_property
    def _dilations(self) -> dict[str, Size]:
        """Per node, how far apart the taps of its window lie in dense prediction: the stride before it."""
        require_dense(self.document)
        seen = reaches(self.document)
        return {step.name: seen[step.parents[0]].stride for step in self._plan}

    @property
    def has_dropout(self) -> bool:
        """Whether training draws masks or noise."""
        masks = any(isinstance(m, Convolution | Perceptron) and m.layer.dropout > 0 for m in self.layers.values())
        return masks or any(isinstance(m, Tied) and m.layer.noise > 0 for m in self.layers.values())

    def forward(self, *inputs: Tensor) -> Tensor:
        """Image ``(b, c, z, y, x)`` float in [0, 1] → class scores before softmax ``(b, classes, z', y', x')``.

        Outputs lie ``geometry.stride`` apart, the first at ``geometry.offset``. A network of several inputs takes
        them in the order of ``document.inputs``.

        Raises:
            ConfigError: another number of inputs.
            GeometryError: sizes that do not fit.
        """
        if len(inputs) != len(self._inputs):
            raise ConfigError(f"{len(inputs)} inputs given, the network takes {len(self._inputs)}: {self._inputs}")
        return self._run(dict(zip(self._inputs, inputs)), None)

    def dense(self, x: Tensor) -> Tensor:
        """The same at every voxel where the field of view fits: ``z' = z − field.z + 1`` and so on.

        Raises:
            GeometryError: a node of the network mixes the whole input.
        """
        return self._run({self._inputs[0]: x}, self._dilations)

    def _run(self, values: dict[str, Tensor], dilations: dict[str, Size] | None) -> Tensor:
        for name, parents, last in self._plan:
            layer, sources = self.layers[name], [values[parent] for parent in parents]
            if dilations is not None and isinstance(layer, Windowed):
                values[name] = layer.dense(sources[0], dilations[name])
            else:
                values[name] = layer(*sources)
            for parent in last:
                del values[parent]
        return values[self.document.nodes[-1].name]


def _plan(document: Document) -> tuple[Step, ...]:
    """The nodes in order, each with those of its parents that no later node reads."""
    nodes = [node for node in document.nodes[1:] if node.kind != "input"]
    readers = {parent: node.name for node in nodes for parent in node.parents}
    return tuple(
        Step(node.name, node.parents, tuple(p for p in dict.fromkeys(node.parents) if readers[p] == node.name))
        for node in nodes
    )


def build(document: Document, seed: int | None = None, scheme: str = "he") -> Network:
    """Build a network; with ``seed`` its weights are drawn by ``scheme``, the same on every device.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> network = build(chain(NetworkSettings()), seed=1)
        >>> tuple(network(torch.zeros(1, 1, 7, 127, 127)).shape)
        (1, 2, 3, 25, 25)
    """
    network = Network(document)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for layer in network.layers.values():
            assert isinstance(layer, Block)
            layer.initialise(generator, scheme)
    return network
