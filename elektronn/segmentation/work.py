"""The blocks of a volume under segmentation: each is flooded once, and kept on disk until all are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import storage
from elektronn.axes import Box, Size, blocks
from elektronn.errors import at
from elektronn.segmentation.contacts import Contacts, contacts
from elektronn.segmentation.depth import Costs, Landscape
from elektronn.segmentation.flood import Places, Trees, flood
from elektronn.segmentation.forest import Edges, Forest
from elektronn.segmentation.settings import SegmentSettings
from elektronn.volumes.arrays import Volume
from elektronn.volumes.classes import boundary_channel


@dataclass
class Work:
    """The blocks of a volume, their trees on disk, and the forest of all of them."""

    volume: Volume
    settings: SegmentSettings
    landscape: Landscape
    scratch: Path
    forest: Forest = field(default_factory=Forest)
    spans: dict[Size, slice] = field(default_factory=dict)

    @property
    def grid(self) -> Size:
        """Number of blocks along z, y, x."""
        return Size(*(math.ceil(n / b) for n, b in zip(self.volume.size, self.settings.block)))

    @property
    def boxes(self) -> list[Box]:
        """All blocks."""
        return blocks(self.volume.size, self.settings.block)

    def box(self, index: Size) -> Box:
        """One block."""
        size = Size(*self.settings.block)
        return Box(Size(0, 0, 0), size).shifted(i * n for i, n in zip(index, size)).within(self.volume.size)

    def add(self, index: Size) -> None:
        """Flood a block; the blocks before it along z, y and x are there already."""
        box = self.box(index)
        around = box.grown((1, 1, 1), (1, 1, 1)).within(self.volume.size)
        costs = self._costs(around)
        core = box.shifted(-n for n in around.start).slices
        trees = flood(
            costs,
            core,
            self.landscape.boundary_cost,
            per_section=self.settings.per_section,
            fill=self.settings.fill_boundaries,
        )
        first = self._places(trees.first, box)
        start = self.forest.add(trees.sizes, first, trees.seeded)
        self.spans[index] = slice(start, self.forest.count)
        self._save(index, trees.labels)
        places = np.stack(np.unravel_index(trees.edges, costs.shape))
        inside = places - np.array([part.start for part in core])[:, None, None]
        numbers = trees.labels[tuple(inside)].astype(np.int64) - 1 + start
        flat: Costs = costs.reshape(-1)
        self.forest.edges.append(Edges.of(numbers, flat[trees.edges], self._places(trees.edges, around)))
        for axis in range(int(self.settings.per_section), 3):
            if index[axis]:
                self._cross(index, axis, trees, costs, around)

    def _cross(self, index: Size, axis: int, trees: Trees, costs: Costs, around: Box) -> None:
        """The edges to the block before this one along an axis."""
        before = Size(*(n - (a == axis) for a, n in enumerate(index)))
        box = self.box(index)
        face = [slice(a - b, c - b) for a, c, b in zip(box.start, box.stop, around.start)]
        costs_of, places_of = [], []
        for step in (0, -1):
            first = box.start[axis] - around.start[axis] + step
            cut = tuple(slice(first, first + 1) if a == axis else part for a, part in enumerate(face))
            flat = np.arange(costs.size).reshape(costs.shape)[cut].reshape(-1)
            costs_of.append(costs[cut].reshape(-1))
            places_of.append(self._places(flat, around))
        own = np.take(trees.labels, [0], axis).reshape(-1).astype(np.int64)
        other = np.take(self._load(before), [-1], axis).reshape(-1).astype(np.int64)
        flooded = (own > 0) & (other > 0)
        numbers = np.stack([own - 1 + self.spans[index].start, other - 1 + self.spans[before].start], 1)
        ends: tuple[Costs, Places] = np.stack(costs_of, 1)[flooded], np.stack(places_of, 1)[flooded]
        self.forest.edges.append(Edges.of(numbers[flooded], *ends))

    def _costs(self, around: Box) -> Costs:
        """Costs of a box, from a larger box of probabilities."""
        wide = around.grown(self.landscape.halo, self.landscape.halo).within(self.volume.size)
        values = self.probability(wide)
        with at(str(self.volume.address)):
            costs = self.landscape.costs(values)
        return np.ascontiguousarray(costs[around.shifted(-n for n in wide.start).slices])

    def probability(self, box: Box) -> NDArray[Any]:
        """Probability of boundary in a box, as stored, zyx."""
        values: NDArray[Any] = self.volume.read(box, "czyx")
        chosen: NDArray[Any] = values[boundary_channel(self.volume)]
        return chosen

    def _places(self, flat: Places, box: Box) -> Places:
        """Flat places in a box → flat places in the volume."""
        inside = np.unravel_index(flat, box.size)
        return np.asarray(np.ravel_multi_index(tuple(p + n for p, n in zip(inside, box.start)), self.volume.size))

    def _file(self, index: Size) -> Path:
        return self.scratch / "_".join(map(str, index))

    def _save(self, index: Size, labels: NDArray[np.uint32]) -> None:
        with storage(self._file(index)):
            self._file(index).write_bytes(labels.tobytes())

    def _load(self, index: Size) -> NDArray[np.uint32]:
        return np.memmap(self._file(index), np.uint32, "r", shape=tuple(self.box(index).size))

    def contacts(self, ids: NDArray[np.uint64], tick: Callable[[], None]) -> Iterator[Contacts]:
        """Where the segments touch, block by block.

        Args:
            ids: id of each tree.
            tick: called after each block.
        """
        for box in self.boxes:
            around = box.grown((1, 1, 1), (0, 0, 0)).within(self.volume.size)
            own = box.shifted(-n for n in around.start).slices
            values, segments = self.probability(around), self.read(around, ids)
            yield contacts(segments, values, own, per_section=self.settings.per_section)
            tick()

    def read(self, box: Box, ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Final ids of a box.

        Args:
            box: part of the volume.
            ids: id of each tree.
        """
        values = np.zeros(box.size, np.uint64)
        low = [a // n for a, n in zip(box.start, self.settings.block)]
        high = [math.ceil(b / n) for b, n in zip(box.stop, self.settings.block)]
        for offset in np.ndindex(*(b - a for a, b in zip(low, high))):
            index = Size(*(a + n for a, n in zip(low, offset)))
            block = self.box(index)
            common = Box(Size(*map(max, zip(box.start, block.start))), Size(*map(min, zip(box.stop, block.stop))))
            numbers = self._load(index)[common.shifted(-n for n in block.start).slices]
            chosen = np.append(np.uint64(0), ids[self.spans[index]])[numbers]
            values[common.shifted(-n for n in box.start).slices] = chosen
        return values
