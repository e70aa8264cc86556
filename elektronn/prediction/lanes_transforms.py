"""Machine code of the lanes engine's transforms: Winograd's, and the way of voxels into lanes.

Winograd's transforms use the points 0, ±2/3, ±3/2, ∞: windows of 6 inputs give 7 − k outputs of a kernel of k taps, for
k = 2, 3 and 4 from the same transformed input (Lavin & Gray 2016, arXiv:1509.09308). That the points lie around 1, and the
product of the two is 1, makes their rounding errors a third of those of 0, ±1, ±2, ∞. For addresses and strides see
:mod:`.lanes_ir`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]

from elektronn.prediction.lanes_ir import (
    BYTES,
    FLOAT,
    LANES,
    WORD,
    cgutils,
    constant,
    expect,
    fused,
    integer,
    integer_of,
    intrinsic,
    load,
    pass_by,
    positive,
    shifted,
    signature,
    spread,
    store,
    times,
)

WINDOW = 6
"""Edge of the input window of a Winograd tile, vectors."""

NEAR, FAR = 2 / 3, 3 / 2
"""Magnitudes of the points that are neither 0 nor ∞; their product is 1."""

AHEAD = 4 * BYTES
"""How far ahead the cache fetches what will be transformed, bytes."""


@intrinsic  # type: ignore[untyped-decorator]
def weave(_: Any, source: Any, starts: Any, count: Any, target: Any, pitch: Any) -> Any:
    """Vectors of four runs of floats, four of each run at a time: whole lines past the cache.

    The runs begin at a table of offsets behind ``source``, bytes; the vectors lie ``pitch`` bytes apart.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        source, table, count, target, pitch = given
        four, number = ir.VectorType(FLOAT, 4), ir.IntType(32)
        runs = [b.add(source, load(b, shifted(b, table, integer(8), integer(i)), WORD)) for i in range(4)]

        def joined(first: Any, second: Any, length: int) -> Any:
            return b.shuffle_vector(first, second, ir.Constant(ir.VectorType(number, length), list(range(length))))

        with cgutils.for_range(b, count) as loop:
            quarters = [load(b, shifted(b, run, integer(16), loop.index), four) for run in runs]
            whole = joined(joined(quarters[0], quarters[1], 8), joined(quarters[2], quarters[3], 8), LANES)
            pass_by(b, whole, shifted(b, target, pitch, loop.index))
        return context.get_dummy_value()

    return signature((), 5), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def mix(_: Any, together: Any, sources: Any, shift: Any, count: Any, target: Any, lap: Any) -> Any:
    """Winograd's input transform along z for two or four planes ``together``: four or six planes, ``lap`` bytes apart.

    Of four planes come d₁ + d₂, d₂ − d₁, d₀ − d₂ and d₁ − d₃; of six what belongs to the points ±NEAR, ±FAR, 0 and ∞. The
    planes are ``count`` vectors each, ``shift`` bytes behind the addresses of a table.
    """
    planes = integer_of(together) + 2

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        table, shift, count, target, lap = given[1:]
        starts = [b.add(load(b, shifted(b, table, integer(8), integer(i)), WORD), shift) for i in range(planes)]
        with cgutils.for_range(b, count) as loop:
            here = b.mul(loop.index, integer(BYTES))
            d = [load(b, b.add(start, here)) for start in starts]
            if planes == WINDOW:
                zero, *middle, infinite = _analysed(b, d)
                mixed = [*middle, zero, infinite]
            else:
                mixed = [b.fadd(d[1], d[2]), b.fsub(d[2], d[1]), b.fsub(d[0], d[2]), b.fsub(d[1], d[3])]
            for i, value in enumerate(mixed):
                store(b, value, b.add(shifted(b, target, lap, i), here))
        return context.get_dummy_value()

    return signature((together,), 5), emit


