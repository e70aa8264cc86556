"""One convolution of the lanes engine: its weights in the order of the kernels, and how it is run."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.network.layers import Convolution, activation_of
from elektronn.prediction.lanes_kernels import Floats, Integers, direct
from elektronn.prediction.lanes_plan import Layout
from elektronn.prediction.lanes_transforms import FAR, NEAR, WINDOW
from elektronn.prediction.lanes_winograd import scratch_floats, winograd

DIRECT_ROWS, WINOGRAD_ROWS = 10, 8
"""Features of a register tile, at most: what the registers hold."""

FEW = 8
"""With fewer features before or after, Winograd's transforms cost more than they save."""

DEEP = 3
"""Kernels of so many planes are computed for two or four planes of output at a time."""

LINE, LARGE = 16, 2**19
"""Floats of a line of the cache, and of a large page of memory."""


def integers(*values: int) -> Integers:
    """Numbers as a kernel takes them."""
    return np.array(values, np.int64)


def floats(count: int) -> Floats:
    """Uninitialised numbers, the first at the beginning of a line of the cache; of many, of a large page.

    numpy asks the system for large pages where an array is as large as two. Loops that go through many places at the
    same time do not find them all otherwise.
    """
    unit = LARGE if count > LARGE // 4 else LINE
    raw = np.empty(max(count + unit, 2 * unit), np.float32)
    return raw[-(raw.ctypes.data // 4) % unit :][:count]


class Laid(NamedTuple):
    """A buffer and how values lie in it."""

    values: Floats
    layout: Layout


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
        return scratch_floats(taps, self.layer.features_in, written, 4 if taps == DEEP else 1)

    def after(self, size: Size, dilation: Size) -> Size:
        """Size of the convolution's output."""
        return Size(*(n - (k - 1) * d for n, k, d in zip(size, self.layer.kernel, dilation)))

    def suits_winograd(self, after: Size) -> bool:
        """Whether the kernel is square and small and a tile fits into an output of size ``after``."""
        kernel, edge = self.layer.kernel, WINDOW + 1 - self.layer.kernel.x
        is_square = kernel.y == kernel.x and 2 <= kernel.x <= 4
        many = self.layer.features_in >= FEW and self.layer.maps >= FEW
        return is_square and many and after.y >= edge and after.x >= edge

    def run_direct(self, given: Laid, made: Laid, dilation: Size, size: Size, part: Integers) -> None:
        """Tap by tap: the planes ``part[0] ≤ z < part[1]`` of an output of ``size``."""
        weights, bias, rows = self._direct
        offsets = 4 * given.layout.offsets(self.layer.features_in, self.layer.kernel, dilation)
        source, target = given.layout, made.layout
        pitches = 4 * integers(source.plane, source.vector, target.channel, target.plane, target.vector)
        vectors = -(-source.span(size) // source.vector)
        direct(rows, self._relu)(given.values, made.values, weights, bias, offsets, pitches, vectors, part)

    def run_winograd(self, given: Laid, made: Laid, size: Size, part: Integers, scratch: Floats) -> None:
        """By Winograd: planes ``part[0] ≤ z < part[1]``, rows of tiles ``part[2] ≤ t < part[3]`` of an output of ``size``."""
        together = self.together(size)
        weights, rows = self._winograd if together == 1 else self._in_pairs if together == 2 else self._in_fours
        kernel, before = self.layer.kernel, self.layer.features_in
        source, target = given.layout, made.layout
        pitches = 4 * integers(source.plane, source.row, source.unit, target.plane, target.row, target.unit)
        counts = integers(kernel.z, before, self.layer.maps, *size)
        run = winograd(kernel.x, rows, self._relu, together)
        run(given.values, made.values, weights, self._bias, pitches, counts, part, scratch)

    def together(self, size: Size) -> int:
        """How many planes at a time are computed of an output of ``size``."""
        if self.layer.kernel.z != DEEP or size.z == 1:
            return 1
        return 2 if size.z < 4 else 4

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
    def _in_pairs(self) -> tuple[Floats, int]:
        """The same, transformed along z too: as many products as the planes that :func:`.lanes_transforms.mix` makes."""
        a, b, c = np.moveaxis(self._weight, 2, 0)
        return self._blocks(np.stack([(a + b + c) / 2, (a - b + c) / 2, a, -c], 2))

    @cached_property
    def _in_fours(self) -> tuple[Floats, int]:
        zero, *middle, infinite = _points(DEEP, 1)
        return self._blocks(np.einsum("az,oczij->ocaij", [*middle, zero, infinite], self._weight))

    def _blocks(self, weight: NDArray[np.float64]) -> tuple[Floats, int]:
        rows, points = _rows(len(weight), WINOGRAD_ROWS), _points(self.layer.kernel.x, NEAR)
        transformed = np.einsum("ai,bj,oczij->oabzc", points, points, weight)
        flat = _padded(transformed.reshape(len(weight), WINDOW * WINDOW, -1), rows)
        blocks = flat.reshape(-1, rows, *flat.shape[1:]).transpose(2, 0, 3, 1)
        return _as_floats(blocks), rows


def _points(kernel: int, unit: float) -> NDArray[np.float64]:
    """Winograd's transform of a kernel of ``kernel`` taps: its scaled values at 0, ±NEAR, ±FAR and ∞.

    The outputs are to be multiplied by ``unit`` to the power of their place.
    """
    values = np.array([0, NEAR, -NEAR, FAR, -FAR])
    scales = [1 / np.prod([value - other for other in values if other != value]) for value in values]
    result = np.zeros((WINDOW, kernel))
    result[:-1] = np.array(scales)[:, None] * values[:, None] ** np.arange(kernel)
    result[-1, -1] = unit ** (kernel - WINDOW)
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
