"""How far the ROC area could have come out otherwise: resampling of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elektronn.evaluation.counters import Histogram
from elektronn.evaluation.curves import Floats

SEED = 2012
AT_ONCE = 64
"""Resamples that are in memory together."""


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: lower end.
        high: upper end.
        level: share of the resamples in it.
        resamples: how many had both classes.
        blocks: independent blocks that were drawn from.
    """

    low: float
    high: float
    level: float
    resamples: int
    blocks: int


def roc_area_interval(blocks: Sequence[Histogram], resamples: int, level: float = 0.95) -> Interval | None:
    """Percentile interval of the ROC area by drawing whole blocks with replacement.

    Neighbouring voxels are alike, so voxels are no independent draws; blocks larger than what is alike nearly are.
    The same blocks give the same interval.

    Args:
        blocks: counts of each block, all in the same bins; those without a labelled voxel are left out.
        resamples: how often to draw.
        level: share of the resamples in the interval.

    Returns:
        ``None`` with fewer than two blocks, or if no resample has both classes.

    Source:
        H. Künsch, The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17 (1989);
        here with blocks that do not overlap.
    """
    labelled = [block.counts for block in blocks if block.voxels]
    if len(labelled) < 2:
        return None
    counts = np.stack(labelled).astype(np.float64)
    random = np.random.Generator(np.random.Philox(SEED))
    n, areas = len(counts), []
    for start in range(0, resamples, AT_ONCE):
        drawn = random.multinomial(n, np.full(n, 1 / n), size=min(AT_ONCE, resamples - start))
        areas.append(_areas(np.tensordot(drawn.astype(np.float64), counts, 1)))
    found = np.concatenate(areas)
    found = found[np.isfinite(found)]
    if not found.size:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, int(found.size), n)


def _areas(counts: Floats) -> Floats:
    """ROC areas of ``[resample, class, bin]``; not-a-number where a class is absent."""
    negative, positive = counts[:, 0], counts[:, 1]
    below = negative.cumsum(axis=1) - negative / 2
    pairs = negative.sum(axis=1) * positive.sum(axis=1)
    right: Floats = (below * positive).sum(axis=1)
    areas: Floats = np.divide(right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return areas
