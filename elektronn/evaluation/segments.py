"""From a contingency table to VOI, adapted Rand error, V_rand and V_info, each under the name of its definition.

The tools of the field do not agree on what a voxel of predicted id 0 is, nor on the adapted Rand error; with thin
boundaries left at 0 their numbers differ up to threefold. So nothing is chosen in silence: a prediction that has
background needs a word about it, and all four adapted Rand errors stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from elektronn.errors import ConfigError, at
from elektronn.evaluation.contingency import Contingency, Counts, beside
from elektronn.evaluation.settings import Background

DEFINITIONS = {
    "voi_split_bits": "H(prediction | truth), bits: rises with false splits",
    "voi_merge_bits": "H(truth | prediction), bits: rises with false mergers",
    "voi_bits": "voi_split_bits + voi_merge_bits",
    "v_rand": "2 Σn² / (Σs² + Σt²), squares of voxel counts: 1 is perfect (Rand F-score of ISBI 2012)",
    "v_info": "2 I / (H(truth) + H(prediction)): 1 is perfect (information F-score of ISBI 2012)",
    "adapted_rand_error.cremi": "1 − v_rand, predicted 0 outside of n and s, with background / all voxels added to "
    "Σn² and Σs², as published by CREMI (the term is too small by the number of voxels)",
    "adapted_rand_error.singletons": "1 − v_rand, each voxel of predicted 0 a segment of its own (CREMI, corrected)",
    "adapted_rand_error.scikit-image": "1 − F-score of voxel pairs, Σn² − Σn and so on, predicted 0 a segment",
    "adapted_rand_error.funlib": "1 − v_rand, predicted 0 a segment (F-score of rand_split and rand_merge)",
}
"""Measure → what it is. n: voxels of an overlap, t of a true, s of a predicted segment; true id 0 never counts."""


@dataclass(frozen=True)
class Sizes:
    """Voxels per overlap, per true segment and per predicted segment.

    Attributes:
        both: of each pair of segments.
        truth: of each true segment.
        found: of each predicted segment.
        single: predicted segments of one voxel, which are not listed in ``both`` and ``found``.
    """

    both: Counts
    truth: Counts
    found: Counts
    single: int

    @property
    def voxels(self) -> int:
        """All voxels that count."""
        return int(self.truth.sum())

    @property
    def squares(self) -> tuple[float, float, float]:
        """Sum of the squared sizes of overlaps, true and predicted segments."""
        return _squares(self.both) + self.single, _squares(self.truth), _squares(self.found) + self.single

    @property
    def entropies(self) -> tuple[float, float, float]:
        """Joint entropy, entropy of the truth, entropy of the prediction, bits."""
        joint, truth, found = (self._entropy(part) for part in (self.both, self.truth, self.found))
        return joint, truth, found

    def _entropy(self, part: Counts) -> float:
        """log N − Σ n log n / N; a segment of one voxel adds nothing to the sum."""
        n = part.astype(np.float64)
        return float(np.log2(self.voxels) - (n * np.log2(n)).sum() / self.voxels) if self.voxels else 0.0


def _squares(counts: Counts) -> float:
    return float((counts.astype(np.float64) ** 2).sum())


def sizes(table: Contingency, background: Background) -> Sizes:
    """The sizes of the segments when predicted id 0 means ``background``."""
    inside = table.found != 0
    chosen = np.ones_like(inside) if background == "segment" else inside
    counted = inside if background == "ignore" else np.ones_like(inside)
    return Sizes(
        both=table.counts[chosen],
        truth=_per(table.truth[counted], table.counts[counted]),
        found=_per(table.found[chosen], table.counts[chosen]),
        single=table.background if background == "singletons" else 0,
    )


def _per(ids: Any, counts: Counts) -> Counts:
    names, place = np.unique(ids, return_inverse=True)
    total = np.zeros(names.size, np.int64)
    np.add.at(total, place, counts)
    return total


def v_rand(found: Sizes) -> float | None:
    """``v_rand`` of :data:`DEFINITIONS`; ``None`` where nothing counts.

    Example:
        >>> from elektronn.evaluation.contingency import contingency
        >>> v_rand(sizes(contingency(np.array([1, 1, 2, 2]), np.array([1, 1, 1, 1])), "segment"))
        0.6666666666666666
    """
    both, truth, predicted = found.squares
    return 2 * both / (truth + predicted) if found.voxels else None


def v_info(found: Sizes) -> float | None:
    """``v_info`` of :data:`DEFINITIONS`; 1 where both are one single segment, ``None`` where nothing counts."""
    joint, truth, predicted = found.entropies
    if not found.voxels:
        return None
    return 2 * (truth + predicted - joint) / (truth + predicted) if truth + predicted else 1.0


def voi(found: Sizes) -> tuple[float, float] | None:
    """Split and merge part of the variation of information, bits; ``None`` where nothing counts."""
    joint, truth, predicted = found.entropies
    # the difference of equal sums may end a rounding error below 0
    return (max(0.0, joint - truth), max(0.0, joint - predicted)) if found.voxels else None


def adapted_rand_errors(table: Contingency) -> dict[str, float | None]:
    """The adapted Rand error in its four definitions; ``None`` where one has nothing to divide by."""
    alone, segment = sizes(table, "singletons"), sizes(table, "segment")
    n, every = alone.voxels, alone.voxels + table.ignored
    share = alone.single / every if every else 0.0
    cremi = (_squares(alone.both) + share, _squares(alone.truth), _squares(alone.found) + share)
    pairs = [total - n for total in segment.squares]
    sums = {"cremi": cremi, "singletons": alone.squares, "scikit-image": pairs, "funlib": segment.squares}
    return {name: _error(*triple) for name, triple in sums.items()}


def _error(both: float, truth: float, found: float) -> float | None:
    return 1 - 2 * both / (truth + found) if truth + found else None


def measures(table: Contingency, background: Background | None) -> dict[str, Any]:
    """All figures of a table as plain data, with the definition of each.

    Args:
        table: what was counted.
        background: what predicted id 0 means for VOI, V_rand and V_info; ``None``: there is none. With ``ignore``
            the adapted Rand errors leave it out as well; otherwise each follows its own definition.

    Raises:
        ConfigError: there is background, and nobody said what it means.
    """
    if background is None and table.background:
        raise ConfigError(
            f"the prediction has background: id 0 at {table.background} of the {table.voxels} voxels that count; say "
            f"what it means: --background {{{','.join(get_args(Background))}}} (one more segment, each voxel its own "
            "segment, left out)"
        )
    chosen: Background = background or "segment"
    found = sizes(table, chosen)
    split, merge = voi(found) or (None, None)
    judged = without_background(table) if chosen == "ignore" else table
    return {
        "background": background or "none",
        "voi_split_bits": split,
        "voi_merge_bits": merge,
        "voi_bits": None if split is None or merge is None else split + merge,
        "v_rand": v_rand(found),
        "v_info": v_info(found),
        "adapted_rand_error": adapted_rand_errors(judged),
        "voxels": table.voxels,
        "background_voxels": table.background,
        "ignored_voxels": table.ignored,
        "true_segments": len(np.unique(table.truth)),
        "segments": len(np.unique(table.found[table.found != 0])),
        "definitions": DEFINITIONS,
    }


def by_role(volumes: Sequence[tuple[str, str, Contingency]], background: Background | None) -> dict[str, Any]:
    """Figures per role (its volumes together) and per volume, as plain data; the definitions once.

    Args:
        volumes: name, role and table of each.
        background: as for :func:`measures`.

    Raises:
        ConfigError: as :func:`measures` does; names the volume.
    """
    single = {}
    for name, role, table in volumes:
        with at(f"volume {name}"):
            single[name] = {"role": role, **measures(table, background)}
    # a role has background as soon as one of its volumes has
    roles = dict.fromkeys(role for _, role, _ in volumes)
    pooled = {
        role: measures(beside(table for _, r, table in volumes if r == role), background)
        for role in sorted(roles, key=lambda role: (role != "test", role))
    }
    for found in (*pooled.values(), *single.values()):
        del found["definitions"]
    return {**pooled, "volumes": single, "definitions": DEFINITIONS}


def without_background(table: Contingency) -> Contingency:
    """The table without the voxels of predicted id 0; they are ignored then."""
    inside = table.found != 0
    return Contingency(table.truth[inside], table.found[inside], table.counts[inside], table.ignored + table.background)
