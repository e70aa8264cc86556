"""Pictures of what a training learns from: places, captions, events, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from elektronn.axes import Size
from elektronn.geometry import Geometry, Reach
from elektronn.report.examples import draw_augmentations, draw_examples
from elektronn.sampling.augment import Augmentation, Elastic, Flip, Grey, SamplingSettings, Warp
from elektronn.sampling.batch import Drawn, Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.defects import BlurredSection, FadedSection, MisalignedSection, MissingSection, Slip
from elektronn.sampling.elektronn1 import Distortion
from elektronn.sampling.extras import Lazy
from elektronn.sampling.grey import Blur, Noise
from elektronn.sampling.shown import Summary, debug_batch, shown, summary
from elektronn.training.control import Event, Examples, Preview
from tests.unit.small_training import trainer_in

POINT = Geometry(Reach(1, 1), Reach(1, 1), Reach(1, 1))
OFFSET, STRIDE = Size(1, 7, 5), Size(1, 4, 4)
PATCH = Size(3, 15, 15)
ZEROS = np.zeros((1, 5, 5), np.int16)


def coded(size: Size, name: str = "coded", lazy: Lazy | None = None) -> Cube:
    """Each voxel's label is its index."""
    index = np.arange(size.voxels).reshape(size)
    return Cube(name, np.zeros((1, *size), np.uint8), index.astype(np.float32), Size(0, 0, 0), 1 / 255, lazy=lazy)


def painted(folder: Path, image: np.ndarray, labels: np.ndarray, caption: str = "a") -> np.ndarray:
    """The picture of one example, ``(rows, columns, 3)``, 0…255."""
    offset = OFFSET._replace(z=min(OFFSET.z, image.shape[1] - 1))
    draw_examples([(image, labels, caption)], offset, STRIDE, folder / "p.png")
    return (imread(folder / "p.png")[..., :3] * 255).round().astype(int)


