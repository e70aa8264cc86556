"""Register tiles of the convolution that trains, as LLVM IR, callable from numba functions.

Everything works on vectors of 16 floats (one AVX-512 register) at plain addresses; strides and offsets are bytes. The
caller answers for the addresses. A tile of :data:`ROWS` × :data:`COLUMNS` sums and what it is made of fill the registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic as _intrinsic

# their types say less than they take
cgutils: Any = _cgutils
intrinsic: Any = _intrinsic

LANES, ROWS, COLUMNS = 16, 5, 4
"""Floats in a vector; features in a tile; vectors (of outputs) or taps (of a gradient of weights) in a tile."""

_BYTES = 4 * LANES
_FLOAT, _WORD, _NUMBER = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR, _NUMBERS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_NUMBER, LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)

Tile = list[list[Any]]


def _integer(value: int) -> Any:
    return ir.Constant(_WORD, value)


def _load(b: Any, address: Any, kind: Any = _VECTOR) -> Any:
    return b.load(b.inttoptr(address, kind.as_pointer()), align=8 if kind is _WORD else 4)


def _store(b: Any, value: Any, address: Any) -> None:
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=4)


def _at(b: Any, address: Any, step: int, count: Any) -> Any:
    """``address + step · count``."""
    return b.add(address, b.mul(_integer(step), count))


def _spread(b: Any, value: Any, kind: Any = _VECTOR) -> Any:
    """One number in all lanes."""
    some = ir.Constant(kind, ir.Undefined)
    first = b.insert_element(some, value, _NUMBER(0))
    return b.shuffle_vector(first, some, ir.Constant(_NUMBERS, [0] * LANES))


def _tile(b: Any, columns: int) -> Tile:
    return [[cgutils.alloca_once(b, _VECTOR) for _ in range(columns)] for _ in range(ROWS)]


def _add_products(b: Any, tile: Tile, left: list[Any], right: list[Any]) -> None:
    """Add to every sum the product of its row's and its column's vector, rounded once."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    fused = cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{LANES}f32")
    for x, row in zip(left, tile):
        for y, place in zip(right, row):
            b.store(b.call(fused, [x, y, b.load(place)]), place)


@intrinsic  # type: ignore[untyped-decorator]
def convolve(
    _: Any, columns: Any, source: Any, offsets: Any, count: Any, weights: Any, bias: Any, target: Any, pitch: Any
) -> Any:
    """Neighbouring outputs of :data:`ROWS` features, 1 to :data:`COLUMNS` vectors of them.

    ``target[i · pitch] = bias[i] + Σ_k weights[k · ROWS + i] · source[offsets[k]]`` for ``count`` taps k.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        columns, source, offsets, count, weights, bias, target, pitch = given

        def product(width: int) -> None:
            tile = _tile(b, width)
            for i, row in enumerate(tile):
                start = _spread(b, _load(b, b.add(bias, _integer(4 * i)), _FLOAT))
                for place in row:
                    b.store(start, place)
            with cgutils.for_range(b, count) as loop:
                here = b.add(source, _load(b, _at(b, offsets, 8, loop.index), _WORD))
                there = _at(b, weights, 4 * ROWS, loop.index)
                inputs = [_load(b, b.add(here, _integer(_BYTES * j))) for j in range(width)]
                spread = [_spread(b, _load(b, b.add(there, _integer(4 * i)), _FLOAT)) for i in range(ROWS)]
                _add_products(b, tile, spread, inputs)
            for i, row in enumerate(tile):
                line = b.add(target, b.mul(pitch, _integer(i)))
                for j, place in enumerate(row):
                    _store(b, b.load(place), b.add(line, _integer(_BYTES * j)))

        for width in range(1, COLUMNS + 1):
            with b.if_then(b.icmp_signed("==", columns, _integer(width))):
                product(width)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), emit


@intrinsic  # type: ignore[untyped-decorator]
def correlate(
    _: Any, rows: Any, row: Any, source: Any, offsets: Any, count: Any, planes: Any, steps: Any, target: Any
) -> Any:
    """Sums over planes of products of :data:`ROWS` features with :data:`COLUMNS` shifted inputs.

    ``target[i · COLUMNS + j] = Σ_z Σ_p rows[i · row + z · steps[0] + p] · source[offsets[j] + z · steps[1] + p]`` for
    ``planes`` planes z of ``count`` ≥ 16 floats p. Lanes are summed at last, in one order.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        rows, row, source, offsets, count, planes, steps, target = given
        tile = _tile(b, COLUMNS)
        for places in tile:
            for place in places:
                b.store(_ZERO, place)
        step_left, step_right = _load(b, steps, _WORD), _load(b, b.add(steps, _integer(8)), _WORD)
        shifts = [_load(b, b.add(offsets, _integer(8 * j)), _WORD) for j in range(COLUMNS)]
        shifted = [b.mul(row, _integer(i)) for i in range(ROWS)]
        whole, rest = b.udiv(count, _integer(LANES)), b.urem(count, _integer(LANES))
        fresh = _last_lanes(b, rest)

        def add(left: Any, right: Any, position: Any, mask: Any) -> None:
            inputs = [_load(b, b.add(b.add(right, shift), position)) for shift in shifts]
            lines = [_load(b, b.add(b.add(left, shift), position)) for shift in shifted]
            _add_products(b, tile, [b.select(mask, x, _ZERO) for x in lines] if mask else lines, inputs)

        with cgutils.for_range(b, planes) as plane:
            left = b.add(rows, b.mul(plane.index, step_left))
            right = b.add(source, b.mul(plane.index, step_right))
            with cgutils.for_range(b, whole) as loop:
                add(left, right, b.mul(loop.index, _integer(_BYTES)), None)
            with b.if_then(b.icmp_signed(">", rest, _integer(0))):
                # the last vector reaches back, lest anything behind the array be read
                add(left, right, b.mul(b.sub(count, _integer(LANES)), _integer(4)), fresh)
        _write_sums(b, tile, target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), emit


def _last_lanes(b: Any, rest: Any) -> Any:
    """Which lanes are the last ``rest``."""
    first = b.trunc(b.sub(_integer(LANES), rest), _NUMBER)
    return b.icmp_signed(">=", ir.Constant(_NUMBERS, list(range(LANES))), _spread(b, first, _NUMBERS))


def _write_sums(b: Any, tile: Tile, target: Any) -> None:
    kind = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
    total = cgutils.get_or_insert_function(b.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
    for i, row in enumerate(tile):
        for j, place in enumerate(row):
            value = b.call(total, [ir.Constant(_FLOAT, 0.0), b.load(place)], fastmath=["reassoc"])
            _store(b, value, b.add(target, _integer(4 * (i * COLUMNS + j))))
