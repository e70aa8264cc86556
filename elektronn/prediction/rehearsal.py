"""Small samples of a prediction, taken before it begins: how fast tiles are, and what becomes of their outputs."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.errors import DataError
from elektronn.prediction.certificate import Witness
from elektronn.prediction.engines import Predictor
from elektronn.prediction.job import Job
from elektronn.prediction.plan import CHUNKS
from elektronn.prediction.pyramid import means

SIZES = (Size(8, 64, 64), Size(16, 96, 96), Size(24, 160, 160), Size(32, 256, 256))
PART = 100
"""An output has at least so many times the voxels of a sample: all of them together cost two or three hundredths."""
BRIEF_S = 0.3
"""A sample that took so little is followed by a larger one: small tiles are slower."""
VOXELS = 4
"""Of a sample, computed again by brute force."""
DEFLATE = 1
"""Level at which HDF5 outputs are packed."""


@dataclass(frozen=True)
class Fate:
    """What becomes of outputs, for each of their bytes.

    Attributes:
        store: bytes in the store.
        coarse: bytes of all coarser levels.
        file: bytes in the output, where that is not the store.
        store_s, coarse_s, file_s: seconds to make them.
        voxel_s: seconds to compute one voxel by brute force and to compare it.
        error: largest difference of a voxel from brute force.
    """

    store: float
    coarse: float
    file: float
    store_s: float
    coarse_s: float
    file_s: float
    voxel_s: float
    error: float = 0.0

    @classmethod
    def of(cls, found: Sequence[Fate]) -> Fate:
        """Mean of the bytes; of the times the least, since whatever is done first is slow; the largest error."""
        table = np.array([astuple(fate) for fate in found])
        return cls(*map(float, (*table[:, :3].mean(0), *table[:, 3:7].min(0), table[:, 7].max())))


def fate_of(job: Job, witness: Witness, patch: NDArray[Any], values: NDArray[Any]) -> Fate:
    """The fate of a piece of output.

    Args:
        job: with a store.
        witness: computes voxels by brute force.
        patch: of the image around the piece, czyx.
        values: as stored, zyx or czyx.
    """
    begin = time.perf_counter()
    places = [Size(*(i * (n - 1) // VOXELS for n in values.shape[-3:])) for i in range(1, VOXELS + 1)]
    error = max(witness.difference(patch[(slice(None), *witness.patch(p).slices)], values[(..., *p)]) for p in places)
    job.work.read(Box(Size(0, 0, 0), Size(1, 1, 1)))
    voxel_s = (time.perf_counter() - begin) / VOXELS
    z, y, x = (2 * n for n in CHUNKS)
    piece = np.ascontiguousarray(values[..., :z, :y, :x])
    store, store_s, read_s = _stored(job.work.array(), piece)
    below, coarse, coarse_s = piece, 0, 0.0
    for level in job.plan.levels:
        begin = time.perf_counter()
        below = means(below, level.factor)
        coarse, coarse_s = coarse + _stored(job.work.array(), below)[0], coarse_s + time.perf_counter() - begin
    file, file_s = _filed(job.work.out.format, piece)
    file_s, size = file_s + read_s * (file > 0), piece.nbytes
    return Fate(
        store / size, coarse / size, file / size, store_s / size, coarse_s / size, file_s / size, voxel_s, error
    )


def _stored(array: Any, values: NDArray[Any]) -> tuple[int, float, float]:
    """Bytes of values packed as in an array of the store, and the seconds of writing and of reading them."""
    import zarr

    held: dict[str, Any] = {}
    begin, lead = time.perf_counter(), (1,) * (values.ndim - 3)
    twin = zarr.create_array(
        zarr.storage.MemoryStore(held),
        shape=values.shape,
        dtype=values.dtype,
        chunks=(*lead, *map(min, values.shape[-3:], CHUNKS)),
        compressors=array.compressors,
        zarr_format=array.metadata.zarr_format,
    )
    named = set(held)
    twin[...] = values
    written = time.perf_counter()
    twin[...]
    return sum(len(held[name]) for name in held.keys() - named), written - begin, time.perf_counter() - written


def _filed(form: str, values: NDArray[Any]) -> tuple[int, float]:
    """Bytes of values in an output that is no store, and the seconds that making them and their digest takes."""
    begin = time.perf_counter()
    if form == "zarr":
        return 0, 0.0
    made = zlib.compress(values.tobytes(), DEFLATE) if form == "hdf5" else values.tobytes()
    sha256(made)
    return len(made), time.perf_counter() - begin


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        tile: computed, zyx.
        seconds: that it took.
        fate: of its outputs.
    """

    tile: Size
    seconds: float
    fate: Fate


def samples(job: Job, engine: Predictor, witness: Witness) -> Iterator[Sample]:
    """Tiles at several places, larger ones while they take no time; the last is one of a size that was warm.

    Nothing for an output so small that its own tiles tell as soon; a place that cannot be read is passed over, since the
    prediction itself will say so when it comes there.
    """
    fitting = [size for size in SIZES if PART * size.voxels <= job.plan.size.voxels]
    sizes = list(dict.fromkeys(Size(*map(min, size, job.plan.tile)) for size in fitting))
    order = iter(sizes)
    tile, places = next(order, None), iter((0.5, 0.25, 0.75, 0.4, 0.6, 0.3))
    is_warm = False
    for share in places:
        if tile is None:
            return
        with suppress(DataError):
            found = _sample(job, engine, witness, tile, share)
            yield found
            if is_warm:
                return
            larger = next(order, None) if found.seconds < BRIEF_S else None
            tile, is_warm = larger or tile, larger is None


def _sample(job: Job, engine: Predictor, witness: Witness, tile: Size, share: float) -> Sample:
    start = Size(*(int(share * (n - t)) for n, t in zip(job.plan.size, tile)))
    patch = job.image.read(job.around(Box(start, Size(*map(sum, zip(start, tile))))))
    begin = time.perf_counter()
    values = job.result.stored(engine.block(patch))
    seconds = time.perf_counter() - begin
    return Sample(tile, seconds, fate_of(job, witness, patch, values))
