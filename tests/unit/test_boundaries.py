"""IDs → boundary map: the stage, its files and its refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from elektronn.axes import Size
from elektronn.errors import ConfigError, DataError
from elektronn.settings import parse, plain
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import load, open_volume
from elektronn.volumes.barriers import barriers
from elektronn.volumes.boundaries import BoundarySettings
from elektronn.volumes.convert import convert

PLAIN = BoundarySettings(dilate=(False, False, False))


@pytest.fixture
def ids() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 4, (5, 6, 7)).repeat(2, axis=2).astype(np.uint32)


def written(path: Path, values: Any, **attributes: Any) -> Address:
    with h5py.File(path, "w") as file:
        file["ids"] = values
        file["ids"].attrs.update(attributes)
    return Address(path, "ids")


def test_halo_counts_dilation_and_smoothing_only_where_connected() -> None:
    settings = BoundarySettings(connectivity=(False, True, True), dilate=(True, False, True), smooth=True)
    assert settings.halo == Size(1, 2, 3)


def test_settings_survive_the_way_through_plain_data() -> None:
    settings = BoundarySettings(extracellular="class", smooth=True)
    assert parse(BoundarySettings, plain(settings), "boundaries") == settings


def test_unknown_extracellular_word_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"boundaries\.extracellular.*'boundary', 'class' or 'interior'"):
        parse(BoundarySettings, {"extracellular": "wall"}, "boundaries")


def test_strided_and_foreign_byte_order_ids_give_the_same_map(ids: Any) -> None:
    expected = barriers(ids, PLAIN)
    np.testing.assert_array_equal(barriers(np.asfortranarray(ids), PLAIN), expected)
    np.testing.assert_array_equal(barriers(ids.astype(">u4"), PLAIN), expected)
    np.testing.assert_array_equal(barriers(ids[:, ::-1], PLAIN), expected[:, ::-1])


def test_kernel_refuses_what_is_no_volume_of_whole_numbers() -> None:
    with pytest.raises(DataError, match="type float64"):
        barriers(np.zeros((2, 2, 2)), PLAIN)
    with pytest.raises(DataError, match=r"shape \(2, 2\)"):
        barriers(np.zeros((2, 2), int), PLAIN)


@pytest.mark.parametrize("target", ["out.h5:lab", "out.h5", "out.zarr", "out.zarr:deep/lab", "out.npy"])
def test_every_format_holds_the_same_map(tmp_path: Path, ids: Any, target: str) -> None:
    out = parse_address(f"{tmp_path}/{target}")
    convert(written(tmp_path / "ids.h5", ids), out, BoundarySettings(), block=(2, 3, 4))
    found = load(out)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, barriers(ids, BoundarySettings()))


@pytest.mark.parametrize("target", ["out.h5:lab", "out.zarr:lab"])
def test_voxel_size_offset_and_settings_pass_through(tmp_path: Path, ids: Any, target: str) -> None:
    source = written(tmp_path / "ids.h5", ids, voxel_nm=[20.0, 10.0, 10.0], offset_vox=[6, 30, 30])
    convert(source, parse_address(f"{tmp_path}/{target}"), PLAIN)
    with open_volume(parse_address(f"{tmp_path}/{target}")) as volume:
        assert volume.voxel_nm == (20.0, 10.0, 10.0)
        assert list(volume.attributes["offset_vox"]) == [6, 30, 30]
        assert json.loads(volume.attributes["boundaries"]) == plain(PLAIN)
        assert volume.attributes["boundaries_of"] == "ids.h5:ids"


def test_part_of_a_volume_is_converted_by_itself_and_keeps_its_place(tmp_path: Path, ids: Any) -> None:
    source = written(tmp_path / "ids.h5", ids, offset_vox=[6, 30, 30])
    convert(Address(source.path, "ids", ((1, 4), (2, None))), Address(tmp_path / "out.h5"), PLAIN)
    with open_volume(Address(tmp_path / "out.h5")) as volume:
        np.testing.assert_array_equal(volume.read(), barriers(ids[1:4, 2:], PLAIN))
        assert list(volume.attributes["offset_vox"]) == [7, 32, 30]


def test_declared_axes_are_turned_once(tmp_path: Path, ids: Any) -> None:
    np.save(tmp_path / "xyz.npy", ids.transpose(2, 1, 0))
    convert(Address(tmp_path / "xyz.npy"), Address(tmp_path / "out.npy"), BoundarySettings(), axes="xyz")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), barriers(ids, BoundarySettings()))


def test_progress_counts_every_block(tmp_path: Path, ids: Any) -> None:
    seen: list[tuple[int, int]] = []
    convert(
        written(tmp_path / "ids.h5", ids),
        Address(tmp_path / "out.npy"),
        PLAIN,
        block=(3, 6, 14),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((2, 3, 4), np.nan, np.float32), r"ids\.h5:ids: holds float32, .*; write the IDs as an integer type"),
        (np.ones((2, 3, 4), bool), "holds bool"),
        (np.array([[[1, 2, -1]]]), r"ids\.h5:ids: holds the negative ID -1; .*: number the cells anew"),
        (np.full((2, 3, 4), 7), r"ids\.h5:ids: every voxel has the ID 7, so there is nothing to learn.*check that"),
    ],
)
def test_refusal_names_file_and_cure_and_leaves_nothing(tmp_path: Path, values: Any, message: str) -> None:
    source = written(tmp_path / "ids.h5", values)
    with pytest.raises(DataError, match=message):
        convert(source, Address(tmp_path / "out.h5"), PLAIN, block=(1, 2, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["ids.h5"]


def test_ids_are_never_replaced_by_their_own_map(tmp_path: Path, ids: Any) -> None:
    source = written(tmp_path / "ids.h5", ids)
    with pytest.raises(ConfigError, match="name another output file"):
        convert(source, Address(tmp_path / "ids.h5", "lab"), PLAIN)
    np.testing.assert_array_equal(load(source), ids)


def test_settings_module_is_light() -> None:
    code = (
        "import sys, elektronn.volumes.boundaries, elektronn.volumes.sample\n"
        "sys.exit(bool({'numba', 'torch', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_labels_that_are_classes_already_pass_as_they_are(tmp_path: Path) -> None:
    classes = np.random.default_rng(1).integers(-1, 3, (5, 9, 8)).astype(np.int32)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["lab"] = classes
    settings = BoundarySettings(source="classes")
    convert(
        parse_address(f"{tmp_path}/in.h5:lab"), parse_address(f"{tmp_path}/out.h5:labels"), settings, block=(2, 4, 8)
    )
    found = load(parse_address(f"{tmp_path}/out.h5:labels"))
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, classes)


def test_ids_are_not_taken_for_classes(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.full((2, 3, 4), 70000))
    with pytest.raises(DataError, match=r"reach from 70000 to 70000.*set boundaries.source to ids"):
        convert(
            parse_address(f"{tmp_path}/ids.npy"),
            parse_address(f"{tmp_path}/o.h5:l"),
            BoundarySettings(source="classes"),
        )
    assert not (tmp_path / "o.h5").exists()
