"""Evaluation over zarr stores against reading alone, the same blocks in the same run: how much counting costs.

Two readings: by the zarr library itself, one block after the other, and by the machinery of the passes, the same workers and
blocks, with the counting left out. Beside the whole passes stands what one block costs to count when it is in memory.

python benchmarks/evaluate.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import zarr
from scipy.ndimage import gaussian_filter

from elektronn.axes import Box, Size, blocks
from elektronn.evaluation.cells import Cells
from elektronn.evaluation.compare import compare
from elektronn.evaluation.contingency import contingency
from elektronn.evaluation.counters import Counter
from elektronn.evaluation.evaluate import SECTION_BINS, Pair, evaluate
from elektronn.evaluation.placement import score
from elektronn.evaluation.settings import EvaluateSettings
from elektronn.evaluation.workers import shared, workers
from elektronn.prediction.allocator import keep_memory
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import create_volume, open_volume
from elektronn.volumes.barriers import barriers
from elektronn.volumes.boundaries import BoundarySettings

SETTINGS = EvaluateSettings()
SIZE = Size(512, 512, 512)


def cells(size: Size, random: np.random.Generator) -> np.ndarray:
    """Ids of rounded cells, some 40 voxels wide."""
    from scipy.spatial import cKDTree

    centres = random.random((size.voxels // 40**3 + 2, 3)) * size
    places = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1).reshape(-1, 3)
    return (cKDTree(centres).query(places, workers=-1)[1] + 1).astype(np.uint32).reshape(size)


def store(path: Path, values: np.ndarray) -> Address:
    with create_volume(Address(path), values.shape, values.dtype, voxel_nm=(30, 10, 10)) as sink:
        for box in blocks(values.shape, (128, 512, 512)):
            sink.write(box, values[box.slices])
    return Address(path)


def stores(folder: Path) -> dict[str, Address]:
    """Ids, other ids, boundaries, and predictions as bytes, two bytes and floats; the same 64 sections again and again."""
    random, size = np.random.default_rng(0), Size(64, *SIZE[1:])
    ids = cells(size, random)
    labels = barriers(ids, BoundarySettings())
    noise = gaussian_filter(random.standard_normal(size, np.float32), 1.0)
    p = np.clip(gaussian_filter((labels > 0).astype(np.float32), 1.0) + 0.8 * noise, 0, 1)
    merged = np.where(random.random(ids.max() + 1) < 0.7, np.arange(ids.max() + 1), 1).astype(np.uint32)
    made = {"ids": ids, "segments": merged[np.roll(ids, 1, 2)], "labels": labels, "float32": p}
    made |= {"uint8": np.rint(p * 255).astype(np.uint8), "uint16": np.rint(p * 65535).astype(np.uint16)}
    return {
        name: store(folder / f"{name}.zarr", np.concatenate([values] * (SIZE.z // 64))) for name, values in made.items()
    }


def read(prediction: Address, labels: Address) -> None:
    """The same blocks by the zarr library alone: scores, then labels, one block after the other, nothing done with them."""
    one, other = (zarr.open_group(address.path, mode="r")["0"] for address in (prediction, labels))
    for box in blocks(one.shape, SETTINGS.block):
        one[box.slices]
        other[box.slices]


def uncounted(prediction: Address, labels: Address) -> None:
    """What every pass does, without counting."""

    def fetch(box: Box, _: None) -> None:
        score(one, box)
        other.read(box)

    with open_volume(prediction) as one, open_volume(labels) as other:
        boxes = blocks(one.size, SETTINGS.block)
        with shared(boxes, fetch, [None] * workers(len(boxes))) as done:
            deque(done, maxlen=0)


def times(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds elapsed, and seconds of processor time of all threads."""
    before = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - before[0], time.process_time() - before[1]


def counting(name: str, scores: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    """What a pass does with a block that is in memory."""
    if name.startswith("ids"):
        return lambda: contingency(labels, scores)
    counter = Counter(scores.dtype, SETTINGS.bins)
    if "section" not in name:
        return lambda: counter.add(scores, labels)
    return lambda: Cells(Size(1, *scores.shape[1:]), SECTION_BINS).add(Size(0, 0, 0), scores, labels, counter)


def first_block(address: Address) -> np.ndarray:
    with open_volume(address) as volume:
        return volume.read(blocks(volume.size, SETTINGS.block)[0])


def passes() -> dict[str, tuple[str, str, Callable[[Address, Address], object]]]:
    """Words → prediction, labels, what is done with them."""

    def judge(prediction: Address, labels: Address, sections: bool) -> object:
        return evaluate([Pair("a", "test", prediction, labels)], SETTINGS, sections=sections)

    found: dict[str, tuple[str, str, Callable[[Address, Address], object]]] = {}
    for name in ("uint8", "uint16", "float32"):
        found[f"{name}, histogram"] = name, "labels", partial(judge, sections=False)
        found[f"{name}, histogram, table per section"] = name, "labels", partial(judge, sections=True)
    found["ids, table of overlaps"] = "segments", "ids", partial(compare, block=SETTINGS.block)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    count = parser.parse_args().rounds
    keep_memory()  # as `elektronn evaluate` does; reading gains as much
    with tempfile.TemporaryDirectory() as folder:
        made = stores(Path(folder))
        print(
            f"{SIZE} voxels, {count} rounds, {workers(SIZE.voxels)} workers. Pass, reading by zarr, reading by the workers; speed as a\n"
            "share of reading by zarr (quartiles), of reading by the workers (quartiles), the latter by processor time; processor\n"
            "time per voxel of both readings and of counting a block in memory"
        )
        for words, (one, other, work) in passes().items():
            whole, plain, bare = (partial(what, made[one], made[other]) for what in (work, read, uncounted))
            block = first_block(made[one]), first_block(made[other])
            counts = counting(words, *block)
            whole(), counts()
            rounds = np.array([times(whole) + times(plain) + times(bare) + times(counts) for _ in range(count)])
            rates = SIZE.voxels / 1e6 / np.median(rounds[:, :6:2], axis=0)
            shares = [
                f"{middle:.2f} ({low:.2f}–{high:.2f})"
                for by in (2, 4)
                for low, middle, high in [np.quantile(rounds[:, by] / rounds[:, 0], (0.25, 0.5, 0.75))]
            ]
            costs = np.median(rounds[:, 3::2], axis=0) / (SIZE.voxels, SIZE.voxels, block[0].size) * 1e9
            print(
                f"{words:36} {rates[0]:5.0f} {rates[1]:5.0f} {rates[2]:5.0f} Mvox/s  {shares[0]}  {shares[1]}  "
                f"{np.median(rounds[:, 5] / rounds[:, 1]):.2f}; {costs[0]:.1f} {costs[1]:.1f} {costs[2]:.2f} ns",
                flush=True,
            )


if __name__ == "__main__":
    main()
