"""What must hold for every pair of segmentations: equal to the references, exact in any order of blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import adapted_rand_error, variation_of_information

from elektronn.evaluation.contingency import beside, contingency, summed
from elektronn.evaluation.segments import adapted_rand_errors, measures, sizes, v_rand


def world(seed: int, n: int, ids: int) -> tuple[np.ndarray, np.ndarray]:
    """Two related segmentations, both with id 0."""
    random = np.random.default_rng(seed)
    truth = np.sort(random.integers(0, ids + 1, n))
    found = np.where(random.random(n) < 0.7, truth // random.integers(1, 3), random.integers(0, ids + 1, n))
    truth[:2] = 1
    found[:2] = 1
    return truth, found


@given(seed=st.integers(0, 2**32), n=st.integers(4, 600), ids=st.integers(1, 30))
@settings(max_examples=250, deadline=None)
def test_scikit_image_agrees_where_it_has_the_definition(seed: int, n: int, ids: int) -> None:
    truth, found = world(seed, n, ids)
    table = contingency(truth, found)
    error = adapted_rand_error(truth, found)[0]
    ours = adapted_rand_errors(table)
    assert ours["scikit-image"] == pytest.approx(error, abs=1e-12)
    split, merge = variation_of_information(truth, found, ignore_labels=(0,))
    plain = measures(table, "segment")
    assert (plain["voi_split_bits"], plain["voi_merge_bits"]) == pytest.approx((split, merge), abs=1e-9)


def published(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """The adapted Rand errors by loops over dense tables, each as its own tool tells it."""
    n = truth.size
    dense = np.zeros((truth.max() + 1, found.max() + 1))
    for a, b in zip(truth, found):
        dense[a, b] += 1
    rows = dense[1:]
    inner, free = rows[:, 1:], rows[:, 0].sum()

    def error(extra: float) -> float:
        both = (inner**2).sum() + extra
        precision, recall = both / ((inner.sum(0) ** 2).sum() + extra), both / (rows.sum(1) ** 2).sum()
        return float(1 - 2 * precision * recall / (precision + recall)) if both else 1.0

    split, merge = (rows**2).sum() / (rows.sum(1) ** 2).sum(), (rows**2).sum() / (rows.sum(0) ** 2).sum()
    return {
        "cremi": error(free / n),
        "singletons": error(free),
        "funlib": float(1 - 2 * split * merge / (split + merge)),
    }


@given(seed=st.integers(0, 2**32), n=st.integers(4, 300), ids=st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_the_other_definitions_equal_their_tools(seed: int, n: int, ids: int) -> None:
    truth, found = world(seed, n, ids)
    ours = adapted_rand_errors(contingency(truth, found))
    for name, value in published(truth, found).items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


@given(seed=st.integers(0, 2**32), n=st.integers(4, 300), ids=st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_singletons_are_really_segments_of_their_own(seed: int, n: int, ids: int) -> None:
    truth, found = world(seed, n, ids)
    alone = found.copy()
    alone[found == 0] = ids + 1 + np.arange((found == 0).sum())
    ours, expected = (measures(contingency(truth, f), kind) for f, kind in ((found, "singletons"), (alone, None)))
    for name in ("voi_split_bits", "voi_merge_bits", "v_rand", "v_info"):
        assert ours[name] == pytest.approx(expected[name], abs=1e-9), name
    left = measures(contingency(truth[found > 0], found[found > 0]), None)
    ignoring = measures(contingency(truth, found), "ignore")
    for name in ("voi_split_bits", "voi_merge_bits", "v_rand", "v_info", "adapted_rand_error"):
        assert ignoring[name] == left[name], name


@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 399), max_size=6), swap=st.randoms())
@settings(max_examples=100, deadline=None)
def test_tables_of_blocks_in_any_order_are_the_whole(seed: int, cuts: list[int], swap: np.random.Generator) -> None:
    truth, found = world(seed, 400, 9)
    parts = list(map(contingency, np.split(truth, sorted(cuts)), np.split(found, sorted(cuts))))
    swap.shuffle(parts)
    half = len(parts) // 2
    whole = contingency(truth, found)
    for total in (summed(parts), summed(parts[:half]) + summed(parts[half:])):
        for name in ("truth", "found", "counts", "ignored"):
            assert np.array_equal(getattr(total, name), getattr(whole, name))


@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 399), max_size=4))
@settings(max_examples=50, deadline=None)
def test_volumes_beside_each_other_share_no_ids_and_are_one_table(seed: int, cuts: list[int]) -> None:
    truth, found = world(seed, 400, 9)
    volume = np.searchsorted(sorted(cuts), np.arange(400), side="right")
    parts = [contingency(truth[volume == i], found[volume == i]) for i in range(len(cuts) + 1)]
    both = beside(parts)
    apart = contingency(np.where(truth > 0, truth + 100 * volume, 0), np.where(found > 0, found + 100 * volume, 0))
    for kind in ("segment", "singletons", "ignore"):
        one, other = (measures(table, kind) for table in (both, apart))
        for name in ("voi_split_bits", "voi_merge_bits", "v_rand", "v_info"):
            assert one[name] == pytest.approx(other[name], abs=1e-9), name
        assert one["adapted_rand_error"] == pytest.approx(other["adapted_rand_error"], abs=1e-12)
        for name in ("voxels", "background_voxels", "ignored_voxels", "true_segments", "segments"):
            assert one[name] == other[name], name


@given(seed=st.integers(0, 2**32), n=st.integers(4, 300))
@settings(max_examples=50, deadline=None)
def test_names_of_segments_do_not_matter_and_the_truth_itself_is_perfect(seed: int, n: int) -> None:
    truth, found = world(seed, n, 9)
    names = np.random.default_rng(seed).permutation(1000)[: found.max() + 1] + 1
    names[0] = 0
    one, other = (measures(contingency(truth, f), "singletons") for f in (found, names[found]))
    for name in ("voi_bits", "v_rand", "v_info"):
        assert one[name] == pytest.approx(other[name], abs=1e-12)
    perfect = measures(contingency(truth, truth), None)
    assert (perfect["voi_bits"], perfect["v_rand"], perfect["v_info"]) == pytest.approx((0, 1, 1))
    assert v_rand(sizes(contingency(truth, truth), "segment")) == 1


@pytest.mark.parametrize(
    ("kind", "other"), [("uint8", "uint8"), ("uint32", "uint32"), ("uint64", "uint32"), ("int16", "int64")]
)
def test_a_table_of_many_pairs_is_counted_in_every_type(kind: str, other: str) -> None:
    random, top = np.random.default_rng(0), 100 if kind == "uint8" else 3000
    truth, found = random.integers(0, top, 20000).astype(kind), random.integers(0, top, 20000).astype(other)
    truth[::7] = truth[0]
    if kind == "uint64":
        truth[truth == 1] = 2**64 - 1
    masked = random.random(20000) < 0.1
    table = contingency(truth, found, masked)
    keep = (truth > 0) & ~masked
    pairs, counts = np.unique(np.stack([truth[keep], found[keep].astype(truth.dtype)], 1), axis=0, return_counts=True)
    assert np.array_equal(np.stack([table.truth, table.found], 1), pairs.astype(np.uint64))
    assert np.array_equal(table.counts, counts)
    assert table.ignored == 20000 - keep.sum()


def counted_slowly(truth: np.ndarray, found: np.ndarray) -> dict[tuple[int, int], int]:
    """The obvious twin: one voxel at a time."""
    pairs: dict[tuple[int, int], int] = {}
    for pair in zip(truth.tolist(), found.tolist()):
        if pair[0] > 0:
            pairs[pair] = pairs.get(pair, 0) + 1
    return pairs


@pytest.mark.parametrize("kind", ["uint32", "uint64", "int32"])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 4095, 4096, 4097, 8192, 9000])
def test_runs_of_any_length_are_counted_like_their_slow_twin(kind: str, size: int) -> None:
    random = np.random.default_rng(size)
    for longest in (1, 3, 70, 5000):
        lengths = random.integers(1, longest + 1, (2, size))
        truth, found = (np.repeat(random.integers(0, 40, size), row)[:size].astype(kind) for row in lengths)
        if kind == "uint64":
            truth[truth == 7] += np.uint64(2**63)
        table = contingency(truth, found)
        rows = dict(zip(zip(table.truth.tolist(), table.found.tolist()), table.counts.tolist()))
        assert rows == counted_slowly(truth, found)
        assert table.ignored == (truth == 0).sum()
