"""From a histogram of scores to curves, areas, thresholds and the confusion table.

"Positive" is class 1, the boundary. A voxel is called boundary when its score is at least the threshold.
A measure that is not defined (a class is absent) is ``None``, never a not-a-number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elektronn.evaluation.counters import Counts, Histogram

Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """Points of a curve, thresholds falling. ROC: x = fpr, y = tpr. PR: x = recall, y = precision."""

    x: Floats
    y: Floats
    threshold: Floats


@dataclass(frozen=True)
class Confusion:
    """Voxel counts at one threshold; ``true_positive`` is boundary that was called boundary.

    Example:
        >>> Confusion(true_positive=3, false_positive=1, false_negative=1, true_negative=5).f1
        0.75
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def voxels(self) -> int:
        """All four together."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @property
    def accuracy(self) -> float | None:
        """Part of all voxels that is called rightly."""
        return _ratio(self.true_positive + self.true_negative, self.voxels)

    @property
    def precision(self) -> float | None:
        """Part of what is called boundary that is boundary."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float | None:
        """Part of the boundary that is called boundary."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float | None:
        """Part of the rest that is called rest."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of recall and specificity."""
        recall, specificity = self.recall, self.specificity
        return None if recall is None or specificity is None else (recall + specificity) / 2

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        wrong = self.false_positive + self.false_negative
        return _ratio(2 * self.true_positive, 2 * self.true_positive + wrong)


def _ratio(part: int, of: int) -> float | None:
    return part / of if of else None


def thresholds(histogram: Histogram) -> Floats:
    """Threshold of each bin, rising, then one above every score, at which nothing is called boundary."""
    return np.append(np.arange(histogram.bins) / histogram.divisor, 1 + 1 / histogram.bins)


def at_least(histogram: Histogram) -> Counts:
    """``[class, threshold]``: voxels whose score reaches each of :func:`thresholds`."""
    reached = np.zeros((2, histogram.bins + 1), np.int64)
    np.cumsum(histogram.counts, axis=1, out=reached[:, 1:])
    return reached[:, -1:] - reached


def roc(histogram: Histogram) -> Curve | None:
    """False-positive rate, true-positive rate; ``None`` unless both classes are there."""
    if not (histogram.positives and histogram.negatives):
        return None
    false, true = at_least(histogram)[:, ::-1]
    return Curve(false / histogram.negatives, true / histogram.positives, thresholds(histogram)[::-1])


def precision_recall(histogram: Histogram) -> Curve | None:
    """Recall, precision; ``None`` without boundary. Where nothing is called boundary, precision is 1 by convention."""
    if not histogram.positives:
        return None
    false, true = at_least(histogram)[:, ::-1]
    called = false + true
    precision = np.where(called, true / np.maximum(called, 1), 1.0)
    return Curve(true / histogram.positives, precision, thresholds(histogram)[::-1])


def roc_area(histogram: Histogram) -> float | None:
    """Area under the ROC curve: how often a boundary voxel scores above another, ties half.

    Example:
        >>> counts = np.array([[3, 1, 0], [0, 1, 3]])
        >>> roc_area(Histogram(counts, 2, True, 0))
        0.96875
    """
    negatives, positives = histogram.counts
    pairs = float(histogram.negatives) * float(histogram.positives)
    # each rest voxel of a bin lies below all boundary above it and below half of that in it
    above = at_least(histogram)[1, :-1] - positives / 2
    return float(np.dot(negatives, above)) / pairs if pairs else None


def roc_area_error(histogram: Histogram) -> float | None:
    """Most that binning can have changed the ROC area; 0 for integer scores.

    Within a bin the order of scores is lost; the trapezoid takes half of the pairs as right, so at worst all
    pairs of the bin lie on one side: ``½ Σ positives_b negatives_b / (positives · negatives)``.
    """
    if not (histogram.positives and histogram.negatives):
        return None
    if histogram.exact:
        return 0.0
    shares = histogram.counts / np.array([[histogram.negatives], [histogram.positives]])
    return float(0.5 * (shares[0] * shares[1]).sum())


def average_precision(histogram: Histogram) -> float | None:
    """Precision averaged over the steps of recall, without interpolation."""
    if not histogram.positives:
        return None
    false, true = at_least(histogram)[:, :-1]
    return float(np.dot(histogram.counts[1], true / np.maximum(false + true, 1))) / histogram.positives


