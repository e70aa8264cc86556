"""A section of segments beside the cells they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from elektronn.axes import Size
from elektronn.errors import DataError
from elektronn.report.cells import cells_of, coloured, owners
from elektronn.report.content import ReportInputs, ReportVolume
from elektronn.report.gather import gather
from elektronn.report.page import build_page
from elektronn.report.settings import ReportSettings
from elektronn.volumes.address import Address
from tests.unit.test_report import stored


def world(folder: Path) -> tuple[ReportVolume, Address]:
    """Two cells side by side in the middle of an image; segments of which one reaches four columns too far."""
    image = np.random.default_rng(0).integers(0, 255, (5, 20, 24)).astype(np.uint8)
    cells = np.ones((3, 16, 20), np.uint32)
    cells[:, :, 10:] = 2
    segments = np.full((5, 18, 22), 7, np.uint32)  # begins at voxel 1, 1 of the image, the cells at 2, 2
    segments[:, :, 15:] = 9
    volume = ReportVolume(
        "cube", "test", stored(folder / "i.h5", image), ids=stored(folder / "c.h5", cells), image_size=Size(5, 20, 24)
    )
    return volume, stored(folder / "cube.zarr", segments, offset_vox=[0, 1, 1], image_size=[5, 20, 24])


def test_segments_lie_on_their_cells_and_wrong_pixels_are_counted(tmp_path: Path) -> None:
    volume, segments = world(tmp_path)
    panel = cells_of(volume, segments, 64)
    assert panel.where == "z 2, y 2–17, x 2–21 in the image"
    assert panel.error == 4 / 20  # columns 10 to 13 of cell 2 lie in the segment that is mostly cell 1
    assert panel.middle == (2, 10, 12)
    assert [tile.alt for tile in panel.pictures] == ["image", "cells", "segments", "error"]
    tiles = []
    for tile in panel.pictures:
        (tmp_path / "t.webp").write_bytes(tile.data)
        tiles.append(np.asarray(imread(tmp_path / "t.webp", format="webp"))[..., :3].astype(int))
    wrong = (tiles[3] != tiles[0]).any(axis=-1).any(axis=0)
    assert np.flatnonzero(wrong).tolist() == [10, 11, 12, 13]


def test_window_is_cut_to_the_edge_and_segments_without_a_place_are_concentric(tmp_path: Path) -> None:
    volume, segments = world(tmp_path)
    assert cells_of(volume, segments, 4).where == "z 2, y 8–11, x 10–13 in the image"
    plain = stored(tmp_path / "plain.npy", np.full((5, 20, 24), 7, np.uint32))
    assert cells_of(volume, plain, 64).error == 0.5


def test_colours_are_those_of_the_owners_and_splits_have_lines() -> None:
    grey = np.full((1, 6), 100, np.uint8)
    true, split = np.array([[3, 3, 3, 3, 0, 0]]), np.array([[5, 5, 6, 6, 0, 8]])
    owner = owners(true, split)
    assert owner.tolist() == [[3, 3, 3, 3, 0, 0]]
    shown = coloured(grey, owner, split)
    assert shown[0, 2].tolist() == [20, 20, 20]
    assert shown[0, 0].tolist() == shown[0, 3].tolist() != [100] * 3


def test_page_shows_segments_and_says_why_it_does_not(tmp_path: Path) -> None:
    volume, segments = world(tmp_path)
    other = Address(tmp_path / "lost.zarr")
    run = ReportInputs(volumes=(volume,), segments={"cube": segments, "lost": other}, looks={"cube": "look {z}"})
    content = gather(run, ReportSettings())
    html = build_page(content)
    assert "cube, cells of the middle section: 20.00 % wrong" in html
    assert "look 2" in html
    assert f"no picture of the segments {other}: no volume &#x27;lost&#x27; was given" in html


def test_segments_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    volume, segments = world(tmp_path)
    with pytest.raises(DataError, match="has no cells to compare"):
        cells_of(replace(volume, ids=None), segments, 64)
    far = stored(tmp_path / "far.zarr", np.ones((1, 2, 2), np.uint32), offset_vox=[0, 0, 0])
    with pytest.raises(DataError, match="do not overlap"):
        cells_of(volume, far, 64)
