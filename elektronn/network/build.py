"""From the document to a torch module, strided (training) or dense (prediction)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elektronn.axes import Size
from elektronn.errors import GeometryError
from elektronn.network.document import Document, geometry, layers
from elektronn.network.layers import Convolution, Module, Perceptron, Tied, modules_of


class Network(nn.Module):
    """A network built from its document.

    Attributes:
        document: the plain-data graph it was built from.
        geometry: field of view, stride, offset.
    """

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.document = document
        self.geometry = geometry(document)
        self.layers = nn.ModuleDict(modules_of(layers(document)))

    @property
    def has_dropout(self) -> bool:
        """Whether training draws masks or noise."""
        masks = any(isinstance(m, Convolution | Perceptron) and m.layer.dropout > 0 for m in self.layers.values())
        return masks or any(isinstance(m, Tied) and m.layer.noise > 0 for m in self.layers.values())

    def forward(self, x: Tensor) -> Tensor:
        """Image ``(b, c, z, y, x)`` float in [0, 1] → class scores before softmax ``(b, classes, z', y', x')``.

        Outputs lie ``geometry.stride`` apart, the first at ``geometry.offset``.
        """
        return self._run(x, dense=False)

    def dense(self, x: Tensor) -> Tensor:
        """The same at every voxel where the field of view fits: ``z' = z − field.z + 1`` and so on.

        Raises:
            GeometryError: a node of the network mixes the whole input.
        """
        return self._run(x, dense=True)

    def _run(self, x: Tensor, dense: bool) -> Tensor:
        values: dict[str, Tensor] = {self.document.nodes[0].name: x}
        dilation = Size(1, 1, 1)
        for node in self.document.nodes[1:]:
            layer, source = self.layers[node.name], values.pop(node.parents[0])
            if not dense:
                values[node.name] = layer(source)
            elif isinstance(layer, Convolution):
                values[node.name] = layer.dense(source, dilation)
                dilation = Size(*(a * b for a, b in zip(dilation, layer.layer.pool)))
            else:
                raise GeometryError(
                    f"layer '{node.name}' is fully connected to the whole input, so there is no dense prediction; "
                    "use --strided for the plain output"
                )
        return values[self.document.nodes[-1].name]


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
            assert isinstance(layer, Module)
            layer.initialise(generator, scheme)
    return network