def like(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels of a colour, ``(n, 2)``."""
    return np.argwhere((np.abs(picture - colour) <= 2).all(2))


@pytest.mark.parametrize("output", [(0, 0, 0), (1, 3, 6), (1, 0, 7), (1, 9, 2)])
def test_a_label_lies_over_the_voxel_that_it_describes(tmp_path: Path, output: tuple[int, int, int]) -> None:
    image, labels = np.zeros((1, 4, 53, 50), np.float32), np.zeros((2, 10, 9), np.int16)
    labels[output] = 1
    z, y, x = (o + i * s for o, i, s in zip(OFFSET, output, STRIDE))
    image[0, z, y - 1 : y + 1, x - 1 : x + 1] = 1
    picture = painted(tmp_path, image, labels)
    # orange at 40 % over white and over black, in the overlay only
    on_white, on_black = like(picture, (255, 204, 159)), like(picture, (102, 51, 6))
    if output[0] == 1:  # the section that is shown
        block = np.concatenate([on_white, on_black])
        assert len(on_white) > 10
        np.testing.assert_allclose(block.mean(0), on_white.mean(0), atol=3.5)  # half a voxel: the four lie in a corner
        assert len(block) / len(on_white) == pytest.approx(4, rel=0.1)
    else:
        assert len(on_white) == len(on_black) == 0


def test_ignored_labels_and_values_are_drawn_apart_from_classes(tmp_path: Path) -> None:
    image = np.zeros((1, 1, 30, 30), np.float32)
    ignored = painted(tmp_path, image, np.full((1, 5, 5), -1, np.int16))
    assert len(like(ignored, (0xB9, 0xC9, 0xE4))) > 1000
    values = np.linspace(0, 1, 25, dtype=np.float32).reshape(1, 5, 5)
    values[0, 0, 0] = np.nan
    picture = painted(tmp_path, image, values)
    assert len(like(picture, (0xFD, 0xE7, 0x25))) > 100  # the top of the scale
    assert len(like(picture, (0x2B, 0x2B, 0x2B))) < 100 < len(like(painted(tmp_path, image, ZEROS), (0x2B, 0x2B, 0x2B)))


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ((1, 1, 8, 12), np.array([[[3]]], np.int16)),
        ((3, 1, 8, 12), np.array([0.25, -1, 7], np.float32).reshape(3, 1, 1, 1)),
        ((1, 1, 40, 33), np.zeros((4, 1, 5, 5), np.int16)),
        ((1, 1, 40, 33), np.full((2, 1, 5, 5), np.nan, np.float32)),
        ((9, 1, 1, 1), np.array([[[1]]], np.int16)),
        ((9, 6, 1, 1), np.array([[[1]]], np.int16)),
        ((1, 40, 1, 1), np.array([[[1]]], np.int16)),
        ((1, 5, 20, 1), np.array([[[-1]]], np.int16)),
    ],
)
def test_every_shape_of_example_can_be_drawn(tmp_path: Path, image: tuple[int, ...], labels: np.ndarray) -> None:
    values = np.random.default_rng(0).normal(size=image).astype(np.float32)
    picture = painted(tmp_path, values, labels)
    assert picture.std() > 5


def test_what_was_drawn_is_where_the_example_came_from() -> None:
    size, patch = Size(9, 30, 31), Size(3, 7, 7)
    flips = SamplingSettings(augment=(Flip(), MisalignedSection(probability=0.5), Grey()), batch_size=20)
    sampler = Sampler([coded(size), coded(size, "other")], POINT, patch, flips, seed=1)
    batch = sampler.batch(4)
    names = set()
    for i, labels in enumerate(batch.labels):
        drawn = sampler.drawn(4, i)
        names.add(drawn.volume)
        assert np.ravel_multi_index(drawn.centre, size) == labels[1, 3, 3]
    assert names == {"coded", "other"}


def test_a_rejected_draw_is_not_the_one_that_is_told() -> None:
    cube = coded(Size(1, 40, 40))
    cube.labels[:, :, :25] = np.nan
    settings = SamplingSettings(augment=(), batch_size=10, ignore_above=0.0)
    sampler = Sampler([cube], POINT, Size(1, 5, 5), settings, seed=1)
    for i, labels in enumerate(sampler.batch(0).labels):
        assert np.ravel_multi_index(sampler.drawn(0, i).centre, cube.size) == labels[0, 2, 2]


def test_captions_say_volume_place_and_what_became_of_the_warp() -> None:
    lazy = Lazy(np.array([1, 0, 1], np.int16), np.array([0, 1, 0], np.int16))
    settings = SamplingSettings(augment=(Warp(probability=0.5, scale=0.3),), batch_size=30)
    supply = Sampler([coded(Size(4, 12, 12), "v1", lazy)], POINT, Size(3, 11, 11), settings, seed=1)
    batch = supply.batch(0)
    captions = [caption for *_, caption in shown(supply, batch, 0, 30)]
    assert all(c.startswith("v1, centre at z ") for c in captions)
    assert all(c.endswith("labels tell 0, 2; the volume does not hold 1") for c in captions)
    counts = {word: sum(f"; {word};" in c for c in captions) for word in ("warped", "warped less, to fit the volume")}
    assert counts["warped"] == batch.warped
    assert sum("its warp fits nowhere" in c for c in captions) == batch.plain > 0
    assert sum("; not warped;" in c for c in captions) == 30 - batch.warped - batch.plain
    assert len(shown(supply, batch, 0, 5)) == 5


def test_the_batch_to_look_at_is_the_one_that_is_learnt_from() -> None:
    lazy = Lazy(np.array([1, 0], np.int16), np.array([0, 1], np.int16))
    settings = SamplingSettings(augment=(Warp(),), batch_size=3)
    for said in (lazy, None):
        supply = Sampler([coded(Size(4, 20, 20), lazy=said)], POINT, Size(1, 9, 9), settings, seed=1)
        image, labels, labelled, absent = debug_batch(supply, 7)
        batch = supply.batch(7)
        assert image.tobytes() == batch.image.tobytes()
        assert labels.tobytes() == batch.labels.tobytes()
        if said is None:
            assert labelled is absent is None
        else:
            assert labelled.tolist() == [[1, 0]] * 3
            assert absent.tolist() == [[0, 1]] * 3


EVERYTHING = (
    Flip(z=False),
    Warp(probability=0.6, amount=0.5),
    Elastic(probability=0.5, amplitude_vox=(0, 2, 2)),
    MisalignedSection(probability=0.4, sections=(1, 2)),
    Grey(contrast=0.1, brightness=0.2, gamma=0.5),
    Noise(probability=0.3, sigma=(0.01, 0.02)),
    Blur(probability=0.25),
    MissingSection(probability=0.2, sections=(2, 2)),
    FadedSection(probability=0.15),
    BlurredSection(probability=0.1),
)


def test_numbers_are_those_that_were_drawn() -> None:
    found = summary(lambda step: sampler_of(EVERYTHING), 4)
    assert found is not None
    assert found.count == 1000
    expected = {"flip y": 0.5, "axes exchanged": 0.5, "warp": 0.6, "elastic": 0.5, "grey": 1.0, "noise": 0.3}
    expected |= {"blur": 0.25, "missing section": 0.2, "faded section": 0.15, "blurred section": 0.1}
    expected |= {"misaligned section": 0.4, "all in all warped": 0.8, "all in all not warped": 0.2}
    for name, share in expected.items():
        assert found.shares[name] == pytest.approx(share, abs=0.06), name
    assert "flip z" not in found.shares
    ranges = {"warp: rotation / deg": (-7.5, 7.5), "warp: shear / deg": (-1.5, 1.5), "warp: magnification z": (1, 1.05)}
    ranges |= {"grey: contrast": (0.9, 1.1), "grey: brightness": (-0.2, 0.2), "grey: gamma": (2**-0.5, 2**0.5)}
    ranges |= {"noise: sigma": (0.01, 0.02), "blur: sigma / vox": (0, 1.5), "faded section: contrast": (0.1, 0.5)}
    ranges |= {"warp: stretch": (-0.05, 0.05), "warp: perspective": (-0.01, 0.01)}
    for name, (low, high) in ranges.items():
        values, room = np.array(found.numbers[name]), 0.1 * (high - low)
        assert low <= values.min() < low + room, name
        assert high - room < values.max() <= high, name
    assert set(found.numbers["missing section: sections"]) == {2}
    assert 1 < max(found.numbers["elastic: largest displacement / vox"]) < 2 * 2**0.5
    assert set(np.abs(found.numbers["misaligned section: shift y, x / vox"])) == {0, 1, 2, 3, 4, 5}


def test_numbers_of_a_warp_that_was_made_weaker_are_smaller() -> None:
    patch, warp = Size(3, 27, 27), Warp(probability=1.0, too_large="shrink", scale=0.4)
    tight = sampler_of((warp,), patch)
    roomy = Sampler([coded(Size(40, 90, 90))], POINT, patch, tight.settings, seed=1)
    for drawn, whole in zip(drawn_by(tight, 60), drawn_by(roomy, 60)):
        shares = [drawn.numbers[name][0] / whole.numbers[name][0] for name in whole.numbers if "magnif" not in name]
        assert shares == pytest.approx([shares[0]] * len(shares))
        assert (shares[0] == 1) == (drawn.outcome == "warped")
        assert np.log2(shares[0]) in range(-4, 1)
    assert {drawn.outcome for drawn in drawn_by(tight, 60)} == {"warped", "shrunk"}
    plain = sampler_of((Warp(probability=1.0, scale=0.4),), patch)
    assert {outcome: bool(numbers) for outcome, numbers in ((d.outcome, d.numbers) for d in drawn_by(plain, 60))} == {
        "plain": False,
        "warped": True,
    }


def test_a_misalignment_says_its_sections_and_a_warp_of_elektronn_1_its_angles() -> None:
    shifts = np.array([[0.0, 0.0], [2, -3], [2, -3]])
    assert Slip(shifts, True, "shrink").numbers(1) == {
        "misaligned section: sections": [2],
        "misaligned section: shift y, x / vox": [2, -3],
    }
    assert Slip(shifts, True, "shrink").numbers(0.25) == {}
    old = Distortion(Size(3, 9, 9), rotation=8.0, twist=4.0, scale=(1.2, 1.0, 1.0))
    assert old.numbers(0.5)["warp: rotation / deg"] == [4]
    assert old.numbers(0.5)["warp: magnification z"] == [pytest.approx(1.1)]
    assert old.numbers(0) == {}


def test_numbers_become_a_picture(tmp_path: Path) -> None:
    found = summary(lambda step: sampler_of(EVERYTHING), 1)
    assert found is not None
    for numbers in (found.numbers, {}, {"a: sections": [1, 1]}):
        draw_augmentations(found.count, found.shares, numbers, tmp_path / "p.png")
        rows = -(-(len(numbers) + 2) // 5)
        assert imread(tmp_path / "p.png").shape == (260 * rows, 1800, 4)


def sampler_of(augment: tuple[Augmentation, ...], patch: Size = PATCH) -> Sampler:
    return Sampler([coded(Size(6, 30, 30))], POINT, patch, SamplingSettings(augment=augment, batch_size=4), seed=1)


def drawn_by(sampler: Sampler, count: int) -> list[Drawn]:
    return [sampler.drawn(0, i) for i in range(count)]


def test_a_training_shows_its_first_batch_once_unless_it_shall_draw_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    trainer = trainer_in(tmp_path / "a", {"preview_every": 3}, events=events)
    trainer.run()
    (found,) = [event for event in events if isinstance(event, Examples)]
    first = trainer.task.supply.batch(0)
    assert [image.tobytes() for image, *_ in found.rows] == [image.tobytes() for image in first.image]
    assert (found.offset, found.stride) == (Size(0, 1, 1), Size(1, 1, 1))
    assert len([event for event in events if isinstance(event, Preview)]) == 2
    (counted,) = [event for event in events if isinstance(event, Summary)]
    assert counted.shares["warp"] == pytest.approx(0.5, abs=0.06)
    events.clear()
    trainer_in(tmp_path / "a", {"preview_every": 3, "steps": 9}, events=events).run()
    trainer_in(tmp_path / "b", {"preview_every": 0}, events=events).run()
    assert not [event for event in events if isinstance(event, Examples | Summary)]
