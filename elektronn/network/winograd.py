"""Convolution with kernels of three planes by Winograd's method along z: half of the multiplications, for prediction.

Four planes of output need six of input. Mixed as in :func:`.winograd_kernels.mix`, each of the six is convolved with a
2-D kernel of its own, and sums of the six products are the four planes, where one by one they would take twelve. In
Lavin & Gray 2016 (arXiv:1509.09308) this is F(4, 3) in one dimension; its points are 0, 1, −1, 2, −2 and ∞. torch
computes the products, so that it pays on every CPU (figures in benchmarks/README.md).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from elektronn.axes import Size
from elektronn.network.winograd_plan import MIXTURES, Plane, in_fours, starts

Floats = NDArray[np.float32]

_POINTS = [(6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24)]
"""Values of a kernel at the points, times 24."""

_EVERYWHERE = 1
"""The point whose product every plane takes once: 1."""

_VECTORS = {"AVX512": 16, "AVX2": 8}
"""Floats in a vector of a CPU. torch fills incomplete ones with features that it throws away, which takes longer than
keeping them."""


def suits(x: Tensor, weight: Tensor, dilation: Size) -> bool:
    """Whether :func:`convolve_by_fours` takes this, and faster than torch."""
    maps, before, *kernel = weight.shape
    is_plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    is_free = not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    planes = x.shape[2] - (kernel[0] - 1) * dilation.z
    return is_plain and is_free and in_fours(before, maps, Size(*kernel), planes, dilation.z)


def convolve_by_fours(x: Tensor, weight: Tensor, bias: Tensor, dilation: Size) -> Tensor:
    """Valid 3-D convolution, equal to :func:`.layers.convolve_plainly` to rounding.

    Args:
        x: ``(b, ci, z, y, x)``; see :func:`suits`.
        weight: ``(co, ci, 3, ky, kx)``.
        bias: ``(co,)``.
        dilation: zyx.

    Returns:
        ``(b, co, z − 2·dz, …)``, channels last.
    """
    from elektronn.network.winograd_kernels import combine, mix

    batch, before, *extent = x.shape
    after = [n - (k - 1) * d for n, k, d in zip(extent, weight.shape[2:], dilation)]
    plane = Plane(before, len(weight), *extent[1:], *after[1:])
    halo, line = plane.height - plane.rows, plane.width * before
    kernels = _transformed(weight, bias)
    buffer = x.new_empty(MIXTURES * (plane.strip + halo) * line)
    result = x.new_empty((batch, *after, len(weight)))
    given = x.permute(0, 2, 3, 4, 1).reshape(batch * extent[0], -1).numpy()
    target = result.view(batch * after[0], -1, len(weight)).numpy()
    places = product(range(batch), starts(after[0], dilation.z), range(0, plane.rows, plane.strip))
    for item, first, row in places:
        high = min(plane.strip, plane.rows - row) + halo
        mixed = buffer[: MIXTURES * high * line].view(MIXTURES, high, plane.width, before)
        mix(given, item * extent[0] + first, dilation.z, row * line, mixed.flatten(1).numpy())
        made = tuple(_product(part, *kernel, dilation) for part, kernel in zip(mixed, kernels))
        combine(made, target, item * after[0] + first, dilation.z, row * plane.columns)
    return result.permute(0, 4, 1, 2, 3)


def _transformed(weight: Tensor, bias: Tensor) -> list[tuple[Tensor, Tensor | None]]:
    """The six 2-D kernels, with zeros for features that fill vectors, and their biases.

    What is added to the product of point 1 is part of all four planes.
    """
    missing = -len(weight) % _VECTORS.get(torch.backends.cpu.get_cpu_capability(), 1)
    kernels = torch.einsum("pz,oczyx->pocyx", weight.new_tensor(_POINTS), weight) / 24
    padded = F.pad(kernels, (0, 0, 0, 0, 0, 0, 0, missing))
    biases = [F.pad(bias, (0, missing)) if point == _EVERYWHERE else None for point in range(MIXTURES)]
    return [(kernel.contiguous(memory_format=torch.channels_last), b) for kernel, b in zip(padded, biases)]


def _product(mixed: Tensor, kernel: Tensor, bias: Tensor | None, dilation: Size) -> Floats:
    """One mixture ``(y, x, ci)`` convolved: ``(y · x, co)``."""
    made = F.conv2d(mixed[None].permute(0, 3, 1, 2), kernel, bias, dilation=(dilation.y, dilation.x))
    found: Floats = made.permute(0, 2, 3, 1).reshape(-1, len(kernel)).numpy()
    return found
