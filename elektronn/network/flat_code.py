"""Register tiles of the convolution that trains, as LLVM IR, callable from numba functions.

Everything works on vectors of 64 bytes (one AVX-512 register) at plain addresses; strides and offsets are bytes. The
caller answers for the addresses. A tile of :data:`ROWS` × :data:`COLUMNS` sums and what it is made of fill the registers.

Numbers are float32 or bfloat16; the sums are float32 always. The CPU multiplies bfloat16 in pairs: ``a + x₀ y₀ + x₁ y₁``,
where numbers too small for their exponent count as zero. One such number is an int16 here, a pair an int32, its first
number in the low half.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic as _intrinsic

# their types say less than they take
cgutils: Any = _cgutils
intrinsic: Any = _intrinsic

LANES, ROWS, COLUMNS = 16, 5, 4
"""Sums in a vector; features in a tile; vectors (of outputs) or taps (of a gradient of weights) in a tile."""

_BYTES = 4 * LANES


class _Half(ir.Type):  # type: ignore[misc]
    """LLVM's name of a bfloat16."""

    intrinsic_name = "bf16"

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Half)

    def __hash__(self) -> int:
        return hash(_Half)


_FLOAT, _WORD, _NUMBER, _SHORT = ir.FloatType(), ir.IntType(64), ir.IntType(32), ir.IntType(16)
_VECTOR, _NUMBERS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_NUMBER, LANES)
_SHORTS = ir.VectorType(_SHORT, 2 * LANES)
_HALVES, _FEW_HALVES = ir.VectorType(_Half(), 2 * LANES), ir.VectorType(_Half(), LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)

Tile = list[list[Any]]


def _integer(value: int) -> Any:
    return ir.Constant(_WORD, value)


def _load(b: Any, address: Any, kind: Any = _VECTOR) -> Any:
    return b.load(b.inttoptr(address, kind.as_pointer()), align=8 if kind is _WORD else 2 if kind is _SHORTS else 4)


def _store(b: Any, value: Any, address: Any) -> None:
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=2 if value.type == _FEW_HALVES else 4)


def _at(b: Any, address: Any, step: int, count: Any) -> Any:
    """``address + step · count``."""
    return b.add(address, b.mul(_integer(step), count))


def _spread(b: Any, value: Any) -> Any:
    """One number in all lanes."""
    some = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    first = b.insert_element(some, value, _NUMBER(0))
    return b.shuffle_vector(first, some, ir.Constant(_NUMBERS, [0] * LANES))


def _tile(b: Any, columns: int) -> Tile:
    return [[cgutils.alloca_once(b, _VECTOR) for _ in range(columns)] for _ in range(ROWS)]


def _fused(b: Any, x: Any, y: Any, total: Any) -> Any:
    """``total + x · y``, rounded once."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{LANES}f32"), [x, y, total])


def _fused_pairs(b: Any, x: Any, y: Any, total: Any) -> Any:
    """``total + x₀ · y₀ + x₁ · y₁``."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR, _HALVES, _HALVES])
    known = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
    return b.call(known, [total, b.bitcast(x, _HALVES), b.bitcast(y, _HALVES)])


def _halved(b: Any, value: Any) -> Any:
    """Rounded to bfloat16, the even one of two that are equally near."""
    kind = ir.FunctionType(_FEW_HALVES, [_VECTOR])
    return b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512bf16.cvtneps2bf16.512"), [value])


class _Arithmetic(NamedTuple):
    """How numbers of a kind are multiplied."""

    vector: Any
    """What a register of them is."""
    fused: Callable[..., Any]
    rounded: Callable[..., Any]
    """Of sums before they are stored."""


_FLOATS = _Arithmetic(_VECTOR, _fused, lambda b, value: value)
_ARITHMETIC = {
    types.float32: _FLOATS,
    types.int32: _Arithmetic(_NUMBERS, _fused_pairs, _halved),
    types.int16: _Arithmetic(_SHORTS, _fused_pairs, _halved),
}


def _add_products(b: Any, by: _Arithmetic, tile: Tile, left: list[Any], right: list[Any]) -> None:
    """Add to every sum the product of its row's and its column's vector."""
    for x, row in zip(left, tile):
        for y, place in zip(right, row):
            b.store(by.fused(b, x, y, b.load(place)), place)