@intrinsic  # type: ignore[untyped-decorator]
def analyse(_: Any, source: Any, row: Any, column: Any, count: Any, target: Any, step: Any, pitch: Any) -> Any:
    """Winograd's input transform of 6×6 vectors: ``target[(6 i + j) · pitch] = (Bᵀ d B)[i, j]``.

    So for ``count`` windows, whose vectors lie side by side and their transforms ``step`` bytes apart. The cache is told to
    fetch vectors a few windows ahead.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        source, row, column, count, target, step, pitch = given
        with cgutils.for_range(b, count) as loop:
            start, there = shifted(b, source, integer(BYTES), loop.index), shifted(b, target, step, loop.index)
            places = [
                [b.add(shifted(b, start, row, i), times(b, column, j)) for i in range(WINDOW)] for j in range(WINDOW)
            ]
            for line in places:
                for place in line:
                    expect(b, b.add(place, integer(AHEAD)))
            columns = [_analysed(b, [load(b, place) for place in line]) for line in places]
            for i in range(WINDOW):
                for j, value in enumerate(_analysed(b, [line[i] for line in columns])):
                    store(b, value, shifted(b, there, pitch, WINDOW * i + j))
        return context.get_dummy_value()

    return signature((), 7), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def synthesise(
    _: Any,
    edge: Any,
    relu: Any,
    count: Any,
    source: Any,
    step: Any,
    pitch: Any,
    bias: Any,
    target: Any,
    row: Any,
    column: Any,
) -> Any:
    """Winograd's output transform to ``edge`` × ``edge`` vectors, whole lines of the cache: ``act(Aᵀ m A + bias)``.

    So for ``count`` features, whose products lie ``step`` bytes apart and whose vectors side by side. By the time that the
    next layer reads them they would have left the cache.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        count, source, step, pitch, bias, target, row, column = given[2:]
        size = integer_of(edge)
        with cgutils.for_range(b, count) as loop:
            start, there = shifted(b, source, step, loop.index), shifted(b, target, integer(BYTES), loop.index)
            shift = spread(b, shifted(b, bias, integer(4), loop.index))
            columns = [
                _synthesised(b, [load(b, shifted(b, start, pitch, WINDOW * i + j)) for i in range(WINDOW)], size)
                for j in range(WINDOW)
            ]
            for i in range(size):
                for j, value in enumerate(_synthesised(b, [line[i] for line in columns], size)):
                    biased = fused(b, value, constant(NEAR ** (i + j)), shift)
                    result = positive(b, biased) if integer_of(relu) else biased
                    pass_by(b, result, b.add(shifted(b, there, row, i), times(b, column, j)))
        return context.get_dummy_value()

    return signature((edge, relu), 8), emit


def _analysed(b: Any, d: list[Any]) -> list[Any]:
    """Bᵀ d for six vectors: what belongs to 0, ±NEAR, ±FAR and ∞."""
    both, result = constant(-(NEAR**2) - FAR**2), []
    for inner, outer in ((NEAR, FAR), (FAR, NEAR)):
        even = fused(b, constant(-(outer**2)), d[2], d[4])
        odd = fused(b, constant(-outer), d[1], b.fmul(constant(inner), d[3]))
        result += [b.fadd(even, odd), b.fsub(even, odd)]
    return [fused(b, both, d[2], b.fadd(d[0], d[4])), *result, fused(b, both, d[3], b.fadd(d[1], d[5]))]


def _synthesised(b: Any, m: list[Any], size: int) -> list[Any]:
    """Aᵀ m but for the factors NEARⁱ: sums at the points weighted by their powers i < size; ∞ counts for the last alone."""
    sums = (b.fadd(m[1], m[2]), b.fadd(m[3], m[4]))
    differences = (b.fsub(m[1], m[2]), b.fsub(m[3], m[4]))
    result = []
    for i in range(size):
        near, far = differences if i % 2 else sums
        value = fused(b, constant((FAR / NEAR) ** i), far, near) if i else b.fadd(far, near)
        if i == 0:
            value = b.fadd(value, m[0])
        if i == size - 1:
            value = b.fadd(value, m[5])
        result.append(value)
    return result
