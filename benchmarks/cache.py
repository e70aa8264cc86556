"""Random patches of a volume on disk: cached blocks against reading the file each time, and against an array in memory.

python benchmarks/cache.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import tifffile
import zarr

from elektronn.axes import Box, Size
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import open_volume
from elektronn.volumes.cache import CachedVolume
from elektronn.volumes.stored import Array

SIZE, PATCH = Size(256, 512, 512), Size(11, 151, 151)
HALF, ALL = 33_600_000, 80_000_000
"""Limits in bytes: half of the volume, more than the volume."""


def store(path: Path, values: Array) -> None:
    """Write the values as the file's ending says."""
    chunks = (32, 128, 128)
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", data=values, chunks=chunks, compression="gzip", compression_opts=1)
    elif path.suffix == ".zarr":
        zarr.create_array(path, data=values, chunks=chunks)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack", compression="zlib")
    else:
        np.save(path, values)


def places(count: int, seed: int) -> list[Box]:
    starts = np.random.default_rng(seed).integers(0, np.array(SIZE) - PATCH, (count, 3))
    return [Box(Size(*start), Size(*(a + n for a, n in zip(start, PATCH)))) for start in starts.tolist()]


def rate(read: Callable[[Box], Array], boxes: list[Box], threads: int) -> float:
    """Patches per second."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda box: read(box).sum(), boxes))
    return len(boxes) / (time.perf_counter() - start)


def measure(path: Path, values: Array, rounds: int) -> None:
    """Print the rates of one kind of file as medians over interleaved rounds, and the peak of memory."""
    with open_volume(Address(path)) as volume:
        half, whole = CachedVolume(volume, HALF), CachedVolume(volume, ALL)
        whole.read()
        routes: dict[str, tuple[Callable[[Box], Array], int, int]] = {
            "array in memory": (lambda box: values[box.slices].copy(), 200, 1),
            "file, each time": (volume.read, 20, 1),
            "half cached": (half.read, 40, 1),
            "all cached": (whole.read, 200, 1),
            "all cached, 2 threads": (whole.read, 200, 2),
        }
        rates: dict[str, list[float]] = {name: [] for name in routes}
        for number in range(rounds):
            for name, (read, count, threads) in routes.items():
                rates[name].append(rate(read, places(count, number), threads))
        for name, found in rates.items():
            ratio = median(a / b for a, b in zip(found, rates["file, each time"]))
            print(f"{path.suffix:6}{name:24}{median(found):8.1f} patches/s {ratio:7.2f} ×")
        print(
            f"{path.suffix:6}half cached: {half.use.hits / max(1, half.use.hits + half.use.misses):.2f} of the blocks were there"
        )
        tracemalloc.start()
        rate(CachedVolume(volume, HALF).read, places(100, 9), 2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"{path.suffix:6}peak {peak / 1e6:.1f} MB at a limit of {HALF / 1e6:.1f} MB, 2 threads")


def main(rounds: int = 5) -> None:
    values = np.random.default_rng(0).integers(90, 130, SIZE, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.h5", "a.zarr", "a.tif", "a.npy"):
            store(Path(folder) / name, values)
            measure(Path(folder) / name, values, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