@intrinsic  # type: ignore[untyped-decorator]
def convolve(
    _: Any,
    kind: Any,
    columns: Any,
    source: Any,
    offsets: Any,
    count: Any,
    weights: Any,
    bias: Any,
    target: Any,
    pitch: Any,
) -> Any:
    """Neighbouring outputs of :data:`ROWS` features, 1 to :data:`COLUMNS` vectors of them.

    ``target[i · pitch] = bias[i] + Σ_k weights[k · ROWS + i] · source[offsets[k]]`` for ``count`` taps k. ``kind``: the type
    of source and weights, float32 or int32; of pairs the results are bfloat16.
    """
    by = _ARITHMETIC[kind.dtype]

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        _, columns, source, offsets, count, weights, bias, target, pitch = given

        def product(width: int) -> None:
            tile = _tile(b, width)
            for i, row in enumerate(tile):
                start = _spread(b, _load(b, b.add(bias, _integer(4 * i)), _FLOAT))
                for place in row:
                    b.store(start, place)
            with cgutils.for_range(b, count) as loop:
                here = b.add(source, _load(b, _at(b, offsets, 8, loop.index), _WORD))
                there = _at(b, weights, 4 * ROWS, loop.index)
                inputs = [_load(b, b.add(here, _integer(_BYTES * j)), by.vector) for j in range(width)]
                spread = [_spread(b, _load(b, b.add(there, _integer(4 * i)), by.vector.element)) for i in range(ROWS)]
                _add_products(b, by, tile, spread, inputs)
            for i, row in enumerate(tile):
                line = b.add(target, b.mul(pitch, _integer(i)))
                for j, place in enumerate(row):
                    step = _BYTES if by is _FLOATS else _BYTES // 2
                    _store(b, by.rounded(b, b.load(place)), b.add(line, _integer(step * j)))

        for width in range(1, COLUMNS + 1):
            with b.if_then(b.icmp_signed("==", columns, _integer(width))):
                product(width)
        return context.get_dummy_value()

    return types.void(kind, *[types.int64] * 8), emit


@intrinsic  # type: ignore[untyped-decorator]
def correlate(
    _: Any, kind: Any, rows: Any, row: Any, source: Any, offsets: Any, count: Any, planes: Any, steps: Any, target: Any
) -> Any:
    """Sums over planes of products of :data:`ROWS` features with :data:`COLUMNS` shifted inputs.

    ``target[i · COLUMNS + j] = Σ_z Σ_p rows[i · row + z · steps[0] + p] · source[offsets[j] + z · steps[1] + p]`` for
    ``planes`` planes z of ``count`` numbers p, at least a register of them. Lanes are summed at last, in one order.
    ``kind``: the type of the numbers, float32 or int16; the sums are float32.
    """
    by = _ARITHMETIC[kind.dtype]
    lanes = by.vector.count

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        _, rows, row, source, offsets, count, planes, steps, target = given
        tile = _tile(b, COLUMNS)
        for places in tile:
            for place in places:
                b.store(_ZERO, place)
        step_left, step_right = _load(b, steps, _WORD), _load(b, b.add(steps, _integer(8)), _WORD)
        shifts = [_load(b, b.add(offsets, _integer(8 * j)), _WORD) for j in range(COLUMNS)]
        shifted = [b.mul(row, _integer(i)) for i in range(ROWS)]
        whole, rest = b.udiv(count, _integer(lanes)), b.urem(count, _integer(lanes))
        fresh, none = _last_lanes(b, lanes, rest), ir.Constant(by.vector, None)

        def add(left: Any, right: Any, position: Any, mask: Any) -> None:
            inputs = [_load(b, b.add(b.add(right, shift), position), by.vector) for shift in shifts]
            lines = [_load(b, b.add(b.add(left, shift), position), by.vector) for shift in shifted]
            _add_products(b, by, tile, [b.select(mask, x, none) for x in lines] if mask else lines, inputs)

        with cgutils.for_range(b, planes) as plane:
            left = b.add(rows, b.mul(plane.index, step_left))
            right = b.add(source, b.mul(plane.index, step_right))
            with cgutils.for_range(b, whole) as loop:
                add(left, right, b.mul(loop.index, _integer(_BYTES)), None)
            with b.if_then(b.icmp_signed(">", rest, _integer(0))):
                # the last vector reaches back, lest anything behind the array be read
                add(left, right, b.mul(b.sub(count, _integer(lanes)), _integer(_BYTES // lanes)), fresh)
        _write_sums(b, tile, target)
        return context.get_dummy_value()

    return types.void(kind, *[types.int64] * 8), emit


def _last_lanes(b: Any, lanes: int, rest: Any) -> Any:
    """Which lanes are the last ``rest``."""
    first = b.trunc(b.sub(_integer(lanes), rest), _NUMBER)
    numbers = ir.VectorType(_NUMBER, lanes)
    some = b.insert_element(ir.Constant(numbers, ir.Undefined), first, _NUMBER(0))
    spread = b.shuffle_vector(some, ir.Constant(numbers, ir.Undefined), ir.Constant(numbers, [0] * lanes))
    return b.icmp_signed(">=", ir.Constant(numbers, list(range(lanes))), spread)


def _write_sums(b: Any, tile: Tile, target: Any) -> None:
    kind = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
    total = cgutils.get_or_insert_function(b.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
    for i, row in enumerate(tile):
        for j, place in enumerate(row):
            value = b.call(total, [ir.Constant(_FLOAT, 0.0), b.load(place)], fastmath=["reassoc"])
            _store(b, value, b.add(target, _integer(4 * (i * COLUMNS + j))))


@intrinsic  # type: ignore[untyped-decorator]
def number(_: Any, stored: Any) -> Any:
    """The float32 that a stored number is."""

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        if stored == types.float32:
            return given[0]
        return b.bitcast(b.shl(b.zext(given[0], _NUMBER), _NUMBER(16)), _FLOAT)

    return types.float32(stored), emit


@intrinsic  # type: ignore[untyped-decorator]
def pair(_: Any, first: Any, second: Any) -> Any:
    """Two bfloat16 as one int32."""

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        low, high = (b.zext(x, _NUMBER) for x in given)
        return b.or_(low, b.shl(high, _NUMBER(16)))

    return types.int32(types.int16, types.int16), emit
