"""Mission rows M047, M055, M056, M058, M059: what patch cutting and augmentation promise."""

from __future__ import annotations

import numpy as np
import pytest

from elektronn.axes import Size
from elektronn.geometry import Geometry, Reach
from elektronn.sampling.augment import Augmentation, Flip, SamplingSettings, Warp
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube

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
