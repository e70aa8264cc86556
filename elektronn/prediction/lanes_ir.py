"""Building blocks of the lanes engine's machine code: LLVM IR on vectors of 16 floats (one AVX-512 register).

Addresses are plain numbers; strides and shifts are bytes. The caller answers for the addresses.
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

BYTES = 4 * LANES
FLOAT, WORD = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)


def constant(value: float) -> Any:
    """A number in all lanes."""
    return ir.Constant(VECTOR, [float(value)] * LANES)


def integer(value: int) -> Any:
    """An address or a count."""
    return ir.Constant(WORD, value)


def load(b: Any, address: Any, kind: Any = VECTOR) -> Any:
    """A vector, or a number of another kind."""
    return b.load(b.inttoptr(address, kind.as_pointer()), align=8 if kind is WORD else 4)


def store(b: Any, value: Any, address: Any) -> None:
    """A vector."""
    b.store(value, b.inttoptr(address, VECTOR.as_pointer()), align=4)


def pass_by(b: Any, value: Any, address: Any) -> None:
    """Store a whole line past the cache: what it is stored over need not be read."""
    store = b.store(value, b.inttoptr(address, VECTOR.as_pointer()), align=BYTES)
    store.set_metadata("nontemporal", b.module.add_metadata([ir.IntType(32)(1)]))


def spread(b: Any, address: Any) -> Any:
    """One float in all lanes."""
    some = ir.Constant(VECTOR, ir.Undefined)
    first = b.insert_element(some, load(b, address, FLOAT), ir.IntType(32)(0))
    return b.shuffle_vector(first, some, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def fused(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x · y + z, rounded once."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.fma.v16f32"), [x, y, z])


def expect(b: Any, address: Any, near: int = 3) -> None:
    """Have the cache fetch a line that will be needed: 3 the first level, 2 the second."""
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), number, number, number])
    call = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0i8")
    b.call(call, [b.inttoptr(address, ir.IntType(8).as_pointer()), number(0), number(near), number(1)])


def positive(b: Any, x: Any) -> Any:
    """The larger of each lane and 0."""
    zero = constant(0)
    return b.select(b.fcmp_ordered(">", x, zero), x, zero)


def times(b: Any, step: Any, count: Any) -> Any:
    """``count · step``."""
    return b.mul(step, integer(count) if isinstance(count, int) else count)


def shifted(b: Any, address: Any, step: Any, count: Any) -> Any:
    """``address + count · step``."""
    return b.add(address, times(b, step, count))


def counter(b: Any, value: Any) -> Any:
    """A place that holds an address or a count that goes on."""
    place = cgutils.alloca_once(b, WORD)
    b.store(value, place)
    return place


def signature(constants: tuple[Any, ...], numbers: int) -> Any:
    """Of an instruction that takes constants of the compiled code, then addresses and counts."""
    return types.void(*constants, *[types.int64] * numbers)


def integer_of(constant: Any) -> int:
    """The value of a constant of the compiled code."""
    return int(constant.literal_value)


def each(b: Any, most: Any, count: Any, emit: Callable[[int], None]) -> None:
    """Code for every ``count`` from 1 to ``most``."""
    for n in range(1, integer_of(most) + 1):
        with b.if_then(b.icmp_signed("==", count, integer(n))):
            emit(n)
