"""The numbers of :func:`~elektronn.sampling.draws.draws` in compiled code: Philox 4×64 of ten rounds, as numpy counts it."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic as _intrinsic

# its type says less than it takes
intrinsic: Any = _intrinsic

_FACTORS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_WEYL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_ROUNDS = 10


@intrinsic  # type: ignore[untyped-decorator]
def _upper(_: Any, a: Any, b: Any) -> Any:
    """Upper half of the product of two words of 64 bits."""

    def emit(context: Any, b: Any, _: Any, given: Any) -> Any:
        wide = ir.IntType(128)
        product = b.mul(*(b.zext(word, wide) for word in given))
        return b.trunc(b.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), emit


@njit(nogil=True, cache=True, error_model="numpy")
def fill(key, example, step, out):  # type: ignore[no-untyped-def]
    """The first words (uint64) of the stream with a key (2 words) whose upper counter words are ``example`` and ``step``."""
    for block in range((out.shape[0] + 3) // 4):
        # the counter is raised before the first block
        a, b, c, d = np.uint64(block + 1), np.uint64(0), np.uint64(example), np.uint64(step)
        p, q = key[0], key[1]
        for _ in range(_ROUNDS):
            high, low = _upper(_FACTORS[0], a), np.uint64(_FACTORS[0] * a)
            far, near = _upper(_FACTORS[1], c), np.uint64(_FACTORS[1] * c)
            a, b, c, d = far ^ b ^ p, near, high ^ d ^ q, low
            p, q = p + _WEYL[0], q + _WEYL[1]
        for k, word in enumerate((a, b, c, d)):
            if 4 * block + k < out.shape[0]:
                out[4 * block + k] = word


@njit(nogil=True, cache=True, error_model="numpy")
def fraction(word):  # type: ignore[no-untyped-def]
    """A word as numpy's ``random()`` gives it: 0 ≤ value < 1."""
    return np.float64(word >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True, error_model="numpy")
def coin(words, toss):  # type: ignore[no-untyped-def]
    """The ``toss``-th of numpy's ``integers(0, 2, n)``: it takes the upper bit of half a word, lower halves first."""
    half = np.uint64(31 if toss % 2 == 0 else 63)
    return (words[toss // 2] >> half) & np.uint64(1)
