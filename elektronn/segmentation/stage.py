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

* Segments are merged (``agglomerate``) once all of them are known, over the contacts of the whole volume; the sums of
  probabilities on these are whole numbers, in which no order of blocks leaves a trace.

Not offered, since it would not be so: seeds at local maxima of a smoothed or uncut distance (a maximum depends on
how far one looks), and a flood by a queue whose ties fall by the order of arrival.

Source: J. Cousty et al., Watershed cuts: minimum spanning forests and the drop of water principle, IEEE PAMI 31
(2009), shows that the two are the same.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import code_digest, digest, fingerprint, storage, write_json
from elektronn.axes import Size, blocks
from elektronn.errors import ConfigError, DataError
from elektronn.segmentation.agglomerate import LIBRARY, agglomerate, require_library
from elektronn.segmentation.contacts import steps_of, summed
from elektronn.segmentation.depth import Landscape
from elektronn.segmentation.settings import SegmentSettings
from elektronn.segmentation.work import Work
from elektronn.settings import plain
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Sink, Volume, check_target, create_volume, open_volume

SHARD = Size(128, 512, 512)
"""Ids are written in boxes of this size, so that no part of a zarr store is written twice."""

Progress = Callable[[int, int], None]


def segment(
    probability: Address,
    out: Address,
    settings: SegmentSettings,
    *,
    voxel_nm: tuple[float, float, float] | None = None,
    manifest: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> int:
    """Divide a volume into segments.

    Memory is bounded by the largest of a block with its halo and a box of :data:`SHARD` ids (8 bytes per voxel), and by
    what is kept of all blocks: at the peak, by the sizes of the arrays, 60 bytes per tree and 130 per edge between trees
    (both lie on the surfaces of blocks), and with ``agglomerate`` 64 per pair of touching segments, twice while tables are joined.

    The ids are 1, 2, … in the order of the first voxels of the segments, uint32 (uint64 if there are more); 0 is what
    was not kept. Voxel size and offset are those of the probability. ``out`` appears whole or not at all; while the
    work goes on, a hidden folder beside it holds four bytes per voxel.

    Args:
        probability: of boundary, ``zyx``, or ``czyx`` with class 1 = boundary; uint8, uint16 or floating point.
        out: HDF5, zarr (OME-NGFF) or ``.npy``.
        settings: what the section ``segment`` says.
        voxel_nm: voxel size z, y, x where the file does not say one.
        manifest: file (JSON) that shall say what made the ids, and their sha256.
        progress: called with (steps done, steps in all).

    Returns:
        Number of segments.

    Raises:
        ConfigError: no voxel size; ``out`` is the file that is read or holds something else; no library to merge segments.
        DataError: no probabilities, or no interior to divide.
        StorageError: disk full or no permission.
    """
    if out.path.resolve() == probability.path.resolve():
        raise ConfigError(f"{out}: would replace the probability it is made from; name another output file")
    check_target(out)
    if settings.agglomerate:
        require_library()
    with open_volume(probability, voxel_nm=voxel_nm) as volume, storage(out.path):
        out.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.path.name}.", suffix=".part", dir=out.path.parent) as scratch:
            work = Work(volume, settings, _landscape(volume, settings), Path(scratch))
            passes = 2 if settings.agglomerate else 1
            tick = _Ticks(progress, passes * len(work.boxes) + len(blocks(volume.size, SHARD)))
            ids = _ids(work, tick)
            made = _made(volume, settings, int(ids.max()))
            with _sink(work.volume, out, made) as sink:
                for box in blocks(volume.size, SHARD):
                    sink.write(box, work.read(box, ids))
                    tick()
                if manifest is not None:
                    manifest.unlink(missing_ok=True)  # it speaks of what is replaced now
    if manifest is not None:
        write_json(manifest, {"store": out.path.name, "sha256": digest(out.path), **made})
    return int(ids.max())


class _Ticks:
    """Counts steps and tells them."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        self.progress(self.done, self.total)


def _ids(work: Work, tick: _Ticks) -> NDArray[np.uint64]:
    """Final id of each tree."""
    settings = work.settings
    for index in np.ndindex(*work.grid):
        work.add(Size(*index))
        tick()
    ids = work.forest.segments(work.landscape.boundary_cost, settings.min_voxels)
    count = int(ids.max(initial=0))
    if not count:
        raise DataError(
            f"{work.volume.address}: nothing was left to keep: no interior of {max(1, settings.min_voxels)} voxels lies "
            f"below the probability {settings.boundary_threshold:g}; check the volume, segment.boundary_threshold "
            "and segment.min_voxels"
        )
    if settings.agglomerate is None:
        return ids
    found = summed(work.contacts(ids, tick))
    voxel = work.volume.voxel_nm
    assert voxel is not None
    return agglomerate(found, count, voxel, steps_of(work.volume.dtype), settings.agglomerate)[ids]


def _sink(volume: Volume, out: Address, made: dict[str, Any]) -> AbstractContextManager[Sink]:
    return create_volume(
        out,
        tuple(volume.size),
        np.uint32 if made["segments"] < 2**32 else np.uint64,
        voxel_nm=volume.voxel_nm,
        offset_vox=_offset(volume),
        origin_nm=volume.origin_nm,
        attributes=_attributes(volume, made),
    )


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


def _made(volume: Volume, settings: SegmentSettings, count: int) -> dict[str, Any]:
    """What made the segments, as plain data; the block is left out, since it changes nothing."""
    shown = {name: value for name, value in plain(settings).items() if name != "block"}
    libraries = {LIBRARY: version(LIBRARY)} if settings.agglomerate else {}
    source, code = volume.address.digest, code_digest("segmentation")
    return {
        "kind": "segmentation",
        "segments": count,
        "settings": shown,
        "voxel_nm": volume.voxel_nm,
        "of": str(volume.address.path.name) + f":{volume.address.key}",
        "inputs": {"probability": source},
        "code_sha256": code,
        "libraries": libraries,
        "fingerprint": fingerprint({"segment": shown, "voxel_nm": volume.voxel_nm}, [source], code),
    }


def _attributes(volume: Volume, made: dict[str, Any]) -> dict[str, Any]:
    said = {name: [int(n) for n in volume.attributes[name]] for name in ("image_size",) if name in volume.attributes}
    return {
        "kind": made["kind"],
        "segments": made["segments"],
        "segment": json.dumps(made["settings"]),
        "segmentation_of": made["of"],
        "probability_sha256": made["inputs"]["probability"],
        "fingerprint": made["fingerprint"],
        **said,
    }
