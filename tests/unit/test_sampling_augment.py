"""What each augmentation does, on volumes in which every voxel tells its position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from elektronn.axes import Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.geometry import Geometry, Reach
from elektronn.sampling.augment import Augmentation, SamplingSettings
from elektronn.sampling.batch import Batch, Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.defects import BlurredSection, FadedSection, MisalignedSection, MissingSection
from elektronn.sampling.draws import draws
from elektronn.sampling.elektronn1 import Distortion, Elektronn1Warp
from elektronn.sampling.grey import Blur, Grey, Noise
from elektronn.sampling.maps import Ripple, points
from elektronn.sampling.spatial import Elastic, Flip, Warp
from elektronn.settings import Settings, parse

POINT = Geometry(Reach(1, 1), Reach(1, 1), Reach(1, 1))
PATCH = Size(5, 11, 11)
ROOMY = Size(20, 60, 60)


def coded(size: Size, axis: int = 2, channels: int = 1) -> Cube:
    """Image and labels are the position along one axis (image: of 256)."""
    place = np.broadcast_to(np.arange(size[axis]).reshape([-1 if i == axis else 1 for i in range(3)]), size)
    image = np.stack([place / np.float32(256)] * channels).astype(np.float32)
    return Cube("coded", image, np.ascontiguousarray(place, np.int16), Size(0, 0, 0), 1.0)


def batch(cube: Cube, *augment: Augmentation, count: int = 8, patch: Size = PATCH, step: int = 0, **more: Any) -> Batch:
    settings = SamplingSettings(augment=augment, batch_size=count, **more)
    return Sampler([cube], POINT, patch, settings, seed=3).batch(step)


def noise_cube(channels: int = 1) -> Cube:
    image = np.random.default_rng(0).uniform(0.2, 0.8, (channels, *ROOMY)).astype(np.float32)
    return Cube("noise", image, np.zeros(ROOMY, np.int16), Size(0, 0, 0), 1.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_elastic_displacement_stays_below_its_amplitude_and_labels_follow(axis: int) -> None:
    amplitude = (0.8, 1.8, 1.5)
    elastic = Elastic(probability=1.0, amplitude_vox=amplitude, spacing_vox=(8, 16, 16))
    made = batch(coded(ROOMY, axis), elastic, count=30)
    assert made.warped == 30
    positions = made.image[:, 0].astype(np.float64) * 256
    # away from the patch's first voxel a position grows by one voxel per voxel, but for two displacements
    expected = np.arange(PATCH[axis]).reshape([-1 if i == axis else 1 for i in range(3)])
    bent = positions - expected
    spread = bent.max((1, 2, 3)) - bent.min((1, 2, 3))
    assert (spread <= 2 * amplitude[axis] + 1e-3).all()
    assert spread.max() > 0.3 * amplitude[axis]
    assert np.abs(positions - made.labels).max() <= 0.5 + 1e-3


def test_an_elastic_displacement_is_smooth() -> None:
    ripple = Ripple(np.random.default_rng(0).uniform(-1, 1, (3, *points(PATCH, Size(4, 4, 4)))), Size(4, 4, 4))
    at = ripple.at([np.arange(n) for n in PATCH])
    for axis in (1, 2, 3):
        assert np.abs(np.diff(at, axis=axis)).max() <= 2 / 4
        assert np.abs(np.diff(at, 2, axis=axis)).max() <= 4 / 4**2


def test_an_elastic_displacement_that_folds_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"elastic: amplitude_vox \[0.0, 20.0, 20.0\] .* would fold"):
        parse(Elastic, {"amplitude_vox": [0, 20, 20]}, "elastic")


@pytest.mark.parametrize("kind", [Warp(probability=1.0), Elektronn1Warp(probability=1.0), Elastic(probability=1.0)])
def test_what_fits_nowhere_is_cut_plain_shrunk_or_refused(kind: Warp | Elektronn1Warp | Elastic) -> None:
    def made(extra: int, answer: str) -> Batch:
        cube = coded(Size(PATCH.z, PATCH.y + extra, PATCH.x + extra))
        component = kind.model_copy(update={"too_large": answer})
        if isinstance(component, Warp):
            component = component.model_copy(update={"scale": 0.0, "perspective": 0.0})
        return batch(cube, component, count=60)

    assert made(0, "plain").plain > 55
    tight, shrunk = made(2, "plain"), made(2, "shrink")
    assert tight.shrunk == 0
    assert shrunk.shrunk > 10
    # what fits as drawn is the same, whatever happens to the rest
    assert shrunk.warped == tight.warped
    assert shrunk.warped + shrunk.shrunk + shrunk.plain == 60
    with pytest.raises(GeometryError, match=r"coded: the warp of this example needs 5×\d+×\d+ voxels"):
        made(0, "error")


def test_components_follow_each_other_in_their_order() -> None:
    dark, light = Grey(contrast=0, brightness=0, gamma=0), MissingSection(probability=1.0, value=(0.5, 0.5))
    cube = noise_cube()
    last = batch(cube, dark, Noise(probability=1.0), light)
    assert ((last.image == 0.5).all((3, 4)).sum((1, 2)) == 1).all()
    first = batch(cube, light, Grey(contrast=0, brightness=0.0, gamma=1.0))
    blank = (first.image.min((3, 4)) == first.image.max((3, 4))).sum((1, 2))
    assert (blank == 1).all()
    assert not (first.image == 0.5).all((3, 4)).any()


def test_two_grey_components_both_act() -> None:
    cube = noise_cube()
    half = Grey(contrast=0, brightness=0, gamma=1.0)
    one, two = batch(cube, half), batch(cube, half, half)
    assert not np.allclose(one.image, two.image)


def test_noise_has_its_strength_and_leaves_other_channels() -> None:
    cube = noise_cube(2)
    plain = batch(cube, patch=Size(20, 60, 60), count=1)
    noisy = batch(cube, Noise(probability=1.0, sigma=(0.05, 0.05), channels=(1,)), patch=Size(20, 60, 60), count=1)
    assert np.array_equal(noisy.image[0, 0], plain.image[0, 0])
    difference = noisy.image[0, 1] - plain.image[0, 1]
    assert difference.std() == pytest.approx(0.05, rel=0.02)
    assert abs(difference.mean()) < 1e-3


def test_noise_stays_in_range() -> None:
    made = batch(noise_cube(), Noise(probability=1.0, sigma=(0.9, 0.9)))
    assert (made.image.min(), made.image.max()) == (0, 1)


def test_blur_is_a_gaussian_in_y_and_x_only() -> None:
    cube = noise_cube()
    whole = Size(20, 60, 60)
    plain = batch(cube, patch=whole, count=1).image[0, 0]
    blurred = batch(cube, Blur(probability=1.0, sigma_vox=(1.2, 1.2)), patch=whole, count=1).image[0, 0]
    expected = np.stack([gaussian_filter(section, 1.2, truncate=3.0) for section in plain])
    np.testing.assert_allclose(blurred, expected, atol=1e-6)


def hit(made: NDArray[np.float32], plain: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which sections of which example and channel differ: ``(b, c, z)``."""
    return (made != plain).any((3, 4))


