"""What a prediction will need, said before it begins, after its first tiles, and whenever it turns out otherwise."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

from elektronn.axes import Box, Size
from elektronn.prediction.certificate import Witness, share
from elektronn.prediction.engines import Predictor
from elektronn.prediction.forecast import Forecast, cell_of
from elektronn.prediction.job import Job
from elektronn.prediction.pace import Pace
from elektronn.prediction.rehearsal import Fate, samples

WARM = 3
"""Tiles after which the first forecast is replaced; the first of them does not count, since what is done first is slow."""
OFF = 0.15
"""Part of the time by which a forecast may be wrong before another one is given."""


class Outlook:
    """The forecasts of one process.

    Args:
        job: with a store.
        done: names of the blocks of the full level that are there already.
        say: called with each forecast, for people.
    """

    def __init__(self, job: Job, done: set[str], say: Callable[[str], None]) -> None:
        self.job, self.say, self._done = job, say, done & set(job.plan.names)
        self.forecast = Forecast.of(job, len(self._done))
        self._waiting = {n: box for n, box in zip(job.plan.names, job.plan.boxes) if n not in self._done}
        self._left = Counter[Size]()
        for box in self._waiting.values():
            self._left.update(self._tiles(box))
        self._pace = Pace(job.trained.network.document, job.geometry)
        self._fates: list[Fate] = []
        self._own, self._theirs, self._said, self._end = 0, 0, 0.0, 0.0

    def _tiles(self, box: Box) -> Counter[Size]:
        return Counter(tile.size for tile in self.job.plan.tiles(box))

    def rehearse(self, engine: Predictor, witness: Witness) -> None:
        """Take samples, and give the first forecast, if there is much to do."""
        for sample in samples(self.job, engine, witness) if self._waiting else ():
            self._pace.forget()
            self._pace.saw(sample.tile, sample.seconds)
            self._fates.append(sample.fate)
        if self._fates:
            self._tell(is_rough=True)

    def begin(self, name: str, done: set[str]) -> None:
        """This process begins a block; ``done`` are those that anybody has finished."""
        self._waiting.pop(name, None)
        for other in done & self._waiting.keys():
            tiles = self._tiles(self._waiting.pop(other))
            self._left -= tiles
            self._theirs += tiles.total()

    def saw(self, tile: Size, seconds: float, fate: Callable[[], Fate]) -> None:
        """A tile took so long; ``fate`` finds out what becomes of its outputs."""
        self._left -= Counter([tile])
        self._own += 1
        if self._own < WARM:
            self._pace.forget()
        self._pace.saw(tile, seconds)
        if self._own <= WARM:
            self._fates.append(fate())
        is_last = not self._left
        if (self._own == WARM and not is_last) or (is_last and not self._end) or self._is_off():
            self._tell()

    def _is_off(self) -> bool:
        """Whether the end comes at another time than was said; asked each time that twice as many tiles are done."""
        if self._own <= WARM or self._own & (self._own - 1):
            return False
        return abs(time.perf_counter() + self._seconds() - self._end) > OFF * self._said

    def _tell(self, *, is_rough: bool = False) -> None:
        self._said = self._seconds()
        self._end = time.perf_counter() + self._said
        fate, precision = Fate.of(self._fates), self.job.settings.precision
        self.forecast = self.forecast.packed(self.job, len(self._done), fate)
        if not is_rough:
            self.forecast = self.forecast.seen(self.job)
        off = "" if precision == "float32" else f"; {precision} is off by up to {fate.error:.1e} in samples"
        self.say(f"{self.job.work.out}: {self.forecast.line(self._said, is_rough=is_rough)}{off}")

    def _seconds(self) -> float:
        """Time that is left: of tiles and of what happens beside them, shared with others, and of the end."""
        plan, fate = self.job.plan, Fate.of(self._fates)
        cell = cell_of(self.job.result)
        each = share(plan, self.job.settings.certificate)
        tiles_s = self._pace.seconds(self._left) + (len(self._waiting) + 1) * each * fate.voxel_s
        store_s = fate.store_s * cell * sum(tile.voxels * count for tile, count in self._left.items())
        is_beside = self.job.settings.threads < len(os.sched_getaffinity(0))
        ours = self._own / (self._own + self._theirs) if self._theirs else 1.0
        last_s = fate.store_s * cell * min(plan.block.voxels, plan.size.voxels)
        checked = min(len(plan.boxes), self.job.settings.certificate) * each
        end_s = checked * fate.voxel_s + plan.size.voxels * cell * (fate.coarse_s + fate.file_s)
        return ours * (max(tiles_s, store_s) if is_beside else tiles_s + store_s) + last_s + end_s
