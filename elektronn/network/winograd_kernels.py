"""Compiled loops of Winograd's convolution along z, on activations stored channels last. They run without the interpreter's lock."""

from __future__ import annotations

import numpy as np
from numba import njit

TWO, FOUR, FIVE, EIGHT = (np.float32(n) for n in (2, 4, 5, 8))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def mix(planes, first, step, start, mixed):  # type: ignore[no-untyped-def]
    """Six planes → their six mixtures.

    Args:
        planes: ``(z, y · x · c)``.
        first, step: the first of the six, and how far apart they lie.
        start: the number in each plane to begin at.
        mixed: ``(6, n)``, is written.
    """
    end = start + mixed.shape[1]
    d0, d1, d2 = planes[first, start:end], planes[first + step, start:end], planes[first + 2 * step, start:end]
    d3, d4 = planes[first + 3 * step, start:end], planes[first + 4 * step, start:end]
    d5 = planes[first + 5 * step, start:end]
    m0, m1, m2, m3, m4, m5 = mixed[0], mixed[1], mixed[2], mixed[3], mixed[4], mixed[5]
    for i in range(mixed.shape[1]):
        even, odd = d4[i] - FOUR * d2[i], d3[i] - FOUR * d1[i]
        near, far = d4[i] - d2[i], TWO * (d3[i] - d1[i])
        m0[i] = FOUR * d0[i] - FIVE * d2[i] + d4[i]
        m1[i] = even + odd
        m2[i] = even - odd
        m3[i] = near + far
        m4[i] = near - far
        m5[i] = FOUR * d1[i] - FIVE * d3[i] + d5[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def combine(products, result, first, step, start):  # type: ignore[no-untyped-def]
    """Six products → four planes.

    Args:
        products: six times ``(n, c + some)``; what is beyond ``c`` is not read.
        result: ``(z, y · x, c)``, is written.
        first, step: the first of the four planes, and how far apart they lie.
        start: the voxel in each plane to begin at.
    """
    p0, p1, p2, p3, p4, p5 = products
    for i in range(p0.shape[0]):
        a, b, c, d, e, f = p0[i], p1[i], p2[i], p3[i], p4[i], p5[i]
        at = start + i
        r0, r1 = result[first, at], result[first + step, at]
        r2, r3 = result[first + 2 * step, at], result[first + 3 * step, at]
        for j in range(r0.size):
            sum1, difference1 = b[j] + c[j], b[j] - c[j]
            sum2, difference2 = d[j] + e[j], d[j] - e[j]
            r0[j] = a[j] + sum1 + sum2
            r1[j] = difference1 + TWO * difference2
            r2[j] = sum1 + FOUR * sum2
            r3[j] = difference1 + EIGHT * difference2 + f[j]
