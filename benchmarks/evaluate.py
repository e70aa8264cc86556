"""Evaluation over zarr stores against reading alone, the same blocks in the same run: how much counting costs.

Beside the whole passes stands what one block costs to count when it is in memory, and the share of the speed of reading
that a single core could reach with that if nothing else cost anything: reading / (reading + counting), processor time.

python benchmarks/evaluate.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from elektronn.axes import Size, blocks
from elektronn.evaluation.cells import Cells
from elektronn.evaluation.compare import compare
from elektronn.evaluation.contingency import contingency
from elektronn.evaluation.counters import Counter
from elektronn.evaluation.evaluate import SECTION_BINS, Pair, evaluate
from elektronn.evaluation.placement import score
from elektronn.evaluation.settings import EvaluateSettings
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
    """What every pass must read: the same blocks by the same reader, one after the other, and nothing done with them."""
    with open_volume(prediction) as one, open_volume(labels) as other:
        for box in blocks(one.size, SETTINGS.block):
            score(one, box)
            other.read(box)


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
    keep_memory()  # as `elektronn evaluate` does; reading alone gains as much
    with tempfile.TemporaryDirectory() as folder:
        made = stores(Path(folder))
        print(
            f"{SIZE} voxels, {count} rounds. Pass, reading alone, speed as a share of reading (quartiles), by processor time;\n"
            "processor time per voxel of reading and of counting, share of reading that this allows without overlap"
        )
        for words, (one, other, work) in passes().items():
            whole, alone = partial(work, made[one], made[other]), partial(read, made[one], made[other])
            block = first_block(made[one]), first_block(made[other])
            counts = counting(words, *block)
            whole(), counts()
            rounds = np.array([times(whole) + times(alone) + times(counts) for _ in range(count)])
            low, middle, high = np.quantile(rounds[:, 2] / rounds[:, 0], (0.25, 0.5, 0.75))
            rate = SIZE.voxels / 1e6 / np.median(rounds, axis=0)
            reading, counted = np.median(rounds[:, 3]) / SIZE.voxels, np.median(rounds[:, 5]) / block[0].size
            print(
                f"{words:36} {rate[0]:5.0f} Mvox/s {rate[2]:5.0f} Mvox/s  {middle:.2f} ({low:.2f}–{high:.2f})  "
                f"{np.median(rounds[:, 3] / rounds[:, 1]):.2f}; {reading * 1e9:.1f} ns {counted * 1e9:.2f} ns  "
                f"{reading / (reading + counted):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
