"""The flood of one block: joins voxels to trees as far as the block can know, and says what is left to decide.

Trees grow by Kruskal's algorithm over the edges between neighbours (six, or four in a section), cheapest first. An
edge costs what its dearer voxel costs; equal costs are told apart by the other voxel and by the places of both in the
volume. So no two edges are equal, and the forest that joins everything to a root at least cost is one and only one.

A block sees its own voxels and one more around them, hence every edge of its voxels. The cheapest edge of a tree that
has no root is part of the forest wherever it was found (cut property). A tree is *held* when its growth cannot be
decided here: it is rooted, or its cheapest edge leads out of the block. Edges between two held trees are kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from elektronn.segmentation.depth import STEP, Costs

Places = NDArray[np.int64]

_HELD = 1
_INTERIOR = 2


class Trees(NamedTuple):
    """What a block could join.

    Attributes:
        labels: tree of each voxel of the block, zyx, from 1; 0: not flooded.
        sizes: interior voxels of each tree.
        first: place of the first voxel of each tree in the block, flat.
        seeded: whether a tree has a seed.
        edges: ``(n, 2)`` flat places, in the array of costs, of neighbours in two trees; cheapest first.
    """

    labels: NDArray[np.uint32]
    sizes: NDArray[np.int64]
    first: NDArray[np.int64]
    seeded: NDArray[np.bool_]
    edges: Places


def flood(
    costs: Costs, core: tuple[slice, slice, slice], boundary_cost: int, *, per_section: bool, fill: bool
) -> Trees:
    """Join the voxels of a block to trees.

    Args:
        costs: of the block and the voxels around it (fewer at the end of the volume), zyx.
        core: the block in ``costs``.
        boundary_cost: cost from which a voxel is boundary.
        per_section: do not join along z.
        fill: flood the boundary too, after the interior.
    """
    flat = costs.reshape(-1)
    limit = int(flat.max()) + 1 if fill else boundary_cost
    order = np.argsort(flat, kind="stable")  # equal costs stay in the order of their places
    order = order[: np.searchsorted(flat[order], np.uint64(limit))]
    inside = np.zeros(costs.shape, np.bool_)
    inside[core] = True
    parent, edges = _grow(
        flat, order, inside.reshape(-1), np.array(costs.shape), np.uint64(STEP), np.uint64(boundary_cost), per_section
    )
    own = np.ascontiguousarray(costs[core]).reshape(-1)
    labels, first = _numbered(parent, np.flatnonzero(inside.reshape(-1)))
    sizes = np.bincount(labels[own < boundary_cost], minlength=len(first) + 1)[1:]
    seeded = np.zeros(len(first) + 1, np.bool_)
    seeded[labels[own < STEP]] = True
    shape = tuple(part.stop - part.start for part in core)
    return Trees(labels.reshape(shape), sizes, first, seeded[1:], edges)


@njit(nogil=True, cache=True)
def _root(parent: NDArray[np.int32], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@njit(nogil=True, cache=True)
def _neighbours(place, shape, per_section, rank, found):  # type: ignore[no-untyped-def]
    """Write the flooded neighbours of a voxel into ``found``, earliest first; returns how many."""
    row, plane = shape[2], shape[1] * shape[2]
    z, y, x = place // plane, place // row % shape[1], place % row
    count = 0
    for step in range(6):
        if step == 0 and x > 0:
            other = place - 1
        elif step == 1 and x < shape[2] - 1:
            other = place + 1
        elif step == 2 and y > 0:
            other = place - row
        elif step == 3 and y < shape[1] - 1:
            other = place + row
        elif step == 4 and z > 0 and not per_section:
            other = place - plane
        elif step == 5 and z < shape[0] - 1 and not per_section:
            other = place + plane
        else:
            continue
        if rank[other] >= 0:
            i = count
            while i > 0 and rank[found[i - 1]] > rank[other]:
                found[i] = found[i - 1]
                i -= 1
            found[i] = other
            count += 1
    return count


@njit(nogil=True, cache=True)
def _grow(costs, order, inside, shape, seed_cost, boundary_cost, per_section):  # type: ignore[no-untyped-def]
    """Parent of each voxel of the block (−1: none), and the edges between held trees."""
    parent = np.full(costs.size, -1, np.int32)
    rank = np.full(costs.size, -1, np.int32)
    marks = np.zeros(costs.size, np.uint8)
    found = np.empty(6, np.int64)
    edges, kept = np.empty((1024, 2), np.int64), 0
    for i in range(order.size):
        place = order[i]
        cost = costs[place]
        rank[place] = i
        seed, boundary = cost < seed_cost, cost >= boundary_cost
        if inside[place]:
            parent[place] = place
            marks[place] = (_HELD if seed else 0) | (0 if boundary else _INTERIOR)
        # once the boundary is flooded, every tree of the interior may be a root
        holding = _HELD | _INTERIOR if boundary else _HELD
        for j in range(_neighbours(place, shape, per_section, rank, found)):
            other = found[j]
            if not inside[place] or not inside[other]:
                if inside[place] or inside[other]:
                    marks[_root(parent, place if inside[place] else other)] |= _HELD
                continue
            a, b = _root(parent, place), _root(parent, other)
            if a == b:
                continue
            if seed or not marks[a] & holding or not marks[b] & holding:
                parent[max(a, b)] = min(a, b)
                marks[min(a, b)] = marks[a] | marks[b]
                continue
            if kept == len(edges):
                more = np.empty((2 * kept, 2), np.int64)
                more[:kept] = edges
                edges = more
            edges[kept, 0], edges[kept, 1] = place, other
            kept += 1
    return parent, edges[:kept]


@njit(nogil=True, cache=True)
def _numbered(parent, places):  # type: ignore[no-untyped-def]
    """Number the trees by their first voxel: the number of each voxel, and the first voxel of each number."""
    numbers = np.zeros(parent.size, np.uint32)
    labels = np.zeros(places.size, np.uint32)
    first, count = np.empty(places.size, np.int64), 0
    for i in range(places.size):
        if parent[places[i]] < 0:
            continue
        root = _root(parent, places[i])
        if numbers[root] == 0:
            first[count] = i
            count += 1
            numbers[root] = count
        labels[i] = numbers[root]
    return labels, first[:count].copy()
