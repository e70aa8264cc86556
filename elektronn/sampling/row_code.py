"""Vector code of the row kernel as LLVM IR: its four stages, callable from numba functions.

Everything works on blocks of :data:`LANES` voxels at plain addresses; the caller answers for them. What one stage leaves
for the next lies on a desk: ``DESK`` lines of numbers, ``pitch`` bytes apart, one per voxel of a strip of rows.

Every operation is named, fused multiply-adds too, and nothing may be contracted or reordered: the same bytes on every
processor, whatever its vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic as _intrinsic

# their types say less than they take
cgutils: Any = _cgutils
intrinsic: Any = _intrinsic

LANES = 32
"""Voxels in step: two registers of AVX-512, four of AVX2. While one waits for its result, the other goes on."""

PIECE = 32
"""Voxels that are packed together."""

_LOG = (1.44269645, -0.721364021, 0.480629146, -0.359350652, 0.295633614, -0.269506276, 0.172128737)
"""log2(1 + t) / t for 1 + t between √½ and √2; fitted at Chebyshev points."""

_EXP = (0.693147182, 0.240223482, 0.0555035695, 0.00966637395, 0.00133908668)
"""(2**t − 1) / t on −½…½. With the other polynomial a power is right to 1e-6 of its value, worst case."""

_ROOT_HALF = 0x3F3504F3  # bits of √½
_ROUNDER = 12582912.0  # added to a small float, it leaves the nearest whole number in the last bits

# lines of a desk
FRACTIONS, OFFSETS, CORNERS, LINE, DESK = 0, 3, 4, 6, 7

_BYTE, _WORD, _LONG, _FLOAT = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_FLOATS, _WORDS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_WORD, LANES)


class _Code:
    """Emits operations on vectors of :data:`LANES` floats or words."""

    def __init__(self, b: Any) -> None:
        self.b = b

    def load(self, address: Any, kind: Any) -> Any:
        """What lies at an address."""
        return self.b.load(self.b.inttoptr(address, kind.as_pointer()), align=1)

    def store(self, value: Any, address: Any) -> None:
        """Put a value at an address."""
        self.b.store(value, self.b.inttoptr(address, value.type.as_pointer()), align=1)

    def at(self, base: Any, step: Any, count: int) -> Any:
        """``base + count · step``."""
        return self.b.add(base, self.b.mul(step, _LONG(count)))

    def spread(self, base: Any, index: int, kind: Any = _FLOATS) -> Any:
        """One number of an array of 32-bit numbers in all lanes."""
        some = ir.Constant(kind, ir.Undefined)
        first = self.b.insert_element(some, self.load(self.at(base, _LONG(4), index), kind.element), _WORD(0))
        return self.b.shuffle_vector(first, some, ir.Constant(_WORDS, [0] * LANES))

    def fused(self, x: Any, y: Any, z: Any) -> Any:
        """``x · y + z``, rounded once."""
        kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, f"llvm.fma.v{LANES}f32"), [x, y, z])

    def horner(self, numbers: tuple[float, ...], x: Any) -> Any:
        """A polynomial."""
        total = floats(numbers[-1])
        for number in numbers[-2::-1]:
            total = self.fused(total, x, floats(number))
        return total

    def clipped(self, x: Any) -> Any:
        """Between 0 and 1."""
        b, zero, one = self.b, floats(0), floats(1)
        above = b.select(b.fcmp_ordered(">", x, zero), x, zero)
        return b.select(b.fcmp_ordered("<", above, one), above, one)

    def power(self, x: Any, exponent: Any) -> Any:
        """``x ** exponent`` for x in 0…1: 2 to the exponent times the logarithm."""
        b = self.b
        bits = b.bitcast(x, _WORDS)
        above = b.sub(bits, words(_ROOT_HALF))
        scale = b.ashr(above, words(23))
        t = b.fsub(b.bitcast(b.add(b.and_(above, words(0x7FFFFF)), words(_ROOT_HALF)), _FLOATS), floats(1))
        log = b.fmul(self.fused(self.horner(_LOG, t), t, b.sitofp(scale, _FLOATS)), exponent)
        log = b.select(b.fcmp_ordered(">", log, floats(-125)), log, floats(-125))
        rounded = b.fadd(log, floats(_ROUNDER))
        t = b.fsub(log, b.fsub(rounded, floats(_ROUNDER)))
        part = b.bitcast(self.fused(self.horner(_EXP, t), t, floats(1)), _WORDS)
        raised = b.bitcast(b.add(part, b.shl(b.bitcast(rounded, _WORDS), words(23))), _FLOATS)
        return b.select(b.fcmp_ordered(">", x, floats(0)), raised, floats(0))

    def each(self, count: Any, width: int = LANES) -> Any:
        """Loop over the first voxels of blocks that cover ``count`` ≥ ``width``; the last block reaches back."""
        b = self.b
        return _Blocks(b, b.udiv(b.add(count, _LONG(width - 1)), _LONG(width)), b.sub(count, _LONG(width)), width)


class _Blocks:
    """The loop of :meth:`_Code.each`."""

    def __init__(self, b: Any, blocks: Any, last: Any, width: int) -> None:
        self.b, self.last, self.width = b, last, width
        self.loop = cgutils.for_range(b, blocks)

    def __enter__(self) -> Any:
        first = self.b.mul(self.loop.__enter__().index, _LONG(self.width))
        return self.b.select(self.b.icmp_signed("<", first, self.last), first, self.last)

    def __exit__(self, *error: Any) -> None:
        self.loop.__exit__(*error)


def floats(value: float) -> Any:
    """A constant in all lanes."""
    return ir.Constant(_FLOATS, [float(np.float32(value))] * LANES)


def words(value: int) -> Any:
    """A constant in all lanes."""
    return ir.Constant(_WORDS, [value] * LANES)


def _of_addresses(count: int) -> Any:
    return types.void(*[types.int64] * count)


@intrinsic  # type: ignore[untyped-decorator]
def locate(_: Any, numbers: Any, ruler: Any, width: Any, desk: Any, pitch: Any, count: Any) -> Any:
    """Index of the corner below every voxel of a row, and the fractions behind it.

    ``numbers``: homogeneous coordinates of the first voxel and what one voxel adds to them (8 floats); last index zyx,
    voxels between planes and between rows (5 integers). ``ruler``: four lines, ``width`` bytes apart: how many voxels
    each is from the first, displacements along z, y, x. ``desk``: where the row begins on it.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        numbers, ruler, width, desk, pitch, count = given
        code = _Code(b)
        start, slope = ([code.spread(numbers, i + k) for i in range(4)] for k in (0, 4))
        last, steps = ([code.spread(numbers, i, _WORDS) for i in r] for r in (range(8, 11), range(11, 13)))
        with code.each(count) as first:
            here, there = (b.add(base, b.shl(first, _LONG(2))) for base in (ruler, desk))
            ramp = code.load(here, _FLOATS)
            *moved, w = (code.fused(s, ramp, h) for s, h in zip(slope, start))
            w, offset = b.fdiv(floats(1), w), None
            for axis in range(3):
                place = code.fused(moved[axis], w, code.load(code.at(here, width, 1 + axis), _FLOATS))
                # compared without sign, so that what lies below 0 does not stay there, either
                index = b.fptosi(place, _WORDS)
                index = b.select(b.icmp_unsigned("<", index, last[axis]), index, last[axis])
                fraction = b.fsub(place, b.sitofp(index, _FLOATS))
                code.store(fraction, code.at(there, pitch, FRACTIONS + axis))
                step = b.mul(index, steps[axis]) if axis < 2 else index
                offset = step if offset is None else b.add(offset, step)
            code.store(offset, code.at(there, pitch, OFFSETS))
        return context.get_dummy_value()

    return _of_addresses(6), emit


