"""Layers against torch as one writes it first: `python benchmarks/network.py`.

Prints, for neuro_3d, medians of interleaved runs: the training step with convolutions over planes against plain conv3d
(the named reference), dense pooling against dilated max_pool3d, and the peak memory of dense prediction against the
closed form of the tile chooser. The engines of dense prediction are compared in dense.py.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from elektronn.axes import Size
from elektronn.network import layers as network_layers
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.layers import convolve, convolve_plainly, pool_dense
from elektronn.prediction.tiles import bytes_of

ROUNDS = 7


def compare(ways: dict[str, Callable[[], object]], reference: str, unit: float, name: str) -> None:
    """Run the ways in turn and print the median of each, and its ratio to the reference."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, work in ways.items():
            start = time.perf_counter()
            work()
            times[way].append(time.perf_counter() - start)
    medians = {way: statistics.median(values) for way, values in times.items()}
    for way, median in medians.items():
        print(f"{name:18} {way:28} {unit / median:9.3f}  ×{medians[reference] / median:.2f} {reference}")


def with_convolution(chosen: Callable[..., torch.Tensor], work: Callable[[], object]) -> Callable[[], object]:
    """The work, done with the chosen convolution."""

    def run() -> object:
        network_layers.convolve = chosen
        try:
            return work()
        finally:
            network_layers.convolve = convolve

    return run


def training_step(network: Network) -> Callable[[], object]:
    """One step of neuro_3d: batch 1, input 7×127×127, Adam."""
    optimiser = torch.optim.Adam(network.parameters())
    image, labels = torch.rand(1, 1, 7, 127, 127), torch.randint(0, 2, (1, 3, 25, 25))

    def step() -> None:
        for _ in range(5):
            optimiser.zero_grad()
            F.cross_entropy(network(image), labels).backward()
            optimiser.step()

    return step


def memory(tile: Size) -> tuple[float, float]:
    """Closed form and measured growth of the peak memory for one tile, MB; in a process of its own."""
    code = f"""
import torch, numpy as np
from elektronn.axes import Size
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.prediction.dense import Engine
torch.set_num_threads(1)
engine = Engine(build(chain(NetworkSettings()), 1), torch.device("cpu"))
engine.block(np.zeros((1, 6, 40, 40), np.uint8))
read = lambda name: int(next(l for l in open("/proc/self/status") if l.startswith(name)).split()[1])
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew at what is in use now
before = read("VmRSS")
engine.block(np.zeros((1, {tile.z + 4}, {tile.y + 30}, {tile.x + 30}), np.uint8))
print((read("VmHWM") - before) * 1.024 / 1e3)
"""
    measured = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    network = build(chain(NetworkSettings()))
    return bytes_of(network.document, network.geometry, tile) / 1e6, measured


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    network = build(chain(NetworkSettings()), seed=1)
    step = training_step(network)
    ways = {"planes": with_convolution(convolve, step), "plain conv3d": with_convolution(convolve_plainly, step)}
    compare(ways, "plain conv3d", 5, "training, it/s")
    x = torch.rand(1, 10, 20, 155, 155).contiguous(memory_format=torch.channels_last_3d)
    pool, dilation = Size(1, 2, 2), Size(1, 2, 2)
    ways = {
        "running maxima": lambda: pool_dense(x, pool, dilation),
        "max_pool3d": lambda: F.max_pool3d(x, tuple(pool), stride=1, dilation=tuple(dilation)),
    }
    compare(ways, "max_pool3d", x.numel() / 1e6, "pooling, Mvox/s")
    for tile in (Size(4, 64, 64), Size(16, 128, 128), Size(32, 192, 192)):
        formula, measured = memory(tile)
        print(
            f"memory of {tile!s:12} closed form {formula:7.0f} MB, measured {measured:7.0f} MB, ×{measured / formula:.2f}"
        )


if __name__ == "__main__":
    main()
