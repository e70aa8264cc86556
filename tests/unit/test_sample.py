"""The embedded sample: same seed, same bytes; and hard enough to be worth a network."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.settings import parse
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import open_volume
from elektronn.volumes.barriers import barriers
from elektronn.volumes.boundaries import BoundarySettings
from elektronn.volumes.sample import SampleSettings, make_cube, write_sample

SMALL = SampleSettings(label_size=(8, 60, 60), margin=(2, 10, 12))


def test_image_is_larger_by_the_margin_on_each_side() -> None:
    raw, ids = make_cube(SMALL, 0)
    assert (raw.shape, raw.dtype) == ((12, 80, 84), np.uint8)
    assert (ids.shape, ids.dtype) == ((8, 60, 60), np.uint32)
    assert SampleSettings().image_size == Size(40, 204, 204)


def test_cube_depends_on_seed_and_index_only() -> None:
    raw, ids = make_cube(SMALL, 1)
    again = make_cube(SMALL.model_copy(update={"cubes": 7}), 1)
    np.testing.assert_array_equal(raw, again[0])
    np.testing.assert_array_equal(ids, again[1])
    assert (make_cube(SMALL, 0)[0] != raw).mean() > 0.9
    assert (make_cube(SMALL.model_copy(update={"seed": 2}), 1)[0] != raw).mean() > 0.9


def test_cube_without_margin_is_fully_labelled() -> None:
    raw, ids = make_cube(SampleSettings(label_size=(3, 20, 22), margin=(0, 0, 0)), 0)
    assert raw.shape == ids.shape == (3, 20, 22)


def test_ids_have_no_gap_and_little_extracellular_space() -> None:
    ids = make_cube(SampleSettings(), 0)[1]
    known = np.unique(ids[ids > 0])
    np.testing.assert_array_equal(known, np.arange(1, len(known) + 1))
    assert len(known) > 40
    assert (ids == 0).mean() < 0.1


@pytest.fixture(scope="module")
def cubes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Grey values and boundary maps of the labelled centres of the default sample."""
    settings = SampleSettings()
    centre = tuple(slice(m, m + n) for m, n in zip(settings.margin, settings.label_size))
    made = [make_cube(settings, index) for index in range(settings.cubes)]
    return [(raw[centre], barriers(ids, BoundarySettings())) for raw, ids in made]


def test_darkness_alone_does_not_find_the_boundaries(cubes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    areas = [roc_auc_score(wall.ravel() == 1, 255 - grey.ravel()) for grey, wall in cubes]
    assert max(areas) < 0.88
    assert 0.7 < np.mean(areas) < 0.85


def test_boundaries_are_darker_than_what_lies_beside_them(cubes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for grey, wall in cubes:
        assert 0.2 < wall.mean() < 0.4
        assert grey[wall == 1].mean() < grey[wall == 0].mean() - 20


def test_sections_jump_in_brightness(cubes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for grey, _ in cubes:
        assert np.abs(np.diff(grey.mean(axis=(1, 2)))).mean() > 3


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_sample(SMALL, 2, tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_file_says_what_it_holds(tmp_path: Path) -> None:
    write_sample(SMALL, 2, tmp_path / "sample.h5")
    raw, ids = make_cube(SMALL, 2)
    for key, values, offset in (("raw", raw, [0, 0, 0]), ("ids", ids, [2, 10, 12])):
        with open_volume(Address(tmp_path / "sample.h5", key)) as volume:
            np.testing.assert_array_equal(volume.read(), values)
            assert volume.axes == "zyx"
            assert volume.voxel_nm == (20.0, 10.0, 10.0)
            assert list(volume.attributes["offset_vox"]) == offset
    with h5py.File(tmp_path / "sample.h5") as file:
        said = json.loads(file.attrs["sample"])
    assert said.pop("index") == 2
    assert parse(SampleSettings, said, "sample") == SMALL


def test_voxel_without_extent_is_refused() -> None:
    with pytest.raises(ConfigError, match="voxel_nm"):
        make_cube(SMALL.model_copy(update={"voxel_nm": (20.0, 0.0, 10.0)}), 0)
