"""Layers as torch modules. Activations are ``(batch, channel, z, y, x)``, stored channels last."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elektronn.axes import Size
from elektronn.network.document import Layer

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "abs": torch.abs,
    "linear": lambda x: x,
}

ONE = Size(1, 1, 1)


def folded(x: Tensor) -> Tensor:
    """``(b, c, z, y, x)`` stored channels last → ``(b·z, c, y, x)``, a view in the 2-D channels-last format."""
    b, c, z, y, w = x.shape
    return x.permute(0, 2, 3, 4, 1).reshape(b * z, y, w, c).permute(0, 3, 1, 2)


def unfolded(x: Tensor, batch: int) -> Tensor:
    """The way back from :func:`folded`."""
    n, c, y, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch, n // batch, y, w, c).permute(0, 4, 1, 2, 3)


def convolve_plainly(x: Tensor, weight: Tensor, bias: Tensor, dilation: Size = ONE) -> Tensor:
    """Valid 3-D convolution as torch writes it: the reference for :func:`convolve`."""
    return F.conv3d(x, weight, bias, dilation=tuple(dilation))


def convolve(x: Tensor, weight: Tensor, bias: Tensor, dilation: Size = ONE) -> Tensor:
    """Valid 3-D convolution as a 2-D one over planes, equal to :func:`convolve_plainly` to rounding.

    The planes of the batch become the batch of a 2-D convolution and the z-taps of the kernel are stacked
    into its channels. On a CPU, torch takes a slow path for small 3-D batches of one; this form avoids it and
    uses the better tuned 2-D kernels (figures in benchmarks/README.md). Gradients come from autograd.

    Args:
        x: ``(b, ci, z, y, x)``.
        weight: ``(co, ci, kz, ky, kx)``.
        bias: ``(co,)``.
        dilation: zyx.

    Returns:
        ``(b, co, z − (kz−1)·dz, …)``.
    """
    batch, taps = x.shape[0], weight.shape[2]
    depth = x.shape[2] - (taps - 1) * dilation.z
    if taps > 1:
        x = torch.cat([x.narrow(2, k * dilation.z, depth) for k in range(taps)], dim=1)
    planes = folded(x.contiguous(memory_format=torch.channels_last_3d))
    flat = weight.permute(0, 2, 1, 3, 4).flatten(1, 2)
    return unfolded(F.conv2d(planes, flat, bias, dilation=(dilation.y, dilation.x)), batch)


def pool_strided(x: Tensor, pool: Size) -> Tensor:
    """Max pooling with stride = window; a remainder at the end is cut off."""
    if pool.voxels == 1:
        return x
    if pool.z == 1:
        return unfolded(F.max_pool2d(folded(x), pool[1:]), x.shape[0])
    return F.max_pool3d(x, tuple(pool))


def pool_dense(x: Tensor, pool: Size, dilation: Size) -> Tensor:
    """Max pooling with stride 1 and taps ``dilation`` apart: running maxima, one axis after the other.

    Equal to ``max_pool3d(x, pool, stride=1, dilation=dilation)``, several times faster in channels-last layout.
    """
    for axis, (window, step) in enumerate(zip(pool, dilation), 2):
        done = 1
        while done < window:
            more = min(done, window - done)
            extent = x.shape[axis] - more * step
            x = torch.maximum(x.narrow(axis, 0, extent), x.narrow(axis, more * step, extent))
            done += more
    return x


class Convolution(nn.Module):
    """Valid convolution, max pooling, bias, activation, in this order.

    For max pooling the order of pooling and bias does not matter, so the bias is added by the convolution.

    Attributes:
        weight: ``(features, features_in, kz, ky, kx)``.
        bias: ``(features,)``.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        self.weight = nn.Parameter(torch.empty(layer.features, layer.features_in, *layer.kernel))
        self.bias = nn.Parameter(torch.zeros(layer.features))
        self.activation = ACTIVATIONS[layer.activation]

    def initialise(self, generator: torch.Generator) -> None:
        """He et al. 2015: normal weights of standard deviation sqrt(2 / inputs), zero bias."""
        inputs = self.layer.features_in * self.layer.kernel.voxels
        gain = 2.0 if self.layer.activation == "relu" else 1.0
        with torch.no_grad():
            self.weight.normal_(0.0, math.sqrt(gain / inputs), generator=generator)
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """``(b, features_in, z, y, x)`` → ``(b, features, z', y', x')``, strided."""
        return self.activation(pool_strided(self._convolve(x, ONE), self.layer.pool))

    def dense(self, x: Tensor, dilation: Size) -> Tensor:
        """The same for every position: taps ``dilation`` apart, pooling with stride 1."""
        return self.activation(pool_dense(self._convolve(x, dilation), self.layer.pool, dilation))

    def _convolve(self, x: Tensor, dilation: Size) -> Tensor:
        on_cpu = x.device.type == "cpu" and x.dtype != torch.float64
        return (convolve if on_cpu else convolve_plainly)(x, self.weight, self.bias, dilation)
