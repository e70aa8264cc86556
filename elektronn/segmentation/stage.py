"""The segment stage: a volume of boundary probability in, a volume of ids out.

The method is a seeded watershed, written as the minimum spanning forest that it is. A voxel of the interior
(probability below the threshold) is as deep as its distance to the nearest boundary voxel. Where the interior is
deeper than ``seed_nm``, each connected part is a seed. From the seeds the rest of the interior is flooded, deep voxels
before shallow ones, among equally deep ones those of low probability first, then in the order of the volume; what no
seed reaches is a segment of its own. At last the boundary is flooded, low probabilities first.

The result does not depend on the size of the blocks, voxel by voxel, because every part of it is either local or unique:

* The depth is cut off at ``seed_nm``, which changes nothing: all that is deeper is seed. So it depends on a
  neighbourhood of known size, the halo of a block.
* Connected components (the seeds, the interior) are the same in whatever order their edges are looked at.
* Edges between neighbours are in a total order that does not know of blocks, so the spanning forest is unique. A block
  joins only what must be joined whatever lies outside (see :mod:`elektronn.segmentation.flood`), and the rest is decided
  over the trees of all blocks at once.

Not offered, since it would not be so: seeds at local maxima of a smoothed or uncut distance (a maximum depends on
how far one looks), a flood by a queue whose ties fall by the order of arrival, and agglomeration of segments by mean
boundary, which needs the finished segments.

Source: J. Cousty et al., Watershed cuts: minimum spanning forests and the drop of water principle, IEEE PAMI 31
(2009), shows that the two are the same.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import storage
from elektronn.axes import Box, Size, blocks
from elektronn.errors import ConfigError, DataError, at
from elektronn.segmentation.depth import Costs, Landscape
from elektronn.segmentation.flood import Places, Trees, flood
from elektronn.segmentation.forest import Edges, Forest
from elektronn.segmentation.settings import SegmentSettings
from elektronn.settings import plain
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Volume, create_volume, open_volume

SHARD = Size(128, 512, 512)
"""Ids are written in boxes of this size, so that no part of a zarr store is written twice."""

Progress = Callable[[int, int], None]


def segment(
    probability: Address,
    out: Address,
    settings: SegmentSettings,
    *,
    voxel_nm: tuple[float, float, float] | None = None,
    progress: Progress = lambda done, total: None,
) -> int:
    """Divide a volume into segments; memory is bounded by the block and by the surface of the blocks.

    The ids are 1, 2, … in the order of the first voxels of the segments, uint32 (uint64 if there are more); 0 is what
    was not kept. Voxel size and offset are those of the probability. ``out`` appears whole or not at all; while the
    work goes on, a hidden folder beside it holds four bytes per voxel.

    Args:
        probability: of boundary, ``zyx``, or ``czyx`` with class 1 = boundary; uint8, uint16 or floating point.
        out: HDF5, zarr (OME-NGFF) or ``.npy``.
        settings: what the section ``segment`` says.
        voxel_nm: voxel size z, y, x where the file does not say one.
        progress: called with (steps done, steps in all).

    Returns:
        Number of segments.

    Raises:
        ConfigError: no voxel size; ``out`` is the file that is read.
        DataError: no probabilities, or no interior to divide.
        StorageError: disk full or no permission.
    """
    if out.path.resolve() == probability.path.resolve():
        raise ConfigError(f"{out}: would replace the probability it is made from; name another output file")
    with open_volume(probability, voxel_nm=voxel_nm) as volume, storage(out.path):
        out.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.path.name}.", suffix=".part", dir=out.path.parent) as scratch:
            work = _Work(volume, settings, _landscape(volume, settings), Path(scratch))
            writes = blocks(volume.size, SHARD)
            steps = len(work.boxes) + len(writes)
            for done, index in enumerate(np.ndindex(*work.grid), 1):
                work.add(Size(*index))
                progress(done, steps)
            ids = work.forest.segments(work.landscape.boundary_cost, settings.min_voxels)
            count = int(ids.max(initial=0))
            if not count:
                raise DataError(
                    f"{probability}: nothing was left to keep: no interior of {max(1, settings.min_voxels)} voxels lies "
                    f"below the probability {settings.boundary_threshold:g}; check the volume, segment.boundary_threshold "
                    "and segment.min_voxels"
                )
            with create_volume(
                out,
                tuple(volume.size),
                np.uint32 if count < 2**32 else np.uint64,
                voxel_nm=volume.voxel_nm,
                offset_vox=_offset(volume),
                attributes=_attributes(volume, settings, count),
            ) as sink:
                for done, box in enumerate(writes, len(work.boxes) + 1):
                    sink.write(box, work.read(box, ids))
                    progress(done, steps)
    return count


def _landscape(volume: Volume, settings: SegmentSettings) -> Landscape:
    if volume.voxel_nm is None:
        raise ConfigError(
            f"{volume.address}: does not say its voxel size, and segment.seed_nm is in nanometres; "
            "give it with --voxel-nm Z Y X"
        )
    return Landscape.of(settings.boundary_threshold, settings.seed_nm, volume.voxel_nm, settings.per_section)


def _offset(volume: Volume) -> tuple[int, int, int] | None:
    """Position of the part's first voxel in the image, zyx, voxels; ``None``: not said."""
    if "offset_vox" not in volume.attributes:
        return None
    z, y, x = (int(a) + b for a, b in zip(volume.attributes["offset_vox"], volume.part.start))
    return z, y, x


def _attributes(volume: Volume, settings: SegmentSettings, count: int) -> dict[str, Any]:
    said = {name: [int(n) for n in volume.attributes[name]] for name in ("image_size",) if name in volume.attributes}
    made_of = f"{volume.address.path.name}:{volume.address.key}"
    shown = json.dumps({name: value for name, value in plain(settings).items() if name != "block"})
    return {"kind": "segmentation", "segments": count, "segment": shown, "segmentation_of": made_of, **said}


@dataclass
class _Work:
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
        values = self.volume.read(wide, "czyx")
        with at(str(self.volume.address)):
            costs = self.landscape.costs(values[1 if self.volume.channels > 1 else 0])
        return np.ascontiguousarray(costs[around.shifted(-n for n in wide.start).slices])

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
