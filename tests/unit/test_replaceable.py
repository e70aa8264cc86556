"""An output takes the place of an earlier one of the same name, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from elektronn.artefacts import digest
from elektronn.axes import whole
from elektronn.errors import ConfigError
from elektronn.segmentation.settings import SegmentSettings
from elektronn.segmentation.stage import segment
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import check_target, create_volume

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def make(address: Address) -> None:
    with create_volume(address, VALUES.shape, VALUES.dtype) as sink:
        sink.write(whole(VALUES.shape), VALUES)


@pytest.mark.parametrize("name", ["a.h5", "a.h5:ids", "a.zarr", "a.zarr:ids", "a.zarr@ngff0.4", "a.npy"])
def test_an_earlier_output_of_the_same_name_is_replaced(tmp_path: Path, name: str) -> None:
    address = parse_address(f"{tmp_path}/{name}")
    make(address)
    make(address)


@pytest.mark.parametrize(
    ("name", "words"), [("labels.h5:pred", "holds ids, raw, which"), ("ours.zarr:pred", "holds '0', which")]
)
def test_another_array_in_the_same_file_is_not_lost(tmp_path: Path, name: str, words: str) -> None:
    address = parse_address(f"{tmp_path}/{name}")
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["ids"] = file["raw"] = VALUES
    make(parse_address(f"{tmp_path}/ours.zarr"))
    before = digest(address.path)
    with pytest.raises(ConfigError, match=words):
        make(address)
    assert digest(address.path) == before


def test_what_others_wrote_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "notes.h5").write_text("my notes")
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["data"] = VALUES
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("all of it")
    (tmp_path / "file.zarr").write_text("my notes")
    zarr.save_array(tmp_path / "array.zarr", VALUES)
    zarr.open_group(tmp_path / "group.zarr", mode="w", zarr_format=2)
    for name in ("notes.h5", "theirs.h5", "mine.zarr", "file.zarr", "array.zarr", "group.zarr"):
        with pytest.raises(ConfigError, match=rf"{name}: is there already and .*name another file, or remove it first"):
            check_target(parse_address(f"{tmp_path}/{name}"))
    (tmp_path / "empty.zarr").mkdir()
    make(parse_address(f"{tmp_path}/empty.zarr"))


def test_segments_refuse_it_before_the_work(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", VALUES)
    (tmp_path / "notes.h5").write_text("my notes")
    with pytest.raises(ConfigError, match="is there already"):
        segment(parse_address(f"{tmp_path}/p.npy"), parse_address(f"{tmp_path}/notes.h5"), SegmentSettings())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notes.h5", "p.npy"]
