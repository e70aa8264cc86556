"""What a prediction will need of memory, disk and time, said before it takes them."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from elektronn.errors import StorageError
from elektronn.prediction.job import Job
from elektronn.prediction.memory import available, resident
from elektronn.prediction.rehearsal import Fate
from elektronn.prediction.result import Result
from elektronn.prediction.tiles import bytes_of

GIB = 2**30
COMPRESSION = 10
"""A disk with less room than this part of the uncompressed output is too small whatever is stored."""
PLAIN = Fate(store=1.0, coarse=0.34, file=1.0, store_s=0.0, coarse_s=0.0, file_s=0.0, voxel_s=0.0)
"""Outputs that nothing is known of; each coarser level has at least a fourth of the voxels less."""


@dataclass(frozen=True)
class Forecast:
    """Needs and means, bytes.

    Attributes:
        memory: of this process at its peak.
        disk: for the output, uncompressed until some of it was seen.
        free_memory, free_disk: what there is.
        device: memory of the GPU, where there is one.
    """

    memory: float
    disk: float
    free_memory: float
    free_disk: float
    device: float = 0.0

    @classmethod
    def of(cls, job: Job, done: int) -> Forecast:
        """For a job with a store, of which ``done`` blocks of the full level are there already; outputs count as they are."""
        on_gpu = job.device.type == "cuda"
        tile = bytes_of(job.trained.network.document, job.geometry, job.plan.tile)
        return cls(
            job.allowance.expected(0 if on_gpu else tile),
            _disk(job, done, PLAIN),
            available() + resident(),
            shutil.disk_usage(job.work.out.path.parent).free,
            tile if on_gpu else 0.0,
        )

    def check(self, job: Job) -> None:
        """Refuse what cannot end well.

        Raises:
            StorageError: the disk is clearly too small.
        """
        if self.free_disk < self.disk / COMPRESSION:
            raise StorageError(
                f"{job.work.out}: needs up to {_amount(self.disk)} and the disk has {_amount(self.free_disk)}; "
                "free some space or choose another place"
            )

    def packed(self, job: Job, done: int, fate: Fate) -> Forecast:
        """The forecast when the fate of some outputs is known."""
        return replace(self, disk=_disk(job, done, fate))

    def seen(self, job: Job) -> Forecast:
        """The forecast when some tiles are done."""
        return replace(self, memory=self.memory if job.device.type == "cuda" else job.allowance.seen(self.memory))

    def line(self, seconds: float, *, is_rough: bool = False) -> str:
        """One line for people, with the time that is left; a rough one is of samples, not yet of tiles."""
        gpu = f" and {_amount(self.device)} on the GPU" if self.device else ""
        tight = [
            name
            for name, is_tight in (("memory", self.memory > self.free_memory), ("disk", self.disk > self.free_disk))
            if is_tight
        ]
        return (
            f"needs {_amount(self.memory)} RAM{gpu}, {_amount(self.disk)} disk, {'roughly' if is_rough else 'about'} "
            f"{duration(seconds)}; you have {_amount(self.free_memory)} RAM, {_amount(self.free_disk)} disk"
            + (f": {' and '.join(tight)} may not be enough" if tight else "")
        )


def _disk(job: Job, done: int, fate: Fate) -> float:
    """Bytes that the outputs take, less those that are there, with what tells where they lie."""
    plan, work = job.plan, job.work
    full = plan.size.voxels * cell_of(job.result)
    left, file = 1 - done / len(plan.boxes), 0.0 if work.out.format == "zarr" else full * fate.file
    coarse = fate.coarse if plan.levels else 0.0
    arrays = [work.array(), *(work.array(level.key) for level in plan.levels)]
    said = sum(file.stat().st_size for file in work.store.rglob("*") if file.name.startswith((".z", "zarr.json")))
    return file + said + left * (full * (fate.store + coarse) + sum(map(_index, arrays)))


def _index(array: Any) -> int:
    """Bytes of the tables of an array's files: a place and a length for each chunk, and a sum."""
    if not array.shards:
        return 0
    files: int = math.prod(-(-n // s) for n, s in zip(array.shape, array.shards))
    chunks: int = math.prod(s // c for s, c in zip(array.shards, array.chunks))
    return files * (16 * chunks + 4)


def cell_of(result: Result) -> int:
    """Bytes that one voxel of an output takes, all classes."""
    return np.dtype(result.dtype).itemsize * (1 if result.is_single else len(result.classes))


def duration(seconds: float) -> str:
    """Time for people.

    Example:
        >>> duration(0.2), duration(80), duration(200), duration(5400), duration(80_000)
        ('0.2 s', '80 s', '3.3 min', '90 min', '22.2 h')
    """
    if seconds < 100:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    if seconds < 6000:
        return f"{seconds / 60:.{1 if seconds < 600 else 0}f} min"
    return f"{seconds / 3600:.1f} h"


def _amount(count: float) -> str:
    """Bytes for people."""
    if count >= 0.1 * GIB:
        return f"{count / GIB:.{1 if count >= 10 * GIB else 2}f} GiB"
    return f"{count / 2**20:.1f} MiB"
