"""Training step, trainer and sampler of neuro_3d: `python benchmarks/train_step.py default|tuned [rounds]`.

The allocator of the C library is as it is, or tuned as in `elektronn train`, for all ways alike.

Batch 1, input 7×127×127, one thread for the arithmetic. Prints

1. the step of the network (float32, bf16) against the same layers as one writes them first: `nn.Conv3d`, eager;
2. the whole trainer (every example warped, 2 threads prepare batches) against a bare loop of the same step on one fixed
   batch: processor time of the training thread, which does not hold what it waits, and the share of waiting; then, without
   a sampler, the same with a network of one layer and a patch of 8×8, where the difference is what there is to see;
3. the peak memory of volumes and sampler with 1 and 4 threads against the volumes.

Rounds are interleaved and a ratio is taken within a round, so that other work on the machine slows all sides alike. The
median of the ratios is printed with the lowest and the highest.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from elektronn.axes import Size
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.prediction.allocator import keep_memory
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Batch, Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.grey import Grey
from elektronn.sampling.spatial import Flip, Warp
from elektronn.training.checkpoint import Backups
from elektronn.training.control import Event, Mailbox, Stepped
from elektronn.training.losses import Criterion
from elektronn.training.optimisers import Optimisers, make_optimiser
from elektronn.training.settings import Sgd, TrainingSettings
from elektronn.training.task import Task
from elektronn.training.trainer import Trainer

PATCH, CUBE = Size(7, 127, 127), Size(60, 260, 260)
MARK = 20
"""Steps between looks at the clock, as many as between two looks of the trainer at its loss."""
BF16 = "bf16"


class Seconds(NamedTuple):
    processor: float
    elapsed: float

    @classmethod
    def now(cls) -> Seconds:
        return cls(time.thread_time(), time.perf_counter())

    def since(self, start: Seconds) -> Seconds:
        return Seconds(self.processor - start.processor, self.elapsed - start.elapsed)


def plain_network(settings: NetworkSettings) -> nn.Module:
    """The layers as one writes them first."""
    layers: list[nn.Module] = []
    features = 1
    for kernel, pool, maps in zip(settings.kernels, settings.pools, settings.features):
        layers += [nn.Conv3d(features, maps, kernel)]
        layers += [nn.MaxPool3d(pool)] if max(pool) > 1 else []
        layers += [nn.ReLU()]
        features = maps
    return nn.Sequential(*layers, nn.Conv3d(features, settings.classes, 1))


SGD = Sgd(rate=1e-4, momentum=0.9, weight_decay=5e-4)


def step_of(network: nn.Module, precision: str) -> Callable[[], None]:
    """One step on a fixed batch; our network with our optimiser, torch's with torch's."""
    optimiser: torch.optim.Optimizer = torch.optim.SGD(
        network.parameters(), SGD.rate, SGD.momentum, weight_decay=SGD.weight_decay
    )
    if isinstance(network, Network):
        optimiser = make_optimiser(SGD, dict(network.named_parameters()))
    image, labels = torch.rand(1, 1, *PATCH), torch.randint(0, 2, (1, 3, 25, 25))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == BF16):
            scores = network(image)
        loss = nn.functional.cross_entropy(scores.float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def timed(work: Callable[[], None], times: int) -> Seconds:
    start = Seconds.now()
    for _ in range(times):
        work()
    spent = Seconds.now().since(start)
    return Seconds(spent.processor / times, spent.elapsed / times)


def said(ratios: list[float], form: str = "{:.2f} ×") -> str:
    return f"{form.format(median(ratios))} ({form.format(min(ratios))} to {form.format(max(ratios))})"


def network_step(rounds: int) -> None:
    settings = NetworkSettings()
    ways = {
        (name, precision): step_of(make(), precision)
        for precision in ("float32", BF16)
        for name, make in (
            ("ours", lambda: build(chain(settings), seed=1)),
            ("nn.Conv3d", lambda: plain_network(settings)),
        )
    }
    found: dict[tuple[str, str], list[Seconds]] = {way: [] for way in ways}
    for _ in range(rounds + 1):
        for way, step in ways.items():
            found[way].append(timed(step, 10))
    found = {way: times[1:] for way, times in found.items()}  # the first warms up
    for way, times in found.items():
        processor, elapsed = median(t.processor for t in times), median(t.elapsed for t in times)
        print(f"{way[0]:10} {way[1]:8} {processor * 1e3:7.1f} ms processor, {elapsed * 1e3:7.1f} ms elapsed per step")
    for precision, reference in (("float32", "float32"), (BF16, "float32"), (BF16, BF16)):
        pairs = list(zip(found["nn.Conv3d", reference], found["ours", precision]))
        for kind in ("processor", "elapsed"):
            ratios = [getattr(a, kind) / getattr(b, kind) for a, b in pairs]
            print(f"ours {precision} against nn.Conv3d {reference}, {kind} time: {said(ratios)}")


def world() -> Cube:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (1, *CUBE), dtype=np.uint8)
    return Cube("noise", image, random.integers(0, 2, CUBE).astype(np.int16), Size(0, 0, 0), 1 / 255)


TRAINING = TrainingSettings(
    history_every=10**6, monitor_examples=1, preview_every=0, threads=1, device="cpu", backup_s=1e6
)
NEURO = NetworkSettings()
TINY = NetworkSettings(kernels=((1, 3, 3),), pools=((1, 1, 1),), features=(2,), patch=(1, 8, 8))
SAMPLING = SamplingSettings(augment=(Flip(), Warp(probability=1.0), Grey()), workers=2)


class Watch:
    """Notes the time at the first and at the last of a trainer's reports: between them lie whole steps only."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, Seconds, float]] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Stepped):
            self.marks.append((event.step, Seconds.now(), event.data_wait))

    @property
    def per_step(self) -> Seconds:
        (first, start, _), (last, end, _) = self.marks[0], self.marks[-1]
        spent = end.since(start)
        return Seconds(spent.processor / (last - first), spent.elapsed / (last - first))