@pytest.mark.parametrize("kind", [MissingSection, FadedSection, BlurredSection])
def test_a_defect_hits_a_run_of_sections_in_all_channels(
    kind: type[MissingSection | FadedSection | BlurredSection],
) -> None:
    cube = noise_cube(2)
    plain = batch(cube, count=300)
    made = batch(cube, kind(probability=0.5, sections=(2, 3)), count=300)
    sections = hit(made.image, plain.image)
    assert np.array_equal(sections[:, 0], sections[:, 1])
    counts = sections[:, 0].sum(1)
    assert set(counts) == {0, 2, 3}
    assert (counts > 0).mean() == pytest.approx(0.5, abs=0.1)
    edges = np.abs(np.diff(sections[:, 0].astype(int), axis=1, prepend=0, append=0)).sum(1)
    assert set(edges) <= {0, 2}
    # each place of a run is met
    assert sections[:, 0].any(0).all()
    assert np.array_equal(made.labels, plain.labels)


def test_a_missing_section_has_one_value_of_its_range() -> None:
    made = batch(noise_cube(), MissingSection(probability=1.0, value=(0.0, 0.1)), count=40).image[:, 0]
    flat = made.min((2, 3)) == made.max((2, 3))
    assert (flat.sum(1) == 1).all()
    values = made.min((2, 3))[flat]
    assert 0 <= values.min() < 0.03
    assert 0.07 < values.max() <= 0.1


def test_a_faded_section_keeps_its_mean_and_loses_contrast() -> None:
    cube = noise_cube()
    plain = batch(cube, count=20).image[:, 0]
    made = batch(cube, FadedSection(probability=1.0, contrast=(0.25, 0.25)), count=20).image[:, 0]
    np.testing.assert_allclose(made.mean((2, 3)), plain.mean((2, 3)), atol=1e-5)
    ratio = made.std((2, 3)) / plain.std((2, 3))
    np.testing.assert_allclose(np.sort(ratio, 1)[:, 0], 0.25, atol=1e-4)
    np.testing.assert_allclose(np.sort(ratio, 1)[:, 1:], 1, atol=1e-6)


@pytest.mark.parametrize("labels", ["move", "stay"])
@pytest.mark.parametrize("step", [0.0, 1.0])
def test_a_misaligned_section_is_shifted_by_whole_voxels(labels: str, step: float) -> None:
    misaligned = MisalignedSection(probability=1.0, shift_vox=3, step=step, labels=labels)
    made = batch(coded(ROOMY), misaligned, count=200)
    assert (made.warped, made.plain) == (0, 0)
    positions = made.image[:, 0].astype(np.float64) * 256
    assert np.array_equal(positions, np.rint(positions))
    starts = positions[:, :, 0, 0]
    # the sections that are where most of the others are, or before the step
    home = starts[:, :1] if step else np.median(starts, axis=1, keepdims=True)
    shift = starts - home
    assert set(np.unique(shift[:, 1:])) == set(range(-3, 4))
    changes = (np.diff(shift, axis=1) != 0).sum(1)
    assert changes.max() == (1 if step else 2)
    if labels == "move" or step:
        assert np.array_equal(made.labels, positions)
    else:
        assert (np.diff(made.labels, axis=1) == 0).all()


