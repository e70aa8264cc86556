"""Normalisations as torch modules. Activations are ``(batch, channel, z, y, x)``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elektronn.network.kinds import BatchNormLayer, ResponseLayer
from elektronn.network.layers import Block

BATCH_RATE = 5e-4
"""Share by which each training step moves the stored statistics of a batch normalisation."""

DEVIATION_FLOOR = 1e-6
"""Added to the standard deviation of a batch."""


class BatchNorm(Block):
    """Normalisation by mean and standard deviation per feature, scale and bias.

    While training on batch statistics the stored ones follow by :data:`BATCH_RATE` per step.

    Attributes:
        gamma, bias: trained, ``(features,)``.
        mean, deviation: of training, ``(features,)``.
    """

    mean: Tensor
    deviation: Tensor
    layer: BatchNormLayer

    def __init__(self, layer: BatchNormLayer) -> None:
        super().__init__()
        self.layer = layer
        self.gamma = nn.Parameter(torch.ones(layer.width))
        self.bias = nn.Parameter(torch.zeros(layer.width))
        self.register_buffer("mean", torch.zeros(layer.width))
        self.register_buffer("deviation", torch.ones(layer.width))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, z, y, x)`` → the same shape."""
        mean, deviation = self.mean, self.deviation
        if self.layer.statistics == "batch":
            found = torch.var_mean(x, (0, 2, 3, 4), correction=0)
            mean, deviation = found[1], found[0].sqrt() + DEVIATION_FLOOR
            if self.training:
                self.mean.lerp_(mean.detach(), BATCH_RATE)
                self.deviation.lerp_(deviation.detach(), BATCH_RATE)
        scale = (self.gamma / deviation)[:, None, None, None]
        result: Tensor = (x - mean[:, None, None, None]) * scale + self.bias[:, None, None, None]
        return result


class ResponseNorm(Block):
    """Local response normalisation, over a window of voxels or of neighbouring features (those at the edge repeated)."""

    layer: ResponseLayer

    def __init__(self, layer: ResponseLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, z, y, x)`` → the same shape."""
        said, squares = self.layer, x * x
        if said.neighbours:
            half = said.neighbours // 2
            index = torch.arange(-half, x.shape[1] + half, device=x.device).clamp(0, x.shape[1] - 1)
            mean = squares[:, index].unfold(1, said.neighbours, 1).mean(-1)
        else:
            margin = [n // 2 for n in said.around]
            mean = F.avg_pool3d(squares, tuple(said.around), 1, margin, count_include_pad=True)
        result: Tensor = x / (said.k + said.alpha * mean) ** said.beta
        return result
