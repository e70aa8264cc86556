"""What must hold for every histogram: equal to the reference, exact in any order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, confusion_matrix, f1_score, roc_auc_score

from elektronn.evaluation.counters import Counter, Histogram
from elektronn.evaluation.curves import (
    average_precision,
    best_threshold,
    confusion,
    f1_scores,
    precision_recall,
    roc,
    roc_area,
    roc_area_error,
    thinned,
    thresholds,
)

TYPES = ["uint8", "uint16", "float32"]


def world(seed: int, n: int, dtype: str, *, bins: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels with many ties; float scores lie on bin edges, where binning loses nothing."""
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 2, n).astype(np.int8)
    labels[:2] = 0, 1
    p = np.clip(random.normal(0.45 + 0.2 * labels, 0.25), 0, 1)
    if dtype == "float32":
        return (np.floor(p * (bins - 1)) / bins).astype(np.float32), labels
    return np.round(p * np.iinfo(dtype).max).astype(dtype), labels


def counted(scores: np.ndarray, labels: np.ndarray, bins: int = 4096) -> Histogram:
    counter = Counter(scores.dtype, bins)
    counter.add(scores, labels)
    return counter.histogram()


def counted_slowly(scores: np.ndarray, labels: np.ndarray, bins: int = 4096) -> np.ndarray:
    """The obvious twin: one voxel at a time."""
    bins = bins if scores.dtype.kind == "f" else 2 ** (8 * scores.dtype.itemsize)
    counts = np.zeros((2, bins), np.int64)
    for score, label in zip(scores.tolist(), labels.tolist()):
        if label >= 0:
            counts[label, min(int(score * bins), bins - 1) if isinstance(score, float) else score] += 1
    return counts


@pytest.mark.parametrize("dtype", TYPES)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 3000))
@settings(max_examples=25, deadline=None)
def test_kernel_counts_like_its_slow_twin(dtype: str, seed: int, n: int) -> None:
    scores, labels = world(seed, n, dtype)
    histogram = counted(scores, labels)
    assert np.array_equal(histogram.counts, counted_slowly(scores, labels))
    assert histogram.ignored == int((labels == -1).sum())


@pytest.mark.parametrize("bins", [256, 4096, 65536])
def test_arbitrary_floats_fall_into_the_bins_of_the_slow_twin(bins: int) -> None:
    scores = np.append(np.random.default_rng(0).random(5000, np.float32), np.float32([0, 1, 1]))
    labels = np.random.default_rng(1).integers(-1, 2, scores.size)
    assert np.array_equal(counted(scores, labels, bins).counts, counted_slowly(scores, labels, bins))


@pytest.mark.parametrize("dtype", TYPES)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 999), max_size=5), swap=st.randoms())
@settings(max_examples=20, deadline=None)
def test_blocks_and_merges_in_any_order_give_the_same_counts(
    dtype: str, seed: int, cuts: list[int], swap: np.random.Generator
) -> None:
    scores, labels = world(seed, 1000, dtype)
    edges = [0, *sorted(cuts), 1000]
    parts = [slice(a, b) for a, b in pairwise(edges)]
    swap.shuffle(parts)
    one = Counter(scores.dtype, 4096)
    merged = None
    for part in parts:
        one.add(scores[part], labels[part])
        piece = counted(scores[part], labels[part])
        merged = piece if merged is None else merged + piece
    whole = counted(scores, labels)
    assert np.array_equal(one.histogram().counts, whole.counts)
    assert merged is not None
    assert np.array_equal(merged.counts, whole.counts)
    assert merged.ignored == whole.ignored


@pytest.mark.parametrize("dtype", TYPES)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 2000), threshold=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_measures_equal_scikit_learn(dtype: str, seed: int, n: int, threshold: float) -> None:
    scores, labels = world(seed, n, dtype)
    histogram = counted(scores, labels)
    known = labels >= 0
    truth, p = labels[known], scores[known].astype(float) / (histogram.divisor if dtype != "float32" else 1)
    assert roc_area(histogram) == pytest.approx(roc_auc_score(truth, p), abs=1e-12)
    assert average_precision(histogram) == pytest.approx(average_precision_score(truth, p), abs=1e-12)
    if dtype == "float32":  # a threshold inside a bin cannot be told from the next edge
        threshold = np.ceil(threshold * (histogram.bins - 1)) / histogram.bins
    (tn, fp), (fn, tp) = confusion_matrix(truth, p >= threshold, labels=[0, 1]).tolist()
    table = confusion(histogram, threshold)
    assert (table.true_negative, table.false_positive) == (tn, fp)
    assert (table.false_negative, table.true_positive) == (fn, tp)


@pytest.mark.parametrize("dtype", TYPES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=6, deadline=None)
def test_best_threshold_is_the_best_of_all(dtype: str, seed: int) -> None:
    scores, labels = world(seed, 400, dtype)
    histogram = counted(scores, labels)
    best = best_threshold(histogram)
    assert best is not None
    known = labels >= 0
    p = scores[known].astype(float) / (histogram.divisor if dtype != "float32" else 1)
    reached = max(f1_score(labels[known], p >= t) for t in np.unique(p))
    assert confusion(histogram, best).f1 == pytest.approx(reached, abs=1e-12)
    every = f1_scores(histogram)
    assert every is not None
    assert every.max() == confusion(histogram, best).f1


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_roc_area_of_binned_floats_is_within_its_own_bound(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 500)
    labels[:2] = 0, 1
    scores = random.random(500, np.float32) ** random.integers(1, 30)
    histogram = counted(scores, labels, 256)
    bound, area = roc_area_error(histogram), roc_area(histogram)
    assert bound is not None
    assert area is not None
    assert abs(area - roc_auc_score(labels, scores)) <= bound + 1e-12


def test_bound_is_reached_when_one_bin_holds_all() -> None:
    scores, labels = np.float32([0.501, 0.502]), np.array([0, 1])
    histogram = counted(scores, labels, 256)
    assert (roc_area(histogram), roc_area_error(histogram)) == (0.5, 0.5)
    assert roc_auc_score(labels, scores) == 1.0


@pytest.mark.parametrize("dtype", TYPES)
def test_curves_begin_and_end_where_they_must(dtype: str) -> None:
    histogram = counted(*world(3, 2000, dtype))
    rates, hits = roc(histogram), precision_recall(histogram)
    assert rates is not None
    assert hits is not None
    assert (rates.x[0], rates.y[0], rates.x[-1], rates.y[-1]) == (0, 0, 1, 1)
    assert (hits.x[0], hits.y[0], hits.x[-1]) == (0, 1, 1)
    assert (np.diff(rates.threshold) < 0).all()
    assert (np.diff(rates.x) >= 0).all()
    assert np.array_equal(thresholds(histogram)[::-1], hits.threshold)


@given(seed=st.integers(0, 2**32), points=st.integers(16, 300))
@settings(max_examples=25, deadline=None)
def test_thinned_curve_keeps_ends_order_and_limit(seed: int, points: int) -> None:
    curve = roc(counted(*world(seed, 500, "uint16")))
    assert curve is not None
    short = thinned(curve, points)
    assert len(short.x) <= points
    assert (short.x[0], short.y[0], short.x[-1], short.y[-1]) == (0, 0, 1, 1)
    assert set(zip(*short)) <= set(zip(*curve))
    assert (np.diff(short.threshold) < 0).all()
    assert abs(np.trapezoid(short.y, short.x) - np.trapezoid(curve.y, curve.x)) < 2 / points
