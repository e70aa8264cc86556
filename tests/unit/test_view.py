"""Pictures of what a training learns from: places, captions, events, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from elektronn.axes import Size
from elektronn.geometry import Geometry, Reach
from elektronn.report.examples import draw_examples
from elektronn.sampling.augment import Flip, Grey, SamplingSettings, Warp
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.defects import MisalignedSection
from elektronn.sampling.extras import Lazy
from elektronn.sampling.shown import debug_batch, shown
from elektronn.training.control import Event, Examples, Preview
from tests.unit.small_training import trainer_in

POINT = Geometry(Reach(1, 1), Reach(1, 1), Reach(1, 1))
OFFSET, STRIDE = Size(1, 7, 5), Size(1, 4, 4)
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


def test_a_training_shows_its_first_batch_once_unless_it_shall_draw_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    trainer = trainer_in(tmp_path / "a", {"preview_every": 3}, events=events)
    trainer.run()
    (found,) = [event for event in events if isinstance(event, Examples)]
    first = trainer.task.supply.batch(0)
    assert [image.tobytes() for image, *_ in found.rows] == [image.tobytes() for image in first.image]
    assert (found.offset, found.stride) == (Size(0, 1, 1), Size(1, 1, 1))
    assert len([event for event in events if isinstance(event, Preview)]) == 2
    events.clear()
    trainer_in(tmp_path / "a", {"preview_every": 3, "steps": 9}, events=events).run()
    trainer_in(tmp_path / "b", {"preview_every": 0}, events=events).run()
    assert not [event for event in events if isinstance(event, Examples)]