class Fixed:
    """The same batch at every step."""

    is_pure = True

    def __init__(self, sampler: Sampler) -> None:
        self.kept = sampler.batch(0)

    def batch(self, step: int) -> Batch:
        return self.kept

    def drawn(self, step: int, example: int) -> None: ...

    def changed(self, settings: SamplingSettings) -> Fixed:
        return self


def whole_trainer(cube: Cube, said: NetworkSettings, steps: int, folder: Path, workers: int) -> tuple[Seconds, float]:
    """Time per step, and share of the time that it waits for batches; without workers for one that is there."""
    network, watch = build(chain(said), seed=1), Watch()
    common = ([cube], network.geometry, Size(*said.patch), SAMPLING, 1)
    sampler = Sampler(*common)
    monitor = {"train": Sampler(*common, purpose="watch", augmented=False)}
    task = Task(network, sampler if workers else Fixed(sampler), monitor, None, "benchmark")
    training = TRAINING.model_copy(update={"steps": steps + MARK})
    sampling = SAMPLING.model_copy(update={"workers": workers})
    Trainer(task, training, sampling, Backups(folder), Mailbox(), watch).run()
    return watch.per_step, watch.marks[-1][2]


def bare_loop(cube: Cube, said: NetworkSettings, steps: int) -> Seconds:
    """The same step on one fixed batch, and nothing else."""
    network = build(chain(said), seed=1).train()
    optimiser = Optimisers(TRAINING.optimiser, dict(network.named_parameters())).current
    criterion = Criterion(TRAINING.loss)
    batch = Sampler([cube], network.geometry, Size(*said.patch), SAMPLING, 1).batch(0)
    image, labels = torch.from_numpy(batch.image), torch.from_numpy(batch.labels).long()

    def step() -> None:
        loss = criterion.loss(network(image), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    timed(step, MARK)
    return timed(step, steps)


def in_turn(said: NetworkSettings, steps: int, rounds: int, workers: int) -> list[tuple[Seconds, Seconds, float]]:
    """Trainer, bare loop and share of waiting, round by round."""
    cube, rows = world(), []
    with TemporaryDirectory() as folder:
        for i in range(rounds + 1):
            bare = bare_loop(cube, said, steps)
            whole, wait = whole_trainer(cube, said, steps, Path(folder) / str(i), workers)
            rows.append((whole, bare, wait))
    return rows[1:]


def trainer(rounds: int) -> None:
    pairs = in_turn(NEURO, 60, rounds, 2)
    for name, at in (("trainer", 0), ("bare loop", 1)):
        times: list[Seconds] = [pair[at] for pair in pairs]  # type: ignore[misc]
        processor, elapsed = median(t.processor for t in times), median(t.elapsed for t in times)
        print(f"{name:10} {processor * 1e3:7.2f} ms processor, {elapsed * 1e3:7.2f} ms elapsed per step")
    more = [whole.processor / bare.processor - 1 for whole, bare, _ in pairs]
    print(f"overhead of the trainer, processor time of its thread: {said(more, '{:.1%}')}")
    more = [whole.elapsed / bare.elapsed - 1 for whole, bare, _ in pairs]
    print(f"the same, elapsed time (with the work of the sampler on the same cores): {said(more, '{:.1%}')}")
    tiny = [(whole.processor - bare.processor) * 1e6 for whole, bare, _ in in_turn(TINY, 1000, rounds, 0)]
    print(f"overhead with a network of one layer, processor time: {said(tiny, '{:.0f} µs')} per step")
    print(f"waiting for batches, share of the elapsed time: {said([wait for *_, wait in pairs], '{:.2%}')}")


MEMORY = """
import sys
import h5py, numpy as np
from elektronn.axes import Size
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Wanted, load_cubes
from elektronn.sampling.prefetch import Prefetch
from elektronn.volumes.address import parse_address
folder, workers = sys.argv[1], int(sys.argv[2])
read = lambda name: int(next(l for l in open("/proc/self/status") if l.startswith(name)).split()[1]) * 1.024e-3
settings = SamplingSettings(augment=(Flip(), Warp(probability=1.0), Grey()))
def sample(rows, steps):
    cubes = load_cubes(rows, Wanted(2, settings))
    sampler = Sampler(cubes, build(chain(NetworkSettings())).geometry, Size(7, 127, 127), settings, 1)
    loaded = read("VmHWM")
    with Prefetch(sampler.batch, first=0, workers=workers, ahead=4) as batches:
        for _ in range(steps):
            batches.take()
    return loaded, sum(cube.image.nbytes + cube.labels.nbytes for cube in cubes) / 1e6
rows = lambda name: [(name, parse_address(f"{folder}/{name}.h5:raw"), parse_address(f"{folder}/{name}.h5:lab"))]
sample(rows("small"), 20)  # compiles
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew at what is in use now
before = read("VmRSS")
loaded, kept = sample(rows("large"), 300)
print(loaded - before, read("VmHWM") - before, kept)
"""


def memory() -> None:
    """In processes of their own."""
    import h5py

    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        for name, size in (("small", Size(20, 200, 200)), ("large", Size(200, 700, 700))):
            with h5py.File(f"{folder}/{name}.h5", "w") as file:
                file["raw"] = random.integers(0, 256, size, dtype=np.uint8)
                file["lab"] = random.integers(0, 2, size, dtype=np.uint8)
        stored = 2 * 200 * 700 * 700 / 1e6
        for workers in (1, 4):
            done = subprocess.run(
                [sys.executable, "-c", MEMORY, folder, str(workers)], capture_output=True, text=True, check=True
            )
            loaded, peak, kept = map(float, done.stdout.split())
            print(
                f"peak memory with {workers} threads: {peak:.0f} MB, of which reading the volumes {loaded:.0f} MB; volumes "
                f"in memory {kept:.0f} MB, on disk {stored:.0f} MB: {peak / kept:.2f} × and {peak / stored:.2f} ×"
            )


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    is_tuned = sys.argv[1:2] == ["tuned"]
    print(f"allocator: {'tuned' if is_tuned and keep_memory() else 'default'}")
    torch.set_num_threads(1)
    network_step(rounds)
    trainer(rounds)
    memory()


if __name__ == "__main__":
    main()
