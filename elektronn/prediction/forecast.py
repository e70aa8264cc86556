"""What a prediction will need of memory, disk and time, said before it takes them."""

from __future__ import annotations

import math
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elektronn.errors import StorageError
from elektronn.prediction.job import Job
from elektronn.prediction.pipeline import DEPTH
from elektronn.prediction.tiles import bytes_of

GIB = 2**30
COMPRESSION = 10
"""A disk with less room than this part of the uncompressed output is too small whatever is stored."""


@dataclass(frozen=True)
class Forecast:
    """Needs and means, bytes.

    Attributes:
        memory: of this process at most, by the formula of the tiles and the blocks on their way.
        disk: at most: the output is compressed, by how much nobody knows before.
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
        cell = np.dtype(result.dtype).itemsize * (1 if result.is_single else len(result.classes))
        voxels = plan.size.voxels + sum(level.size.voxels for level in plan.levels)
        copies = 1 if job.work.out.format == "zarr" else 2
        block = [min(n, b) for n, b in zip(plan.size, plan.block)]
        around = math.prod(n + f - 1 for n, f in zip(block, job.geometry.field))
        image = around * job.image.volume.channels * job.image.volume.dtype.itemsize
        on_the_way = (2 + DEPTH) * (image + math.prod(block) * cell)
        tile = bytes_of(job.trained.network.document, job.geometry, plan.tile)
        on_gpu = job.device.type == "cuda"
        return cls(
            on_the_way + _resident() + (0 if on_gpu else tile),
            voxels * cell * (1 - done / len(plan.boxes)) + plan.size.voxels * cell * (copies - 1),
            _available() + _resident(),
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
            f"needs {_amount(self.memory)} RAM{gpu}, up to {_amount(self.disk)} disk, {time}; "
            f"you have {_amount(self.free_memory)} RAM, {_amount(self.free_disk)} disk"
            + (f": {' and '.join(tight)} may not be enough" if tight else "")
        )


def _amount(count: float) -> str:
    """Bytes for people."""
    return f"{count / GIB:.1f} GiB" if count >= 0.1 * GIB else f"{count / 2**20:.1f} MiB"


def _available() -> float:
    """Memory that is free for this process: of the machine, and of its control group."""
    found = [float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found = [1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])]
    with suppress(OSError, ValueError):
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(float(limit - used))
    return min(found)


def _resident() -> float:
    """Memory that this process has now."""
    with suppress(OSError, ValueError):
        return float(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    return 0.0
