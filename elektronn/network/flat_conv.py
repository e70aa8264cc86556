"""A convolution of our own for training on a CPU with AVX-512: planes as they lie, pooling and relu in the same pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import llvmlite.binding  # type: ignore[import-untyped]
import numpy as np
import torch
from torch import Tensor

from elektronn.axes import Size
from elektronn.network.flat_code import COLUMNS, LANES, ROWS
from elektronn.network.flat_kernels import (
    Factors,
    Integers,
    Stored,
    back_to_input,
    back_to_weights,
    forward,
    in_rows,
    interleave,
    spread,
)

WINDOW = 64
"""Largest pooling window, voxels: places in it are kept in one byte each."""


@cache
def has_vectors() -> bool:
    """Whether this CPU has vectors of 16 floats."""
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))


@cache
def has_pairs() -> bool:
    """Whether it multiplies pairs of bfloat16 in them."""
    return has_vectors() and bool(llvmlite.binding.get_host_cpu_features().get("avx512bf16"))


def is_flat(x: Tensor, weight: Tensor, pool: Size) -> bool:
    """Whether :func:`convolve_flat` takes a convolution and pays: on the CPU, pooling within planes.

    In float32, and where torch casts to bfloat16 by itself in that, if the CPU has it.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or weight.dtype != torch.float32:
        return False
    if torch.is_autocast_enabled("cpu"):
        is_known = torch.get_autocast_dtype("cpu") == torch.bfloat16 and has_pairs()
        is_known &= x.dtype in (torch.float32, torch.bfloat16)
    else:
        is_known = x.dtype == torch.float32 and has_vectors()
    depth, height, width = (n - k + 1 for n, k in zip(x.shape[2:], weight.shape[2:]))
    fits = is_known and depth > 0 and height >= pool.y and width >= pool.x
    fits = fits and (height - 1) * x.shape[4] + width >= 2 * LANES
    return fits and pool.z == 1 and pool.voxels <= WINDOW and x.numel() > 0


