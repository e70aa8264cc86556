"""The memory of a prediction, measured where it runs, so that ``predict.memory_gb`` is never exceeded."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch

from elektronn.artefacts import code_digest, writing
from elektronn.axes import Size, blocks
from elektronn.errors import ConfigError, StorageError
from elektronn.geometry import Geometry
from elektronn.network.build import Network
from elektronn.network.document import Document
from elektronn.network.nodes import ONE
from elektronn.prediction.allocator import give_back
from elektronn.prediction.engines import SAMPLE, Predictor, engine_for
from elektronn.prediction.images import Image
from elektronn.prediction.pipeline import DEPTH
from elektronn.prediction.plan import CHUNKS, SHARD, block_for
from elektronn.prediction.result import Result
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.tiles import bytes_of, choose_tile
from elektronn.settings import plain

GB = 1e9
UNMEASURED = 2.0
"""Memory of a tile over the formula that was never exceeded (benchmarks/memory.py): freed memory is kept in pieces."""
USUAL = 0.95
"""Part of the memory by the formula, or as measured three times in a row, that a tile mostly takes (benchmarks/memory.py)."""
BESIDE = 1e7
"""What is loaded after the program was measured: what writes, what checks; bytes (benchmarks/memory.py)."""
MARGIN = 1.2
"""For what later tiles may take beyond the measured ones."""
SHARES = (10, 3)
"""Parts of the room that the measured tiles take."""
FULL = 0.9
"""Part of the limit from which on unused memory is given back after each tile."""
GROWTH = 1.5
"""What the next tile may add, over the most that one has added."""
FEW = 4
"""Whole blocks along an axis that stand for all: more are never on their way."""
PACKING = 3
"""Copies of a file of the store while it is written."""
DECODED = 16
"""Chunks that the storage libraries decode at the same time, at most."""


@dataclass(frozen=True)
class Program:
    """What was measured of a process.

    Attributes:
        size: of the process with all that it needs, before its first tile, bytes.
        factor: memory of a tile over the formula, at most; 0 where it was not measured, since any tile fits.
        tiles: what was measured: bytes by the formula, and those that were taken.
    """

    size: float
    factor: float = 0.0
    tiles: tuple[tuple[float, float], ...] = ()

    @property
    def ratio(self) -> float:
        """Memory of tiles over the formula, mostly; 0 where it was not measured.

        It is less for larger tiles at first, and grows while many are computed: freed memory is kept in pieces.
        """
        return (2 * self.factor + self.tiles[-1][1] / self.tiles[-1][0]) / 3 if self.tiles else 0.0


@dataclass(frozen=True)
class OnTheWay:
    """Memory of the blocks between the file of an image and that of its output, bytes.

    Attributes:
        images: read and being read, at most.
        outputs: computed and being written, at most.
        read, made: the same, mostly.
        one: output of one block.
    """

    images: float
    outputs: float
    read: float
    made: float
    one: float

    @property
    def total(self) -> float:
        """Of all, at most."""
        return self.images + self.outputs


@dataclass(frozen=True)
class Allowance:
    """What a prediction may take, and what it will.

    Attributes:
        limit: for all of it where ``program`` is known, else for one tile by the formula, bytes.
        on_the_way: blocks between reader and writer.
        program: of the process, where it does nothing else.
    """

    limit: float
    on_the_way: OnTheWay
    program: Program | None = None

    def room_for(self, document: Document, geometry: Geometry, wanted: Size) -> float:
        """For a tile of at most ``wanted`` (zyx), by the formula, bytes.

        Raises:
            ConfigError: there is not enough for one that is worth its surroundings.
        """
        self.check(document, geometry, Size(*map(min, wanted, SAMPLE)))
        return self._room

    @property
    def _room(self) -> float:
        if self.program is None:
            return self.limit
        factor = MARGIN * self.program.factor if self.program.factor else UNMEASURED
        return (self.limit - self.on_the_way.total - self.program.size) / factor

    def check(self, document: Document, geometry: Geometry, tile: Size) -> None:
        """Refuse a tile that does not fit.

        Raises:
            ConfigError: it does not.
        """
        needed = bytes_of(document, geometry, tile)
        if self.program is None or needed <= self._room:
            return
        least = self.on_the_way.total + self.program.size + max(UNMEASURED, MARGIN * self.program.factor) * needed
        raise ConfigError(
            f"predict.memory_gb: {self.limit / GB:g} is too little: the program takes {self.program.size / GB:.2f} GB, "
            f"blocks on their way {self.on_the_way.total / GB:.2f} GB, and a small tile the rest; write at least "
            f"{math.ceil(100 * least / GB) / 100:g}"
        )

    def expected(self, tile: float) -> float:
        """Memory of the process at its peak, with a tile of so many bytes by the formula: mostly, not at most."""
        if self.program is None:
            return resident() + self.on_the_way.total + tile
        taken = USUAL * tile * (self.program.ratio or 1.0)
        return max(self.program.size + BESIDE + taken + self.on_the_way.read + self.on_the_way.made, peak())

    def seen(self, expected: float) -> float:
        """The same once some tiles are done, where that is more: what the process has, and what comes beside it."""
        return max(peak(), resident() + self.on_the_way.made - self.on_the_way.one, expected)


class Keeper:
    """Keeps a process to its limit, and near what was expected of it: gives unused memory back at once and between tiles.

    What is freed is kept in pieces, so that memory grows from tile to tile, by how much differs from run to run.

    Args:
        allowance: of the prediction.
        expected: memory of the process, bytes; raised where a tile turns out to need more. Memory is given back before a tile that,
            adding what one has added, would exceed it.
    """

    def __init__(self, allowance: Allowance, expected: float) -> None:
        self.allowance, self.expected = allowance, expected
        self._before, self._most, self._is_fresh = 0.0, 0.0, False
        if allowance.program is not None:
            give_back()

    def look(self) -> None:
        """Between two tiles."""
        if self.allowance.program is None:
            return
        has = resident()
        if self._is_fresh:
            self.expected = max(self.expected, has + self._most)
        elif self._before:
            self._most = max(self._most, has - self._before)
        limit = self.allowance.limit
        self._is_fresh = has > min(self.expected - self._most, FULL * limit, limit - GROWTH * self._most)
        if self._is_fresh:
            give_back()
        self._before = resident()


def allowance_for(
    network: Network,
    image: Image,
    result: Result,
    size: Size,
    settings: PredictSettings,
    own: torch.device | None,
    *,
    in_shards: bool,
) -> Allowance:
    """The allowance of a prediction.

    Args:
        network: trained.
        image: open.
        result: what is stored.
        size: of the output, zyx.
        settings: as given.
        own: where a process computes that does nothing else; ``None`` for others.
        in_shards: whether a file of the store holds many chunks.
    """
    geometry, limit = network.geometry, settings.memory_gb * GB
    way = on_the_way(image, result, geometry, size, in_shards=in_shards)
    if own is None or own.type != "cpu":
        return Allowance(limit, way)
    wanted = Size(*map(min, size, block_for(geometry, size)))
    about = [
        settings.memory_gb,
        settings.threads,
        settings.engine,
        settings.precision,
        way.total,
        result.kind,
        list(size),
    ]

    def engine() -> Predictor:
        return engine_for(
            network,
            settings.engine,
            size,
            device=own,
            kind=result.kind,
            threads=settings.threads,
            precision=settings.precision,
        )

    dtype = image.volume.dtype
    program = measure(network.document, geometry, engine, wanted, lambda used: limit - way.total - used, dtype, about)
    return Allowance(limit, way, program)


def on_the_way(image: Image, result: Result, geometry: Geometry, size: Size, *, in_shards: bool) -> OnTheWay:
    """The blocks of an output of ``size`` (zyx) between the file of the image and that of the output.

    Args:
        image: open.
        result: what is stored.
        geometry: of the network.
        size: of the output.
        in_shards: whether a file of the store holds many chunks.
    """
    grid = block_for(geometry, size)
    cell = np.dtype(result.dtype).itemsize
    pixel = image.volume.channels * image.volume.dtype.itemsize
    extents = [box.size for box in blocks([min(n, FEW * b + n % b) for n, b in zip(size, grid)], grid)]
    read = [pixel * math.prod(n + f - 1 for n, f in zip(extent, geometry.field)) for extent in extents]
    made = [cell * extent.voxels * (1 if result.is_single else len(result.classes)) for extent in extents]
    block = Size(*map(min, grid, size))
    file = cell * (Size(*map(min, SHARD, map(_whole_chunks, block, CHUNKS))) if in_shards else CHUNKS).voxels
    chunk = pixel * Size(*map(min, image.volume.chunks or (1, 1, 1), image.volume.size)).voxels
    decoding = min(DECODED * chunk, max(read))
    # one in the hands of each of the three, those in between, and a copy while it is put in order or packed
    images, outputs = (sum(sorted(each)[-2 - DEPTH :]) for each in (read, made))
    # who reads is ahead by all that may be, and who writes is waiting mostly
    at_once = [(sum(read[i : i + 2 + DEPTH]), sum(made[i : i + 2])) for i in range(len(extents))]
    usual = max(at_once, key=sum)
    return OnTheWay(images + max(read) + decoding, outputs + PACKING * file, usual[0], usual[1] + file, max(made))


def _whole_chunks(extent: int, chunk: int) -> int:
    return -(-extent // chunk) * chunk


def measure(
    document: Document,
    geometry: Geometry,
    engine: Callable[[], Predictor],
    wanted: Size,
    free: Callable[[float], float],
    dtype: np.dtype[np.generic],
    about: Sequence[object],
) -> Program:
    """Measure this process and its tiles, or remember what was measured before.

    The figures are kept per machine, network and memory in the user's cache folder (``XDG_CACHE_HOME/elektronn/memory``),
    so that the same prediction has the same tiles next time.

    Args:
        document, geometry: of the network.
        engine: makes the engine.
        wanted: largest tile that is of use, zyx.
        free: memory that a process of a size leaves for tiles, bytes.
        dtype: of the image.
        about: whatever else the figures depend on; plain data.
    """
    place = _place([plain(document), list(wanted), str(dtype), *about])
    with suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(place.read_text(encoding="utf-8"))
        return Program(known["size"], known["factor"], tuple((took, seen) for took, seen in known["tiles"]))
    predictor = engine()

    def run(tile: Size) -> None:
        extent = (n + f - 1 for n, f in zip(tile, geometry.field))
        predictor.block(np.zeros((document.channels, *extent), dtype))

    found = _measured(document, geometry, run, wanted, free)
    with suppress(StorageError), writing(place) as part:
        part.write_text(json.dumps(asdict(found)) + "\n", encoding="utf-8")
    return found


def _measured(
    document: Document,
    geometry: Geometry,
    run: Callable[[Size], None],
    wanted: Size,
    free: Callable[[float], float],
) -> Program:
    """The process with all that tiles load and compile, and its tiles if not any of them fits anyway."""

    def fitting(room: float) -> Size | None:
        room = min(room, bytes_of(document, geometry, wanted) / SHARES[0])
        return choose_tile(document, geometry, wanted, room) if bytes_of(document, geometry, ONE) <= room else None

    # what is loaded and compiled depends on the size of a tile: a very small one would not do
    run(fitting(free(resident()) / SHARES[0] / UNMEASURED) or Size(*map(min, wanted, geometry.stride)))
    give_back()
    before = resident()
    room = free(before)
    if UNMEASURED * bytes_of(document, geometry, wanted) <= room:
        return Program(before)
    factor, tiles = 0.0, list[tuple[float, float]]()
    for part in SHARES:
        if room / part / max(UNMEASURED, factor) < bytes_of(document, geometry, ONE):
            continue
        tile = choose_tile(document, geometry, wanted, room / part)
        for _ in range(3):  # what is freed is kept in pieces, and it takes some tiles until enough pieces are there
            run(tile)
        tiles.append((bytes_of(document, geometry, tile), resident() - before))
        factor = max(factor, tiles[-1][1] / tiles[-1][0])
    give_back()
    return Program(before, factor or UNMEASURED / MARGIN, tuple(tiles))


def _place(facts: list[object]) -> Path:
    """File of the figures: named after all that they depend on."""
    machine = [platform.node(), platform.machine(), torch.__version__, code_digest("network", "prediction")]
    text = json.dumps([*facts, machine], sort_keys=True)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME") or gettempdir()) / ".cache")
    return base / "elektronn" / "memory" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def resident() -> float:
    """Memory that this process has now, bytes; 0 where the system does not tell."""
    with suppress(OSError, ValueError):
        return float(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    return 0.0


def peak() -> float:
    """The most that it ever had."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return 1024.0 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return resident()


def available() -> float:
    """Memory that is free for this process: of the machine, and of its control group."""
    found = [float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found = [1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])]
    with suppress(OSError, ValueError):
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(float(limit - used))
    return min(found)