def average_precision_error(histogram: Histogram) -> float | None:
    """Most that binning can have changed the average precision; 0 for integer scores.

    At best the boundary of each bin scores above the rest of it, at worst below. With ``m`` voxels above (``a`` of them
    boundary), the boundary voxel ``i`` of a bin then has the precision ``(a + i) / (m + i)``; the sums of these are
    bounded by logarithms.

    Example:
        >>> both = Histogram(np.array([[1], [1]]), 1, False, 0)
        >>> average_precision(both), average_precision_error(both)
        (0.5, 0.5)
    """
    found = average_precision(histogram)
    if found is None or histogram.exact:
        return None if found is None else 0.0
    rest, boundary = histogram.counts
    false, true = at_least(histogram)[:, 1:]
    best = boundary - false * np.log1p(boundary / (true + false + 1))
    below = false + rest
    worst = boundary - below * np.log1p(boundary / np.maximum(true + below, 1))
    highest, lowest = (float(sums.sum()) / histogram.positives for sums in (best, worst))
    return max(highest - found, found - lowest)


def f1_scores(histogram: Histogram) -> Floats | None:
    """F1 at each of :func:`thresholds`; ``None`` without boundary."""
    if not histogram.positives:
        return None
    false, true = at_least(histogram)
    scores: Floats = 2 * true / (false + true + histogram.positives)
    return scores


def best_threshold(histogram: Histogram) -> float | None:
    """Threshold of the highest F1; ``None`` without boundary.

    Empty bins make neighbouring thresholds equally good; the middle of such a run is the safest for other volumes.
    """
    scores = f1_scores(histogram)
    if scores is None:
        return None
    first = last = int(scores.argmax())
    while last + 1 < histogram.bins and scores[last + 1] == scores[first]:
        last += 1
    return float(thresholds(histogram)[(first + last + 1) // 2])


def confusion(histogram: Histogram, threshold: float) -> Confusion:
    """The confusion table at ``threshold``; for binned scores at the next bin edge that is not below it."""
    place = min(int(np.searchsorted(thresholds(histogram), threshold)), histogram.bins)
    false, true = (int(n) for n in at_least(histogram)[:, place])
    return Confusion(true, false, histogram.positives - true, histogram.negatives - false)


class Calibration(NamedTuple):
    """Groups of voxels of similar score: mean score, part that is boundary, voxels; scores rising."""

    predicted: Floats
    observed: Floats
    voxels: Counts


def calibration(histogram: Histogram, groups: int = 10) -> Calibration:
    """Whether a score of 0.8 means boundary in 80 of 100 cases: ``groups`` equal parts of [0, 1], empty ones left out.

    A binned score counts as the middle of its bin.

    Example:
        >>> calibration(Histogram(np.array([[3, 1, 0], [0, 1, 3]]), 2, True, 0), 2)._asdict()
        {'predicted': array([0. , 0.8]), 'observed': array([0. , 0.8]), 'voxels': array([3, 5])}
    """
    middle = 0 if histogram.exact else 0.5
    scores = (np.arange(histogram.bins) + middle) / histogram.divisor
    group = np.minimum((scores * groups).astype(np.int64), groups - 1)
    both = histogram.counts.sum(axis=0)
    voxels, boundary, total = (
        np.bincount(group, weights, groups) for weights in (both, histogram.counts[1], both * scores)
    )
    used = voxels > 0
    return Calibration(total[used] / voxels[used], boundary[used] / voxels[used], voxels[used].astype(np.int64))


def calibration_error(histogram: Histogram, groups: int = 10) -> float | None:
    """Mean distance of score and part of boundary over the groups of :func:`calibration`, weighted by voxels."""
    if not histogram.voxels:
        return None
    found = calibration(histogram, groups)
    return float((np.abs(found.predicted - found.observed) * found.voxels).sum() / histogram.voxels)


def thinned(curve: Curve, points: int) -> Curve:
    """At most ``points`` points, evenly along the curve, with both ends.

    Example:
        >>> line = np.linspace(0, 1, 101)
        >>> len(thinned(Curve(line, line, line), 16).x)
        16
    """
    if len(curve.x) <= points:
        return curve
    way = np.append(0, (np.abs(np.diff(curve.x)) + np.abs(np.diff(curve.y))).cumsum())
    keep = np.unique(np.searchsorted(way, np.linspace(0, way[-1], points)).clip(max=len(way) - 1))
    return Curve(*(values[keep] for values in curve))
