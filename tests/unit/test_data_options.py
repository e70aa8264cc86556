"""Options on training data: volumes on disk, one label per image, weights, lazy labels, coarser sections, standardising."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.errors import ConfigError, DataError
from elektronn.geometry import Geometry
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube, Labelled, Wanted, load_cubes
from elektronn.sampling.defects import MisalignedSection
from elektronn.sampling.grey import Grey
from elektronn.sampling.lazy import LazyVolume
from elektronn.sampling.sections import fitted
from elektronn.sampling.spatial import Elastic, Flip, Warp
from elektronn.training.losses import Extras, nll
from elektronn.volumes.address import parse_address

REACH = Geometry.of([Size(1, 3, 3)], [Size(1, 1, 1)])
PATCH = Size(3, 12, 12)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name, depth in (("a", 8), ("b", 12)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset(
                "raw", data=random.integers(0, 255, (2, depth, 40, 44), np.uint8), chunks=(1, 4, 16, 16)
            )
            file.create_dataset("lab", data=random.integers(-1, 2, (depth - 2, 36, 40), np.int16), chunks=(4, 16, 16))
    return tmp_path


def rows(folder: Path, *names: str) -> list[Labelled]:
    return [
        (n, parse_address(f"{folder}/{n}.h5:raw"), parse_address(f"{folder}/{n}.h5:lab")) for n in names or ("a", "b")
    ]


def loaded(folder: Path, *names: str, sections: Size | None = None, classes: int = 2, **said: Any) -> list[Cube]:
    return load_cubes(rows(folder, *names), Wanted(classes, SamplingSettings(**said), sections))


BENDS = (
    (),
    (Flip(), Grey()),
    (Flip(), Warp(probability=1.0)),
    (Elastic(probability=1.0, amplitude_vox=(0.0, 2.0, 2.0), spacing_vox=(4, 16, 16)),),
    (Warp(probability=1.0), MisalignedSection(probability=1.0)),
)


@pytest.mark.parametrize("augment", BENDS)
def test_volumes_on_disk_give_the_same_batches_as_volumes_in_memory(files: Path, augment: tuple[Any, ...]) -> None:
    settings = SamplingSettings(batch_size=6, augment=augment)
    here, there = loaded(files), loaded(files, memory_gb=1.5e-4)
    assert all(isinstance(cube.image, LazyVolume) and isinstance(cube.labels, LazyVolume) for cube in there)
    for step in range(3):
        one, two = (Sampler(cubes, REACH, PATCH, settings, 1).batch(step) for cubes in (here, there))
        np.testing.assert_array_equal(one.labels, two.labels)
        np.testing.assert_allclose(one.image, two.image, atol=2e-6)


def test_volumes_on_disk_are_checked_as_those_in_memory(files: Path) -> None:
    with h5py.File(files / "a.h5", "a") as file:
        file["lab"][3, 3, 3] = 7
    for memory in (1.0, 1.5e-4):
        with pytest.raises(DataError, match="labels reach from -1 to 7"):
            loaded(files, memory_gb=memory)


def test_what_needs_memory_says_so(files: Path) -> None:
    with pytest.raises(ConfigError, match=r"downsample and weights_from_last_channel.*raise sampling.memory_gb"):
        loaded(files, memory_gb=1.5e-4, downsample=2)


def test_weights_decide_how_often_a_volume_is_drawn(files: Path) -> None:
    cubes = loaded(files, weights={"a": 1.0, "b": 3.0})
    sampler = Sampler(cubes, REACH, PATCH, SamplingSettings(weights={"a": 1.0, "b": 3.0}, augment=()), 1)
    np.testing.assert_allclose(sampler.shares, [0.25, 1.0])
    watch = Sampler(cubes, REACH, PATCH, SamplingSettings(weights={"a": 1.0, "b": 3.0}), 1, augmented=False)
    assert watch.shares[0] > 0.3


def test_a_weight_of_an_unknown_volume_is_named(files: Path) -> None:
    with pytest.raises(ConfigError, match=r"sampling.weights: 'c' is no volume of this experiment: known are a, b"):
        loaded(files, weights={"c": 1.0})
    with pytest.raises(ConfigError, match="all are 0"):
        Sampler(loaded(files), REACH, PATCH, SamplingSettings(weights={"a": 0.0}), 1)


def test_example_weights_travel_with_the_labels(files: Path) -> None:
    with h5py.File(files / "a.h5", "a") as file:
        file["weights"] = (file["lab"][:] + 5).astype(np.float32)
    said = {"example_weights": {"a": f"{files}/a.h5:weights"}}
    settings = SamplingSettings(batch_size=8, augment=(Flip(),), **said)
    batch = Sampler(loaded(files, **said), REACH, PATCH, settings, 1).batch(0)
    assert batch.weights is not None
    of_a = (batch.weights != 1).all((1, 2, 3))
    assert of_a.any()
    assert not of_a.all()
    np.testing.assert_array_equal(batch.weights[of_a], batch.labels[of_a] + 5)


@pytest.mark.parametrize(
    ("weights", "words"),
    [(np.ones((2, 3, 4)), "weights of 2×3×4 voxels for labels of 6×36×40"), (-np.ones((6, 36, 40)), "0 or more")],
)
def test_unfit_weights_are_refused(files: Path, weights: Any, words: str) -> None:
    with h5py.File(files / "a.h5", "a") as file:
        file["weights"] = weights
    with pytest.raises(DataError, match=words):
        loaded(files, example_weights={"a": f"{files}/a.h5:weights"})


def test_M065_an_earlier_prediction_in_the_last_channel_weighs_its_mistakes(tmp_path: Path) -> None:
    prediction = np.array([0.0, 0.5, 0.97, 1.0], np.float32)
    image = np.zeros((2, 1, 2, 4), np.float32)
    image[0, 0, 0, 0] = 1
    image[1] = prediction
    labels = np.array([[[0, 0, 1, 1], [1, 1, 0, -1]]], np.int16)
    np.save(tmp_path / "i.npy", image)
    np.save(tmp_path / "l.npy", labels)
    row = ("a", parse_address(f"{tmp_path}/i.npy"), parse_address(f"{tmp_path}/l.npy"))
    cube = load_cubes([row], Wanted(2, SamplingSettings(weights_from_last_channel=True)))[0]
    # d = label − prediction: 0, −0.5, 0.03, 0 and 1, 0.5, −0.97, unknown
    expected = [[[1, 1 + 2 * 0.4, 1, 1], [1 + 2 * 0.95, 1 + 2 * 0.45, 1 + 2 * 0.87, 1]]]
    np.testing.assert_allclose(cube.weights, expected, rtol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_M065_weights_scale_the_loss_of_each_output(depth: int) -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, depth, 4, 5, generator=random)
    labels = torch.randint(-1, 3, (2, depth, 4, 5), generator=random)
    weights = torch.rand(2, depth, 4, 5, generator=random)
    by_hand = -torch.log(torch.softmax(scores, 1) + 1e-6).gather(1, labels.clamp(min=0)[:, None])[:, 0] * weights
    expected = by_hand[labels >= 0].sum() / (labels >= 0).sum()
    torch.testing.assert_close(nll(scores, labels, example_weights=weights), expected)
    both = nll(scores, labels, example_weights=weights, class_weights=torch.tensor([1.0, 2.0, 3.0]))
    factors = torch.tensor([1.0, 2.0, 3.0])[labels.clamp(min=0)]
    torch.testing.assert_close(both, (by_hand * factors)[labels >= 0].sum() / (labels >= 0).sum())


def test_M064_lazy_labels_tell_their_classes_per_example(files: Path) -> None:
    with h5py.File(files / "a.h5", "a") as file:
        file["info"] = np.array([[1, 1, 0], [0, 0, 1]])
    cubes = loaded(files, lazy_labels=True, classes=3)
    batch = Sampler(cubes, REACH, PATCH, SamplingSettings(batch_size=8, augment=()), 1).batch(0)
    assert batch.labelled is not None
    assert batch.absent is not None
    assert batch.labelled.shape == (8, 3)
    assert {tuple(row) for row in batch.labelled} == {(1, 1, 0), (1, 1, 1)}
    np.testing.assert_array_equal(batch.labelled[:, 2] + batch.absent[:, 2], 1)


def test_M064_masks_of_the_wrong_shape_are_refused(files: Path) -> None:
    with h5py.File(files / "a.h5", "a") as file:
        file["info"] = np.ones((2, 4))
    with pytest.raises(DataError, match=r"info: has the shape \(2, 4\); lazy labels need \(2, 2\)"):
        loaded(files, lazy_labels=True)


def test_M064_volumes_without_a_class_are_drawn_whatever_their_labels(files: Path) -> None:
    with h5py.File(files / "a.h5", "a") as file:
        file["lab"][:] = -1
        file["lab"][0, 0, 0] = 0
        file["info"] = np.array([[1, 1], [0, 1]])
    sampler = Sampler(loaded(files, "a", lazy_labels=True), REACH, PATCH, SamplingSettings(ignore_above=0.1), 1)
    assert sampler.batch(0).labels.shape == (1, 3, 10, 10)
    with pytest.raises(ConfigError, match="more ignored labels"):
        Sampler(loaded(files, "a"), REACH, PATCH, SamplingSettings(ignore_above=0.1), 1).batch(0)


def test_M063_sections_become_coarser(files: Path) -> None:
    fine, coarse = loaded(files, "a")[0], loaded(files, "a", downsample=2)[0]
    assert coarse.size == Size(8, 20, 22)
    assert coarse.labels.shape == (6, 18, 20)
    block = np.asarray(fine.image)[:, 2, 10:12, 6:8].mean((1, 2)) / 255
    np.testing.assert_allclose(np.asarray(coarse.image)[:, 2, 5, 3] * coarse.scale, block, rtol=1e-5)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Ten images of 28×28 whose grey value is their number, and that number as label."""
    numbers = np.arange(10, dtype=np.uint8)
    images = np.broadcast_to(numbers[None, :, None, None] * 20, (1, 10, 28, 28)).copy()
    images[:, :, 0, 0] += 1
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["raw"], file["lab"] = images, numbers.astype(np.int16)
        file["several"] = np.stack([numbers % 2, numbers > 4], 1).astype(np.int16)
        file["values"] = numbers / 10
    return tmp_path