def test_a_shift_that_fits_nowhere_is_halved() -> None:
    made = batch(coded(Size(5, 12, 12)), MisalignedSection(probability=1.0, shift_vox=4, step=0.0), count=60)
    spread = np.ptp(made.image[:, 0, :, 0, 0] * 256, axis=1)
    assert set(spread) == {0, 1}


@pytest.mark.parametrize(
    ("component", "patch", "words"),
    [
        (Flip(), Size(5, 11, 13), "make it square"),
        (Noise(channels=(0, 2)), PATCH, r"noise.channels: 2: the images have 1 channels"),
        (MissingSection(), Size(1, 11, 11), "blanks a patch of one section"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_patch(component: Augmentation, patch: Size, words: str) -> None:
    settings = SamplingSettings(augment=(component,))
    with pytest.raises(ConfigError, match=words):
        Sampler([coded(ROOMY)], POINT, patch, settings, seed=1)
    Sampler([coded(ROOMY)], POINT, patch, settings, seed=1, augmented=False)


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (Noise, {"sigma": [0.2, 0.1]}, r"sigma: \[0.2, 0.1\] is no range; write the smaller number first"),
        (MissingSection, {"sections": [3, 1]}, r"sections: \[3, 1\] is no range"),
        (SamplingSettings, {"augment": [{"kind": "elastic"}, {"kind": "elastic"}]}, "elastic stands twice"),
        (SamplingSettings, {"augment": [{"kind": "elastik"}]}, "did you mean 'elastic'"),
    ],
)
def test_settings_that_make_no_sense_say_so(model: type[Settings], data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(model, data, "x")


def test_regression_targets_are_interpolated_and_stay_floats() -> None:
    cube = coded(ROOMY)
    targets = Cube("targets", cube.image, cube.labels.astype(np.float32), cube.origin, 1.0)  # type: ignore[arg-type]
    made = batch(targets, Flip(), Warp(probability=1.0), Elastic(probability=1.0))
    assert made.labels.dtype == np.float32
    np.testing.assert_allclose(made.labels, made.image[:, 0] * 256, atol=5e-3)


def test_targets_that_are_unknown_count_as_ignored() -> None:
    cube = coded(ROOMY)
    targets = cube.labels.astype(np.float32)
    targets[:, :, 30:] = np.nan
    known = Cube("half", cube.image, targets, cube.origin, 1.0)  # type: ignore[arg-type]
    made = batch(known, count=100, ignore_above=0.0)
    assert not np.isnan(made.labels).any()


def test_nearest_interpolation_invents_no_value() -> None:
    cube = coded(ROOMY)
    made = batch(cube, Warp(probability=1.0), interpolation="nearest", count=20)
    positions = made.image[:, 0] * 256
    assert np.array_equal(positions, np.rint(positions))
    assert np.array_equal(positions, made.labels)


def test_the_warp_of_elektronn_1_has_its_ranges() -> None:
    def drawn(patch: Size) -> list[Distortion]:
        random = draws(1, 0, 0, "ranges")
        made = [Elektronn1Warp(probability=1.0).draw(random, patch) for _ in range(2000)]
        return [distortion for distortion in made if distortion is not None]

    solid, flat = drawn(Size(7, 9, 9)), drawn(Size(1, 9, 9))
    rotation, twist = np.array([(d.rotation, d.twist) for d in solid]).T
    assert rotation.min() >= 0
    assert rotation.mean() == pytest.approx(5, abs=0.3)
    assert (rotation <= 15 - np.abs(twist)).all()
    assert twist.min() < -14 < 14 < twist.max()
    assert min(d.rotation for d in flat) < -14 < 14 < max(d.rotation for d in flat)
    assert {d.twist for d in flat} == {0}
    assert {(d.scale[0], d.scale[2], *d.stretch[2:]) for d in flat} == {(1, 1, 0, 0)}
    for made, low, high in (
        ([d.shear for d in solid + flat], -3, 3),
        ([d.scale[1] for d in solid + flat], 1, 1.1),
        ([value for d in solid for value in d.stretch], -0.1, 0.1),
    ):
        assert low <= min(made) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < max(made) <= high


def test_the_warp_of_elektronn_1_keeps_labels_on_their_voxels() -> None:
    for axis in range(3):
        made = batch(coded(ROOMY, axis), Flip(), Elektronn1Warp(probability=1.0), interpolation="nearest", count=10)
        assert made.warped == 10
        assert np.array_equal(made.image[:, 0] * 256, made.labels)
