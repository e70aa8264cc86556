"""Counting in pieces, and what binning can change of the areas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from elektronn.errors import DataError
from elektronn.evaluation import counters
from elektronn.evaluation.counters import Counter, Histogram
from elektronn.evaluation.curves import average_precision, average_precision_error, roc_area, roc_area_error


def scores_of(dtype: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(n)
    labels = random.integers(-1, 2, n).astype(np.int8)
    values = np.clip(random.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    return (values * top).astype(dtype), labels


def counted(scores: np.ndarray, labels: np.ndarray, bins: int = 65536) -> Histogram:
    counter = Counter(scores.dtype, bins)
    counter.add(scores, labels)
    return counter.histogram()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pieces_of_any_size_are_counted_alike(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = scores_of(dtype, 5000)
    whole = counted(scores, labels)
    bins = np.minimum(scores.astype(np.float64) * (65536 if dtype == "float32" else 1), whole.bins - 1).astype(int)
    for label in (0, 1):
        assert np.array_equal(whole.counts[label], np.bincount(bins[labels == label], minlength=whole.bins))
    for piece in (1, 7, 2048, 4999):
        monkeypatch.setattr(counters, "_PIECE", piece)
        assert np.array_equal(counted(scores, labels).counts, whole.counts)


def test_a_wrong_score_or_label_in_a_later_piece_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_PIECE", 100)
    scores, labels = scores_of("float32", 1000)
    for wrong in (np.nan, 1.5, -0.1):
        broken = scores.copy()
        broken[950] = wrong
        with pytest.raises(DataError, match="expected probabilities from 0 to 1"):
            counted(broken, labels)
    labels[950] = 2
    with pytest.raises(DataError, match="labels hold 2"):
        counted(scores, labels)


@given(seed=st.integers(0, 2**32), n=st.integers(10, 400), bins=st.sampled_from([1, 2, 8, 256]))
@settings(max_examples=60, deadline=None)
def test_areas_of_binned_scores_are_within_their_bounds(seed: int, n: int, bins: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(n) % random.integers(2, 6) == 0).astype(np.int8)
    scores = random.random(n, np.float32) ** random.uniform(0.3, 3)
    scores = np.where(random.random(n) < 0.5, scores, (scores + labels) / 2).astype(np.float32)
    found = counted(scores, labels, bins)
    precision, error = average_precision(found), average_precision_error(found)
    assert precision is not None
    assert error is not None
    assert abs(precision - average_precision_score(labels, scores)) <= error + 1e-9
    area, area_error = roc_area(found), roc_area_error(found)
    assert area is not None
    assert area_error is not None
    assert abs(area - roc_auc_score(labels, scores)) <= area_error + 1e-9


def test_the_bound_of_average_precision_is_small_where_bins_are_and_0_where_nothing_is_lost() -> None:
    coarse, fine = (average_precision_error(counted(*scores_of("float32", 20000), bins)) for bins in (64, 65536))
    assert coarse is not None
    assert fine is not None
    assert 0 < fine < coarse / 4 < 0.01
    assert average_precision_error(counted(*scores_of("uint8", 100))) == 0
    assert average_precision_error(counted(np.float32([0.5]), np.int8([0]))) is None