STACK_PATCH = Size(1, 26, 26)
STACK_REACH = Geometry.of([Size(1, 3, 3), Size(1, 3, 3)], [Size(1, 2, 2), Size(1, 2, 2)])


def of_stack(folder: Path, key: str = "lab", classes: int = 10, patch: Size = STACK_PATCH, **said: Any) -> Cube:
    row = ("s", parse_address(f"{folder}/s.h5:raw"), parse_address(f"{folder}/s.h5:{key}"))
    return load_cubes([row], Wanted(classes, SamplingSettings(**said), patch))[0]


@pytest.mark.parametrize("augment", [(), (Flip(), Warp(probability=1.0))])
def test_M049_the_label_of_a_patch_is_that_of_its_section(stack: Path, augment: tuple[Any, ...]) -> None:
    cube = of_stack(stack, border="keep")
    batch = Sampler([cube], STACK_REACH, STACK_PATCH, SamplingSettings(batch_size=60, augment=augment), 1).batch(0)
    assert batch.labels.shape == (60, 1, 1, 1)
    np.testing.assert_allclose(batch.image[:, 0, 0, 13, 13] * 255 / 20, batch.labels[:, 0, 0, 0], atol=1e-3)
    assert set(batch.labels.ravel()) == set(range(10))


def test_M049_several_labels_per_image_and_values(stack: Path) -> None:
    cube = of_stack(stack, "several", classes=2)
    batch = Sampler([cube], STACK_REACH, STACK_PATCH, SamplingSettings(batch_size=20), 1).batch(0)
    assert batch.labels.shape == (20, 2, 1, 1, 1)
    values = Sampler(
        [of_stack(stack, "values", classes=0)], STACK_REACH, STACK_PATCH, SamplingSettings(batch_size=5), 1
    ).batch(0)
    assert values.labels.dtype == np.float32