class Shape(NamedTuple):
    """Sizes of a convolution."""

    depth: int
    """Planes of the input."""
    height: int
    width: int
    kernel: Size

    @property
    def reach(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.height - self.kernel.y + 1, self.width - self.kernel.x + 1

    @property
    def lead(self) -> int:
        """How far before an output the inputs begin that see it."""
        return (self.kernel.y - 1) * self.width + self.kernel.x - 1


def convolve_flat(x: Tensor, weight: Tensor, bias: Tensor, pool: Size, relu: bool) -> Tensor:
    """Valid 3-D convolution, max pooling within planes and relu if wanted; equal to torch's to rounding.

    The same numbers for any number of threads: each sum is taken by one thread in one order.

    Args:
        x: ``(b, ci, z, y, x)``, best stored as it is indexed; float32, or in a block of autocast also bfloat16.
        weight: ``(co, ci, kz, ky, kx)``.
        bias: ``(co,)``.
        pool: window and stride, zyx, ``pool.z = 1``; a remainder at the end is cut off.
        relu: whether values below zero become zero.

    Returns:
        ``(b, co, z − kz + 1, (y − ky + 1) // py, (x − kx + 1) // px)``, contiguous; float32, or bfloat16 in a
        block of autocast, where products are of bfloat16 and sums in float32.
    """
    if torch.is_autocast_enabled("cpu"):
        x = x.bfloat16()
    found: Tensor = _Flat.apply(x, weight, bias, pool, relu)  # type: ignore[no-untyped-call]
    return found


class _Flat(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, pool: Size, relu: bool) -> Tensor:
        x, kernel = x.contiguous(), Size(*weight.shape[2:])
        shape = Shape(x.shape[2], x.shape[3], x.shape[4], kernel)
        height, width = shape.reach
        size = (len(x), len(weight), shape.depth - kernel.z + 1, height // pool.y, width // pool.x)
        out, places = torch.empty(size, dtype=x.dtype), torch.empty(size, dtype=torch.uint8)
        factors, packed = _factors(x, x.shape[1]), _in_rows(weight.permute(0, 2, 1, 3, 4), x.dtype)
        start = np.zeros(len(packed) * ROWS, np.float32)
        start[: len(bias)] = bias.detach().numpy()
        offsets = _offsets(factors.shape[1], shape, "zc", 4)
        given = (factors, packed, start, offsets, _array(out), places.numpy(), shape.reach, relu)
        _share(forward(pool.y, pool.x), given, len(x) * size[2])
        context.save_for_backward(x, weight, places)
        context.pool = pool
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, places = context.saved_tensors
        shape = Shape(x.shape[2], x.shape[3], x.shape[4], Size(*weight.shape[2:]))
        depth, maps = places.shape[2], len(weight) + -len(weight) % ROWS
        lead = shape.lead if context.needs_input_grad[0] else 0
        wide = torch.empty(len(x), maps, depth, lead + shape.height * shape.width, dtype=x.dtype)
        sums = np.zeros((len(x), maps, depth))
        given = (_array(upstream.contiguous()), places.numpy(), lead, shape.width, _array(wide), sums)
        _share(spread(context.pool.y, context.pool.x), given, len(x) * maps)
        back = _input_gradient(wide, weight, shape) if context.needs_input_grad[0] else None
        bias = torch.from_numpy(sums.sum((0, 2))[: len(weight)]).float()
        return back, _weight_gradient(wide, lead, x, weight, shape), bias, None, None


def _array(stored: Tensor) -> Stored:
    """The same memory for a kernel."""
    return (stored.view(torch.int16) if stored.dtype == torch.bfloat16 else stored).detach().numpy()


def _factors(x: Tensor, features: int) -> Factors:
    """``(b, c, …)`` as kernels multiply it: itself, or pairs of its first features."""
    if x.dtype == torch.float32:
        return x.detach().numpy()
    stored = _array(x)
    pairs = np.empty((stored.shape[0], (features + 1) // 2, *stored.shape[2:]), np.int32)
    _share(interleave, (stored, pairs), pairs.shape[0] * pairs.shape[1])
    return pairs


def _input_gradient(wide: Tensor, weight: Tensor, shape: Shape) -> Tensor:
    features = weight.shape[1]
    found = torch.empty(len(wide), features + -features % ROWS, *shape[:3], dtype=wide.dtype)
    factors, packed = _factors(wide, len(weight)), _in_rows(weight.permute(1, 2, 0, 3, 4), wide.dtype)
    taps = packed.shape[1] // shape.kernel.z
    offsets = _offsets_back(packed.shape[1] // shape.kernel.voxels, wide.shape[2], shape)
    given = (factors, packed, offsets, (shape.kernel.z, taps), _array(found))
    _share(back_to_input, given, len(wide) * shape.depth)
    return found[:, :features]


def _weight_gradient(wide: Tensor, lead: int, x: Tensor, weight: Tensor, shape: Shape) -> Tensor:
    found = torch.empty_like(weight, memory_format=torch.contiguous_format)
    offsets = _offsets(weight.shape[1], shape, "cz", x.itemsize)
    given = (_array(wide), lead, _array(x), offsets, found.view(len(found), -1).numpy())
    _share(back_to_weights, given, wide.shape[1] // ROWS)
    return found


def _in_rows(weight: Tensor, dtype: torch.dtype) -> Factors:
    """``(features, kz, c, ky, kx)`` → ``(tiles, taps, ROWS)``, zeros for features that are missing; for bfloat16 pairs of c."""
    kind: Any = np.float32 if dtype == torch.float32 else np.int32
    together = kind().itemsize // dtype.itemsize
    features, planes, channels, height, width = weight.shape
    size = (-(-features // ROWS), planes * -(-channels // together) * height * width, ROWS, 1)
    stored = _array(weight.detach().to(dtype))
    packed = np.zeros(size, kind)
    in_rows(stored, packed.view(stored.dtype))
    found: Factors = packed[..., 0]
    return found


@cache
def _offsets(features: int, shape: Shape, order: str, item: int) -> Integers:
    """Bytes from the place of an output to the input of each tap: plane by plane, or feature by feature and padded."""
    kernel, plane = shape.kernel, shape.height * shape.width
    c, z, y, x = np.ix_(*map(np.arange, (features, *kernel)))
    table = item * ((c * shape.depth + z) * plane + y * shape.width + x)
    if order == "zc":
        return np.ascontiguousarray(table.swapaxes(0, 1)).ravel()
    flat = table.ravel()
    return np.concatenate([flat, np.repeat(flat[:1], -flat.size % COLUMNS)])


@cache
def _offsets_back(maps: int, depth: int, shape: Shape) -> Integers:
    """The same from the place of an input to the gradients that it is in, behind their border."""
    kernel, plane = shape.kernel, shape.lead + shape.height * shape.width
    z, c, y, x = np.ix_(*map(np.arange, (kernel.z, maps, kernel.y, kernel.x)))
    table = (c * depth - z) * plane + (kernel.y - 1 - y) * shape.width + kernel.x - 1 - x
    return np.ascontiguousarray(4 * table).ravel()


def _share(kernel: Callable[..., None], given: tuple[Any, ...], tasks: int) -> None:
    """Run a kernel on all tasks, divided among torch's threads."""
    threads = min(torch.get_num_threads(), tasks)
    edges = [tasks * i // threads for i in range(threads + 1)]
    others = [_workers(threads - 1, os.getpid()).submit(kernel, *given, part) for part in pairwise(edges[1:])]
    kernel(*given, (0, edges[1]))
    for other in others:
        other.result()


@cache
def _workers(count: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    return ThreadPoolExecutor(count, "flat")
