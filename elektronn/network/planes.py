"""What a training step on a CPU does between its convolutions, in fewer passes through memory than torch takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from elektronn.axes import Size

STORED = {torch.float32: torch.float32, torch.bfloat16: torch.int16}
"""Types that the compiled loops can pool → as what they see the numbers."""

MOST_TAPS = 256
"""Places in a window that one byte tells apart."""


def stack(x: Tensor, taps: int, step: int) -> Tensor:
    """``taps`` sections, ``step`` apart along z, as the features of one.

    Args:
        x: ``(b, c, z, y, x)``.

    Returns:
        ``(b, taps · c, z − (taps − 1) · step, y, x)``.

    Example:
        >>> stack(torch.arange(4.0).reshape(1, 1, 4, 1, 1), 2, 1).flatten(2)
        tensor([[[0., 1., 2.],
                 [1., 2., 3.]]])
    """
    # a compiler sees through torch's own operations only, and needs no help
    if torch.compiler.is_compiling():
        return _stacked(x, taps, step)
    made: Tensor = _Stacking.apply(x, taps, step)  # type: ignore[no-untyped-call]
    return made


def _stacked(x: Tensor, taps: int, step: int) -> Tensor:
    depth = x.shape[2] - (taps - 1) * step
    return torch.cat([x.narrow(2, k * step, depth) for k in range(taps)], dim=1)


class _Stacking(torch.autograd.Function):
    """Sums the gradients of the taps in one array; torch would fill one array for each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: int, step: int) -> Tensor:
        ctx.shape, ctx.taps, ctx.step = x.shape, taps, step
        return _stacked(x, taps, step)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (b, c, *extent), depth = ctx.shape, gradient.shape[2]
        total = gradient.new_zeros((b, *extent, c)).permute(0, 4, 1, 2, 3)
        for k in range(ctx.taps):
            total.narrow(2, k * ctx.step, depth).add_(gradient.narrow(1, k * c, c))
        return total, None, None


def can_pool(x: Tensor, pool: Size) -> bool:
    """Whether :func:`pool_compiled` takes this."""
    known = x.device.type == "cpu" and x.dtype in STORED and pool.voxels <= MOST_TAPS
    return known and not torch.compiler.is_compiling()


def pool_compiled(x: Tensor, pool: Size) -> Tensor:
    """Max pooling with stride = window, a remainder cut off; equal to torch's bit by bit, gradients too.

    Torch's remembers each place in 8 bytes, looks for it feature by feature, and goes through the array twice on the way
    back (figures in benchmarks/README.md).

    Args:
        x: ``(b, c, z, y, x)``; see :func:`can_pool`.
    """
    made: Tensor = _Pooling.apply(x, pool)  # type: ignore[no-untyped-call]
    return made


class _Pooling(torch.autograd.Function):
    """The compiled loops as a node of torch's graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: Size) -> Tensor:
        from elektronn.network.pooling_kernels import pool as run

        b, c, *extent = x.shape
        size = (b, *(n // p for n, p in zip(extent, pool)), c)
        best, place = torch.empty(size, dtype=x.dtype), torch.empty(size, dtype=torch.uint8)
        run(_lines(x.permute(0, 2, 3, 4, 1).contiguous()), tuple(pool), size, _rows(best), _rows(place))
        ctx.save_for_backward(place)
        ctx.pool, ctx.shape = pool, x.shape
        return best.permute(0, 4, 1, 2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        from elektronn.network.pooling_kernels import spread as run

        (place,), (b, c, *extent) = ctx.saved_tensors, ctx.shape
        made = gradient.new_empty((b, *extent, c))
        given = gradient.permute(0, 2, 3, 4, 1).contiguous()
        run(_rows(given), _rows(place), tuple(ctx.pool), tuple(place.shape), _lines(made))
        return made.permute(0, 4, 1, 2, 3), None


def _lines(values: Tensor) -> Any:
    """``(b, z, y, x, c)`` → ``(b, z, y, x · c)`` of numpy, the same memory."""
    return values.detach().view(STORED.get(values.dtype, values.dtype)).flatten(3).numpy()


def _rows(values: Tensor) -> Any:
    """``(b, z, y, x, c)`` → ``(b · z · y, x · c)`` of numpy, the same memory."""
    return _lines(values).reshape(-1, values.shape[3] * values.shape[4])
