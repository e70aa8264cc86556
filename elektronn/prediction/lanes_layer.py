"""One convolution of the lanes engine: its weights in the order of the kernels, and how it is run."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.network.layers import Convolution, activation_of
from elektronn.prediction.lanes_code import WINDOW
from elektronn.prediction.lanes_kernels import Floats, Integers, direct, scratch_floats, winograd
from elektronn.prediction.lanes_plan import Layout

DIRECT_ROWS, WINOGRAD_ROWS = 10, 8
"""Features of a register tile, at most: what the registers hold."""

FEW = 8
"""With fewer features before or after, Winograd's transforms cost more than they save."""


PAIRED_TAPS = 3
"""Kernels of so many planes are computed for two planes of output at a time."""


def integers(*values: int) -> Integers:
    """Numbers as a kernel takes them."""
    return np.array(values, np.int64)


def floats(count: int) -> Floats:
    """Uninitialised numbers, the first at the beginning of a line of the cache."""
    raw = np.empty(count + 16, np.float32)
    return raw[-(raw.ctypes.data // 4) % 16 :][:count]


class LaneLayer:
    """A convolution, its pooling excepted.

    Attributes:
        layer: what it does to sizes.
        dilation: how far apart its taps lie where the image is not in lanes, zyx.
    """

    def __init__(self, module: Convolution, dilation: Size) -> None:
        self.layer, self.dilation = module.layer, dilation
        self._weight = module.weight.detach().cpu().double().numpy()
        self._bias = module.bias.detach().cpu().numpy().astype(np.float32)
        self._relu = int(module.layer.activation == "relu")

    @property
    def written(self) -> int:
        """Features that the kernels write, at most."""
        return max(_whole(self.layer.maps, DIRECT_ROWS), _whole(self.layer.maps, WINOGRAD_ROWS))

    @property
    def scratch(self) -> int:
        """Floats of scratch of one worker."""
        taps, written = self.layer.kernel.z, _whole(self.layer.maps, WINOGRAD_ROWS)
        return scratch_floats(taps, self.layer.features_in, written, taps == PAIRED_TAPS)

    def after(self, size: Size, dilation: Size) -> Size:
        """Size of the convolution's output."""
        return Size(*(n - (k - 1) * d for n, k, d in zip(size, self.layer.kernel, dilation)))

    def suits_winograd(self, after: Size) -> bool:
        """Whether the kernel is square and small and a tile fits into an output of size ``after``."""
        kernel, edge = self.layer.kernel, WINDOW + 1 - self.layer.kernel.x
        is_square = kernel.y == kernel.x and 2 <= kernel.x <= 4
        many = self.layer.features_in >= FEW and self.layer.maps >= FEW
        return is_square and many and after.y >= edge and after.x >= edge

    def run_direct(
        self, source: Floats, target: Floats, layout: Layout, dilation: Size, size: Size, part: Integers
    ) -> None:
        """Tap by tap: the planes ``part[0] ≤ z < part[1]`` of an output of ``size``."""
        weights, bias, rows = self._direct
        offsets = 4 * layout.offsets(self.layer.features_in, self.layer.kernel, dilation)
        kernel = direct(rows, self._relu)
        kernel(source, target, weights, bias, offsets, 4 * layout.channel, 4 * layout.plane, layout.span(size), part)

    def run_winograd(
        self, source: Floats, target: Floats, layout: Layout, size: Size, part: Integers, scratch: Floats
    ) -> None:
        """By Winograd: planes ``part[0] ≤ z < part[1]``, rows of tiles ``part[2] ≤ t < part[3]`` of an output of ``size``."""
        paired = self.pairs(size)
        weights, rows = self._paired if paired else self._winograd
        kernel, before = self.layer.kernel, self.layer.features_in
        pitches = integers(4 * layout.channel, 4 * layout.plane, 4 * layout.row)
        counts = integers(kernel.z, before, self.layer.maps, *size)
        run = winograd(kernel.x, rows, self._relu, int(paired))
        run(source, target, weights, self._bias, pitches, counts, part, scratch)

    def pairs(self, size: Size) -> bool:
        """Whether two planes at a time are computed of an output of ``size``."""
        return self.layer.kernel.z == PAIRED_TAPS and size.z > 1

    def tiles_down(self, size: Size) -> int:
        """Rows of Winograd tiles of an output."""
        return -(-size.y // (WINDOW + 1 - self.layer.kernel.x))

    def activate(self, values: Floats) -> None:
        """The activation, in place, where it is not part of the kernels."""
        if self.layer.activation not in ("relu", "linear"):
            tensor = torch.from_numpy(values)
            tensor.copy_(activation_of(self.layer.activation)(tensor))

    @cached_property
    def _direct(self) -> tuple[Floats, Floats, int]:
        """Weights ``(blocks, taps, rows)``, bias of whole blocks, rows."""
        rows = _rows(self.layer.maps, DIRECT_ROWS)
        flat = _padded(self._weight.reshape(len(self._weight), -1), rows)
        blocks = flat.reshape(-1, rows, flat.shape[1]).transpose(0, 2, 1)
        return _as_floats(blocks), _as_floats(_padded(self._bias, rows)), rows

    @cached_property
    def _winograd(self) -> tuple[Floats, int]:
        """Transformed weights ``(36, blocks, taps · features_in, rows)``, rows."""
        return self._blocks(self._weight)

    @cached_property
    def _paired(self) -> tuple[Floats, int]:
        """The same, transformed along z too: as many products as the planes that :func:`.lanes_code.mix` makes."""
        a, b, c = np.moveaxis(self._weight, 2, 0)
        return self._blocks(np.stack([(a + b + c) / 2, (a - b + c) / 2, a, -c], 2))

    def _blocks(self, weight: NDArray[np.float64]) -> tuple[Floats, int]:
        rows, points = _rows(len(weight), WINOGRAD_ROWS), _points(self.layer.kernel.x)
        transformed = np.einsum("ai,bj,oczij->oabzc", points, points, weight)
        flat = _padded(transformed.reshape(len(weight), WINDOW * WINDOW, -1), rows)
        blocks = flat.reshape(-1, rows, *flat.shape[1:]).transpose(2, 0, 3, 1)
        return _as_floats(blocks), rows


def _points(kernel: int) -> NDArray[np.float64]:
    """Winograd's transform of a kernel of ``kernel`` taps: its scaled values at 0, 1, −1, 2, −2 and ∞."""
    values, scales = np.array([0, 1, -1, 2, -2.0]), np.array([1 / 4, -1 / 6, -1 / 6, 1 / 24, 1 / 24])
    result = np.zeros((WINDOW, kernel))
    result[:-1] = scales[:, None] * values[:, None] ** np.arange(kernel)
    result[-1, -1] = 1
    return result


def _rows(features: int, most: int) -> int:
    """Features per block: as equal blocks as possible."""
    return -(-features // -(-features // most))


def _whole(features: int, most: int) -> int:
    """Features of whole blocks."""
    rows = _rows(features, most)
    return -(-features // rows) * rows


def _padded(values: NDArray[Any], rows: int) -> NDArray[Any]:
    """Zeros behind the first axis, to whole blocks of rows."""
    return np.pad(values, [(0, -len(values) % rows), *([(0, 0)] * (values.ndim - 1))])


def _as_floats(values: NDArray[Any]) -> Floats:
    result = floats(values.size)
    result[:] = values.ravel()
    return result
