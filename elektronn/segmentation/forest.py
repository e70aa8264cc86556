"""The trees of all blocks become segments: the same algorithm once more, over whole trees."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from elektronn.segmentation.depth import STEP, Costs
from elektronn.segmentation.flood import Places


@dataclass(frozen=True)
class Edges:
    """The cheapest edge between each two trees, with what puts it in order.

    Attributes:
        trees: ``(n, 2)``, numbers of the trees in the whole volume.
        costs: ``(n, 2)``, of the dearer voxel, then of the other one.
        places: ``(n, 2)``, of the two voxels in the whole volume, flat, in the same order.
    """

    trees: Places
    costs: Costs
    places: Places

    @classmethod
    def of(cls, trees: Places, costs: Costs, places: Places) -> Edges:
        """From any edges, each ``(n, 2)`` in any order: those inside a tree go, and all but the cheapest of two trees."""
        other = trees[:, 0] != trees[:, 1]
        trees, costs, places = trees[other], costs[other], places[other]
        swap = (costs[:, 0] < costs[:, 1]) | ((costs[:, 0] == costs[:, 1]) & (places[:, 0] < places[:, 1]))
        costs[swap], places[swap] = costs[swap, ::-1], places[swap, ::-1]
        order = _order(costs, places)
        pairs = np.sort(trees[order], axis=1)
        _, cheapest = np.unique(pairs[:, 0] << 32 | pairs[:, 1], return_index=True)
        keep = order[np.sort(cheapest)]
        return cls(trees[keep], costs[keep], places[keep])


def _order(costs: Costs, places: Places) -> Places:
    return np.lexsort((places[:, 1], costs[:, 1], places[:, 0], costs[:, 0]))


@dataclass
class Forest:
    """The trees and edges of the blocks seen so far."""

    sizes: list[Places] = field(default_factory=list)
    first: list[Places] = field(default_factory=list)
    seeded: list[NDArray[np.bool_]] = field(default_factory=list)
    edges: list[Edges] = field(default_factory=list)
    count: int = 0

    def add(self, sizes: Places, first: Places, seeded: NDArray[np.bool_]) -> int:
        """Take over the trees of a block; returns the number of the first of them.

        Args:
            sizes: interior voxels of each.
            first: place of the first voxel of each in the whole volume, flat.
            seeded: whether each has a seed.
        """
        start = self.count
        self.sizes.append(sizes)
        self.first.append(first)
        self.seeded.append(seeded)
        self.count += len(sizes)
        return start

    def segments(self, boundary_cost: int, min_voxels: int) -> NDArray[np.uint64]:
        """Id of each tree: segments in the order of their first voxels, from 1; 0 where nothing was kept.

        First the interior: every seed takes what it reaches at least cost, and what no seed reaches is a segment of
        its own. Segments below ``min_voxels`` interior voxels lose their root, and everything is divided once more.
        """
        edges = [np.concatenate([getattr(edge, name) for edge in self.edges]) for name in ("trees", "costs", "places")]
        order = _order(edges[1], edges[2])
        trees, dearer = edges[0][order], edges[1][order, 0]
        sizes, first, rooted = np.concatenate(self.sizes), np.concatenate(self.first), np.concatenate(self.seeded)
        parent = np.arange(self.count)
        interior = int(np.searchsorted(dearer, np.uint64(boundary_cost)))
        _join(parent, trees[:interior], dearer < STEP, rooted.copy())
        total = np.bincount(parent, sizes, self.count)
        kept = total >= max(1, min_voxels)
        _join(parent, trees, np.zeros(len(trees), np.bool_), kept)
        return _ids(parent, first, kept)


def _ids(parent: Places, first: Places, kept: NDArray[np.bool_]) -> NDArray[np.uint64]:
    start = np.full(len(parent), np.iinfo(np.int64).max)
    np.minimum.at(start, parent, first)
    roots = np.flatnonzero((parent == np.arange(len(parent))) & kept)
    ids = np.zeros(len(parent), np.uint64)
    ids[roots[np.argsort(start[roots])]] = np.arange(1, len(roots) + 1)
    return ids[parent]


@njit(nogil=True, cache=True)
def _join(parent, trees, always, rooted):  # type: ignore[no-untyped-def]
    """Join along the edges in their order, never two rooted ones unless ``always``; parents become roots."""
    for i in range(len(trees)):
        a, b = trees[i, 0], trees[i, 1]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a != b and (always[i] or not rooted[a] or not rooted[b]):
            parent[max(a, b)] = min(a, b)
            rooted[min(a, b)] = rooted[a] or rooted[b]
    for i in range(len(parent)):
        parent[i] = parent[parent[i]]
