"""The blocks of a prediction on their way through reader, engine and writer; and those of its coarser levels."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import write_text
from elektronn.axes import Box, Size
from elektronn.prediction.certificate import Witness, complaint, places_in, share
from elektronn.prediction.claims import Claims
from elektronn.prediction.engines import Predictor, engine_for
from elektronn.prediction.job import Job
from elektronn.prediction.memory import Keeper
from elektronn.prediction.outlook import Outlook
from elektronn.prediction.pipeline import Line, Waits
from elektronn.prediction.pyramid import coarse
from elektronn.prediction.rehearsal import Fate, fate_of
from elektronn.prediction.sources import values_digest

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Block:
    """A block on its way.

    Attributes:
        name: among the claims.
        box: in the output.
        values: of the image around it first, of the output then.
        source: digest of those of the image; empty for what is made of no image.
    """

    name: str
    box: Box
    values: NDArray[Any]
    source: str = ""


class Blocks:
    """The blocks of a job, as far as nobody else does them.

    Args:
        job: what is predicted.
        claims: open.
        progress: called with (tiles done, tiles in all).
        outlook: is told how long each tile took.
    """

    def __init__(self, job: Job, claims: Claims, progress: Progress, outlook: Outlook) -> None:
        self.job, self.claims, self.progress, self.outlook = job, claims, progress, outlook
        self.boxes = dict(zip(job.plan.names, job.plan.boxes))
        self.engine = _agreed_engine(job)
        self.witness = Witness(job.trained.network, job.result)
        self.tiles, self.total = 0, sum(len(job.plan.tiles(box)) for box in self.boxes.values())
        outlook.rehearse(self.engine, self.witness)
        self.keeper = Keeper(job.allowance, outlook.forecast.memory)

    def run(self) -> Waits:
        """Do all that nobody else does, wait for the others, and go on with the coarser levels in the same way."""
        done = self.claims.done()
        self.tiles = sum(len(self.job.plan.tiles(box)) for name, box in self.boxes.items() if name in done)
        waits = Line(self._read, self._compute, self._write).run()
        for number in range(1, len(self.job.plan.levels) + 1):
            waits += Coarser(self.job, self.claims, number).run()
        return waits

    def _read(self, stop: threading.Event) -> Iterator[Block]:
        for name in self.claims.each(list(self.boxes), stop):
            box = self.boxes[name]
            values = self.job.image.read(self.job.around(box))
            yield Block(name, box, values, values_digest(values))

    def _compute(self, block: Block) -> Block:
        values = np.empty(self.job.result.shape(block.box.size), self.job.result.dtype)
        self.outlook.begin(block.name, self.claims.done())
        tiles, begin = self.job.plan.tiles(block.box), time.perf_counter()
        found = self.engine.blocks(map(partial(self._part, block), tiles))
        for tile in tiles:
            made = values[(..., *tile.slices)] = self.job.result.stored(next(found))
            self.keeper.look()
            seconds, begin = time.perf_counter() - begin, time.perf_counter()
            self.outlook.saw(tile.size, seconds, partial(self._fate, block, tile, made))
            del made  # what outlives its tile lies in the way of the next one, and memory grows
            self.tiles += 1
            self.progress(min(self.tiles, self.total), self.total)
        self._look(block, values)
        return Block(block.name, block.box, values, block.source)

    def _part(self, block: Block, tile: Box) -> NDArray[Any]:
        """What of the image a tile is made from."""
        return np.ascontiguousarray(block.values[(slice(None), *self.job.around(tile).slices)])

    def _fate(self, block: Block, tile: Box, made: NDArray[Any]) -> Fate:
        return fate_of(self.job, self.witness, self._part(block, tile), made)

    def _look(self, block: Block, values: NDArray[Any]) -> None:
        """Compare voxels with brute force at once, so that a defect shows at the first block and not after days."""
        for place in places_in(block.box, share(self.job.plan, self.job.settings.certificate)):
            inside = Size(*(p - a for p, a in zip(place, block.box.start)))
            patch = block.values[(slice(None), *self.witness.patch(inside).slices)]
            difference = self.witness.difference(patch, values[(..., *inside)])
            if difference > self.job.result.tolerance:
                kept = "the prediction was not kept: report this as a defect"
                raise complaint(difference, self.job.result.tolerance, kept)

    def _write(self, block: Block) -> None:
        write(self.job, self.claims, block)


class Coarser:
    """The blocks of a coarser level, made of the level below when all of that is there."""

    def __init__(self, job: Job, claims: Claims, number: int) -> None:
        self.job, self.claims, self.level = job, claims, job.plan.levels[number - 1]
        self.boxes = job.plan.parts(number)

    def run(self) -> Waits:
        """Do all that nobody else does, and wait for the others."""
        return Line(self._read, lambda block: block, self._write).run()

    def _read(self, stop: threading.Event) -> Iterator[Block]:
        for name in self.claims.each(list(self.boxes), stop):
            box = self.boxes[name]
            yield Block(name, box, coarse(self.level, box, lambda part: self.job.work.read(part, self.level.source)))

    def _write(self, block: Block) -> None:
        write(self.job, self.claims, block, self.level.key)


def write(job: Job, claims: Claims, block: Block, key: str = "") -> None:
    """Store a block and mark it as done, unless somebody has taken it over, believing us dead."""
    if claims.holds(block.name):
        files = job.work.write(block.box, block.values, key)
        facts = {"plan": job.plan.fingerprint, "files": files, "source": block.source, "stamp": job.stamp}
        claims.finish(block.name, facts)


def _agreed_engine(job: Job) -> Predictor:
    """The engine that whoever came first has chosen: a block is the same to the last bit whoever computes it.

    Raises:
        ConfigError: that engine does not run here.
    """
    note = job.engine_note
    wanted: Any = note.read_text(encoding="utf-8") if note.is_file() else job.settings.engine
    network, threads = job.trained.network, job.settings.threads
    engine = engine_for(
        network,
        wanted,
        job.plan.size,
        device=job.device,
        kind=job.result.kind,
        threads=threads,
        precision=job.settings.precision,
    )
    if not note.is_file():
        write_text(note, engine.name)
    return engine