def _fetch(code: _Code, packed: Any, desk: Any, pitch: Any, first: Any) -> None:
    """The packed word of every voxel of a block and the next one: all eight corners in one load."""
    b = code.b
    offsets = b.add(code.at(desk, pitch, OFFSETS), b.shl(first, _LONG(2)))
    corners = b.add(code.at(desk, pitch, CORNERS), b.shl(first, _LONG(3)))
    for i in range(LANES):
        offset = b.sext(code.load(b.add(offsets, _LONG(4 * i)), _WORD), _LONG)
        found = code.load(b.add(packed, b.shl(offset, _LONG(2))), _LONG)
        code.store(found, b.add(corners, _LONG(8 * i)))


def _means(code: _Code, desk: Any, pitch: Any, first: Any) -> Any:
    """Trilinear means of the corners of a block."""
    b, here = code.b, code.b.add(desk, code.b.shl(first, _LONG(2)))
    both = ir.VectorType(_WORD, 2 * LANES)
    fz, fy, fx = (code.load(code.at(here, pitch, FRACTIONS + axis), _FLOATS) for axis in range(3))
    corners = code.load(b.add(code.at(desk, pitch, CORNERS), b.shl(first, _LONG(3))), both)
    left, right = (
        b.shuffle_vector(
            corners, ir.Constant(both, ir.Undefined), ir.Constant(_WORDS, [2 * i + k for i in range(LANES)])
        )
        for k in (0, 1)
    )
    means = []
    for shift_bits in (0, 8, 16, 24):
        p, q = (b.sitofp(b.and_(b.lshr(word, words(shift_bits)), words(255)), _FLOATS) for word in (left, right))
        means.append(code.fused(b.fsub(q, p), fx, p))
    near = code.fused(b.fsub(means[1], means[0]), fy, means[0])
    far = code.fused(b.fsub(means[3], means[2]), fy, means[2])
    return code.fused(b.fsub(far, near), fz, near)


