"""Engines of dense prediction against torch as one writes it first: `python benchmarks/dense.py default|tuned [short]`,
and `python benchmarks/dense.py whole [neuro_3d|deep] [WAY ...]`.

One thread unless stated, float32, with the allocator as it is or tuned as in `elektronn predict`. Ways of one table run
in turn in one process; what is printed are medians, over the rounds, of times on the clock and of their ratios within a
round, with the lowest and highest ratio. Two threads are measured by themselves, eight blocks in a row of which the last
five count: the system needs a while to give the second thread a core of its own. Plain means conv3d and max_pool3d on
contiguous tensors.

- shift-and-stitch: the strided network at every shift of a patch as in training;
- plain fragments: max-fragment pooling, fragments in the batch;
- plain dilated: dilated convolution, dilated pooling with stride 1;
- portable, lanes: the engines.

`whole` predicts a volume, uint8 in and out, tile by tile: each way in a process of its own with the tuned allocator, all
with the tiles that `elektronn predict` would take with 2 GB, but for shift-and-stitch, which takes patches as in training.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from elektronn.axes import Size, blocks
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.layers import Convolution
from elektronn.prediction.allocator import keep_memory
from elektronn.prediction.dense import Engine
from elektronn.prediction.engines import operations
from elektronn.prediction.lanes import LanesEngine
from elektronn.prediction.tiles import bytes_of, choose_tile

CPU = torch.device("cpu")
NEURO = NetworkSettings()
DEEP = NetworkSettings(
    kernels=((1, 4, 4), (1, 3, 3), *((3, 4, 4),) * 4, (1, 4, 4), (1, 4, 4)),
    pools=((1, 2, 2), (1, 2, 2), *((1, 1, 1),) * 6),
    features=(20, 40, 64, 80, 80, 100, 120, 120),
)
Work = Callable[[], object]


class Way(NamedTuple):
    """A way to predict: what is run, and how many voxels it gives."""

    work: Work
    voxels: int


def convolutions(network: Network) -> list[Convolution]:
    return [m for m in network.layers.values() if isinstance(m, Convolution)]


def plain_strided(network: Network, x: torch.Tensor) -> torch.Tensor:
    for m in convolutions(network):
        x = F.conv3d(x, m.weight, m.bias)
        x = F.max_pool3d(x, tuple(m.layer.pool)) if m.layer.pool.voxels > 1 else x
        x = F.relu(x) if m.layer.activation == "relu" else x
    return torch.softmax(x, 1)


def stitched(network: Network, x: torch.Tensor) -> torch.Tensor:
    """Shift-and-stitch for an input whose dense output is a multiple of the stride."""
    field, stride = network.geometry.field, network.geometry.stride
    wanted = [n - f + 1 for n, f in zip(x.shape[2:], field)]
    extent = [n - s + f for n, s, f in zip(wanted, stride, field)]
    result = torch.empty(2, *wanted)
    for shift in product(*(range(s) for s in stride)):
        part = x[(..., *(slice(s, s + e) for s, e in zip(shift, extent)))]
        result[(slice(None), *(slice(s, None, t) for s, t in zip(shift, stride)))] = plain_strided(network, part)[0]
    return result


def fragments(network: Network, x: torch.Tensor) -> torch.Tensor:
    """Max-fragment pooling for an input that leaves no remainder."""
    field, stride, origins = network.geometry.field, Size(1, 1, 1), [Size(0, 0, 0)]
    wanted = [n - f + 1 for n, f in zip(x.shape[2:], field)]
    for m in convolutions(network):
        x, pool = F.conv3d(x, m.weight, m.bias), m.layer.pool
        if pool.voxels > 1:
            extent = [(n - p + 1) // p * p for n, p in zip(x.shape[2:], pool)]
            shifts = list(product(*(range(p) for p in pool)))
            parts = [x[(..., *(slice(s, s + e) for s, e in zip(shift, extent)))] for shift in shifts]
            x = torch.cat([F.max_pool3d(part, tuple(pool)) for part in parts])
            origins = [Size(*(o + s * d for o, s, d in zip(old, shift, stride))) for shift in shifts for old in origins]
            stride = Size(*(s * p for s, p in zip(stride, pool)))
        x = F.relu(x) if m.layer.activation == "relu" else x
    result = torch.empty(2, *wanted)
    for origin, found in zip(origins, torch.softmax(x, 1)):
        result[(slice(None), *(slice(o, None, s) for o, s in zip(origin, stride)))] = found
    return result


def dilated(network: Network, x: torch.Tensor) -> torch.Tensor:
    stride = Size(1, 1, 1)
    for m in convolutions(network):
        x = F.conv3d(x, m.weight, m.bias, dilation=tuple(stride))
        if m.layer.pool.voxels > 1:
            x = F.max_pool3d(x, tuple(m.layer.pool), stride=1, dilation=tuple(stride))
        stride = Size(*(s * p for s, p in zip(stride, m.layer.pool)))
        x = F.relu(x) if m.layer.activation == "relu" else x
    return torch.softmax(x, 1)[0]


def image_of(network: Network, tile: Size) -> np.ndarray:
    size = [n + f - 1 for n, f in zip(tile, network.geometry.field)]
    return np.random.default_rng(0).integers(0, 256, (1, *size), dtype=np.uint8)


def ways_of(network: Network, tile: Size, training: Size) -> dict[str, Way]:
    image, small = image_of(network, tile), image_of(network, training)

    def plain(route: Callable[[Network, torch.Tensor], torch.Tensor], block: np.ndarray) -> Work:
        return lambda: route(network, torch.from_numpy(np.float32(block) / np.float32(255))[None]).numpy()

    engine, lanes = Engine(network, CPU), LanesEngine(network)
    return {
        "shift-and-stitch": Way(plain(stitched, small), training.voxels),
        "plain fragments": Way(plain(fragments, image), tile.voxels),
        "plain dilated": Way(plain(dilated, image), tile.voxels),
        "portable": Way(lambda: engine.block(image), tile.voxels),
        "lanes": Way(lambda: lanes.block(image), tile.voxels),
    }


def seconds(work: Work) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        work()
    return time.perf_counter() - start


def measured(ways: dict[str, Way], rounds: int) -> dict[str, np.ndarray]:
    """Voxels per second on the clock, per way and round; the first round compiles and allocates."""
    times = [[seconds(way.work) for way in ways.values()] for _ in range(rounds + 1)]
    return {name: way.voxels / np.array(times)[1:, i] for i, (name, way) in enumerate(ways.items())}


def best_convolution() -> float:
    """FLOP/s of the fastest of some convolutions of torch."""
    best = 0.0
    for features, kernel in ((80, 3), (128, 3), (80, 4)):
        x = torch.rand(1, features, 8, 64, 64).contiguous(memory_format=torch.channels_last_3d)
        weight = torch.rand(features, features, 3, kernel, kernel).contiguous(memory_format=torch.channels_last_3d)
        for _ in range(4):
            start = time.process_time()
            voxels = F.conv3d(x, weight)[0, 0].numel()
            best = max(best, 2 * voxels * weight.numel() / (time.process_time() - start))
    return best


def compare(name: str, settings: NetworkSettings, tile: Size, training: Size, rounds: int) -> None:
    network = build(chain(settings), seed=1).eval()
    ways = ways_of(network, tile, training)
    rates = measured(ways, rounds)
    flops, top = operations(network.document), best_convolution()
    print(f"{name}: {flops / 1e3:.1f} kFLOP/voxel, tile {tile}, shift-and-stitch {training}; ", end="")
    print(f"best convolution {top / 1e9:.0f} GFLOP/s")
    for way, found in rates.items():
        ratios = [found / rates[other] for other in ("shift-and-stitch", "plain fragments", "plain dilated")]
        text = " ".join(f"{np.median(r):6.2f} ({r.min():.2f}-{r.max():.2f})" for r in ratios)
        share = np.median(found) * flops / top
        print(f"  {way:20} {np.median(found) / 1e6:7.3f} Mvox/s  × {text}  {share:5.2f} of the best convolution")


def two_threads(tile: Size, rounds: int) -> None:
    """Two threads against one; needs two cores."""
    network = build(chain(NEURO), seed=1).eval()
    image, portable = image_of(network, tile), Engine(network, CPU)
    for one, two in ((portable, portable), (LanesEngine(network, 1), LanesEngine(network, 2))):
        times = []
        for _ in range(rounds + 1):
            torch.set_num_threads(1)
            first = [seconds(partial(one.block, image)) for _ in range(3)]
            torch.set_num_threads(2)
            second = [seconds(partial(two.block, image)) for _ in range(8)][3:]
            times.append((np.median(first), np.median(second), min(first), min(second)))
        table = np.array(times[1:])
        ratio, best = table[:, 0] / table[:, 1], table[:, 2].min() / table[:, 3].min()
        text = f"{np.median(ratio):.2f} ({ratio.min():.2f}-{ratio.max():.2f}), best of each {best:.2f}"
        print(f"neuro_3d, {tile}, {one.name}: two threads / one on the clock {text}")
    torch.set_num_threads(1)


class Whole(NamedTuple):
    """A volume to predict: network, outputs, and tile of shift-and-stitch."""

    settings: NetworkSettings
    size: Size
    training: Size


WHOLE = {
    "neuro_3d": Whole(NEURO, Size(64, 512, 512), Size(3, 100, 100)),
    "deep": Whole(DEEP, Size(16, 128, 128), Size(3, 48, 48)),
}
ROOM = 2e9
"""Bytes for one tile."""


def volume(name: str, way: str) -> None:
    """One way over a whole volume; alone in its process, because memory is kept."""
    settings, size, training = WHOLE[name]
    network = build(chain(settings), seed=1).eval()
    field, stride = network.geometry.field, network.geometry.stride
    tile = choose_tile(network.document, network.geometry, size, ROOM, size.voxels)
    tile = training if way == "shift-and-stitch" else tile
    run = route_of(network, way)
    image, found = image_of(network, Size(*(n + 8 * s for n, s in zip(size, stride)))), np.zeros(size, np.uint8)
    with torch.inference_mode():
        run(image[(slice(None), *(slice(f - 1 + 4 * s) for f, s in zip(field, stride)))])
        Path("/proc/self/clear_refs").write_text("5")
        before, start = status("VmRSS"), time.perf_counter()
        for box in blocks(size, tile):
            # plain torch wants whole strides; what lies behind the end is cut off
            whole = Size(*(-(-n // s) * s for n, s in zip(box.size, stride))) if way in PLAIN else box.size
            part = image[(slice(None), *(slice(a, a + n + f - 1) for a, n, f in zip(box.start, whole, field)))]
            values = run(part)[1][tuple(slice(n) for n in box.size)]
            found[box.slices] = np.rint(values * 255)
    taken, peak = time.perf_counter() - start, (status("VmHWM") - before) / 1e6
    top = max(best_convolution() for _ in range(2))
    flops, rate = operations(network.document), size.voxels / taken
    print(
        f"{name} {size}, {way:16} tiles of {tile}: {taken:6.1f} s, {rate / 1e6:.3f} Mvox/s, {flops / 1e3:.1f} kFLOP/voxel, "
        f"{rate * flops / top:.2f} of the best convolution ({top / 1e9:.0f} GFLOP/s), memory {peak:.0f} MB, "
        f"sum of outputs {found.sum()}",
        flush=True,
    )


def route_of(network: Network, way: str) -> Callable[[np.ndarray], np.ndarray]:
    """What predicts a block in one of the ways."""
    if way == "lanes":
        return LanesEngine(network).block
    if way == "portable":
        return Engine(network, CPU).block
    return lambda block: PLAIN[way](network, torch.from_numpy(np.float32(block) / np.float32(255))[None]).numpy()


PLAIN = {"shift-and-stitch": stitched, "plain fragments": fragments, "plain dilated": dilated}
WAYS = ("lanes", "portable", *PLAIN)


def wholes(name: str, ways: Sequence[str]) -> None:
    """Each way in a process of its own; ours are measured before and behind the others, as the yardstick."""
    for way in ways:
        code = f"import torch, dense; torch.set_num_threads(1); dense.keep_memory(); dense.volume({name!r}, {way!r})"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


def status(name: str) -> int:
    """Memory of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def exactness(name: str, settings: NetworkSettings, tile: Size) -> None:
    network, exact = build(chain(settings), seed=1).eval(), build(chain(settings), seed=1).double().eval()
    image = image_of(network, tile)
    with torch.inference_mode():
        wanted = torch.softmax(exact.dense(torch.from_numpy(image / 255)[None]), 1)[0, 1].numpy()
    for engine in (Engine(network, CPU), LanesEngine(network)):
        found = engine.block(image)[1]
        same = (np.rint(found * 255) == np.rint(wanted * 255)).mean()
        print(
            f"{name}, {engine.name}: largest difference from float64 {np.abs(found - wanted).max():.1e}, uint8 equal {same:.4%}"
        )


