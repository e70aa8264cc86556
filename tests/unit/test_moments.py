"""Mean and deviation of volumes: exact for whole numbers, the same whatever the blocks and the order of volumes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from elektronn.axes import whole
from elektronn.errors import DataError
from elektronn.volumes import moments as module
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Volume
from elektronn.volumes.moments import moments, scale_of

RANDOM = np.random.default_rng(3)


def volume(values: NDArray[Any], name: str = "a.npy") -> Volume:
    """An array as a volume; ``zyx`` or ``czyx``."""
    axes = "czyx"[-values.ndim :]
    return Volume(Address(Path(name)), values, axes, whole(values.shape[-3:]), None, None, {})


def truth(*parts: NDArray[Any]) -> tuple[float, float]:
    """By whole numbers and fractions alone; scaled."""
    numbers = [int(n) * scale_of(part.dtype) for part in parts for n in part.ravel()]
    mean = sum(numbers, Fraction()) / len(numbers)
    return float(mean), float(sum((n - mean) ** 2 for n in numbers) / len(numbers)) ** 0.5


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", ">u2", "int16", "uint32", "int32", "uint64", "int64"])
@pytest.mark.parametrize("ends", [False, True])
def test_whole_numbers_are_exact(monkeypatch: pytest.MonkeyPatch, dtype: str, ends: bool) -> None:
    monkeypatch.setattr(module, "BLOCK", (2, 3, 5))
    limits = np.iinfo(np.dtype(dtype).str)
    values = RANDOM.integers(limits.min, limits.max, (4, 5, 6), np.dtype(dtype).newbyteorder("="), endpoint=True)
    if ends:
        values = np.where(values > values.mean(), limits.max, limits.min).astype(dtype)
    found = moments([volume(values.astype(dtype))])
    assert found.voxels == 120
    assert (found.mean[0], found.deviation[0]) == truth(values)


def test_volumes_count_by_their_voxels_and_each_channel_for_itself() -> None:
    a, b = RANDOM.integers(0, 256, (2, 3, 4, 5), np.uint8), RANDOM.integers(0, 60000, (2, 5, 6, 7), np.uint16)
    found = moments([volume(a), volume(b)])
    assert found == moments([volume(b), volume(a)])
    assert found.voxels == 60 + 210
    for channel in range(2):
        assert (found.mean[channel], found.deviation[channel]) == truth(a[channel], b[channel])


def test_result_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = RANDOM.integers(0, 256, (9, 10, 11), np.uint8)
    at_once = moments([volume(values)])
    monkeypatch.setattr(module, "BLOCK", (1, 4, 3))
    assert moments([volume(values)]) == at_once


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spread", [0.1, 1e-5])
def test_floats_are_as_numpy_says_also_beside_a_large_mean(dtype: Any, spread: float) -> None:
    values = (0.8 + spread * RANDOM.standard_normal((20, 30, 40))).astype(dtype)
    found = moments([volume(values)])
    assert found.mean[0] == pytest.approx(values.astype(np.longdouble).mean(), rel=1e-13)
    assert found.deviation[0] == pytest.approx(float(values.astype(np.longdouble).std()), rel=1e-9)


def test_one_grey_value_has_no_deviation() -> None:
    for dtype in (np.uint8, np.float32, bool):
        found = moments([volume(np.ones((3, 3, 3), dtype))])
        assert found.deviation == (0.0,)
        assert found.mean == (1 / 255 if dtype is np.uint8 else 1.0,)


def test_standardised_volumes_have_mean_0_and_deviation_1() -> None:
    parts = [RANDOM.integers(low, high, (6, 7, 8), np.uint8) for low, high in ((0, 90), (60, 255), (100, 110))]
    found = moments([volume(part) for part in parts])
    scaled = np.concatenate([part.ravel() / 255 for part in parts])
    standard = (scaled - found.mean[0]) / found.deviation[0]
    assert abs(standard.mean()) < 1e-12
    assert abs(standard.std() - 1) < 1e-12


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_none_are_named(monkeypatch: pytest.MonkeyPatch, bad: float) -> None:
    monkeypatch.setattr(module, "BLOCK", (2, 2, 2))
    values = np.zeros((4, 5, 6), np.float32)
    values[3, 2, 5] = bad
    with pytest.raises(DataError, match=r"b\.npy: NaN or infinite value at zyx \(3, 2, 5\); repair"):
        moments([volume(np.zeros((2, 2, 2))), volume(values, "b.npy")])


def test_volumes_of_other_channels_are_refused() -> None:
    with pytest.raises(DataError, match=r"b\.npy: has 2 channels, a\.npy has 1"):
        moments([volume(np.zeros((2, 2, 2))), volume(np.zeros((2, 2, 2, 2)), "b.npy")])


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [("uint8", 255), (">u2", 65535), ("int16", 32767), ("uint32", 2**32 - 1), ("int64", 2**63 - 1)],
)
def test_largest_value_of_an_integer_type_becomes_1(dtype: str, largest: int) -> None:
    assert largest * scale_of(np.dtype(dtype)) == 1
    assert scale_of(np.dtype("float32")) == scale_of(np.dtype(bool)) == 1
