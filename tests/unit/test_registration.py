"""The centre rule in whole numbers, and the ways to lay a volume on itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.axes import Size
from elektronn.errors import DataError
from elektronn.volumes.content_match import turned
from elektronn.volumes.registration import Turn, centre, margin_report, middle, turns

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "registration.json").read_text())


def zyx(triple_zxy: list[int]) -> Size:
    z, x, y = triple_zxy
    return Size(z, y, x)


@pytest.mark.parametrize("case", [c for c in GOLDEN if "error" not in c["result"]], ids=lambda c: str(c["offset_zxy"]))
def test_frame_and_labelled_range_equal_the_measured_ones(case: dict[str, Any]) -> None:
    found = centre(zyx(case["image_zxy"]), zyx(case["label_zxy"]), zyx(case["offset_zxy"]))

    assert found.size == zyx(case["result"]["data"])
    ranges = list(zip(found.labelled.start, (stop - 1 for stop in found.labelled.stop)))
    z, x, y = (tuple(r) for r in case["result"]["labelled_range"])
    assert ranges == [z, y, x]


def test_boxes_select_the_same_places_of_position_coded_arrays() -> None:
    image = np.arange(12 * 30 * 32).reshape(12, 30, 32)
    label = image[2:-2, 5:-5, 5:-5]
    for offset in (Size(0, 0, 0), Size(1, 2, 2), Size(2, 5, 5), Size(3, 6, 7)):
        found = centre(Size(*image.shape), Size(*label.shape), offset)
        frame = image[found.image_box.slices]
        assert frame.shape == found.size
        np.testing.assert_array_equal(frame[found.labelled.slices], label[found.label_box.slices])
    assert image[tuple(found.origin)] == label[0, 0, 0]


def test_labels_lost_are_counted_per_axis() -> None:
    found = centre(Size(12, 30, 32), Size(8, 20, 22), Size(3, 6, 6))
    assert found.label_loss == (1, 1, 1)
    assert "labels lose 1 (z), 1 (y), 1 (x) voxels on each side" in found.warning
    assert centre(Size(12, 30, 32), Size(8, 20, 22), Size(2, 5, 5)).warning == ""


def test_labels_larger_than_the_image_lose_their_rim() -> None:
    found = centre(Size(10, 10, 10), Size(14, 10, 8))
    assert found.label_box.size == (10, 10, 8)
    assert found.origin == (-2, 0, 1)


def test_odd_surplus_names_the_axes() -> None:
    with pytest.raises(DataError) as caught:
        centre(Size(250, 351, 350), Size(150, 150, 150))
    assert str(caught.value) == (
        "label zyx (150, 150, 150) cannot be centred in image zyx (250, 351, 350): "
        "surplus along y is odd; crop one voxel"
    )


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match="no label is left along z"):
        centre(Size(5, 50, 50), Size(5, 20, 20), Size(3, 5, 5))


def test_margin_counts_the_labels_out_of_reach() -> None:
    report = margin_report(Size(40, 40, 40), Size(36, 20, 20), Size(9, 21, 23))
    assert (report.width, report.needed) == ((2, 10, 10), (4, 10, 11))
    assert report.usable.start == (2, 0, 1)
    assert "outermost 2 (z), 0 (y), 1 (x) label voxels" in report.warning
    assert margin_report(Size(40, 40, 40), Size(36, 20, 20), Size(5, 21, 21)).warning == ""
    with pytest.raises(DataError, match="no label is left"):
        margin_report(Size(8, 40, 40), Size(8, 20, 20), Size(9, 21, 21))


def test_every_turn_gives_another_array() -> None:
    array = np.arange(27).reshape(3, 3, 3)
    assert len({np.ascontiguousarray(turned(array, turn)).tobytes() for turn in turns(Size(3, 3, 3))}) == 48
    assert next(turns(Size(3, 3, 3))).is_identity


def test_words_of_a_turn_say_what_to_do() -> None:
    assert str(Turn()) == "nothing"
    assert str(Turn(flips=(True, False, True))) == "flip z and x"
    assert str(Turn((1, 2, 0))) == "reorder axes zyx to yxz"


def test_middle_survives_flips() -> None:
    for size in range(1, 12):
        array = np.arange(size)
        box = middle((size, 1, 1), (4, 1, 1)).slices[0]
        np.testing.assert_array_equal(array[::-1][box], array[box][::-1])
