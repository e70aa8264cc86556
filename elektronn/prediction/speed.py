"""Speed and memory of dense prediction against the size of the input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from elektronn.artefacts import write_text, writing
from elektronn.axes import Size
from elektronn.errors import GeometryError
from elektronn.geometry import Geometry
from elektronn.network.build import Network
from elektronn.prediction.dense import Engine
from elektronn.prediction.tiles import bytes_of

COLUMNS = (
    "z-shape",
    "xy-shape",
    "pixel",
    "Speed [MPix/s]",
    "Time [s]",
    "Spread [s]",
    "Memory formula [MB]",
    "Memory measured [MB]",
    "Optimum",
)
"""The first four are those of ELEKTRONN 1."""
FIRST, GROWTH = 4, 1.6
"""Strides of output along y and x of the first size, and from one size to the next."""


@dataclass(frozen=True)
class Speed:
    """One size.

    Attributes:
        size: of the input, zyx, voxels.
        outputs: voxels predicted.
        seconds: median of the repeats; ``spread_s`` is the slowest less the fastest.
        expected: memory by the formula, bytes.
        measured: memory, bytes; ``None`` where the system does not tell.
    """

    size: Size
    outputs: int
    seconds: float
    spread_s: float
    expected: int
    measured: int | None

    @property
    def rate(self) -> float:
        """Million outputs per second."""
        return self.outputs / 1e6 / self.seconds


def sizes_for(geometry: Geometry) -> Iterator[Size]:
    """Input sizes for dense prediction, from small to large, without end; y and x are alike.

    Valid are ``field − 1 + n · stride``: outputs are then whole strides, so that all fragments are full. In 3-D each
    size along y and x comes with z as small as can be, about an eighth of it, and half of it.

    Example:
        >>> from itertools import islice
        >>> flat = Geometry.of([Size(1, 4, 4), Size(1, 3, 3)], [Size(1, 2, 2), Size(1, 1, 1)])
        >>> [str(size) for size in islice(sizes_for(flat), 4)]
        ['1×16×16', '1×20×20', '1×26×26', '1×36×36']
    """
    field, stride = geometry.field, geometry.stride
    count = FIRST
    while True:
        y, x = (field[axis] - 1 + count * stride[axis] for axis in (1, 2))
        wanted = (field.z, y // 8, y // 2) if field.z > 1 else (1,)
        depths = sorted({field.z - 1 + stride.z * max(1, (n - field.z + 1) // stride.z) for n in wanted})
        yield from (Size(z, y, x) for z in depths)
        count = int(count * GROWTH)


def speeds(
    network: Network,
    device: torch.device,
    *,
    memory: float,
    seconds: float,
    repeats: int = 3,
    tell: Callable[[Speed], None] = lambda speed: None,
) -> list[Speed]:
    """Measure until the memory or the time is used up.

    Args:
        network: with dense prediction; weights do not matter.
        device: where to compute.
        memory: largest by the formula, bytes.
        seconds: no size is begun after them.
        repeats: after one run that warms up.
        tell: called with each size that was measured.

    Raises:
        GeometryError: not even the smallest size fits.
    """
    geometry, engine, found = network.geometry, Engine(network, device), list[Speed]()
    begin, failures = time.perf_counter(), 0
    for size in sizes_for(geometry):
        expected = bytes_of(network.document, geometry, geometry.dense(size))
        if expected > memory:
            # a deeper one may not fit where a wider one does; three in a row are all depths of one width
            failures += 1
            if failures == 3 or geometry.field.z == 1:
                break
            continue
        failures = 0
        try:
            found.append(_measured(engine, size, expected, repeats))
        except (torch.OutOfMemoryError, MemoryError):
            break
        tell(found[-1])
        if time.perf_counter() - begin > seconds:
            break
    if not found:
        raise GeometryError(f"no input fits into {memory / 1e9:.3g} GB; raise predict.memory_gb")
    return found


def optimum(found: Sequence[Speed]) -> Speed:
    """The fastest."""
    return max(found, key=lambda speed: speed.rate)


def _measured(engine: Engine, size: Size, expected: int, repeats: int) -> Speed:
    channels = engine.network.document.channels
    image = np.random.default_rng(0).random((channels, *size), np.float32)
    engine.block(image)
    before = _reset_peak(engine.device)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        engine.block(image)
        times.append(time.perf_counter() - begin)
    peak = _peak(engine.device)
    measured = None if before is None or peak is None else max(0, peak - before)
    outputs = engine.network.geometry.dense(size).voxels
    return Speed(size, outputs, median(times), max(times) - min(times), expected, measured)


def _reset_peak(device: torch.device) -> int | None:
    """Start to watch the memory; what is taken now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _status("VmRSS")
    return None


def _peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _status(name: str) -> int | None:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
    return None


def write_table(path: Path, found: Sequence[Speed]) -> None:
    """The sizes as tab-separated text; ``*`` marks the fastest."""
    best = optimum(found)
    lines = ["\t".join(COLUMNS)]
    for speed in found:
        memory = "" if speed.measured is None else f"{speed.measured / 1e6:.1f}"
        numbers = (speed.size.z, speed.size.y, speed.outputs, f"{speed.rate:.6g}", f"{speed.seconds:.6g}")
        more = (f"{speed.spread_s:.3g}", f"{speed.expected / 1e6:.1f}", memory, "*" if speed is best else "")
        lines.append("\t".join(map(str, (*numbers, *more))))
    write_text(path, "\n".join(lines) + "\n")


def draw(path: Path, found: Sequence[Speed], title: str) -> None:
    """Speed and memory against the outputs, as a picture; the fastest is marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    best, order = optimum(found), sorted(found, key=lambda speed: speed.outputs)
    pixels = [speed.outputs for speed in order]
    upper.loglog(pixels, [speed.rate for speed in order], "o-", ms=4)
    upper.plot(best.outputs, best.rate, "*", ms=14, label=f"{best.size}: {best.rate:.3g} MPix/s")
    upper.set(ylabel="MPix/s", title=title)
    upper.legend()
    lower.loglog(pixels, [speed.expected / 1e6 for speed in order], "-", label="formula")
    known = [(speed.outputs, speed.measured / 1e6) for speed in order if speed.measured]
    lower.loglog([n for n, _ in known], [mb for _, mb in known], "o", ms=4, label="measured")
    lower.set(xlabel="outputs (voxels)", ylabel="memory (MB)")
    lower.legend()
    with writing(path) as part:
        figure.savefig(part, format="png", dpi=120)
