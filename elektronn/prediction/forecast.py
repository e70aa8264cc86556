"""What a prediction will need of memory, disk and time, said before it takes them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import StorageError
from elektronn.prediction.job import Job
from elektronn.prediction.memory import available, resident
from elektronn.prediction.plan import CHUNKS
from elektronn.prediction.result import Result
from elektronn.prediction.tiles import bytes_of

GIB = 2**30
COMPRESSION = 10
"""A disk with less room than this part of the uncompressed output is too small whatever is stored."""


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
        """For a job of which ``done`` blocks of the full level are there already."""
        plan, result = job.plan, job.result
        cell = cell_of(result)
        voxels = plan.size.voxels + sum(level.size.voxels for level in plan.levels)
        copies = 1 if job.work.out.format == "zarr" else 2
        tile = bytes_of(job.trained.network.document, job.geometry, plan.tile)
        on_gpu = job.device.type == "cuda"
        return cls(
            job.allowance.expected(0 if on_gpu else tile),
            voxels * cell * (1 - done / len(plan.boxes)) + plan.size.voxels * cell * (copies - 1),
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

    def seen(self, job: Job, share: float) -> Forecast:
        """The forecast when some tiles are done; ``share`` is what their outputs were compressed to."""
        memory = self.memory if job.device.type == "cuda" else job.allowance.seen()
        packed = 1.0 if job.work.out.format == "npy" else share
        whole = job.plan.size.voxels * cell_of(job.result) if job.work.out.format != "zarr" else 0
        return replace(self, memory=memory, disk=share * (self.disk - whole) + packed * whole)

    def line(self, minutes: float) -> str:
        """One line for people, with the minutes that the first tiles promise."""
        gpu = f" and {_amount(self.device)} on the GPU" if self.device else ""
        time = f"about {minutes:.0f} min" if minutes >= 1 else "less than a minute"
        tight = [
            name
            for name, is_tight in (("memory", self.memory > self.free_memory), ("disk", self.disk > self.free_disk))
            if is_tight
        ]
        return (
            f"needs {_amount(self.memory)} RAM{gpu}, {_amount(self.disk)} disk, {time}; "
            f"you have {_amount(self.free_memory)} RAM, {_amount(self.free_disk)} disk"
            + (f": {' and '.join(tight)} may not be enough" if tight else "")
        )


def cell_of(result: Result) -> int:
    """Bytes that one voxel of an output takes, all classes."""
    return np.dtype(result.dtype).itemsize * (1 if result.is_single else len(result.classes))


def packed_share(values: NDArray[Any]) -> float:
    """What the first chunk of each class of values (zyx or czyx) is compressed to in the store, as a part of it."""
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

    z, y, x = CHUNKS
    chunks = [np.ascontiguousarray(one[:z, :y, :x]) for one in values.reshape(-1, *values.shape[-3:])]
    return float(sum(len(Zstd(level=1).encode(chunk)) for chunk in chunks) / sum(chunk.nbytes for chunk in chunks))


def _amount(count: float) -> str:
    """Bytes for people."""
    if count >= 0.1 * GIB:
        return f"{count / GIB:.{1 if count >= GIB else 2}f} GiB"
    return f"{count / 2**20:.1f} MiB"
