"""Patches cut, warped and bent: ours against scipy and torch doing the same map: `python benchmarks/sampler.py [rounds]`.

One cube of 250×350×350 bytes, every example warped, flipped and with a grey curve, its labels at the network's outputs,
places all over the cube. The references get the drawn map for nothing; ours draws it. Rounds are interleaved and a ratio
is taken within a round, so that other work on the machine slows all sides alike: of processor time for one thread, of
elapsed time for two, which are measured by themselves. The median of the ratios is printed. Within a round each makes 48 patches (12 of the large ones) one after the other: no patch finds its voxels in the cache, and what the first
one costs after others had the processor counts little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from threading import Thread

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from elektronn.axes import Size
from elektronn.geometry import Geometry, Reach
from elektronn.prediction.allocator import keep_memory
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.draws import draws
from elektronn.sampling.grey import Curve, Grey
from elektronn.sampling.maps import Map
from elektronn.sampling.spatial import Elastic, Flip, Warp

NEURO = Geometry(Reach(5, 1), Reach(31, 4), Reach(31, 4))
CUBE = Size(250, 350, 350)
WARPED = (Flip(), Warp(probability=1.0), Grey())
PATCHES = {"7×127×127": Size(7, 127, 127), "23×185×185": Size(23, 185, 185)}
SCIPY, TORCH = "scipy map_coordinates", "torch grid_sample"

Example = tuple[Map, Curve]


def world() -> Cube:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (1, *CUBE), dtype=np.uint8)
    return Cube("noise", image, random.integers(0, 2, CUBE).astype(np.int16), Size(0, 0, 0), 1 / 255)


def drawn(sampler: Sampler, step: int) -> Example:
    """What the sampler draws for the only example of a step."""
    random = draws(sampler.seed, step, 0, sampler.purpose)
    random.random()  # the choice of the cube
    place = sampler.place(sampler.cubes[0], random)
    ((curve,),) = sampler.chain.changes(random)
    assert isinstance(curve, Curve)
    return place.map, curve


def by_scipy(cube: Cube, patch: Size, example: Example) -> np.ndarray:
    """Coordinates, order-1 interpolation, grey curve; labels by index."""
    curve, m = example[1], example[0].outer
    at = _coordinates(m, [np.arange(n, dtype=np.float64) for n in patch])
    values = map_coordinates(cube.image[0], at, output=np.float32, order=1, prefilter=False)
    values *= np.float32(curve.a / 255)
    values += np.float32(curve.b)
    np.clip(values, 0, 1, out=values)
    np.power(values, np.float32(curve.g), out=values)
    _labels(cube, patch, m)
    return values


def by_torch(cube: Cube, source: torch.Tensor, grid: list[torch.Tensor], patch: Size, example: Example) -> torch.Tensor:
    """The same with grid_sample, which needs the cube as float32 and coordinates from −1 to 1."""
    curve, m = example[1], example[0].outer
    z, y, x = grid
    w = m[3, 0] * z + m[3, 1] * y + m[3, 2] * x + m[3, 3]
    at = [(m[i, 0] * z + m[i, 1] * y + m[i, 2] * x + m[i, 3]) / w * (2 / (CUBE[i] - 1)) - 1 for i in (2, 1, 0)]
    values = torch.nn.functional.grid_sample(source, torch.stack(at, -1)[None], align_corners=True)
    values = values.mul_(curve.a).add_(curve.b).clamp_(0, 1).pow_(curve.g)
    _labels(cube, patch, m)
    return values


def _coordinates(m: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    z, y, x = (axis.reshape([-1 if i == k else 1 for i in range(3)]) for k, axis in enumerate(axes))
    w = m[3, 0] * z + m[3, 1] * y + m[3, 2] * x + m[3, 3]
    return np.stack([(m[i, 0] * z + m[i, 1] * y + m[i, 2] * x + m[i, 3]) / w for i in range(3)])


def _labels(cube: Cube, patch: Size, m: np.ndarray) -> np.ndarray:
    counts = zip(NEURO.offset, NEURO.stride, NEURO.outputs(patch))
    at = _coordinates(m, [start + step * np.arange(n, dtype=np.float64) for start, step, n in counts])
    return cube.labels[tuple((at + 0.5).astype(np.int64))]


def interleaved(routes: dict[str, Callable[[range], object]], rounds: int, steps: range) -> dict[str, list[float]]:
    """Per round of every route: seconds per example, of this thread's processor."""
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for number in range(rounds + 1):
        for name, run in routes.items():
            start = time.thread_time()
            run(steps)
            if number:  # the first round compiles and warms up
                seconds[name].append((time.thread_time() - start) / len(steps))
    return seconds


def each(run: Callable[[int], object]) -> Callable[[range], object]:
    """One example after the other."""

    def all_of(steps: range) -> None:
        for step in steps:
            run(step)

    return all_of


def compare(name: str, patch: Size, cube: Cube, rounds: int) -> None:
    steps = range(48 if patch.z < 10 else 12)
    chains = {
        "ours": WARPED,
        "ours, and elastic": (*WARPED[:2], Elastic(probability=1.0), WARPED[2]),
        "ours, no warp": (WARPED[0], WARPED[2]),
    }
    samplers = {
        label: Sampler([cube], NEURO, patch, SamplingSettings(augment=chain), seed=1) for label, chain in chains.items()
    }
    ours = samplers["ours"]
    examples = [drawn(ours, step) for step in steps]
    source = torch.from_numpy(cube.image.astype(np.float32) / 255)[None]
    grid = list(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in patch), indexing="ij"))
    routes = {
        SCIPY: each(lambda step: by_scipy(cube, patch, examples[step])),
        TORCH: each(lambda step: by_torch(cube, source, grid, patch, examples[step])),
        **{label: each(sampler.batch) for label, sampler in samplers.items()},
    }
    seconds = interleaved(routes, rounds, steps)
    off = np.abs(ours.batch(0).image[0, 0] - by_scipy(cube, patch, examples[0])).max()
    print(f"{name}: largest difference to scipy {off:.1e} on values of 0…1")
    for route, times in seconds.items():
        ratios = [median(a / b for a, b in zip(seconds[other], times)) for other in (SCIPY, TORCH, "ours")]
        said = "  ".join(f"×{ratio:5.2f} {other}" for ratio, other in zip(ratios, ("scipy", "torch", "ours")))
        rate = f"{1 / median(times):6.0f} patches/s {patch.voxels / median(times) / 1e6:6.1f} Mvox/s"
        print(f"{name}  {route:24} {1e3 * median(times):7.2f} ms, best {1e3 * min(times):7.2f} {rate}  {said}")

    two_threads(name, ours, range(12 * len(steps)), rounds)


def two_threads(name: str, sampler: Sampler, steps: range, rounds: int) -> None:
    """Two threads that last, as those of a training do, each with as many examples as one thread alone."""
    ratios = []
    for _ in range(rounds):
        begun = time.perf_counter()
        each(sampler.batch)(steps)
        alone = time.perf_counter() - begun
        threads = [Thread(target=each(sampler.batch), args=(steps,)) for _ in range(2)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ratios.append(2 * alone / (time.perf_counter() - begun))
    low, mid, high = (f"{f(ratios):.2f}" for f in (min, median, max))
    print(f"{name}  ours, two threads against one on the clock: × {mid} ({low} to {high})")


def main(rounds: int = 15) -> None:
    torch.set_num_threads(1)
    keep_memory()  # as a training does; for all sides
    cube = world()
    for name, patch in PATCHES.items():
        compare(name, patch, cube, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
