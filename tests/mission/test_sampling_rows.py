"""Mission rows M047, M054–M060: what patch cutting and augmentation promise."""

from __future__ import annotations

import numpy as np
import pytest

from elektronn.axes import Size
from elektronn.geometry import Geometry, Reach
from elektronn.sampling.augment import Augmentation, Flip, Grey, SamplingSettings, Warp
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.draws import draws
from elektronn.sampling.elektronn1 import Distortion
from elektronn.sampling.grey import Curve

POINT = Geometry(Reach(1, 1), Reach(1, 1), Reach(1, 1))


def coded(size: Size) -> Cube:
    """Each voxel's value is its index, in image and labels."""
    index = np.arange(size.voxels).reshape(size)
    return Cube("coded", (index / size.voxels).astype(np.float32)[None], index.astype(np.int16), Size(0, 0, 0), 1.0)


def labels(cube: Cube, patch: Size, augment: tuple[Augmentation, ...], count: int) -> np.ndarray:
    sampler = Sampler([cube], POINT, patch, SamplingSettings(augment=augment, batch_size=count), seed=1)
    return sampler.batch(0).labels


def test_M047_every_2d_patch_is_a_window_of_a_section() -> None:
    size = Size(6, 20, 20)
    for patch in labels(coded(size), Size(1, 5, 5), (), 100):
        z, y, x = np.unravel_index(int(patch[0, 0, 0]), size)
        window = np.arange(size.voxels).reshape(size)[z, y : y + 5, x : x + 5]
        assert np.array_equal(patch[0], window)


def test_M054_grey_changes_one_of_three_channels_within_its_bounds_and_never_at_validation() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (3, 4, 20, 20)).astype(np.float32)
    cube = Cube("three", image, np.zeros((4, 20, 20), np.int16), Size(0, 0, 0), 1.0)

    def made(*augment: Augmentation, augmented: bool = True) -> np.ndarray:
        settings = SamplingSettings(augment=augment, batch_size=20)
        return Sampler([cube], POINT, Size(2, 9, 9), settings, seed=1, augmented=augmented).batch(0).image

    plain, grey = made(), made(Grey(channels=(0,)))
    assert np.array_equal(plain[:, 1:], grey[:, 1:])
    assert (plain[:, 0] != grey[:, 0]).any((1, 2, 3)).all()
    assert np.array_equal(made(Grey(), augmented=False), plain)


def test_M054_grey_values_are_drawn_between_those_of_elektronn_1() -> None:
    random = draws(1, 0, 0, "grey")
    curves = [curve for _ in range(4000) for _, curve in Grey().draw(random, Size(1, 1, 1), 1)]
    assert all(isinstance(curve, Curve) for curve in curves)
    a, b, g = np.array([(curve.a, curve.b, curve.g) for curve in curves if isinstance(curve, Curve)]).T
    for values, low, high in ((a, 0.85, 1.15), (b, -0.15, 0.15), (g, 0.5, 2.0)):
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high
    assert np.median(g) == pytest.approx(1, abs=0.05)


def test_M054_grey_values_with_fixed_draws() -> None:
    image = np.array([0, 0.25, 0.5, 1], np.float32).reshape(1, 1, 4)
    Curve(1.15, -0.15, 0.5).apply(image)
    np.testing.assert_allclose(image.ravel(), [0, 0.370809942, 0.651920259, 1], rtol=3e-7)


@pytest.mark.parametrize(
    ("flip", "outcomes"), [(Flip(z=False), 8), (Flip(), 16), (Flip(z=False, y=False, transpose=False), 2)]
)
def test_M055_the_set_of_flips_has_its_size_and_labels_turn_alike(flip: Flip, outcomes: int) -> None:
    made = labels(coded(Size(3, 7, 7)), Size(3, 7, 7), (flip,), 600)
    assert len({patch.tobytes() for patch in made}) == outcomes


def test_M056_z_is_never_exchanged_with_the_others() -> None:
    size = Size(7, 7, 7)
    for patch in labels(coded(size), size, (Flip(),), 300):
        steps = {abs(int(patch[1, 0, 0]) - int(patch[0, 0, 0]))}
        assert steps == {49}


def test_M057_upright_images_are_mirrored_along_one_axis_only() -> None:
    """``upright_x`` of ELEKTRONN 1 left x as it was and mirrored y."""
    size = Size(1, 5, 5)
    plain = np.arange(25).reshape(1, 5, 5)
    made = labels(coded(size), size, (Flip(z=False, y=True, x=False, transpose=False),), 100)
    assert {patch.tobytes() for patch in made} == {
        plain.astype(np.int16).tobytes(),
        plain[:, ::-1].astype(np.int16).tobytes(),
    }


def test_M060_a_quarter_turn_and_the_size_it_needs_are_those_of_elektronn_1() -> None:
    """Two of the recorded cases; the others are in ``tests/golden/test_warp.py``."""
    ramp = np.arange(49).reshape(1, 7, 7)
    turned = Distortion(Size(1, 7, 7), rotation=90).warped(ramp.swapaxes(1, 2)).swapaxes(1, 2)
    assert np.array_equal(turned[0, 0], ramp[0, ::-1, 0])
    assert Distortion(Size(1, 127, 127), rotation=15).required() == (1, 157, 157)
    assert Distortion(Size(7, 127, 127), twist=15).required() == (7, 157, 157)


@pytest.mark.parametrize("probability", [1.0, 0.5, 0.0])
def test_M058_the_share_of_warped_examples_is_the_one_asked_for(probability: float) -> None:
    cube = coded(Size(3, 40, 40))
    settings = SamplingSettings(augment=(Warp(probability=probability),), batch_size=2000)
    batch = Sampler([cube], POINT, Size(1, 5, 5), settings, seed=3).batch(0)
    assert batch.warped / 2000 == pytest.approx(probability, abs=0.03)


def test_M059_a_warp_that_does_not_fit_is_counted_and_the_batch_still_comes() -> None:
    cube = coded(Size(3, 7, 7))
    settings = SamplingSettings(augment=(Warp(probability=1.0, scale=0.0),), batch_size=50)
    batch = Sampler([cube], POINT, Size(3, 7, 7), settings, seed=3).batch(0)
    assert batch.plain > 40
    assert batch.warped + batch.plain == 50
