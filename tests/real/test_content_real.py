"""The check by content on planted and on clean cases of the real volumes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from elektronn.volumes.address import Address
from elektronn.volumes.arrays import load
from elektronn.volumes.content import CheckSettings, check, content_check
from elektronn.volumes.content_match import turned
from elektronn.volumes.content_values import borders
from elektronn.volumes.registration import Turn

pytestmark = pytest.mark.real

FILES = {
    "fib_medulla": "fib_medulla_s2_z000-169.h5",
    "gala": "gala_train.h5",
    "isbi2012": "isbi2012_z00-23.h5",
}
CROP = (24, 96, 96)
SHIFTS = [(0, 2, 0), (0, -2, 0), (0, 0, 2), (0, 0, -2), (1, 0, 0), (-1, 0, 0), (-3, 0, 0), (2, -4, 4)]
TURNS = [
    Turn(flips=(True, False, False)),
    Turn(flips=(False, True, False)),
    Turn(flips=(False, False, True)),
    Turn((0, 2, 1)),
]
Array = NDArray[Any]


@cache
def volume(folder: Path, name: str) -> tuple[Array, Array]:
    image, labels = (load(Address(folder / FILES[name], key)) for key in ("raw", "labels"))
    boundary = labels == 0 if name == "isbi2012" else borders(labels) | ((labels == 0) & (name == "gala"))
    return image, boundary.astype(np.int8)


def crops(folder: Path, name: str, shift: tuple[int, ...], seed: int) -> tuple[Array, Array]:
    """A noisy crop of the image, and the boundary cut ``shift`` further on."""
    image, boundary = volume(folder, name)
    rng = np.random.default_rng(seed)
    room = np.array(image.shape) - np.abs(shift)
    size = np.minimum(CROP, room)
    corner = rng.integers(0, room - size + 1) + np.maximum(np.negative(shift), 0)
    seen, marked = (
        array[tuple(slice(c, c + n) for c, n in zip(start, size))]
        for array, start in ((image, corner), (boundary, corner + shift))
    )
    return seen + rng.normal(0, 15, seen.shape), np.ascontiguousarray(marked)


@pytest.mark.parametrize("name", FILES)
def test_whole_volume_as_it_is_raises_no_alarm(real_data: Path, name: str) -> None:
    file = real_data / FILES[name]
    report = check(Address(file, "raw"), Address(file, "labels"), CheckSettings())
    assert (report.ok, report.complaint) == (True, "")
    assert report.verdict is not None
    assert (report.verdict.state, report.verdict.turn, report.verdict.step) == ("aligned", Turn(), (0, 0, 0))
    assert report.verdict.correlation < -0.3
    assert report.verdict.clarity > 5


@pytest.mark.parametrize("name", FILES)
def test_crops_as_they_are_raise_no_alarm(real_data: Path, name: str) -> None:
    for seed in range(8):
        verdict = content_check(*crops(real_data, name, (0, 0, 0), seed), CheckSettings())
        assert verdict.state == "aligned", verdict.sentence


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("shift", SHIFTS)
def test_planted_shift_is_found_to_one_voxel(real_data: Path, name: str, shift: tuple[int, int, int]) -> None:
    verdict = content_check(*crops(real_data, name, shift, 7), CheckSettings())
    assert (verdict.state, verdict.turn) == ("misplaced", Turn()), verdict.sentence
    assert all(abs(found - planted) < 1 for found, planted in zip(verdict.shift, shift))
    assert round(verdict.shift[0]) == shift[0]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_planted_turn_is_found_by_name(real_data: Path, name: str, turn: Turn) -> None:
    image, boundary = crops(real_data, name, (0, 0, 0), 5)
    verdict = content_check(image, turned(boundary, turn), CheckSettings())
    assert (verdict.state, verdict.turn) == ("misplaced", turn), verdict.sentence


@pytest.mark.parametrize("name", FILES)
def test_inverted_image_is_judged_the_same(real_data: Path, name: str) -> None:
    image, boundary = crops(real_data, name, (1, 0, -3), 3)
    dark, bright = (content_check(sign * image, boundary, CheckSettings()) for sign in (1, -1))
    assert dark.step == bright.step
    assert dark.correlation == pytest.approx(-bright.correlation, abs=1e-4)


def test_labels_of_another_volume_leave_it_undecided(real_data: Path) -> None:
    image, _ = crops(real_data, "isbi2012", (0, 0, 0), 2)
    _, foreign = crops(real_data, "fib_medulla", (0, 0, 0), 2)
    assert content_check(image, foreign, CheckSettings()).state == "undecided"
