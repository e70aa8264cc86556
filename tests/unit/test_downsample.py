"""Coarser sections: blocks of image and labels stay on one another."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from elektronn.errors import ConfigError, DataError
from elektronn.volumes.downsample import block_means, block_votes, downsample

RANDOM = np.random.default_rng(4)


def vote(block: NDArray[Any]) -> int:
    counts = Counter(block.ravel().tolist())
    return min(counts) if min(counts) < 0 else min(counts, key=lambda label: (-counts[label], label))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.uint8, np.uint64])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_block_has_the_label_that_most_of_it_has(factor: int, dtype: Any) -> None:
    labels = RANDOM.integers(0, 4, (3, 12, 14)).astype(dtype)
    if labels.dtype.kind == "i":
        labels[RANDOM.random(labels.shape) < 0.03] = -1
    found = block_votes(labels, factor)
    assert (found.shape, found.dtype) == ((3, 12 // factor, 14 // factor), labels.dtype)
    for z, y, x in np.ndindex(found.shape):
        block = labels[z, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        assert found[z, y, x] == vote(block)


def test_labels_beyond_16_bits_stay_what_they_are() -> None:
    labels = np.full((1, 4, 4), 2**40 + 1, np.int64)
    labels[:, :2] = 40000
    assert block_votes(labels, 2)[0, :, 0].tolist() == [40000, 2**40 + 1]
    assert block_votes(np.full((1, 2, 2), 2**63 + 5, np.uint64), 2)[0, 0, 0] == 2**63 + 5


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255), (np.uint16, 65535), (np.int16, 32767), (np.float32, 1)])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_image_is_the_mean_of_blocks_scaled_to_1(factor: int, dtype: Any, scale: int) -> None:
    image = RANDOM.integers(0, 2 if scale == 1 else scale, (2, 3, 9, 13)).astype(dtype)
    found = block_means(image, factor)
    assert (found.shape, found.dtype) == ((2, 3, 9 // factor, 13 // factor), np.float32)
    for c, z, y, x in np.ndindex(found.shape):
        block = image[c, z, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        assert found[c, z, y, x] == pytest.approx(block.mean(dtype=np.float64) / scale, rel=1e-6)


def test_largest_values_do_not_overflow() -> None:
    assert block_means(np.full((1, 1, 64, 64), 255, np.uint8), 64).tolist() == [[[[1.0]]]]


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("image", "labels"),
    [((20, 26), (20, 26)), ((30, 41), (20, 31)), ((23, 27), (21, 17)), ((20, 20), (26, 28)), ((20, 30), (26, 16))],
)
def test_image_and_labels_stay_concentric_and_on_one_another(
    image: tuple[int, int], labels: tuple[int, int], factor: int
) -> None:
    """Labels are the row and column that they lie on in the image, so that each block knows where it came from."""
    rows, columns = np.indices(image)
    picture = np.stack([rows, columns])[:, None].astype(np.float64) / 1000
    offset = [(a - b) // 2 for a, b in zip(image, labels)]
    for axis in range(2):
        place = np.indices(labels)[axis] + offset[axis]
        coarse, votes = downsample(picture, place[None], factor)
        surplus = np.array(coarse.shape[2:]) - votes.shape[1:]
        assert not (surplus % 2).any()
        common = [min(n) for n in zip(coarse.shape[2:], votes.shape[1:])]
        (a, b), (c, d) = surplus.clip(0) // 2, (-surplus).clip(0) // 2
        seen = coarse[axis, 0, a : a + common[0], b : b + common[1]] * 1000
        said = votes[0, c : c + common[0], d : d + common[1]]
        # the vote among different numbers is the smallest: the first row (column) of the block
        assert np.allclose(seen - (factor - 1) / 2, said, atol=1e-3)
        assert common == [min(n) // factor for n in zip(image, labels)]


def test_margin_keeps_whole_blocks() -> None:
    coarse, votes = downsample(np.zeros((1, 1, 30, 30), np.uint8), np.zeros((1, 20, 16), np.uint8), 2)
    assert coarse.shape == (1, 1, 14, 14)
    assert votes.shape == (1, 10, 8)


@pytest.mark.parametrize("factor", [0, -1, 5])
def test_factor_that_no_section_has_is_refused(factor: int) -> None:
    with pytest.raises(ConfigError, match="write a factor from 1 to 4"):
        downsample(np.zeros((1, 1, 8, 8), np.uint8), np.zeros((1, 4, 4), np.uint8), factor)


def test_odd_surplus_is_refused() -> None:
    with pytest.raises(DataError, match="surplus along y is odd"):
        downsample(np.zeros((1, 1, 8, 8), np.uint8), np.zeros((1, 5, 4), np.uint8), 2)
