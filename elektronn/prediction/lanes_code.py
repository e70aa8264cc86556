"""Machine code of the lanes engine's products: register tiles, callable from numba functions.

``rows``, ``planes``, ``most`` and ``relu`` are constants of the compiled code, and so are the ``vectors`` of
:func:`convolve`. For addresses and strides see :mod:`.lanes_ir`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from elektronn.prediction.lanes_ir import (
    BYTES,
    VECTOR,
    WORD,
    cgutils,
    constant,
    counter,
    each,
    expect,
    fused,
    integer,
    integer_of,
    intrinsic,
    load,
    positive,
    shifted,
    signature,
    spread,
    store,
    times,
)
from elektronn.prediction.lanes_transforms import FAR, NEAR

Add = Callable[[Any], None]
Write = Callable[[int], None]
Values = list[list[Any]]


class _Tile:
    """rows × vectors sums, held in registers."""

    def __init__(self, b: Any, rows: int, vectors: int, step: Any = BYTES) -> None:
        """``step``: between the vectors of a source, bytes."""
        self.b, self.step = b, step
        self.sums = [[cgutils.alloca_once(b, VECTOR) for _ in range(vectors)] for _ in range(rows)]

    def fill(self, values: list[Any]) -> None:
        for row, value in zip(self.sums, values):
            for place in row:
                self.b.store(value, place)

    def add(self, source: Any, weights: Any) -> None:
        """Add the products of the vectors at ``source`` with one weight per row."""
        b = self.b
        inputs = [load(b, shifted(b, source, integer(j), self.step)) for j in range(len(self.sums[0]))]
        for i, row in enumerate(self.sums):
            weight = spread(b, b.add(weights, integer(4 * i)))
            for x, place in zip(inputs, row):
                b.store(fused(b, x, weight, b.load(place)), place)

    def clear(self) -> None:
        self.fill([constant(0)] * len(self.sums))

    def product(self, add: Add, group: int) -> Values:
        """What one group alone adds up to."""
        self.clear()
        add(group)
        return [[self.b.load(place) for place in row] for row in self.sums]

    def take(self, values: Values) -> None:
        for row, line in zip(self.sums, values):
            for place, value in zip(row, line):
                self.b.store(value, place)

    def add_all(self, source: Any, count: Any, pitch: Any, weight: Any, coming: Any = None) -> None:
        """Add ``count`` products, the vectors ``pitch`` bytes apart; the counter of the weights goes on.

        As many lines of the cache, from ``coming`` on, are fetched meanwhile.
        """
        b, place = self.b, counter(self.b, source)
        with cgutils.for_range(b, count) as loop:
            if coming is not None:
                expect(b, shifted(b, coming, integer(BYTES), loop.index), 2)
            self.add(b.load(place), b.load(weight))
            b.store(b.add(b.load(place), pitch), place)
            b.store(b.add(b.load(weight), integer(4 * len(self.sums))), weight)

    def write(self, target: Any, pitch: Any, relu: bool, step: Any = BYTES) -> None:
        """One row every ``pitch`` bytes, its vectors ``step`` bytes apart."""
        b = self.b
        for i, row in enumerate(self.sums):
            for j, place in enumerate(row):
                value = positive(b, b.load(place)) if relu else b.load(place)
                store(b, value, shifted(b, shifted(b, target, pitch, i), integer(j), step))


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def multiply(
    _: Any,
    rows: Any,
    planes: Any,
    most: Any,
    vectors: Any,
    sources: Any,
    shift: Any,
    groups: Any,
    count: Any,
    pitch: Any,
    weights: Any,
    target: Any,
    target_plane: Any,
    coming: Any,
) -> Any:
    """Matrix products of up to ``most`` vectors per row: ``count`` times so many behind each address of a table.

    The rows of what is multiplied lie ``pitch`` apart, and so do those of the result.

    One plane is the sum of the products with all ``groups`` addresses:
    ``target[i] = Σ_g Σ_k weights[(g · count + k) · rows + i] · (sources[g] + shift)[k · pitch]``.
    Two or four planes, ``target_plane`` apart, are combined from the products with what :func:`.lanes_transforms.mix`
    made of four or six. Meanwhile the cache fetches lines from ``coming`` on: ``count`` of them for each of the first
    two groups.
    """
    combine = {1: _summed, 2: _in_pairs, 4: _in_fours}[integer_of(planes)]

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        vectors, table, shift, groups, count, pitch, weights, target, target_plane, coming = given[3:]

        def product(n: int) -> None:
            tile, weight = _Tile(b, integer_of(rows), n), counter(b, weights)

            def add(group: Any) -> None:
                ahead = coming
                if isinstance(group, int):
                    ahead = shifted(b, coming, times(b, count, group), BYTES) if group < 2 else None
                    group = integer(group)
                start = b.add(load(b, shifted(b, table, integer(8), group), WORD), shift)
                tile.add_all(start, count, pitch, weight, ahead)

            def write(plane: int) -> None:
                tile.write(shifted(b, target, target_plane, plane), pitch, False)

            combine(tile, groups, add, write)

        each(b, most, vectors, product)
        return context.get_dummy_value()

    return signature((rows, planes, most), 10), emit


def _summed(tile: _Tile, groups: Any, add: Add, write: Write) -> None:
    """Kernels of any planes, one plane of output."""
    tile.clear()
    with cgutils.for_range(tile.b, groups) as loop:
        add(loop.index)
    write(0)


def _in_pairs(tile: _Tile, _: Any, add: Add, write: Write) -> None:
    """Two planes of four products: ``P₀ + P₁ + P₂`` and ``P₀ − P₁ + P₃``."""
    first, second = tile.product(add, 0), tile.product(add, 1)
    for plane, combine in ((0, tile.b.fadd), (1, tile.b.fsub)):
        tile.take(_joined(combine, first, second))
        add(2 + plane)
        write(plane)


def _in_fours(tile: _Tile, _: Any, add: Add, write: Write) -> None:
    """Four planes of six products: the first four at the points ±NEAR and ±FAR, then at 0 and ∞."""
    b, sums, differences = tile.b, [], []
    for group in (0, 2):
        first, second = tile.product(add, group), tile.product(add, group + 1)
        sums.append(_joined(b.fadd, first, second))
        differences.append(_joined(b.fsub, first, second))

    def power(n: int) -> Values:
        near, far = constant(NEAR**n), constant(FAR**n)
        return _joined(lambda x, y: fused(b, far, y, b.fmul(near, x)), *(differences if n % 2 else sums))

    for plane in (1, 2):
        tile.take(power(plane))
        write(plane)
    for plane, start in ((0, _joined(b.fadd, *sums)), (3, power(3))):
        tile.take(start)
        add(4 + plane // 3)
        write(plane)


def _joined(combine: Callable[[Any, Any], Any], first: Values, second: Values) -> Values:
    return [[combine(x, y) for x, y in zip(*both)] for both in zip(first, second)]


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def convolve(
    _: Any,
    rows: Any,
    vectors: Any,
    relu: Any,
    source: Any,
    step: Any,
    offsets: Any,
    count: Any,
    weights: Any,
    bias: Any,
    target: Any,
    target_pitch: Any,
    target_step: Any,
) -> Any:
    """Direct convolution of vectors that lie ``step`` apart: taps lie at a table of offsets.

    ``target[i] = act(bias[i] + Σ_k weights[k · rows + i] · source[offsets[k]])``
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        source, step, offsets, count, weights, bias, target, target_pitch, target_step = given[3:]
        tile = _Tile(b, integer_of(rows), integer_of(vectors), step)
        tile.fill([spread(b, b.add(bias, integer(4 * i))) for i in range(integer_of(rows))])
        weight = counter(b, weights)
        with cgutils.for_range(b, count) as loop:
            offset = load(b, shifted(b, offsets, integer(8), loop.index), WORD)
            tile.add(b.add(source, offset), b.load(weight))
            b.store(b.add(b.load(weight), integer(4 * integer_of(rows))), weight)
        tile.write(target, target_pitch, bool(integer_of(relu)), target_step)
        return context.get_dummy_value()

    return signature((rows, vectors, relu), 9), emit
