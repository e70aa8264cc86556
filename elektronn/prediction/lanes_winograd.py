"""Convolutions of lanes by Winograd's method: the loop over tiles, compiled by numba without the interpreter's lock.

Buffers are flat float32 arrays in a :class:`.lanes_plan.Layout` of lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray

from elektronn.compiled import compiled
from elektronn.prediction import lanes_code, lanes_ir, lanes_transforms
from elektronn.prediction.lanes_code import multiply
from elektronn.prediction.lanes_ir import BYTES, LANES
from elektronn.prediction.lanes_transforms import WINDOW, analyse, mix, synthesise

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Kernel = Callable[..., None]

TILES = 3
"""Winograd tiles that are multiplied together; with 8 rows they fill the registers."""

_compiled = compiled(lanes_ir, lanes_code, lanes_transforms)

_WIDE = TILES * BYTES
_POINTS = WINDOW * WINDOW


def window_floats(features: int) -> int:
    """Floats of scratch for the 36 points of the tiles of one plane.

    The points lie one vector further apart than they are large, lest all fall into the same few lines of the cache.
    """
    return _POINTS * (features * TILES + 1) * LANES


def scratch_floats(taps: int, before: int, written: int, together: int) -> int:
    """Floats of scratch of one worker: a ring of planes and the products of ``written`` features."""
    planes = taps + together - 1
    mixed = planes * window_floats(before) // _POINTS if together > 1 else 0
    return planes * window_floats(before) + mixed + together * window_floats(written)


@cache
def winograd(kernel: int, rows: int, relu: int, together: int) -> Kernel:
    """A convolution with a lateral kernel of ``kernel`` × ``kernel`` on vectors of lanes; features in blocks of ``rows``.

    Planes are transformed once each, into a ring of as many as are needed at a time. ``together`` above 1: three taps
    along z and two or four planes of output at a time, by Winograd's transform along z too, which takes four products in
    place of six, or six in place of twelve. The compiled function computes the planes ``part[0] ≤ z < part[1]`` and the
    rows of tiles ``part[2] ≤ t < part[3]`` of ``target``; ``part[0]`` is a multiple of ``together``:

    - source, target: buffers.
    - weights: ``(36, blocks, products · features_in, rows)``, one product per tap, or four, or six.
    - bias: per feature.
    - pitches: of plane, row and neighbour, of ``source`` and of ``target``, bytes.
    - counts: taps along z, features before, features after; depth, height and width of the output.
    - scratch: :func:`scratch_floats` of them.
    """
    edge, per = WINDOW + 1 - kernel, min(together, 2)

    @_compiled
    def layer(
        source: Floats,
        target: Floats,
        weights: Floats,
        bias: Floats,
        pitches: Integers,
        counts: Integers,
        part: Integers,
        scratch: Floats,
    ) -> None:
        taps, before, after, depth, _, width = counts
        span = taps + together - 1  # planes that are needed at a time, and products
        table, places = np.empty((2, span), np.int64), np.empty((2, 2, TILES), np.int64)
        size = 4 * span * before * rows
        blocks = 4 * weights.size // (_POINTS * size)
        lap, step = before * _WIDE + BYTES, blocks * rows * _WIDE + BYTES
        ring, mixed = scratch.ctypes.data, scratch.ctypes.data + span * _POINTS * lap
        products, gap = mixed + (span * lap if together > 1 else 0), _POINTS * step
        across = -(-width // edge)
        groups = -(-across // TILES)
        for group in range(part[2] * groups, part[3] * groups):
            tiles = min(TILES, across - group % groups * TILES)
            for i in range(2):
                _place(group + i, groups, edge, counts, pitches, places[i])
            entered = part[0]
            for z in range(part[0], part[1], together):
                start = min(z, depth - together)
                for new in range(entered, start + span):
                    here = source.ctypes.data + new * pitches[0]
                    _enter(here, pitches, places[0, 0, :tiles], before, ring + new % span * _POINTS * lap)
                entered = start + span
                for k in range(span):
                    table[0, k], table[1, k] = ring + (start + k) % span * _POINTS * lap, mixed + k * lap
                goes_on = z + together < part[1]
                coming = source.ctypes.data + (entered if goes_on else part[0]) * pitches[0]
                coming += places[0 if goes_on else 1, 0, 0]
                for index in range(_POINTS * blocks):
                    point, block = index // blocks, index % blocks
                    if together > 1 and block == 0:
                        mix(together, table[0].ctypes.data, point * lap, before * TILES, mixed, lap)
                    shift, sources = point * lap if together == 1 else 0, table[min(together - 1, 1)].ctypes.data
                    weight, found = weights.ctypes.data + index * size, products + point * step + block * rows * _WIDE
                    soon = coming + _soon(per * index, TILES * edge + kernel - 1, pitches)
                    multiply(
                        rows, together, TILES, tiles, sources, shift, taps, before, _WIDE, weight, found, gap, soon
                    )
                for k in range((z - start) * tiles, together * tiles):
                    there = target.ctypes.data + (start + k // tiles) * pitches[3] + places[0, 1, k % tiles]
                    found = products + k // tiles * gap + k % tiles * BYTES
                    synthesise(edge, relu, after, found, _WIDE, step, bias.ctypes.data, there, pitches[4], pitches[5])

    made: Kernel = layer
    return made


@numba.njit(nogil=True)  # cached as part of its caller alone, whose key knows the code
def _place(group: int, groups: int, edge: int, counts: Integers, pitches: Integers, places: Integers) -> None:
    """Where the tiles of a group begin in a plane of the source and of the target; the last ones are shifted back."""
    y = min(group // groups * edge, counts[4] - edge)
    for t in range(TILES):
        x = min((group % groups * TILES + t) * edge, counts[5] - edge)
        for i in range(2):
            places[i, t] = y * pitches[3 * i + 1] + x * pitches[3 * i + 2]


@numba.njit(nogil=True)
def _enter(source: int, pitches: Integers, places: Integers, features: int, ring: int) -> None:
    """Transform the windows of some tiles, all features."""
    for t in range(places.size):
        there, lap = ring + t * BYTES, features * _WIDE + BYTES
        analyse(source + places[t], pitches[1], pitches[2], features, there, _WIDE, lap)


@numba.njit(nogil=True)
def _soon(index: int, breadth: int, pitches: Integers) -> int:
    """The place of one window after the other, of the windows of a group in planes that will be needed next."""
    line = index // breadth
    return int(line // WINDOW * pitches[0] + line % WINDOW * pitches[1] + index % breadth * pitches[2])