def test_M049_other_labels_are_refused(stack: Path) -> None:
    with pytest.raises(DataError, match=r"labels of shape \(1, 10, 28, 28\) for 10 images"):
        of_stack(stack, "raw")
    with pytest.raises(DataError, match="needs a 2-D network"):
        of_stack(stack, patch=Size(3, 26, 26))


IMAGE = np.arange(28.0 * 28).reshape(1, 1, 28, 28)


def test_M062_border_modes() -> None:
    small, large = Size(1, 26, 26), Size(1, 30, 30)
    np.testing.assert_array_equal(fitted("a", IMAGE, small, "crop"), IMAGE[..., 1:27, 1:27])
    assert fitted("a", IMAGE, small, "keep") is IMAGE
    for border in ("mirror", "zero", "mean"):
        found = fitted("a", IMAGE, large, border)  # type: ignore[arg-type]
        assert found.shape == (1, 1, 30, 30)
        np.testing.assert_array_equal(found[..., 1:29, 1:29], IMAGE)
    assert fitted("a", IMAGE, large, "mirror")[0, 0, 0, 0] == IMAGE[0, 0, 0, 0]
    assert fitted("a", IMAGE, large, "zero")[0, 0, 0, 5] == 0
    edge = np.ones((28, 28), bool)
    edge[1:-1, 1:-1] = False
    assert fitted("a", IMAGE, large, "mean")[0, 0, 29, 29] == pytest.approx(IMAGE[0, 0][edge].mean())
    with pytest.raises(DataError, match="28×28 pixels, and the network takes 26×26"):
        fitted("a", IMAGE, small, "reject")
    with pytest.raises(DataError, match="smaller than the network's input of 30×30"):
        fitted("a", IMAGE, large, "crop")


def test_M062_keep_shows_the_image_at_many_places(stack: Path) -> None:
    cube = of_stack(stack, border="keep")
    corners = Sampler([cube], STACK_REACH, STACK_PATCH, SamplingSettings(batch_size=200, augment=()), 1).batch(0).image
    shown = (corners[:, 0, 0, 0, 0] * 255 % 20 > 0.5).mean()
    assert shown == pytest.approx(1 / 9, abs=0.07)


def test_extras_are_used_by_the_criterion() -> None:
    from elektronn.training.losses import Criterion
    from elektronn.training.settings import Loss

    scores, labels = torch.randn(2, 2, 1, 3, 3), torch.zeros(2, 1, 3, 3, dtype=torch.int64)
    plain = Criterion(Loss()).loss(scores, labels)
    half = Criterion(Loss()).loss(scores, labels, Extras(weights=torch.full((2, 1, 3, 3), 0.5)))
    torch.testing.assert_close(half, plain / 2)


def test_M064_damaged_masks_are_not_taken_for_missing_ones(files: Path) -> None:
    with h5py.File(files / "a.h5", "a") as file:
        file.create_group("info")
    with pytest.raises(DataError, match="info"):
        loaded(files, lazy_labels=True)
