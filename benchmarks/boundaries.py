"""IDs → boundary map: ours against ``skimage.segmentation.find_boundaries`` and a plain copy, interleaved in one run.

Run: ``python benchmarks/boundaries.py [edge_vox] [rounds]``
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from skimage.segmentation import find_boundaries

from elektronn.volumes.barriers import barriers
from elektronn.volumes.boundaries import BoundarySettings

REFERENCE = "skimage find_boundaries (defaults)"


def volume(edge_vox: int) -> np.ndarray:
    """Blocky cells of 16³ voxels, a fifth of them extracellular, uint32."""
    random = np.random.default_rng(0)
    coarse = random.integers(1, 100_000, (-(-edge_vox // 16),) * 3) * (random.random((-(-edge_vox // 16),) * 3) < 0.8)
    fine = coarse.repeat(16, 0).repeat(16, 1).repeat(16, 2)
    return np.ascontiguousarray(fine[:edge_vox, :edge_vox, :edge_vox], np.uint32)


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(edge_vox: int = 256, rounds: int = 9) -> None:
    ids = volume(edge_vox)
    undilated = BoundarySettings(dilate=(False, False, False))
    smoothed = BoundarySettings(smooth=True)
    expected = find_boundaries(ids, connectivity=1, mode="thick")
    found = barriers(ids, BoundarySettings(dilate=(False, False, False), extracellular="interior"))
    print(f"{edge_vox}³ uint32; voxels that differ from skimage: {int((found != expected).sum())}")
    routes: dict[str, Callable[[], object]] = {
        REFERENCE: lambda: find_boundaries(ids),
        "numpy copy of the IDs": lambda: ids.copy(),
        "plain rule, 1 thread": lambda: barriers(ids, undilated),
        "plain rule, 2 threads": lambda: barriers(ids, undilated, 2),
        "dilated in y and x, 1 thread": lambda: barriers(ids, BoundarySettings()),
        "dilated in y and x, 2 threads": lambda: barriers(ids, BoundarySettings(), 2),
        "dilated and smoothed, 1 thread": lambda: barriers(ids, smoothed),
        "dilated and smoothed, 2 threads": lambda: barriers(ids, smoothed, 2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for number in range(rounds + 1):
        for name, run in routes.items():
            if number == 0:
                run()  # compiles
            else:
                seconds[name].append(timed(run))
    # a ratio is taken within a round, where both sides met the same machine
    for name, times in seconds.items():
        ratio = median(r / t for r, t in zip(seconds[REFERENCE], times))
        copy = median(c / t for c, t in zip(seconds["numpy copy of the IDs"], times))
        rate = ids.size / median(times) / 1e6
        print(f"{name:36s} {rate:8.0f} Mvox/s  {ratio:6.1f} × skimage  {copy:5.2f} × copy")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
