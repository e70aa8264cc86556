"""The sampler on position-coded volumes: any wrong crop, flip or shift shows as a wrong number."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import ConfigError, DataError, GeometryError
from elektronn.geometry import Geometry, Reach
from elektronn.sampling.augment import Augmentation, Flip, Grey, SamplingSettings, Warp
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube, make_cube
from elektronn.sampling.draws import draws
from elektronn.sampling.prefetch import Prefetch

REACH = Geometry(Reach(3, 1), Reach(5, 2), Reach(5, 2))
PATCH = Size(5, 11, 11)


def position_coded(size: Size, label: Size) -> Cube:
    """Image values encode the voxel's position, labels encode it too (in int16, modulo a prime)."""
    index = np.arange(size.voxels, dtype=np.int64).reshape(size)
    image = (index / size.voxels).astype(np.float32)[None]
    start = [(a - b) // 2 for a, b in zip(size, label)]
    inner = index[tuple(slice(s, s + n) for s, n in zip(start, label))]
    return Cube("coded", image, (inner % 7919).astype(np.int16), Size(*start), 1.0)


def sampler(cube: Cube, augment: tuple[Augmentation, ...], **more: object) -> Sampler:
    return Sampler([cube], REACH, PATCH, SamplingSettings(augment=augment, batch_size=4), seed=5, **more)  # type: ignore[arg-type]


def positions(image: NDArray[np.float32], size: Size) -> NDArray[np.int64]:
    return np.rint(image.astype(np.float64) * size.voxels).astype(np.int64)


@pytest.mark.parametrize("augment", [(), (Flip(),), (Flip(z=False, transpose=False),)])
def test_labels_are_those_of_the_voxels_under_the_outputs(augment: tuple[Augmentation, ...]) -> None:
    size = Size(12, 30, 32)
    cube = position_coded(size, Size(8, 24, 24))
    for step in range(30):
        batch = sampler(cube, augment).batch(step)
        at = positions(batch.image[:, 0], size)
        under = at[:, 1:4:1, 2:9:2, 2:9:2]
        assert np.array_equal(under % 7919, batch.labels)


def test_flips_reach_all_sixteen_symmetries() -> None:
    size = Size(5, 11, 11)
    cube = position_coded(size, Size(5, 11, 11))
    made = {sampler(cube, (Flip(),)).batch(step).image[i].tobytes() for step in range(60) for i in range(4)}
    assert len(made) == 16


def test_first_and_last_place_are_both_drawn() -> None:
    size = Size(5, 11, 13)
    cube = position_coded(size, size)
    firsts = {
        int(positions(sampler(cube, ()).batch(s).image[i, 0], size)[0, 0, 0]) for s in range(20) for i in range(4)
    }
    assert firsts == {0, 1, 2}


def test_a_warped_patch_stays_registered() -> None:
    size = Size(20, 80, 80)
    pattern = ((np.indices(size).sum(0) // 6) % 2).astype(np.float32)
    cube = Cube("checker", pattern[None], pattern.astype(np.int16), Size(0, 0, 0), 1.0)
    batches = [sampler(cube, (Flip(), Warp(probability=1.0))).batch(step) for step in range(20)]
    assert all(batch.warped == 4 for batch in batches)
    image = np.concatenate([batch.image[:, 0, 1:4, 2:9:2, 2:9:2] for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    sure = np.abs(image - 0.5) > 0.25
    assert sure.mean() > 0.5
    assert ((image > 0.5) == labels)[sure].mean() > 0.999


def test_a_warp_that_does_not_fit_is_cut_plain_and_counted() -> None:
    cube = position_coded(Size(5, 11, 11), Size(5, 11, 11))
    batch = sampler(cube, (Warp(probability=1.0, rotation_deg=15.0, scale=0.0),)).batch(0)
    assert (batch.warped, batch.plain) == (0, 4)


def test_grey_changes_only_its_channels_and_stays_in_range() -> None:
    values = np.linspace(0, 1, 12 * 30 * 32, dtype=np.float32).reshape(1, 12, 30, 32)
    cube = Cube("two", np.concatenate([values, values]), np.zeros((12, 30, 32), np.int16), Size(0, 0, 0), 1.0)
    batch = sampler(cube, (Grey(channels=(1,)),)).batch(3)
    plain = sampler(cube, ()).batch(3)
    assert np.array_equal(batch.image[:, 0], plain.image[:, 0])
    assert not np.allclose(batch.image[:, 1], plain.image[:, 1])
    assert batch.image.min() >= 0
    assert batch.image.max() <= 1


@pytest.mark.parametrize(("workers", "ahead"), [(0, 1), (1, 1), (2, 8), (4, 3)])
def test_workers_and_prefetch_do_not_change_a_byte(workers: int, ahead: int) -> None:
    made = sampler(position_coded(Size(12, 30, 32), Size(8, 24, 24)), (Flip(), Warp(), Grey()))
    with Prefetch(made.batch, first=3, workers=workers, ahead=ahead) as batches:
        for step in range(3, 12):
            batch, alone = batches.take(), made.batch(step)
            assert batch.image.tobytes() == alone.image.tobytes()
            assert batch.labels.tobytes() == alone.labels.tobytes()


def test_a_failure_in_a_worker_reaches_the_caller() -> None:
    def make(step: int) -> int:
        raise ConfigError(f"step {step}")

    with Prefetch(make, first=0, workers=2, ahead=2) as batches, pytest.raises(ConfigError, match="step 0"):
        batches.take()


def test_draws_differ_by_every_part_of_their_key() -> None:
    keys = [(1, 0, 0, "a"), (2, 0, 0, "a"), (1, 1, 0, "a"), (1, 0, 1, "a"), (1, 0, 0, "b")]
    firsts = {float(draws(*key).random()) for key in keys}
    assert len(firsts) == len(keys)


def test_too_large_a_patch_names_the_volume_and_the_sizes() -> None:
    with pytest.raises(GeometryError, match=r"coded: no place for a patch of 5×11×11"):
        sampler(position_coded(Size(5, 11, 11), Size(1, 3, 3)), ())


def test_ignored_labels_are_avoided_or_reported() -> None:
    cube = position_coded(Size(12, 30, 32), Size(12, 30, 32))
    half = cube.labels % 2
    half[:, :, :16] = -1
    settings = SamplingSettings(augment=(), ignore_above=0.3, batch_size=2)
    known = Cube("half", cube.image, half.astype(np.int16), cube.origin, 1.0)
    batches = [Sampler([known], REACH, PATCH, settings, seed=1).batch(step) for step in range(20)]
    assert max((labels < 0).mean() for batch in batches for labels in batch.labels) <= 0.3
    unknown = Cube("none", cube.image, np.full_like(cube.labels, -1), cube.origin, 1.0)
    with pytest.raises(ConfigError, match="ignore_above"):
        Sampler([unknown], REACH, PATCH, settings, seed=1).batch(0)


def test_transposing_an_oblong_patch_is_refused() -> None:
    with pytest.raises(ConfigError, match="make it square"):
        Sampler([position_coded(Size(9, 40, 40), Size(9, 40, 40))], REACH, Size(5, 11, 13), SamplingSettings(), seed=1)


@pytest.mark.parametrize(
    ("image", "labels", "words"),
    [
        (np.zeros((1, 4, 9, 9), np.uint8), np.full((4, 8, 8), 0), "surplus along y, x is odd|odd"),
        (np.zeros((1, 4, 8, 8), np.uint8), np.full((4, 8, 8), 7), "labels reach from 7 to 7"),
        (np.full((1, 4, 8, 8), np.nan, np.float32), np.zeros((4, 8, 8), np.int16), "NaN or infinite value at czyx"),
        (np.full((1, 4, 8, 8), 200, np.float32), np.zeros((4, 8, 8), np.int16), "scale it to 0…1"),
    ],
)
def test_unfit_cubes_say_why(image: NDArray[np.generic], labels: NDArray[np.generic], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make_cube("v", image, labels, classes=2)


def test_integers_are_scaled_by_their_type() -> None:
    image = np.full((1, 4, 8, 8), 65535, np.uint16)
    image[0, 0, 0, 0] = 0
    cube = make_cube("v", image, np.zeros((4, 8, 8), np.int16), 2)
    assert float(cube.image.max()) * cube.scale == pytest.approx(1.0)
