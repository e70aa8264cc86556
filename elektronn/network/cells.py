"""States and recurrent cells, one step each, as torch modules. Activations are ``(batch, channel, z, y, x)``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elektronn.network.layers import Block, activation_of, draw
from elektronn.network.memory import ConstantLayer, GatedLayer, StateLayer


class Constant(Block):
    """An array of its own; ``value``: ``(b, c, z, y, x)``."""

    def __init__(self, layer: ConstantLayer) -> None:
        super().__init__()
        self.layer = layer
        self.value = nn.Parameter(torch.zeros(layer.shape))

    def forward(self) -> Tensor:
        """The array."""
        return self.value


class State(Block):
    """A trained vector at every voxel; ``value``: ``(units,)``."""

    def __init__(self, layer: StateLayer) -> None:
        super().__init__()
        self.layer = layer
        self.value = nn.Parameter(torch.zeros(layer.units))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, z, y, x)`` → ``(b, units, z, y, x)``."""
        return self.value[:, None, None, None].expand(x.shape[0], -1, *x.shape[2:])


class Gated(Block):
    """One step of a GRU or LSTM on the features of every voxel.

    With ``[h, x]`` the memory and the input beside each other, GRU: update z, reset r and candidate n from ``W [h, x]``
    (the candidate from ``[r·h, x]``), ``h' = (1 − z)·h + z·n``. LSTM: forget, input, output gates and candidate,
    ``c' = f·c + i·n``, ``h' = o·act(c')``, no peepholes; memory and output are ``[h, c]``.

    Attributes:
        weight: ``(gates · units, units + inputs)``, gates in the order above.
        bias: ``(gates · units,)``.
    """

    layer: GatedLayer

    def __init__(self, layer: GatedLayer) -> None:
        super().__init__()
        self.layer = layer
        gates = 3 if layer.cell == "gru" else 4
        self.weight = nn.Parameter(torch.empty(gates * layer.units, layer.units + layer.inputs))
        self.bias = nn.Parameter(torch.zeros(gates * layer.units))
        self.activation = activation_of(layer.activation)

    def initialise(self, generator: torch.Generator, scheme: str) -> None:
        """Draw weight and bias; see :func:`draw`."""
        outputs, inputs = self.weight.shape
        draw(self.weight, self.bias, (inputs, outputs), self.layer.activation, generator, scheme)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """x ``(b, inputs, …)``, memory ``(b or 1, units, …)`` → next memory."""
        x, memory = x.movedim(1, -1), memory.expand(x.shape[0], *memory.shape[1:]).movedim(1, -1)
        return (self._gru if self.layer.cell == "gru" else self._lstm)(x, memory).movedim(-1, 1)

    def _gru(self, x: Tensor, h: Tensor) -> Tensor:
        units = self.layer.units
        gates = F.linear(torch.cat([h, x], -1), self.weight[: 2 * units], self.bias[: 2 * units])
        update, reset = torch.sigmoid(gates).chunk(2, -1)
        inner = F.linear(torch.cat([reset * h, x], -1), self.weight[2 * units :], self.bias[2 * units :])
        return (1 - update) * h + update * self.activation(inner)

    def _lstm(self, x: Tensor, memory: Tensor) -> Tensor:
        h, c = memory.chunk(2, -1)
        forget, take, give, inner = F.linear(torch.cat([h, x], -1), self.weight, self.bias).chunk(4, -1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(take) * self.activation(inner)
        return torch.cat([torch.sigmoid(give) * self.activation(c), c], -1)
