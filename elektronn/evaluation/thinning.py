"""V_rand and V_info after border thinning, as the ISBI 2012 challenge measures a boundary probability.

The probability is cut at 0, 0.1, …, 1. At each cut the interior of a section is flooded until only lines one pixel
thin are left between its 4-connected components, and the components are compared with those of the true interior,
inside the true interior alone: the width of a predicted boundary does not count, only what it separates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size, blocks
from elektronn.errors import DataError, at
from elektronn.evaluation.contingency import contingency
from elektronn.evaluation.placement import Place, overlap, score
from elektronn.evaluation.segments import sizes, v_info, v_rand
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import open_volume

CUTS = tuple(i / 10 for i in range(11))
"""Probabilities above which a voxel is boundary."""


@dataclass(frozen=True)
class Thinned:
    """Means over sections at each of :data:`CUTS`, and the best of them.

    Attributes:
        v_rand: one per cut.
        v_info: one per cut.
        sections: how many had true interior and were judged.
    """

    v_rand: tuple[float, ...]
    v_info: tuple[float, ...]
    sections: int

    def plain(self) -> dict[str, Any]:
        """As plain data, with the definition."""
        rows = [dict(zip(("above", "v_rand", "v_info"), row)) for row in zip(CUTS, self.v_rand, self.v_info)]
        return {
            "v_rand_thinned": max(self.v_rand),
            "v_rand_thinned_above": CUTS[int(np.argmax(self.v_rand))],
            "v_info_thinned": max(self.v_info),
            "v_info_thinned_above": CUTS[int(np.argmax(self.v_info))],
            "sections": self.sections,
            "cuts": rows,
            "definition": "mean over sections at the best of 11 cuts; interior flooded to lines one pixel thin, "
            "4-connected; judged inside the true interior, each pixel of a line a segment of its own",
        }


def thinned(
    probability: Address, labels: Address, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Thinned, Place]:
    """Judge a boundary probability section by section.

    Args:
        probability: as a prediction is stored; uint8 and uint16 are fractions of their largest value.
        labels: boundary map: 0 interior, everything else is not judged.
        progress: called with (sections done, sections in all).

    Raises:
        DataError: the two have nothing in common, or no section has true interior.
    """
    with open_volume(probability) as prediction, open_volume(labels) as truth:
        place = overlap(prediction, truth)
        rows = []
        for done, box in enumerate(sections := blocks(place.size, Size(1, place.size.y, place.size.x)), 1):
            marks = truth.read(box.shifted(place.labels))[0]
            with at(str(probability)):
                p = _fraction(score(prediction, box.shifted(place.prediction))[0])
            if (marks == 0).any():
                rows.append(list(section_scores(p, marks == 0)))
            progress(done, len(sections))
    if not rows:
        raise DataError(f"{labels}: no section has interior (label 0), so nothing can be judged; check the labels")
    means = np.array(rows).mean(axis=0)
    return Thinned(tuple(means[:, 0].tolist()), tuple(means[:, 1].tolist()), len(rows)), place


def _fraction(values: NDArray[Any]) -> NDArray[np.float64]:
    if np.issubdtype(values.dtype, np.unsignedinteger):
        return values / np.iinfo(values.dtype).max
    if not (values.min() >= 0 and values.max() <= 1):  # written so that not-a-number fails too
        raise DataError(f"scores lie between {values.min():g} and {values.max():g}; expected probabilities from 0 to 1")
    return values.astype(np.float64)


def section_scores(p: NDArray[np.float64], interior: NDArray[np.bool_]) -> Iterator[tuple[float, float]]:
    """V_rand and V_info of one section at each of :data:`CUTS`.

    Args:
        p: probability of boundary, ``(y, x)``.
        interior: true interior, same shape, somewhere true.
    """
    from scipy.ndimage import label

    truth = label(interior)[0]
    for cut in CUTS:
        found = sizes(contingency(truth, thin(p > cut)), "singletons")
        rand, info = v_rand(found), v_info(found)
        assert rand is not None
        assert info is not None
        yield rand, info


def thin(boundary: NDArray[np.bool_]) -> NDArray[Any]:
    """Ids of the 4-connected parts between boundaries of one section, grown until lines of one pixel (id 0) are left.

    Example:
        >>> thin(np.array([[False, False, True, True, True, False]])).tolist()
        [[1, 1, 1, 0, 2, 2]]
    """
    from scipy.ndimage import label
    from skimage import segmentation

    flood: Any = segmentation.watershed
    return np.asarray(flood(boundary.astype(np.uint8), label(~boundary)[0], connectivity=1, watershed_line=True))
