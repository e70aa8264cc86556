"""TIFF: what it says about axes and lengths, stacks of files, compression, and what is wrong with some files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from elektronn.axes import Box, Size
from elektronn.errors import ConfigError, DataError
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import create_volume, load, open_volume

VALUES = np.arange(4 * 6 * 7, dtype=np.uint8).reshape(4, 6, 7)
GREY: Any = {"photometric": "minisblack"}


def voxel(path: Path) -> Any:
    with open_volume(Address(path)) as volume:
        return volume.voxel_nm


def stack(folder: Path, values: NDArray[Any] = VALUES, first: int = 1, name: str = "s{}.tif") -> None:
    for number, section in enumerate(values, first):
        tifffile.imwrite(folder / name.format(number), section)


# one file


def test_uncompressed_file_is_mapped_and_not_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, **GREY)
    with open_volume(Address(tmp_path / "a.tif")) as volume:
        assert isinstance(volume.stored.stored, np.memmap)  # type: ignore[attr-defined]
        assert volume.chunks is None


def test_pieces_of_a_compressed_file_are_known(tmp_path: Path) -> None:
    values = np.zeros((3, 40, 50), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, compression="zlib", tile=(16, 32), **GREY)
    tifffile.imwrite(tmp_path / "b.tif", values, compression="zlib", **GREY)
    stack(tmp_path, values)
    with open_volume(Address(tmp_path / "a.tif")) as volume:
        assert volume.chunks == (1, 16, 32)
    with open_volume(Address(tmp_path / "b.tif")) as volume:
        assert volume.chunks == (1, 40, 50)
    with open_volume(Address(tmp_path / "s*.tif")) as volume:
        assert volume.chunks is None


def test_one_page_is_one_section(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES[0])
    with open_volume(Address(tmp_path / "a.tif")) as volume:
        assert volume.size == (1, 6, 7)
        assert np.array_equal(volume.read(), VALUES[:1])
        assert np.array_equal(volume.read(Box(Size(0, 1, 2), Size(1, 3, 5))), VALUES[:1, 1:3, 2:5])


@pytest.mark.parametrize(
    ("shape", "axes", "imagej", "size", "channels"),
    [
        ((1, 4, 2, 6, 7), "TZCYX", True, (4, 6, 7), 2),
        ((4, 1, 6, 7), "ZCYX", True, (4, 6, 7), 1),
        ((2, 6, 7), "CYX", True, (1, 6, 7), 2),
        ((2, 4, 6, 7), "CZYX", False, (4, 6, 7), 2),
        ((4, 6, 7, 3), "ZYXS", True, (4, 6, 7), 3),
        ((1, 4, 6, 7), "TZYX", False, (4, 6, 7), 1),
    ],
)
def test_axes_are_those_of_the_metadata(
    tmp_path: Path, shape: tuple[int, ...], axes: str, imagej: bool, size: tuple[int, ...], channels: int
) -> None:
    values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    color = {"photometric": "rgb"} if "S" in axes else {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=imagej, ome=not imagej, metadata={"axes": axes}, **color)
    with open_volume(Address(tmp_path / "a.tif")) as volume:
        assert (volume.size, volume.channels) == (size, channels)
        named = {letter: axis for axis, letter in enumerate(axes.replace("S", "C"))}
        order = [named[letter] for letter in "TCZYX" if letter in named]
        assert np.array_equal(volume.read(order="czyx"), values.transpose(order).reshape(channels, *size))


def test_points_in_time_are_not_taken_for_sections_unless_the_address_says_so(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(DataError, match=r"a\.tif: axes tyx \(4, 6, 7\) have 4 points in time.*write @zyx"):
        load(Address(tmp_path / "a.tif"))
    assert np.array_equal(load(parse_address(f"{tmp_path}/a.tif@zyx")), VALUES)


@pytest.mark.parametrize(
    ("unit", "factor"), [("nm", 1), ("um", 1000), ("micron", 1000), ("\\u00B5m", 1000), ("mm", 1e6)]
)
def test_voxel_size_of_imagej_in_its_unit(tmp_path: Path, unit: str, factor: float) -> None:
    said = {"axes": "ZYX", "spacing": 0.5, "unit": unit}
    tifffile.imwrite(tmp_path / "a.tif", VALUES, imagej=True, resolution=(4, 8), metadata=said)
    assert voxel(tmp_path / "a.tif") == pytest.approx((0.5 * factor, 0.125 * factor, 0.25 * factor))


@pytest.mark.parametrize(
    "said",
    [{"spacing": 0.5, "unit": "pixel"}, {"spacing": 0.5}, {"unit": "nm"}, {"spacing": 0.0, "unit": "nm"}],
)
def test_voxel_size_that_imagej_does_not_know_is_unknown(tmp_path: Path, said: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, imagej=True, metadata={"axes": "ZYX", **said})
    assert voxel(tmp_path / "a.tif") is None


def test_voxel_size_of_ome_is_in_micrometres_where_no_unit_is_said(tmp_path: Path) -> None:
    sizes = {f"PhysicalSize{letter}": length for letter, length in zip("ZYX", (0.03, 0.008, 0.009))}
    tifffile.imwrite(tmp_path / "a.ome.tif", VALUES, metadata={"axes": "ZYX", **sizes})
    tifffile.imwrite(tmp_path / "b.ome.tif", VALUES, metadata={"axes": "ZYX", "PhysicalSizeX": 0.009})
    assert voxel(tmp_path / "a.ome.tif") == pytest.approx((30, 8, 9))
    assert voxel(tmp_path / "b.ome.tif") is None


def test_several_images_are_told_apart_by_their_number(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(VALUES, **GREY)
        file.write(VALUES[:2, :3] + 100, **GREY)
    with pytest.raises(DataError, match=r"several arrays \(0, 1\); name one"):
        load(Address(tmp_path / "a.tif"))
    assert np.array_equal(load(Address(tmp_path / "a.tif", "1")), VALUES[:2, :3] + 100)


def test_finest_level_of_a_pyramid_is_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(values, subifds=1, tile=(16, 16), compression="zlib", metadata={"axes": "ZYX"})
        file.write(values[:, ::2, ::2], subfiletype=1, tile=(16, 16), compression="zlib")
    assert np.array_equal(load(Address(tmp_path / "a.ome.tif")), values)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_files_of_either_byte_order_read_the_same(tmp_path: Path, order: Any, compression: str | None) -> None:
    values = VALUES.astype(np.uint16) * 300
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order, compression=compression, **GREY)
    found = load(Address(tmp_path / "a.tif"))
    assert np.array_equal(found, values)
    assert found.dtype.isnative


def test_ome_image_in_another_file_is_read_from_there(tmp_path: Path) -> None:
    """The file that is named holds the metadata, and a section that is not part of the image."""
    tifffile.imwrite(tmp_path / "b.ome.tif", VALUES[1], metadata={"axes": "YX"})
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        said = file.ome_metadata or ""
    uuid = said.split('UUID="')[1].split('"')[0]
    said = said.replace(uuid, "urn:uuid:00000000-0000-0000-0000-000000000000", 1)
    said = said.replace('PlaneCount="1"/>', f'PlaneCount="1"><UUID FileName="b.ome.tif">{uuid}</UUID></TiffData>')
    tifffile.imwrite(tmp_path / "a.ome.tif", VALUES[0], description=said, metadata=None)
    assert np.array_equal(load(Address(tmp_path / "a.ome.tif")), VALUES[1:2])


def test_missing_part_of_an_ome_image_is_not_read_as_zeros(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", VALUES, metadata={"axes": "ZYX"})
    text = (
        (tmp_path / "a.ome.tif").read_bytes().replace(b'SizeZ="4"', b'SizeZ="9"').replace(b'eCount="4"', b'eCount="9"')
    )
    (tmp_path / "a.ome.tif").write_bytes(text)
    with pytest.raises(DataError, match=r"a\.ome\.tif: cannot be read .*; the file may be cut off"):
        load(Address(tmp_path / "a.ome.tif"))


@pytest.mark.parametrize(("kind", "name"), [("tiff_lzw", "LZW"), ("jpeg", "JPEG")])
def test_compression_that_needs_another_library_names_it(tmp_path: Path, kind: str, name: str) -> None:
    if find_spec("imagecodecs"):
        pytest.skip("the other library is there")
    first, *rest = (Image.fromarray(section) for section in VALUES)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest, compression=kind)
    with pytest.raises(
        DataError, match=rf"a\.tif: is compressed as .*{name}.*pip install imagecodecs.*uncompressed or with ZIP"
    ):
        load(Address(tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", ["packbits", "tiff_adobe_deflate"])
def test_compression_of_another_program_is_read(tmp_path: Path, kind: str) -> None:
    first, *rest = (Image.fromarray(section) for section in VALUES)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest, compression=kind)
    assert np.array_equal(load(Address(tmp_path / "a.tif")), VALUES)


def test_one_bit_per_pixel_is_a_mask(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES % 2 == 0)
    found = load(Address(tmp_path / "a.tif"))
    assert found.dtype == bool
    assert np.array_equal(found, VALUES % 2 == 0)


# stacks of files


def test_sections_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint16)[:, None, None] * np.ones((5, 6), np.uint16)
    stack(tmp_path, values, name="day2_s{}_x.tif")
    for text in (f"{tmp_path}/", f"{tmp_path}/day2_s*_x.tif", f"{tmp_path}/*.tif[:,:,:]"):
        assert load(parse_address(text))[:, 0, 0].tolist() == list(range(12))


def test_files_that_do_not_belong_to_the_stack_are_left_out(tmp_path: Path) -> None:
    stack(tmp_path)
    (tmp_path / "._s1.tif").write_bytes(b"left there by another system")
    (tmp_path / "notes.txt").write_text("made on Monday")
    (tmp_path / "s4.tif").rename(tmp_path / "s4.TIFF")
    assert np.array_equal(load(parse_address(f"{tmp_path}/")), VALUES)


@pytest.mark.parametrize(("steps", "whole"), [((1, 2, 3, 4), True), ((0, 10, 20, 30), True), ((1, 2, 4, 5), False)])
def test_missing_section_is_noticed(tmp_path: Path, steps: tuple[int, ...], whole: bool) -> None:
    for number, section in zip(steps, VALUES):
        tifffile.imwrite(tmp_path / f"a1_{number:03d}.tif", section)
    if whole:
        assert np.array_equal(load(parse_address(f"{tmp_path}/")), VALUES)
    else:
        with pytest.raises(DataError, match=r"the section after a1_002\.tif is missing .*; put it there"):
            load(parse_address(f"{tmp_path}/"))


def test_names_that_differ_in_more_than_a_number_are_taken_as_they_are(tmp_path: Path) -> None:
    for name, section in zip(("a1", "a2", "b7", "b9"), VALUES):
        tifffile.imwrite(tmp_path / f"{name}.tif", section)
    assert np.array_equal(load(parse_address(f"{tmp_path}/")), VALUES)


@pytest.mark.parametrize("other", [VALUES[0, :5], VALUES[0].astype(np.uint16)])
def test_section_unlike_the_first_is_named(tmp_path: Path, other: NDArray[Any]) -> None:
    stack(tmp_path)
    tifffile.imwrite(tmp_path / "s3.tif", other)
    with pytest.raises(DataError, match=r"s3\.tif: section is .* the first of the stack \(s1\.tif\) is \(6, 7\) uint8"):
        load(parse_address(f"{tmp_path}/s*.tif"))
    assert np.array_equal(load(parse_address(f"{tmp_path}/s*.tif[:2]")), VALUES[:2])


def test_only_the_sections_that_are_asked_for_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack(tmp_path)
    opened: list[str] = []
    kind = tifffile.TiffFile

    def watched(path: Path) -> Any:
        opened.append(path.name)
        return kind(path)

    monkeypatch.setattr(tifffile, "TiffFile", watched)
    with open_volume(parse_address(f"{tmp_path}/s*.tif")) as volume:
        assert opened == ["s1.tif"]
        volume.read(Box(Size(1, 0, 0), Size(3, 2, 2)))
    assert opened == ["s1.tif", "s2.tif", "s3.tif"]


def test_file_of_several_sections_is_no_section(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a1.tif", VALUES, **GREY)
    with pytest.raises(DataError, match=r"a1\.tif: holds 4 sections, and in a stack of files each holds one"):
        load(parse_address(f"{tmp_path}/"))


def test_stack_has_no_key(tmp_path: Path) -> None:
    stack(tmp_path)
    with pytest.raises(DataError, match="a stack of files has no key '0'"):
        load(parse_address(f"{tmp_path}/s*.tif:0"))


def test_folder_without_tiff_files_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\*\.tif\*: no such file"):
        load(parse_address(f"{tmp_path}/"))


# writing


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "sections/"])
def test_tiff_is_not_written(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"TIFF files are read only; name an output ending \.zarr"),
        create_volume(parse_address(f"{tmp_path}/{name}"), (4, 6, 7), np.uint8),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