def memory(tile: Size, engine: str, tuned: bool) -> None:
    """Peak memory of one tile of neuro_3d in a process of its own, and the forecast."""
    code = f"""
import torch, numpy as np
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.prediction.allocator import keep_memory
from elektronn.prediction.dense import Engine
from elektronn.prediction.engines import operations
from elektronn.prediction.lanes import LanesEngine
if {tuned}: keep_memory()
torch.set_num_threads(1)
network = build(chain(NetworkSettings()), 1)
engine = LanesEngine(network) if "{engine}" == "lanes" else Engine(network, torch.device("cpu"))
engine.block(np.zeros((1, 6, 50, 50), np.uint8))
read = lambda name: int(next(l for l in open("/proc/self/status") if l.startswith(name)).split()[1])
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew at what is in use now
before = read("VmRSS")
for _ in range(2): engine.block(np.zeros((1, {tile.z + 4}, {tile.y + 30}, {tile.x + 30}), np.uint8))
print((read("VmHWM") - before) * 1.024 / 1e3)
"""
    found = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    network = build(chain(NEURO))
    forecast = bytes_of(network.document, network.geometry, tile) / 1e6
    print(f"memory of {tile}, {engine}: forecast {forecast:.0f} MB, measured {found:.0f} MB, × {found / forecast:.2f}")


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["whole"]:
        wholes((sys.argv[2:] or ["neuro_3d"])[0], sys.argv[3:] or (*WAYS, "portable", "lanes"))
        return
    tuned = sys.argv[1:2] == ["tuned"]
    torch.set_num_threads(1)
    print(f"allocator: {'tuned' if tuned and keep_memory() else 'default'}")
    compare("neuro_3d", NEURO, Size(16, 128, 128), Size(3, 100, 100), 5)
    if sys.argv[2:] == ["short"]:
        return
    compare("neuro_3d", NEURO, Size(24, 192, 192), Size(3, 100, 100), 3)
    compare("9 layers, 1.5 million weights", DEEP, Size(8, 96, 96), Size(3, 48, 48), 2)
    if tuned:
        two_threads(Size(16, 128, 128), 5)
        exactness("neuro_3d", NEURO, Size(8, 96, 96))
        exactness("9 layers", DEEP, Size(2, 40, 40))
    for engine, tile in product(("portable", "lanes"), (Size(4, 64, 64), Size(16, 128, 128), Size(32, 192, 192))):
        memory(tile, engine, tuned)


if __name__ == "__main__":
    main()
