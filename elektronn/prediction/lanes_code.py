"""Machine code of the lanes engine: register tiles as LLVM IR, callable from numba functions.

Everything works on vectors of 16 floats (one AVX-512 register) at plain addresses; strides and shifts are bytes. The
caller answers for the addresses. ``rows``, ``most``, ``edge`` and ``relu`` are constants of the compiled code, and so
are the ``vectors`` of :func:`convolve`.

Winograd's transforms use the points 0, 1, −1, 2, −2, ∞ (Lavin & Gray 2016, arXiv:1509.09308): windows of 6×6 inputs give
tiles of (7 − k)×(7 − k) outputs of a k×k kernel, for k = 2, 3 and 4 from the same transformed input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic as _intrinsic

# their types say less than they take
cgutils: Any = _cgutils
intrinsic: Any = _intrinsic

LANES = 16
"""Floats in a vector."""

WINDOW = 6
"""Edge of the input window of a Winograd tile, vectors."""

_BYTES = 4 * LANES
_FLOAT, _WORD = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [float(value)] * LANES)


def _integer(value: int) -> Any:
    return ir.Constant(_WORD, value)


def _load(b: Any, address: Any, kind: Any = _VECTOR) -> Any:
    return b.load(b.inttoptr(address, kind.as_pointer()), align=8 if kind is _WORD else 4)


def _store(b: Any, value: Any, address: Any) -> None:
    b.store(value, b.inttoptr(address, _VECTOR.as_pointer()), align=4)


def _pass(b: Any, value: Any, address: Any) -> None:
    """Store a whole line past the cache: what it is stored over need not be read."""
    store = b.store(value, b.inttoptr(address, _VECTOR.as_pointer()), align=_BYTES)
    store.set_metadata("nontemporal", b.module.add_metadata([ir.IntType(32)(1)]))


def _spread(b: Any, address: Any) -> Any:
    """One float in all lanes."""
    some = ir.Constant(_VECTOR, ir.Undefined)
    first = b.insert_element(some, _load(b, address, _FLOAT), ir.IntType(32)(0))
    return b.shuffle_vector(first, some, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _fused(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x · y + z, rounded once."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.fma.v16f32"), [x, y, z])


def _expect(b: Any, address: Any) -> None:
    """Have the cache fetch a line that will be needed."""
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), number, number, number])
    call = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0i8")
    b.call(call, [b.inttoptr(address, ir.IntType(8).as_pointer()), number(0), number(3), number(1)])


def _positive(b: Any, x: Any) -> Any:
    zero = _constant(0)
    return b.select(b.fcmp_ordered(">", x, zero), x, zero)


def _times(b: Any, step: Any, count: Any) -> Any:
    return b.mul(step, _integer(count) if isinstance(count, int) else count)


def _shifted(b: Any, address: Any, step: Any, count: Any) -> Any:
    """``address + count · step``."""
    return b.add(address, _times(b, step, count))


class _Tile:
    """rows × vectors sums, held in registers."""

    def __init__(self, b: Any, rows: int, vectors: int) -> None:
        self.b = b
        self.sums = [[cgutils.alloca_once(b, _VECTOR) for _ in range(vectors)] for _ in range(rows)]

    def fill(self, values: list[Any]) -> None:
        for row, value in zip(self.sums, values):
            for place in row:
                self.b.store(value, place)

    def add(self, source: Any, weights: Any) -> None:
        """Add the products of the vectors at ``source`` with one weight per row."""
        b = self.b
        inputs = [_load(b, b.add(source, _integer(_BYTES * j))) for j in range(len(self.sums[0]))]
        for i, row in enumerate(self.sums):
            weight = _spread(b, b.add(weights, _integer(4 * i)))
            for x, place in zip(inputs, row):
                b.store(_fused(b, x, weight, b.load(place)), place)

    def values(self) -> list[list[Any]]:
        return [[self.b.load(place) for place in row] for row in self.sums]

    def take(self, values: list[list[Any]]) -> None:
        for row, line in zip(self.sums, values):
            for place, value in zip(row, line):
                self.b.store(value, place)

    def add_all(self, source: Any, count: Any, pitch: Any, weight: Any) -> None:
        """Add ``count`` products, the vectors ``pitch`` bytes apart; the counter of the weights goes on."""
        b, place = self.b, _counter(self.b, source)
        with cgutils.for_range(b, count):
            self.add(b.load(place), b.load(weight))
            b.store(b.add(b.load(place), pitch), place)
            b.store(b.add(b.load(weight), _integer(4 * len(self.sums))), weight)

    def write(self, target: Any, pitch: Any, relu: bool) -> None:
        """One row every ``pitch`` bytes."""
        b = self.b
        for i, row in enumerate(self.sums):
            for j, place in enumerate(row):
                value = _positive(b, b.load(place)) if relu else b.load(place)
                _store(b, value, b.add(_shifted(b, target, pitch, i), _integer(_BYTES * j)))


def _counter(b: Any, value: Any) -> Any:
    place = cgutils.alloca_once(b, _WORD)
    b.store(value, place)
    return place


def _signature(constants: tuple[Any, ...], numbers: int) -> Any:
    return types.void(*constants, *[types.int64] * numbers)


def _integer_of(constant: Any) -> int:
    return int(constant.literal_value)


def _each(b: Any, most: Any, count: Any, emit: Callable[[int], None]) -> None:
    """Code for every ``count`` from 1 to ``most``."""
    for n in range(1, _integer_of(most) + 1):
        with b.if_then(b.icmp_signed("==", count, _integer(n))):
            emit(n)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def multiply(
    _: Any,
    rows: Any,
    most: Any,
    vectors: Any,
    sources: Any,
    shift: Any,
    groups: Any,
    count: Any,
    pitch: Any,
    weights: Any,
    target: Any,
    target_pitch: Any,
) -> Any:
    """Matrix product of up to ``most`` vectors per row: ``count`` times so many, ``pitch`` apart, behind each address of a table.

    ``target[i] = Σ_g Σ_k weights[(g · count + k) · rows + i] · (sources[g] + shift)[k · pitch]``
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        vectors, table, shift, groups, count, pitch, weights, target, target_pitch = given[2:]

        def product(n: int) -> None:
            tile, weight = _Tile(b, _integer_of(rows), n), _counter(b, weights)
            tile.fill([_constant(0)] * _integer_of(rows))
            with cgutils.for_range(b, groups) as loop:
                start = b.add(_load(b, _shifted(b, table, _integer(8), loop.index), _WORD), shift)
                tile.add_all(start, count, pitch, weight)
            tile.write(target, target_pitch, False)

        _each(b, most, vectors, product)
        return context.get_dummy_value()

    return _signature((rows, most), 9), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def multiply_pair(
    _: Any,
    rows: Any,
    most: Any,
    vectors: Any,
    source: Any,
    lap: Any,
    count: Any,
    pitch: Any,
    weights: Any,
    target: Any,
    other: Any,
    target_pitch: Any,
) -> Any:
    """Two planes from the four products P₀ … P₃ with what :func:`mix` made, ``lap`` bytes apart.

    ``target = P₀ + P₁ + P₂`` and ``other = P₀ − P₁ + P₃``, each product as in :func:`multiply`.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        vectors, source, lap, count, pitch, weights, target, other, target_pitch = given[2:]

        def product(n: int) -> None:
            tile, weight, found = _Tile(b, _integer_of(rows), n), _counter(b, weights), []
            for i in range(2):
                tile.fill([_constant(0)] * _integer_of(rows))
                tile.add_all(_shifted(b, source, lap, i), count, pitch, weight)
                found.append(tile.values())
            for i, combine, there in ((2, b.fadd, target), (3, b.fsub, other)):
                tile.take([[combine(x, y) for x, y in zip(*both)] for both in zip(*found)])
                tile.add_all(_shifted(b, source, lap, i), count, pitch, weight)
                tile.write(there, target_pitch, False)

        _each(b, most, vectors, product)
        return context.get_dummy_value()

    return _signature((rows, most), 9), emit


@intrinsic  # type: ignore[untyped-decorator]
def mix(_: Any, sources: Any, shift: Any, count: Any, target: Any, lap: Any) -> Any:
    """Winograd's input transform of four planes along z: d₁ + d₂, d₂ − d₁, d₀ − d₂ and d₁ − d₃, ``lap`` bytes apart.

    The planes are ``count`` vectors each, ``shift`` bytes behind four addresses of a table.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        table, shift, count, target, lap = given
        starts = [b.add(_load(b, _shifted(b, table, _integer(8), _integer(i)), _WORD), shift) for i in range(4)]
        with cgutils.for_range(b, count) as loop:
            here = b.mul(loop.index, _integer(_BYTES))
            d = [_load(b, b.add(start, here)) for start in starts]
            mixed = [b.fadd(d[1], d[2]), b.fsub(d[2], d[1]), b.fsub(d[0], d[2]), b.fsub(d[1], d[3])]
            for i, value in enumerate(mixed):
                _store(b, value, b.add(_shifted(b, target, lap, i), here))
        return context.get_dummy_value()

    return _signature((), 5), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def convolve(
    _: Any,
    rows: Any,
    vectors: Any,
    relu: Any,
    source: Any,
    offsets: Any,
    count: Any,
    weights: Any,
    bias: Any,
    target: Any,
    target_pitch: Any,
) -> Any:
    """Direct convolution of neighbouring vectors: taps lie at a table of offsets.

    ``target[i] = act(bias[i] + Σ_k weights[k · rows + i] · source[offsets[k]])``
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        source, offsets, count, weights, bias, target, target_pitch = given[3:]
        tile = _Tile(b, _integer_of(rows), _integer_of(vectors))
        tile.fill([_spread(b, b.add(bias, _integer(4 * i))) for i in range(_integer_of(rows))])
        weight = _counter(b, weights)
        with cgutils.for_range(b, count) as loop:
            offset = _load(b, _shifted(b, offsets, _integer(8), loop.index), _WORD)
            tile.add(b.add(source, offset), b.load(weight))
            b.store(b.add(b.load(weight), _integer(4 * _integer_of(rows))), weight)
        tile.write(target, target_pitch, bool(_integer_of(relu)))
        return context.get_dummy_value()

    return _signature((rows, vectors, relu), 7), emit


@intrinsic  # type: ignore[untyped-decorator]
def weave(_: Any, source: Any, starts: Any, count: Any, target: Any) -> Any:
    """Vectors of four runs of floats, four of each run at a time: whole lines past the cache.

    The runs begin at a table of offsets behind ``source``, bytes.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        source, table, count, target = given
        four, number = ir.VectorType(_FLOAT, 4), ir.IntType(32)
        runs = [b.add(source, _load(b, _shifted(b, table, _integer(8), _integer(i)), _WORD)) for i in range(4)]

        def joined(first: Any, second: Any, length: int) -> Any:
            return b.shuffle_vector(first, second, ir.Constant(ir.VectorType(number, length), list(range(length))))

        with cgutils.for_range(b, count) as loop:
            quarters = [_load(b, _shifted(b, run, _integer(16), loop.index), four) for run in runs]
            whole = joined(joined(quarters[0], quarters[1], 8), joined(quarters[2], quarters[3], 8), LANES)
            _pass(b, whole, _shifted(b, target, _integer(_BYTES), loop.index))
        return context.get_dummy_value()

    return _signature((), 4), emit


