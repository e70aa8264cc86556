"""Boxes of zarr stores, read directly, against the library's own indexing: the same boxes, in interleaved rounds.

The stores are those of benchmarks/evaluate.py, in the cache of the operating system.

python benchmarks/read.py [--rounds 7] [--folder FOLDER] [NAME ...]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from evaluate import SIZE, stores, times

from elektronn.axes import Box, Size, blocks
from elektronn.prediction.allocator import keep_memory
from elektronn.volumes import zarr_direct
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import open_volume
from elektronn.volumes.zarr_direct import Direct

BLOCK, PATCH, PATCHES = Size(64, 512, 512), Size(11, 151, 151), 60
HANDS = zarr_direct.HANDS

Read = Callable[[Sequence[Box]], object]


def patches() -> list[Box]:
    """Random boxes as the sampler reads them."""
    starts = np.random.default_rng(0).integers(0, np.array(SIZE) - PATCH, (PATCHES, 3))
    return [Box(Size(*start), Size(*(a + n for a, n in zip(start, PATCH)))) for start in starts.tolist()]


def routes(stored: Direct) -> dict[str, Read]:
    """Words → what reads boxes; the first is the reference."""

    def library(boxes: Sequence[Box]) -> None:
        for box in boxes:
            stored.array[box.slices]

    def direct(boxes: Sequence[Box]) -> None:
        zarr_direct.HANDS = HANDS
        for box in boxes:
            stored[box.slices]

    def alone(boxes: Sequence[Box]) -> None:
        zarr_direct.HANDS = 1
        for box in boxes:
            stored[box.slices]

    def halves(read: Read) -> Read:
        """The boxes shared by two readers at the same time."""

        def both(boxes: Sequence[Box]) -> None:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(read, [boxes[::2], boxes[1::2]]))

        return both

    found = {"library": library, "direct": direct, "direct, 1 thread": alone}
    return found | {f"{words}, 2 readers": halves(read) for words, read in found.items()}


def measure(words: str, boxes: Sequence[Box], reads: dict[str, Read], rounds: int) -> None:
    """Print each route: nanoseconds per voxel, and the speed over the first one's, elapsed and by processor time."""
    for read in reads.values():
        read(boxes[:4])
    found = {name: [] for name in reads}
    for _ in range(rounds):
        for name, read in reads.items():
            found[name].append(times(lambda read=read: read(boxes)))
    all_rounds = {name: np.array(some) for name, some in found.items()}
    voxels = sum(box.size.voxels for box in boxes)
    for name, some in all_rounds.items():
        elapsed, processor = np.median(some, axis=0) / voxels * 1e9
        ratios = np.quantile(all_rounds["library"] / some, (0.25, 0.5, 0.75), axis=0)
        shown = "  ".join(f"{middle:4.2f} × ({low:.2f}–{high:.2f})" for low, middle, high in ratios.T)
        print(f"{words:18}{name:28}{elapsed:5.2f} ns {processor:5.2f} ns  {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keeps the stores for the next time")
    parser.add_argument("names", nargs="*", default=["uint8", "labels", "uint16", "ids"])
    options = parser.parse_args()
    keep_memory()  # as the commands do; both sides gain
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        made = {path.stem: Address(path) for path in folder.glob("*.zarr")} or stores(folder)
        print(f"{SIZE} voxels, {options.rounds} rounds: elapsed, processor time; speed over the library's (quartiles)")
        for name in options.names:
            with open_volume(made[name]) as volume:
                assert isinstance(volume.stored, Direct)
                assert np.array_equal(volume.stored[:50, :, :100], volume.stored.array[:50, :, :100])
                reads = routes(volume.stored)
                measure(f"{name}, blocks", blocks(SIZE, BLOCK), reads, options.rounds)
                measure(f"{name}, patches", patches(), reads, options.rounds)


if __name__ == "__main__":
    main()
