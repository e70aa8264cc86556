"""The check by content on a small world of cells, and the check of values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from elektronn.axes import Size
from elektronn.errors import DataError
from elektronn.volumes.address import Address
from elektronn.volumes.content import CheckReport, CheckSettings, Verdict, check, content_check
from elektronn.volumes.content_match import Image, features
from elektronn.volumes.content_picture import draw
from elektronn.volumes.content_values import borders
from elektronn.volumes.registration import Turn

Array = NDArray[Any]
MARGIN = Size(4, 10, 10)
INNER = tuple(slice(m, -m) for m in MARGIN)


def cells(size: Size, seed: int) -> Array:
    """IDs of a random tessellation, cells about 14 voxels wide, zyx."""
    rng = np.random.default_rng(seed)
    centres = rng.random((size.voxels // 14**3, 3)) * size
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    return np.asarray(cKDTree(centres).query(places)[1]).astype(np.uint32) + 5


@pytest.fixture(scope="module")
def world() -> tuple[Array, Array, Array]:
    """Image with dark membranes and noise, IDs, boundary; 24×116×116."""
    ids = cells(Size(24, 116, 116), 3)
    boundary = borders(ids)
    image = 180 - 120 * gaussian_filter(boundary.astype(float), 0.7)
    image += np.random.default_rng(4).normal(0, 20, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), ids, boundary.astype(np.int8)


def judged(image: Array, boundary: Array, **settings: Any) -> Verdict:
    return content_check(image, np.ascontiguousarray(boundary), CheckSettings(**settings))


def moved(array: Array, shift: tuple[int, int, int]) -> Array:
    """The inner part of ``array`` cut ``shift`` further on."""
    return array[tuple(slice(m + s, n - m + s) for m, s, n in zip(MARGIN, shift, array.shape))]


def test_surface_is_the_correlation_of_shifted_features() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 12, 13)).astype(np.float32)
    part = rng.normal(size=(5, 8, 9)).astype(np.float32)
    found = Image(values, Size(2, 2, 1), Size(5, 8, 9), Size(2, 2, 3)).surface(part)
    rms = np.sqrt((values**2).mean() * (part**2).mean())
    for shift in [(0, 0, 0), (-2, 2, -1), (2, -1, 3)]:
        z, y, x = (low + d for low, d in zip((2, 2, 1), shift))
        expected = (values[z : z + 5, y : y + 8, x : x + 9] * part).mean() / rms
        assert found[tuple(r + d for r, d in zip((2, 2, 3), shift))] == pytest.approx(expected, abs=1e-5)
    # at x shift −3 two columns of the part have no image under them: the mean is over the rest
    expected = (values[2:7, 2:10, :7] * part[:, :, 2:]).mean() / rms
    assert found[2, 2, 0] == pytest.approx(expected, abs=1e-5)


def test_features_ignore_what_is_unknown() -> None:
    rng = np.random.default_rng(0)
    values, valid = rng.normal(size=(2, 40, 40)), np.ones((2, 40, 40), bool)
    valid[:, :, 30:] = False
    other = np.where(valid, values, 1000)
    np.testing.assert_array_equal(features(values, valid), features(other, valid))
    assert (features(values, valid)[:, :, 30:] == 0).all()


def test_labels_as_they_are_raise_no_alarm(world: tuple[Array, Array, Array]) -> None:
    image, _, boundary = world
    verdict = judged(image, boundary)
    assert (verdict.state, verdict.ok, verdict.turn, verdict.step) == ("aligned", True, Turn(), (0, 0, 0))
    assert verdict.correlation < -0.3
    assert verdict.margin == pytest.approx(0, abs=1e-3)
    assert max(map(abs, verdict.shift)) < 0.2


@pytest.mark.parametrize("shift", [(1, 0, 0), (-2, 0, 0), (0, 2, 0), (0, 0, -2), (0, -7, 3), (3, 8, -8)])
@pytest.mark.parametrize("margin", [False, True], ids=["same size", "image with margin"])
def test_shift_is_found_with_its_sign(
    world: tuple[Array, Array, Array], shift: tuple[int, int, int], margin: bool
) -> None:
    image, _, boundary = world
    verdict = judged(image if margin else image[INNER], moved(boundary, shift))
    assert verdict.state == "misplaced"
    assert verdict.step == shift
    assert f"shift the labels by zyx {shift}" in verdict.cure
    assert verdict.margin > 0.05


@pytest.mark.parametrize("shift", [(0, 1, 0), (0, 0, -1), (0, -1, 1)])
def test_one_voxel_in_the_section_is_within_tolerance(
    world: tuple[Array, Array, Array], shift: tuple[int, int, int]
) -> None:
    image, _, boundary = world
    verdict = judged(image[INNER], moved(boundary, shift), tolerance=(0.5, 1.3, 1.3))
    assert verdict.state == "aligned"
    assert [round(s) for s in verdict.shift] == list(shift)


def test_shift_beyond_a_narrow_tolerance_is_named_as_one_voxel(world: tuple[Array, Array, Array]) -> None:
    image, _, boundary = world
    verdict = judged(image[INNER], moved(boundary, (0, 1, 0)), tolerance=(0.5, 0.5, 0.5))
    assert (verdict.state, verdict.step) == ("misplaced", (0, 1, 0))
    assert verdict.sentence.startswith("labels sit 1 voxel off along y: ")


@pytest.mark.parametrize("flips", [(True, False, False), (False, True, False), (False, False, True)])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_flip_and_swap_are_found_by_name(
    world: tuple[Array, Array, Array], flips: tuple[bool, bool, bool], order: tuple[int, int, int]
) -> None:
    image, _, boundary = world
    turn = Turn(order, flips)
    planted = np.flip(boundary, [axis for axis in range(3) if flips[axis]]).transpose(order)
    verdict = judged(image, planted)
    assert (verdict.state, verdict.turn) == ("misplaced", turn)
    assert str(turn) in verdict.sentence
    assert str(turn) in verdict.cure


def test_swap_with_z_is_tried_on_a_cube() -> None:
    boundary = borders(cells(Size(48, 48, 48), 1)).astype(np.int16)
    verdict = judged(255.0 - 200 * boundary, boundary.transpose(2, 1, 0))
    assert (verdict.state, verdict.turn) == ("misplaced", Turn((2, 1, 0)))


def test_inverted_contrast_changes_only_the_sign(world: tuple[Array, Array, Array]) -> None:
    image, _, boundary = world
    assert judged(255 - image, boundary).correlation == pytest.approx(-judged(image, boundary).correlation, abs=1e-3)
    assert judged((255 - image)[INNER], moved(boundary, (0, 2, 0))).step == (0, 2, 0)


def test_unknown_labels_do_not_count(world: tuple[Array, Array, Array]) -> None:
    image, _, boundary = world
    holed = moved(boundary, (0, 0, 3)).copy()
    holed[:, :30] = -1
    assert judged(image[INNER], holed).step == (0, 0, 3)


def test_foreign_labels_leave_it_undecided(world: tuple[Array, Array, Array]) -> None:
    image = world[0]
    foreign = borders(cells(Size(24, 116, 116), 99)).astype(np.int8)
    verdict = judged(image, foreign)
    assert (verdict.state, verdict.ok) == ("undecided", True)
    assert "as strong as a chance one" in verdict.sentence


def test_empty_boundary_leaves_it_undecided(world: tuple[Array, Array, Array]) -> None:
    image, _, boundary = world
    verdict = judged(image, np.zeros_like(boundary))
    assert verdict.state == "undecided"
    assert "no boundary" in verdict.reason
    json.dumps(verdict.plain(), allow_nan=False)


def test_labels_larger_than_the_image_are_cut_to_it(world: tuple[Array, Array, Array]) -> None:
    image, _, boundary = world
    assert judged(image[2:-2, 3:-3], boundary).state == "aligned"
    assert judged(image[3:-1, 3:-3], boundary).step == (-1, 0, 0)


def test_thin_data_do_not_fail(world: tuple[Array, Array, Array]) -> None:
    image, _, boundary = world
    assert judged(image[5:6], boundary[5:6]).ok
    assert judged(image[5:6, 3:-3], moved(boundary, (0, 0, 0))[1:2, :, :][:, :96, :]).ok
    assert judged(image[:, 5:6], boundary[:, 5:6]).ok
    assert judged(image[:1, :1, :1], boundary[:1, :1, :1]).state == "undecided"


def stage(folder: Path, image: Array, labels: Array, settings: CheckSettings | None = None, **more: Any) -> CheckReport:
    np.save(folder / "raw.npy", image)
    np.save(folder / "labels.npy", labels)
    return check(Address(folder / "raw.npy"), Address(folder / "labels.npy"), settings or CheckSettings(), **more)


def test_stage_reads_classes_ids_and_masks(world: tuple[Array, Array, Array], tmp_path: Path) -> None:
    image, ids, boundary = world
    for labels, kind, warnings in (
        (boundary, "classes", 0),
        (ids, "ids", 1),
        (np.where(boundary == 1, 0, 255).astype(np.uint8), "mask", 1),
    ):
        report = stage(tmp_path, image, labels)
        assert (report.values, report.ok, len(report.warnings)) == (kind, True, warnings)
        assert report.verdict is not None
        assert report.verdict.state == "aligned"
        assert report.complaint == ""


def test_stage_complains_in_one_line_and_can_be_overruled(world: tuple[Array, Array, Array], tmp_path: Path) -> None:
    image, _, boundary = world
    planted = moved(boundary, (0, -3, 0))
    report = stage(tmp_path, image, planted)
    assert not report.ok
    assert "labels.npy: labels sit 3 voxels off along y: best match at shift zyx (0.0, -3.0, 0.0)" in report.complaint
    assert report.complaint.endswith("shift the labels by zyx (0, -3, 0) or set check.accept: true")
    assert "\n" not in report.complaint
    plain = json.loads(json.dumps(report.plain(), allow_nan=False))
    assert (plain["ok"], plain["label_origin"], plain["content"]["state"]) == (False, list(MARGIN), "misplaced")

    accepted = stage(tmp_path, image, planted, CheckSettings(accept=True))
    assert (accepted.ok, accepted.complaint) == (True, "")
    assert "accepted by check.accept" in accepted.warnings[0]
    assert stage(tmp_path, image, planted, CheckSettings(enabled=False)).verdict is None


def test_stage_judges_the_centre_of_large_volumes(
    world: tuple[Array, Array, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _, boundary = world
    monkeypatch.setattr("elektronn.volumes.content.MOST", Size(20, 80, 81))
    report = stage(tmp_path, image[INNER], moved(boundary, (1, 2, 0)))
    assert report.boundary_part.shape == (16, 80, 80)
    assert report.verdict is not None
    assert report.verdict.step == (1, 2, 0)


def test_stage_turns_axes_on_disk(world: tuple[Array, Array, Array], tmp_path: Path) -> None:
    image, _, boundary = world
    report = stage(tmp_path, image[:, :, 3:-3].transpose(2, 1, 0), boundary[:, :, 3:-3], image_axes="xyz")
    assert report.verdict is not None
    assert report.verdict.state == "aligned"


def test_labels_out_of_reach_of_the_field_of_view(world: tuple[Array, Array, Array], tmp_path: Path) -> None:
    image, _, boundary = world
    report = stage(tmp_path, image, boundary[INNER], field=Size(13, 21, 21))
    assert report.margin is not None
    assert report.margin.usable.start == (2, 0, 0)
    assert "outermost 2 (z), 0 (y), 0 (x)" in report.warnings[0]
    with pytest.raises(DataError, match=r"labels\.npy: .*no label is left along z"):
        stage(tmp_path, image, boundary, field=Size(25, 21, 21))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({(3, 4, 5): 2}, r"value 2 at zyx \(3, 4, 5\); labels are −1 \(ignore\) to 1"),
        ({(0, 0, 7): -2}, r"value -2 at zyx \(0, 0, 7\)"),
        ({(1, 1, 1): 255}, "value 255 at zyx"),
        ({(1, 1, 1): 0.5}, "fractions or NaN"),
        ({(1, 1, 1): np.nan}, "fractions or NaN"),
    ],
)
def test_values_that_are_no_classes(
    world: tuple[Array, Array, Array], tmp_path: Path, values: dict[tuple[int, ...], float], message: str
) -> None:
    image, _, boundary = world
    labels = boundary.astype(np.float32)
    for place, value in values.items():
        labels[place] = value
    with pytest.raises(DataError, match=message):
        stage(tmp_path, image, labels)


def test_three_classes_and_ignore_are_classes(world: tuple[Array, Array, Array], tmp_path: Path) -> None:
    image, _, boundary = world
    labels = boundary.copy()
    labels[:, :5], labels[:, 5:9] = -1, 2
    assert stage(tmp_path, image, labels, classes=3).values == "classes"
    with pytest.raises(DataError, match="value 2"):
        stage(tmp_path, image, labels)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_image_that_is_not_finite_names_the_place(
    world: tuple[Array, Array, Array], tmp_path: Path, wrong: float
) -> None:
    image, _, boundary = world
    spoilt = image.astype(np.float32)
    spoilt[20, 9, 11] = wrong
    with pytest.raises(DataError, match=r"raw\.npy: NaN or infinite value at zyx \(20, 9, 11\); repair or cut out"):
        stage(tmp_path, spoilt, boundary)


def test_constant_image_is_refused(world: tuple[Array, Array, Array], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"raw\.npy: every voxel is 7"):
        stage(tmp_path, np.full_like(world[0], 7), world[2])


def test_borders_are_two_voxels_wide_along_every_axis() -> None:
    ids = np.ones((4, 4, 4), int)
    ids[:, 2:] = 9
    found = borders(ids)
    assert found[:, 1:3].all()
    assert not found[:, [0, 3]].any()


@pytest.mark.parametrize("case", ["aligned", "moved", "empty", "one section"])
def test_picture_is_drawn_for_every_verdict(world: tuple[Array, Array, Array], tmp_path: Path, case: str) -> None:
    image, _, boundary = world
    chosen = {
        "aligned": (image, boundary),
        "moved": (image, moved(boundary, (1, 3, 0))),
        "empty": (image, np.zeros_like(boundary)),
        "one section": (image[:1], boundary[:1]),
    }[case]
    draw(judged(*chosen), *chosen, tmp_path / "check.png")
    written = (tmp_path / "check.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert len(written) > 20_000
    assert [file.name for file in tmp_path.iterdir()] == ["check.png"]