@intrinsic  # type: ignore[untyped-decorator]
def analyse(_: Any, source: Any, row: Any, column: Any, target: Any, pitch: Any, ahead: Any) -> Any:
    """Winograd's input transform of 6×6 vectors: ``target[(6 i + j) · pitch] = (Bᵀ d B)[i, j]``.

    The cache is told to fetch the same window ``ahead`` bytes further on: those of the next feature lie too far away
    for the processor to foresee it.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        source, row, column, target, pitch, ahead = given
        places = [
            [b.add(_shifted(b, source, row, i), _times(b, column, j)) for i in range(WINDOW)] for j in range(WINDOW)
        ]
        for line in places:
            for place in line:
                _expect(b, b.add(place, ahead))
        columns = [_analysed(b, [_load(b, place) for place in line]) for line in places]
        for i in range(WINDOW):
            for j, value in enumerate(_analysed(b, [line[i] for line in columns])):
                _store(b, value, _shifted(b, target, pitch, WINDOW * i + j))
        return context.get_dummy_value()

    return _signature((), 6), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def synthesise(
    _: Any,
    edge: Any,
    relu: Any,
    source: Any,
    pitch: Any,
    bias: Any,
    target: Any,
    row: Any,
    column: Any,
) -> Any:
    """Winograd's output transform to ``edge`` × ``edge`` vectors, whole lines of the cache: ``act(Aᵀ m A + bias)``.

    By the time that the next layer reads them they would have left the cache.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        source, pitch, bias, target, row, column = given[2:]
        shift, size = _spread(b, bias), _integer_of(edge)
        columns = [
            _synthesised(b, [_load(b, _shifted(b, source, pitch, WINDOW * i + j)) for i in range(WINDOW)], size)
            for j in range(WINDOW)
        ]
        for i in range(size):
            for j, value in enumerate(_synthesised(b, [line[i] for line in columns], size)):
                biased = b.fadd(value, shift)
                result = _positive(b, biased) if _integer_of(relu) else biased
                _pass(b, result, b.add(_shifted(b, target, row, i), _times(b, column, j)))
        return context.get_dummy_value()

    return _signature((edge, relu), 6), emit


