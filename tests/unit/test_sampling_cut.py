"""Cutting along a map: the kernels against their slow twins, for every kind of map, type and interpolation."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.sampling import plainly
from elektronn.sampling.cut import cut_image, cut_labels
from elektronn.sampling.elektronn1 import Distortion
from elektronn.sampling.grey import Curve
from elektronn.sampling.maps import Map, Ripple, points
from elektronn.sampling.places import FAR
from elektronn.sampling.spatial import Flip, Warp

PATCH = Size(5, 17, 17)
VOLUME = Size(14, 48, 52)
SPACING = Size(3, 8, 8)


def some_map(kind: str, seed: int) -> Map:
    """A map of the patch into the middle of the volume."""
    random = np.random.default_rng(seed)
    map = Map()
    if "bent" in kind:
        map = Distortion(PATCH, rotation=5, twist=3, shear=2, scale=(1.1, 1.0, 1.05), stretch=(0.1, -0.1, 0, 0.1)).onto(
            map, 1
        )
    if "flip" in kind:
        map = Flip().draw(random, PATCH).onto(map, 1)
    if "warp" in kind:
        drawn = Warp(probability=1.0).draw(random, PATCH)
        assert drawn is not None
        map = drawn.onto(map, 1)
    shift = np.eye(4)
    shift[:3, 3] = [-(n - 1) / 2 for n in PATCH]
    map = map.after(shift)
    shifts = random.integers(-2, 3, (PATCH.z, 2)).astype(float) if "slip" in kind else None
    ripple = Ripple(random.uniform(-1.5, 1.5, (3, *points(PATCH, SPACING))), SPACING) if "ripple" in kind else None
    return Map(map.outer, map.inner, map.bend, ripple, shifts, shifts).moved([6, 22, 24])


def box_of(map: Map) -> Box:
    low, high = map.extent(Size(0, 0, 0), Size(*(n - 1 for n in PATCH)), map.image_shifts)
    return Box(Size(*np.floor(low).astype(int).tolist()), Size(*(np.ceil(high).astype(int) + 1).tolist()))


def volume(dtype: type[np.generic]) -> NDArray[np.generic]:
    values = np.random.default_rng(7).integers(0, 256, VOLUME)
    return values.astype(dtype) if np.issubdtype(dtype, np.integer) else (values / 255).astype(dtype)


KINDS = [
    "",
    "flip",
    "warp",
    "flip warp",
    "slip",
    "warp slip",
    "ripple",
    "flip warp ripple slip",
    "bent",
    "flip bent warp",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_an_image_is_cut_as_the_plain_twin_cuts_it(kind: str, interpolation: str, dtype: type[np.generic]) -> None:
    source = volume(dtype)
    scale = 1 / 255 if np.issubdtype(dtype, np.integer) else 1.0
    for seed, curve in ((0, None), (1, Curve(1.1, -0.05, 0.6)), (2, Curve(0.9, 0.1, 1.0))):
        map = some_map(kind, seed)
        fast, slow = np.empty(PATCH, np.float32), np.empty(PATCH, np.float32)
        cut_image(source, map, box_of(map), scale=scale, interpolation=interpolation, curve=curve, out=fast)
        plainly.cut_image(source, map, scale, curve, slow, interpolation=interpolation)
        np.testing.assert_allclose(fast, slow, atol=1e-4 if curve and curve.g < 1 else 2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_labels_are_cut_as_the_plain_twin_cuts_them(kind: str, dtype: type[np.generic]) -> None:
    origin, start, stride = Size(2, 6, 7), Size(1, 3, 3), Size(1, 2, 5)
    source = volume(dtype)[2:12, 6:44, 7:48]
    for seed in range(3):
        map = some_map(kind, seed)
        fast, slow = np.empty((3, 6, 3), dtype), np.empty((3, 6, 3), dtype)
        cut_labels(source, map, start, stride, origin, fast)
        plainly.cut_labels(source, map, start, stride, origin, slow)
        np.testing.assert_allclose(fast, slow, atol=0 if dtype == np.int16 else 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_extent_holds_every_voxel_that_is_asked_for(kind: str) -> None:
    last = Size(*(n - 1 for n in PATCH))
    for seed in range(5):
        map = some_map(kind, seed)
        at = map.coordinates([np.arange(n) for n in PATCH], map.image_shifts).reshape(3, -1)
        low, high = map.extent(Size(0, 0, 0), last, map.image_shifts)
        assert (low <= at.min(1) + 1e-9).all()
        assert (high >= at.max(1) - 1e-9).all()
        if "ripple" not in kind:
            np.testing.assert_allclose((low, high), (at.min(1), at.max(1)), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_nothing_outside_the_box_is_read(kind: str, dtype: type[np.generic]) -> None:
    """The voxels outside change; the patch does not."""
    source, map = volume(dtype), some_map(kind, 4)
    box = box_of(map)
    other = (1 - source) if dtype == np.float32 else (255 - source)
    other[box.slices] = source[box.slices]
    made = []
    for values in (source, other):
        out = np.empty(PATCH, np.float32)
        cut_image(values, map, box, scale=1.0, interpolation="linear", curve=None, out=out)
        made.append(out)
    assert np.array_equal(*made)


@pytest.mark.parametrize(("dtype", "matrix"), list(product([np.uint8, np.float32], range(8))))
def test_mirrors_and_exchanges_move_whole_voxels_exactly(dtype: type[np.generic], matrix: int) -> None:
    turn = np.diag([1 - 2 * (matrix & 1), 1 - (matrix & 2), 1.0, 1.0])
    if matrix & 4:
        turn = turn[[0, 2, 1, 3]]
    map = Map().after(turn)
    low, _ = map.extent(Size(0, 0, 0), Size(*(n - 1 for n in PATCH)), None)
    map = map.moved(-low + [3, 5, 7])
    assert map.is_straight
    source, out = volume(dtype), np.empty(PATCH, np.float32)
    cut_image(source, map, box_of(map), scale=1.0, interpolation="linear", curve=None, out=out)
    at = map.coordinates([np.arange(n) for n in PATCH]).astype(int)
    assert np.array_equal(out, source[tuple(at)].astype(np.float32))


def test_a_flat_world_has_no_next_section() -> None:
    source = volume(np.uint8)[:1]
    shift = np.eye(4)
    shift[1:3, 1:3] = [[0.9, 0.2], [-0.2, 0.9]]
    shift[1:3, 3] = 10, 12
    patch, map = Size(1, 9, 9), Map(shift)
    for dtype in (np.uint8, np.float32):
        fast, slow = np.empty(patch, np.float32), np.empty(patch, np.float32)
        cut_image(
            source.astype(dtype),
            map,
            Box(Size(0, 0, 0), Size(1, 48, 52)),
            scale=1.0,
            interpolation="linear",
            curve=None,
            out=fast,
        )
        plainly.cut_image(source.astype(dtype), map, 1.0, None, slow)
        np.testing.assert_allclose(fast, slow, atol=1e-3)


def test_the_grey_curve_is_a_power_to_seven_digits() -> None:
    values = np.linspace(0, 1, 4096, dtype=np.float32).reshape(1, 1, -1)
    for g in (0.5, 0.77, 1.0, 1.3, 2.0):
        bent = values.copy()
        Curve(1.0, 0.0, g).apply(bent)
        np.testing.assert_allclose(bent, values.astype(np.float64) ** g, rtol=3e-6, atol=1e-7)
        assert (bent[0, 0, 0], bent[0, 0, -1]) == (0, 1)


def test_a_perspective_past_its_horizon_fits_nowhere() -> None:
    matrix = np.eye(4)
    matrix[3, 2] = -0.1
    low, high = Map(matrix).extent(Size(0, 0, 0), Size(4, 16, 16), None)
    assert (low == -FAR).all()
    assert (high == FAR).all()


def test_an_unknown_target_stays_unknown_and_spoils_no_neighbour() -> None:
    targets = np.ones((3, 4, 4), np.float32)
    targets[1, 1, 1] = np.nan
    out = np.empty((3, 4, 4), np.float32)
    cut_labels(targets, Map(), (0, 0, 0), (1, 1, 1), Size(0, 0, 0), out)
    assert np.isnan(out).sum() == 1
    assert np.isnan(out[1, 1, 1])


@pytest.mark.slow
def test_no_kernel_reads_outside_of_its_arrays(tmp_path: Path) -> None:
    """The tests above once more, with every index checked by the compiler."""
    known = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    chosen = ["-k", "(flat or extent or plain_twin) and not subprocess and not outside", str(Path(__file__))]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
