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
from elektronn.evaluation.tables import measures


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


def twin_of_parts(scores: np.ndarray, labels: np.ndarray, bins: int) -> np.ndarray:
    """Each voxel by itself, two-byte scores as fractions of 65535."""
    wanted = scores.astype(np.int64)
    if scores.dtype == np.uint16:
        wanted = np.minimum(wanted * bins // 65535, bins - 1)
    elif scores.dtype == np.float32:
        wanted = np.minimum((scores * np.float32(bins)).astype(int), bins - 1)
    return np.stack([np.bincount(wanted[labels == label], minlength=bins) for label in (0, 1)])


@pytest.mark.parametrize(("dtype", "bins"), [("uint8", 256), ("uint16", 4096), ("float32", 4096), ("float32", 65536)])
@pytest.mark.parametrize("most", [1 << 31, 3000])
def test_what_a_part_added_is_that_part_counted_by_itself(
    dtype: str, bins: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "_MOST", most)  # drained between parts, and within
    scores, labels = scores_of(dtype, 9000)
    counter = Counter(scores.dtype)
    for part in (slice(0, 1), slice(1, 130), slice(130, 2000), slice(2000, 2900), slice(2900, 8999), slice(8999, 9000)):
        counter.add(scores[part], labels[part])
        found = counter.since(bins)
        assert np.array_equal(found.counts, twin_of_parts(scores[part], labels[part], bins))
        assert found.ignored == (labels[part] == -1).sum()
        assert (found.divisor, found.exact) == ((255, True) if dtype == "uint8" else (bins, False))
    assert counter.since(bins).voxels == 0
    assert np.array_equal(counter.histogram().counts, counted(scores, labels).counts)


@pytest.mark.parametrize("bins", [256, 4096])
def test_every_two_byte_score_falls_into_the_bin_of_its_fraction(bins: int) -> None:
    scores = np.arange(65536, dtype=np.uint16)
    counter = Counter(np.uint16)
    counter.add(scores, np.ones(65536, np.int8))
    assert np.array_equal(counter.since(bins).counts, twin_of_parts(scores, np.ones(65536, np.int8), bins))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("size", [1, 127, 128, 129, 5000])
def test_saturated_scores_are_counted_where_they_belong(dtype: str, size: int) -> None:
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    labels = np.resize(np.array([0, 0, 1, -1, 0], np.int8), size)
    scores = np.resize(np.array([0, 0, 0, 0, top, top, top], dtype), size)
    found = counted(scores, labels)
    for label in (0, 1):
        assert found.counts[label, 0] == ((labels == label) & (scores == 0)).sum()
        assert found.counts[label, -1] == ((labels == label) & (scores == top)).sum()
    assert (found.voxels, found.ignored) == ((labels >= 0).sum(), (labels == -1).sum())


def test_minus_zero_is_a_probability() -> None:
    assert counted(np.float32([-0.0, 0.5]), np.int8([1, 1])).counts[1, [0, 32768]].tolist() == [1, 1]


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


PARTS = [np.s_[0:1, :, :], np.s_[1:3, :, :], np.s_[3:5, 2:9, 1:30], np.s_[3:4, :, 30:31], np.s_[4:5, 0:1, :]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("kind", ["int8", "int32"])
def test_parts_of_a_block_are_counted_as_if_each_were_alone(dtype: str, kind: str) -> None:
    scores, labels = scores_of("float32" if dtype == "float64" else dtype, 5 * 11 * 40)
    scores, labels = scores.astype(dtype).reshape(5, 11, 40), labels.astype(kind).reshape(5, 11, 40)
    bins = 256 if dtype == "uint8" else 4096
    counter, twin = Counter(scores.dtype), Counter(scores.dtype)
    for _ in range(2):  # what was there before is no part's
        found = counter.add_parts(scores, labels, PARTS, bins)
        for part, one in zip(PARTS, found, strict=True):
            twin.add(scores[part], labels[part])
            wanted = twin.since(bins)
            assert np.array_equal(one.counts, wanted.counts)
            assert (one.ignored, one.divisor, one.exact) == (wanted.ignored, wanted.divisor, wanted.exact)
    assert np.array_equal(counter.histogram().counts, twin.histogram().counts)


@pytest.mark.parametrize("kind", ["int8", "uint8", "bool", "int16", "uint64"])
def test_labels_of_any_type_are_counted_alike_and_other_classes_as_0(kind: str) -> None:
    labels = np.array([0, 1, 1, 0] if kind == "bool" else [0, 1, 2, 3]).astype(kind)
    counter = Counter(np.uint8)
    counter.add(np.array([7, 8, 9, 9], np.uint8), labels, 4)
    found = counter.histogram()
    assert found.positives == (labels == 1).sum()
    assert found.counts[0, 9] == (labels[2:] != 1).sum()
    with pytest.raises(
        DataError, match="labels hold 4; expected -1 .ignored. or 0 to 3" if kind != "bool" else "hold 1"
    ):
        counter.add(np.zeros(2, np.uint8), np.array([0, 4]).astype(kind), 1 if kind == "bool" else 4)


@pytest.mark.parametrize("wrong", [-2, -128, 2, 127])
def test_labels_of_one_byte_just_outside_are_refused(wrong: int) -> None:
    labels = np.array([0, 1, -1, wrong], np.int8)
    with pytest.raises(DataError, match=f"labels hold {wrong}"):
        Counter(np.uint8).add(np.zeros(4, np.uint8), labels)
    with pytest.raises(DataError, match="labels hold 255"):
        Counter(np.uint8).add(np.zeros(4, np.uint8), np.array([0, 1, 0, 255], np.uint8))


def test_metrics_tell_both_bounds() -> None:
    found = measures(counted(*scores_of("float32", 5000), 64), 0.5)
    assert 0 < found["average_precision_error"] < 0.1
    assert 0 < found["roc_area_error"] < 0.1
