"""M044: centre registration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from elektronn.axes import Size
from elektronn.volumes.registration import centre

GOLDEN = Path(__file__).parent.parent / "golden" / "registration.json"


def test_M044_shapes_and_labelled_ranges() -> None:
    cases = [case for case in json.loads(GOLDEN.read_text()) if "error" not in case["result"]]
    for case in cases:
        # the numbers are in the order z, x, y; the rule treats every axis alike
        found = centre(Size(*case["image_zxy"]), Size(*case["label_zxy"]), Size(*case["offset_zxy"]))
        assert list(found.size) == case["result"]["data"] == case["result"]["label"]
        ends = [[low, high - 1] for low, high in zip(*found.labelled)]
        assert ends == case["result"]["labelled_range"]
    assert len(cases) == 8


def test_M044_image_i_plus_1_belongs_to_label_i() -> None:
    image, label = np.arange(7), np.arange(5) + 1
    found = centre(Size(7, 7, 7), Size(5, 5, 5), Size(1, 1, 1))
    frame = image[found.image_box.slices[0]]
    assert found.origin.z == 1
    np.testing.assert_array_equal(frame[found.labelled.slices[0]], label[found.label_box.slices[0]])
    assert [image[i + 1] for i in range(5)] == list(label)