def _analysed(b: Any, d: list[Any]) -> list[Any]:
    """Bᵀ d for six vectors."""
    four, five, two = _constant(-4), _constant(-5), _constant(2)
    even, odd = _fused(b, four, d[2], d[4]), _fused(b, four, d[1], d[3])
    near, far = b.fsub(d[4], d[2]), b.fmul(two, b.fsub(d[3], d[1]))
    first = _fused(b, _constant(4), d[0], _fused(b, five, d[2], d[4]))
    last = _fused(b, _constant(4), d[1], _fused(b, five, d[3], d[5]))
    return [first, b.fadd(even, odd), b.fsub(even, odd), b.fadd(near, far), b.fsub(near, far), last]


def _synthesised(b: Any, m: list[Any], size: int) -> list[Any]:
    """Aᵀ m: the sums at the points weighted by their powers 0 … size − 1; ∞ counts for the last alone."""
    sums = (b.fadd(m[1], m[2]), b.fadd(m[3], m[4]))
    differences = (b.fsub(m[1], m[2]), b.fsub(m[3], m[4]))
    result = []
    for i in range(size):
        near, far = differences if i % 2 else sums
        value = _fused(b, _constant(2**i), far, near)
        if i == 0:
            value = b.fadd(value, m[0])
        if i == size - 1:
            value = b.fadd(value, m[5])
        result.append(value)
    return result