@intrinsic  # type: ignore[untyped-decorator]
def blend(_: Any, packed: Any, numbers: Any, desk: Any, pitch: Any, count: Any, target: Any) -> Any:
    """Trilinear means of the corners of a strip, times the first of ``numbers``, plus the second.

    Corners are fetched one block ahead: loads and arithmetic keep different parts of a processor busy, and what was
    stored in pieces is whole when it is loaded as a vector.
    """

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        packed, numbers, desk, pitch, count, target = given
        code = _Code(b)
        scale, shift = code.spread(numbers, 0), code.spread(numbers, 1)
        _fetch(code, packed, desk, pitch, _LONG(0))
        with code.each(count) as first:
            ahead, last = b.add(first, _LONG(LANES)), b.sub(count, _LONG(LANES))
            _fetch(code, packed, desk, pitch, b.select(b.icmp_signed("<", ahead, last), ahead, last))
            value = code.fused(_means(code, desk, pitch, first), scale, shift)
            code.store(value, b.add(target, b.shl(first, _LONG(2))))
        return context.get_dummy_value()

    return _of_addresses(6), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def bend(_: Any, raised: Any, numbers: Any, source: Any, count: Any, target: Any) -> Any:
    """``clip(v, 0, 1)``, to the power of the third of ``numbers`` if ``raised`` (a constant)."""

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        numbers, source, count, target = given[1:]
        code = _Code(b)
        exponent = code.spread(numbers, 2)
        with code.each(count) as first:
            place = b.shl(first, _LONG(2))
            value = code.clipped(code.load(b.add(source, place), _FLOATS))
            if raised.literal_value:
                value = code.power(value, exponent)
            code.store(value, b.add(target, place))
        return context.get_dummy_value()

    return types.void(raised, *[types.int64] * 4), emit


@intrinsic  # type: ignore[untyped-decorator]
def call_up(_: Any, address: Any) -> Any:
    """Begin to bring what lies at an address into the cache; nothing waits for it."""

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), word, word, word])
        prefetch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        b.call(prefetch, [b.inttoptr(given[0], _BYTE.as_pointer()), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return _of_addresses(1), emit


@intrinsic  # type: ignore[untyped-decorator]
def weave(_: Any, first: Any, second: Any, third: Any, fourth: Any, count: Any, target: Any) -> Any:
    """One byte of each of four rows in turn."""

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        *sources, count, target = given
        code = _Code(b)
        piece = ir.VectorType(_BYTE, PIECE)
        joined = ir.Constant(ir.VectorType(_WORD, 2 * PIECE), list(range(2 * PIECE)))
        turns = [k * PIECE + i for i in range(PIECE) for k in range(4)]
        woven = ir.Constant(ir.VectorType(_WORD, 4 * PIECE), turns)
        with code.each(count, PIECE) as place:
            a, c, d, e = (code.load(b.add(source, place), piece) for source in sources)
            pairs = [b.shuffle_vector(x, y, joined) for x, y in ((a, c), (d, e))]
            code.store(b.shuffle_vector(*pairs, woven), b.add(target, b.shl(place, _LONG(2))))
        return context.get_dummy_value()

    return _of_addresses(6), emit
