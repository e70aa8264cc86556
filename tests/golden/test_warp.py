"""Recorded warps and grey values of ELEKTRONN 1 and 2 (``warp.json``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.axes import Box, Size
from elektronn.sampling import plainly
from elektronn.sampling.cut import cut_image, cut_labels
from elektronn.sampling.elektronn1 import Distortion
from elektronn.sampling.grey import Curve
from elektronn.sampling.maps import Map
from elektronn.sampling.spatial import Projection, Warp

RECORDED = json.loads((Path(__file__).parent / "warp.json").read_text(encoding="utf-8"))
FIRST, SECOND = RECORDED["elektronn1"], RECORDED["elektronn2"]


def distortion(patch: Size, said: dict[str, Any]) -> Distortion:
    """The recorded numbers (orders x, y and x, y, z) in ours."""
    x, y, z = (*said.get("scale", (1, 1)), 1)[:3]
    stretch = tuple(said.get("stretch") or (0, 0))
    angles = (said.get(name) or 0.0 for name in ("rot", "shear", "twist"))
    return Distortion(patch, "plain", *angles, (z, y, x), (*stretch, 0, 0)[:4])


@pytest.mark.parametrize("case", FIRST["warp2d"], ids=lambda case: str(case["params"]))
def test_2d_warps_of_elektronn_1(case: dict[str, Any]) -> None:
    volume = np.arange(49).reshape(1, 7, 7).swapaxes(1, 2)
    made = distortion(Size(1, *reversed(case["patch"])), case["params"]).warped(volume)
    assert np.array_equal(made[0].T, case["out"])


@pytest.mark.parametrize("case", FIRST["warp3d"], ids=lambda case: str(case["params"]))
def test_3d_warps_of_elektronn_1(case: dict[str, Any]) -> None:
    volume = np.arange(125).reshape(5, 5, 5).swapaxes(1, 2)
    z, x, y = case["patch_zxy"]
    made = distortion(Size(z, y, x), case["params"]).warped(volume)
    assert np.array_equal(made.swapaxes(1, 2), case["out_zxy"])


@pytest.mark.parametrize("case", FIRST["joint_label"], ids=lambda case: str(case["patch"]))
def test_labels_of_elektronn_1_are_warped_like_the_image(case: dict[str, Any]) -> None:
    labels = np.zeros((1, 7, 7), int)
    labels[0, 2:5, 2:5] = np.arange(9).reshape(3, 3).T + 10
    outputs = Size(1, *(n - 4 for n in reversed(case["patch"])))
    made = distortion(outputs, case).warped(labels)
    assert np.array_equal(made[0].T, case["label_out"])


@pytest.mark.parametrize("case", FIRST["required"], ids=lambda case: f"{case['patch']}-{case['rot']}-{case['twist']}")
def test_required_sizes_of_elektronn_1(case: dict[str, Any]) -> None:
    z, x, y = (1, *case["patch"])[-3:]
    made = distortion(Size(z, y, x), case).required()
    assert [made.z, made.x, made.y][-len(case["patch"]) :] == case["required"]


def test_the_map_of_the_chain_is_that_of_the_original() -> None:
    """The same distortion through the sampler's map: image and labels around the centre of a larger volume."""
    drawn = Distortion(Size(5, 9, 9), "plain", 8.0, 3.0, 6.0, (1.05, 1.0, 1.1), (0.1, -0.1, 0.05, -0.05))
    volume = np.random.default_rng(0).integers(0, 255, (9, 33, 33)).astype(np.uint8)
    shift = np.eye(4)
    shift[:3, 3] = -2, -4, -4
    map = drawn.onto(Map(), 1.0).after(shift).moved((4, 16, 16))
    out = np.empty((5, 9, 9), np.float32)
    whole = Box(Size(0, 0, 0), Size(*volume.shape))
    cut_image(volume, map, whole, scale=1.0, interpolation="nearest", curve=None, out=out)
    around = tuple(slice((n - m) // 2, (n + m) // 2) for n, m in zip(volume.shape, drawn.required()))
    assert np.array_equal(out, drawn.warped(volume[around]))


@pytest.mark.parametrize("case", FIRST["grey"] + [SECOND["grey"]], ids=lambda case: f"{case['alpha']}-{case['gamma']}")
def test_grey_values(case: dict[str, Any]) -> None:
    image = np.array(case.get("input", case.get("d")), np.float32).reshape(1, 2, 2)
    Curve(case["alpha"], case["c"], case["gamma"]).apply(image)
    np.testing.assert_allclose(image.ravel(), np.ravel(case.get("out", case.get("expect"))), rtol=3e-7, atol=1e-7)


def projection(**ranges: Any) -> np.ndarray:
    """Our matrix (patch → image, the inverse of ELEKTRONN 2's) with some numbers at the end of their ranges."""
    zoom = np.array(ranges.pop("zoom", (0, 0, 0)), float)
    silent = {"rotation_deg": 0, "shear_deg": 0, "scale": 0, "stretch": 0, "perspective": 0}
    drawn = Projection(Warp(**{**silent, **ranges}), Size(9, 9, 9), np.ones(2), zoom, np.ones(2), np.ones(3))
    return drawn.matrix()


def test_matrices_of_elektronn_2() -> None:
    recorded = {name: np.array(matrix) for name, matrix in SECOND["matrices"].items()}
    turned = projection(rotation_deg=float(np.rad2deg(0.3)))
    np.testing.assert_allclose(turned, np.linalg.inv(recorded["rotate_z(0.3)"]), atol=1e-7)
    np.testing.assert_allclose(projection(scale=1.0, zoom=(1, 0, 0)), recorded["scale_inv(2,1,1)"], atol=1e-7)
    np.testing.assert_array_equal(Map().moved((1, 2, 3)).outer, recorded["translate(1,2,3)"])


def test_a_random_rotation_of_elektronn_2_has_our_form() -> None:
    recorded = np.array(SECOND["rotation"])
    degrees = float(np.rad2deg(np.arctan2(recorded[2, 1], recorded[1, 1])))
    np.testing.assert_allclose(projection(rotation_deg=degrees), recorded.T, atol=1e-7)


@pytest.mark.parametrize("case", SECOND["warp_slice"][:2], ids=["translation", "rotation"])
def test_warped_slices_of_elektronn_2(case: dict[str, Any]) -> None:
    volume = ((np.arange(6 * 7 * 8) % 17) / 16).astype(np.float32).reshape(6, 7, 8)
    map, box = Map(np.linalg.inv(case["M"])), Box(Size(0, 0, 0), Size(6, 7, 8))
    expected = np.array(case.get("expect", case.get("expect_img")))[0]
    fast, slow = np.empty((3, 3, 3), np.float32), np.empty((3, 3, 3), np.float32)
    cut_image(volume, map, box, scale=1.0, interpolation="linear", curve=None, out=fast)
    plainly.cut_image(volume, map, 1.0, None, slow)
    np.testing.assert_allclose(fast, expected, atol=2e-6)
    np.testing.assert_allclose(slow, expected, atol=2e-6)


def test_warped_targets_of_elektronn_2() -> None:
    case = SECOND["warp_slice"][1]
    targets = (np.arange(4 * 5 * 6) % 3).reshape(4, 5, 6)
    for dtype, name in ((np.int16, "expect_target_discrete"), (np.float32, "expect_target_linear")):
        out = np.empty((1, 1, 1), dtype)
        cut_labels(targets.astype(dtype), Map(np.linalg.inv(case["M"])), (1, 1, 1), (1, 1, 1), Size(1, 1, 1), out)
        np.testing.assert_allclose(out.ravel(), np.ravel(case[name]), atol=1e-6)


def test_a_slice_too_large_for_elektronn_2_reaches_beyond_the_volume_here() -> None:
    map = Map(np.linalg.inv(SECOND["warp_slice"][0]["M"]))
    _, high = map.extent(Size(0, 0, 0), Size(*(n - 1 for n in SECOND["warp_slice"][2]["ps"])), None)
    assert (high > np.array((6, 7, 8)) - 1).any()
