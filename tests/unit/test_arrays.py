"""Volumes on disk: every order of axes, every format, every part; seen through position-coded arrays."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from elektronn.axes import Box, Size, whole
from elektronn.errors import ConfigError, DataError
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import create_volume, load, open_volume

SIZE = Size(3, 4, 5)
ENDINGS = ("h5", "zarr", "npy")
ORDERS = ["".join(order) for letters in ("zyx", "czyx") for order in permutations(letters)]


def coded(channels: int = 0) -> NDArray[np.int32]:
    """Value = 1000·c + 100·z + 10·y + x, ``zyx`` or ``czyx``."""
    z, y, x = np.indices(SIZE, np.int32)
    values: NDArray[np.int32] = 100 * z + 10 * y + x
    return np.stack([values + 1000 * c for c in range(channels)]) if channels else values


def store(path: Path, values: NDArray[Any], **attributes: Any) -> None:
    """Write with the libraries themselves, not with ours."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["raw"] = values
            file["raw"].attrs.update(attributes)
    elif path.suffix == ".zarr":
        array = zarr.create_array(path, shape=values.shape, dtype=values.dtype, attributes=attributes)
        array[...] = values
    else:
        np.save(path, values)


def on_disk(order: str) -> NDArray[np.int32]:
    """The coded volume with its axes in another order; two channels if there is a ``c``."""
    source = "czyx" if "c" in order else "zyx"
    return coded(2 if "c" in order else 0).transpose([source.index(letter) for letter in order])


# reading


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_on_disk_reads_the_same(tmp_path: Path, order: str, ending: str) -> None:
    store(tmp_path / f"a.{ending}", on_disk(order))
    address = parse_address(f"{tmp_path}/a.{ending}@{order}")
    channels = 2 if "c" in order else 0
    with open_volume(address) as volume:
        assert (volume.size, volume.channels, volume.axes) == (SIZE, max(channels, 1), order)
        found = volume.read(order="czyx")
        assert np.array_equal(found, coded(2) if channels else coded()[None])
        assert found.flags.c_contiguous
        if not channels:
            assert np.array_equal(volume.read(), coded())


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("order", ["zyx", "xyz", "cxyz", "yczx"])
@pytest.mark.parametrize("part", ["[1:3,2:4,1:5]", "[,1:,:2]", "[2:]", ""])
def test_part_is_of_z_y_x_whatever_the_order_on_disk(tmp_path: Path, part: str, order: str, ending: str) -> None:
    store(tmp_path / f"a.{ending}", on_disk(order))
    spans = {"": (), "[2:]": np.s_[2:,], "[,1:,:2]": np.s_[:, 1:, :2], "[1:3,2:4,1:5]": np.s_[1:3, 2:4, 1:5]}[part]
    truth = (coded(2) if "c" in order else coded()[None])[(slice(None), *spans)]
    text = f"{tmp_path}/a.{ending}" + part.replace("[,", "[:,") + f"@{order}"
    with open_volume(parse_address(text)) as volume:
        assert np.array_equal(volume.read(order="czyx"), truth)
        inner = Box(Size(0, 1, 0), Size(1, 2, 2))
        assert np.array_equal(volume.read(inner, "czyx"), truth[:, 0:1, 1:2, 0:2])


@pytest.mark.parametrize("ending", ["h5", "zarr"])
def test_order_is_taken_from_the_caller_then_the_address_then_the_file(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a.{ending}"
    store(file, coded().transpose(2, 1, 0), axes="xyz")
    assert np.array_equal(load(Address(file)), coded())
    assert load(Address(file, axes="zyx")).shape == (5, 4, 3)
    assert load(Address(file, axes="zyx"), axes="yzx").shape == (4, 5, 3)


def test_single_channel_is_dropped_where_none_is_wanted(tmp_path: Path) -> None:
    store(tmp_path / "a.npy", coded()[None])
    assert np.array_equal(load(Address(tmp_path / "a.npy")), coded())


@pytest.mark.parametrize("ending", ["h5", "zarr"])
def test_key_may_be_left_out_where_there_is_one_array(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a.{ending}"
    with create_volume(parse_address(f"{file}:deep/er"), SIZE, np.int32) as sink:
        sink.write(whole(SIZE), coded())
    assert np.array_equal(load(Address(file)), coded())
    assert np.array_equal(load(Address(file, "deep/er")), coded())
    with pytest.raises(DataError, match=r"no array 'deep/err': did you mean 'deep/er'"):
        load(Address(file, "deep/err"))


def test_several_arrays_without_a_key_are_listed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"], file["ids"] = coded(), coded()
    with pytest.raises(DataError, match=r"several arrays \(ids, raw\); name one"):
        load(Address(tmp_path / "a.h5"))


@pytest.mark.parametrize(
    ("values", "text", "words"),
    [
        (coded()[0], "", r"has 2 axes \(4, 5\)"),
        (coded()[None, None], "", "has 5 axes"),
        (coded()[:0], "", "is empty"),
        (coded().astype(complex), "", "complex128, not numbers"),
        (coded().astype("S"), "", "not numbers"),
        (coded(), "@czyx", "axes 'czyx' do not fit the 3 axes"),
        (coded(2), "@zyx", "axes 'zyx' do not fit the 4 axes"),
        (coded(), "[0:4]", r"the part is empty or outside the volume of 3×4×5 voxels \(zyx\); correct \[0:4\]"),
        (coded(), "[2:2]", "the part is empty"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path: Path, values: NDArray[Any], text: str, words: str) -> None:
    store(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=words), open_volume(parse_address(f"{tmp_path}/a.npy{text}")):
        pass


def test_one_channel_is_not_chosen_silently(tmp_path: Path) -> None:
    store(tmp_path / "a.npy", coded(2))
    with pytest.raises(DataError, match="has 2 channels where one was expected"):
        load(Address(tmp_path / "a.npy"))


@pytest.mark.parametrize("said", [5, "20", [1, 2], [0, 1, 1], [np.nan, 1, 1]])
def test_voxel_size_that_is_none_is_refused(tmp_path: Path, said: Any) -> None:
    store(tmp_path / "a.h5", coded(), voxel_nm=said)
    with (
        pytest.raises(DataError, match=r"a\.h5: attribute voxel_nm is .* correct it"),
        open_volume(Address(tmp_path / "a.h5")),
    ):
        pass


def test_file_knows_its_voxel_size_better_than_the_caller(tmp_path: Path) -> None:
    store(tmp_path / "a.h5", coded(), voxel_nm=[30.0, 8.0, 8.0])
    store(tmp_path / "b.h5", coded())
    for name, truth in (("a", (30.0, 8.0, 8.0)), ("b", (1.0, 2.0, 3.0))):
        with open_volume(Address(tmp_path / f"{name}.h5"), voxel_nm=(1.0, 2.0, 3.0)) as volume:
            assert volume.voxel_nm == truth


def test_bytes_of_python_objects_are_never_executed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object))
    with pytest.raises(DataError, match="Python objects"):
        load(Address(tmp_path / "a.npy"))


# writing


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("channels", [0, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_blocks_in_any_order_make_the_whole(tmp_path: Path, ending: str, channels: int, dtype: Any) -> None:
    values = coded(channels).astype(dtype)
    address = Address(tmp_path / f"a.{ending}")
    said = {"attributes": {"kind": "test"}, "voxel_nm": (30.0, 8.0, 9.0), "offset_vox": (1, 2, 3)}
    with create_volume(address, values.shape, dtype, chunks=(2, 2, 2), **said) as sink:
        for start in ((2, 0), (0, 0), (0, 3), (2, 3)):
            box = Box(Size(start[0], 0, start[1]), Size(start[0] + 2, 4, start[1] + 3)).within(SIZE)
            sink.write(box, values[(..., *box.slices)])
    with open_volume(address) as volume:
        assert volume.dtype == dtype
        assert np.array_equal(volume.read(order="czyx"), values if channels else values[None])
        if ending != "npy":  # an .npy file holds no words
            assert volume.voxel_nm == (30.0, 8.0, 9.0)
            assert (volume.attributes["kind"], list(volume.attributes["offset_vox"])) == ("test", [1, 2, 3])
            assert volume.axes == ("czyx" if channels else "zyx")


def test_write_may_cross_the_shards_of_a_zarr(tmp_path: Path) -> None:
    size = Size(5, 19, 23)
    values = np.arange(2 * size.voxels, dtype=np.uint16).reshape(2, *size)
    with create_volume(Address(tmp_path / "a.zarr"), (2, *size), np.uint16, chunks=(1, 2, 2)) as sink:
        for box in (Box(Size(0, 0, 0), Size(5, 7, 23)), Box(Size(0, 7, 0), Size(3, 19, 23)), Box(Size(3, 7, 0), size)):
            sink.write(box, values[(slice(None), *box.slices)])
    assert np.array_equal(load(Address(tmp_path / "a.zarr"), order="czyx"), values)
    assert zarr.open_array(tmp_path / "a.zarr" / "0", mode="r").shards == (1, 4, 8, 8)


@pytest.mark.parametrize("ending", ENDINGS)
def test_unfinished_volume_does_not_appear_and_leaves_the_earlier_one(tmp_path: Path, ending: str) -> None:
    address = Address(tmp_path / f"a.{ending}")
    with create_volume(address, SIZE, np.int32) as sink:
        sink.write(whole(SIZE), coded())

    def break_off() -> None:
        with create_volume(address, SIZE, np.int32) as sink:
            sink.write(whole(SIZE), coded() + 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert np.array_equal(load(address), coded())
    assert [path.name for path in tmp_path.iterdir()] == [address.path.name]


def test_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        with create_volume(Address(tmp_path / name), SIZE, np.int32, voxel_nm=(1, 1, 1)) as sink:
            sink.write(whole(SIZE), coded())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.npy:key", "holds one array and has no key 'key'"),
        ("a.h5:k[0:2]", r"an output has no \[part\]"),
        ("a.h5@xyz", "leave @xyz out"),
    ],
)
def test_outputs_that_make_no_sense_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words), create_volume(parse_address(f"{tmp_path}/{text}"), SIZE, np.uint8):
        pass
    assert list(tmp_path.iterdir()) == []


# OME-NGFF


@pytest.mark.parametrize("layout", ["", "@ngff0.4", "@ngff0.5"])
@pytest.mark.parametrize("channels", [0, 2])
def test_store_tells_viewers_where_it_lies(tmp_path: Path, channels: int, layout: str) -> None:
    shape = coded(channels).shape
    voxel, offset = (30.0, 8.0, 9.0), (2, 15, 15)
    address = parse_address(f"{tmp_path}/a.zarr{layout}")
    with create_volume(address, shape, np.uint8, voxel_nm=voxel, offset_vox=offset):
        pass
    old = layout == "@ngff0.4"
    group = zarr.open_group(tmp_path / "a.zarr", mode="r", zarr_format=2 if old else 3)
    (image,) = group.attrs["multiscales"] if old else group.attrs["ome"]["multiscales"]
    (level,) = image["datasets"]
    lead = [1.0] if channels else []
    assert (image if old else group.attrs["ome"])["version"] == ("0.4" if old else "0.5")
    assert "".join(axis["name"] for axis in image["axes"]) == ("czyx" if channels else "zyx")
    assert [axis["type"] for axis in image["axes"]] == ["channel"] * len(lead) + ["space"] * 3
    assert [axis.get("unit") for axis in image["axes"]] == [None] * len(lead) + ["nanometer"] * 3
    assert level["coordinateTransformations"] == [
        {"type": "scale", "scale": [*lead, *voxel]},
        {"type": "translation", "translation": [*(0.0 for _ in lead), 60.0, 120.0, 135.0]},
    ]
    array = group[level["path"]]
    assert array.shape == shape
    if not old:
        assert array.metadata.dimension_names == tuple("czyx" if channels else "zyx")


def test_old_layout_is_that_of_its_standard(tmp_path: Path) -> None:
    """zarr version 2, a folder for each axis, metadata in .zattrs."""
    size = Size(3, 40, 40)
    values = np.arange(size.voxels, dtype=np.uint16).reshape(size)
    with create_volume(parse_address(f"{tmp_path}/a.zarr@ngff0.4"), size, np.uint16, chunks=(2, 16, 16)) as sink:
        sink.write(Box(Size(0, 0, 0), Size(3, 20, 40)), values[:, :20])
        sink.write(Box(Size(0, 20, 0), size), values[:, 20:])
    store = tmp_path / "a.zarr"
    assert json.loads((store / "0" / ".zarray").read_text())["dimension_separator"] == "/"
    assert json.loads((store / ".zattrs").read_text())["multiscales"][0]["datasets"][0]["path"] == "0"
    assert (store / "0" / "1" / "2" / "2").is_file()
    assert not list(store.rglob("zarr.json"))
    assert np.array_equal(load(Address(store)), values)


def test_layout_is_of_what_is_made_not_of_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"@ngff0\.4 is for a store to be made; leave it out"):
        load(parse_address(f"{tmp_path}/a.zarr@ngff0.4"))


def image_store(path: Path, axes: list[Any], values: NDArray[Any], version: str = "0.4", **more: Any) -> Any:
    """Three levels 0, 1, 2 of an image; scale 2**level · (…, 4, 2, 1), translation of the last axis 100."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    sets = []
    for level in range(3):
        group.create_array(str(level), data=values + level)
        scale = [float(2**level * 2**n) for n in reversed(range(values.ndim))]
        steps = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": [0] * (values.ndim - 1) + [100]},
        ]
        sets.append({"path": str(level), "coordinateTransformations": steps})
    images = [{"version": version, "axes": axes, "datasets": sets, **more}]
    group.attrs.update(
        {"multiscales": images} if version == "0.4" else {"ome": {"version": version, "multiscales": images}}
    )
    return group


def space(letters: str, unit: str = "nanometer") -> list[dict[str, str]]:
    return [{"name": letter, "type": "space", "unit": unit} for letter in letters]


TIME, CHANNEL = {"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_address_names_the_level(tmp_path: Path, version: str) -> None:
    image_store(tmp_path / "a.zarr", space("zyx"), coded(), version)
    for key, level in (("", 0), (":0", 0), (":1", 1), (":2", 2)):
        with open_volume(parse_address(f"{tmp_path}/a.zarr{key}[:,1:,2:]")) as volume:
            assert np.array_equal(volume.read(), coded()[:, 1:, 2:] + level)
            scale = 2**level
            assert volume.voxel_nm == (4 * scale, 2 * scale, scale)
            assert volume.origin_nm == (0, 2 * scale, 100 + 2 * scale)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(("letters", "channels"), [("tczyx", 2), ("tczyx", 1), ("tzyx", 0), ("ctzxy", 2)])
def test_axis_of_time_with_one_point_is_left_out(tmp_path: Path, letters: str, channels: int, version: str) -> None:
    named = {"t": TIME, "c": CHANNEL, **dict(zip("zyx", space("zyx")))}
    plain = coded(channels)[None]
    source = "t" + "czyx"[-plain.ndim + 1 :]
    values = plain.transpose([source.index(letter) for letter in letters])
    image_store(tmp_path / "a.zarr", [named[a] for a in letters], values, version)
    with open_volume(Address(tmp_path / "a.zarr")) as volume:
        assert np.array_equal(volume.read(order="czyx"), coded(channels) if channels else coded()[None])
        box = Box(Size(1, 0, 2), Size(2, 3, 5))
        assert np.array_equal(volume.read(box, "czyx")[-1], coded(channels).reshape(-1, *SIZE)[-1][box.slices])
        assert volume.voxel_nm == tuple(2.0 ** (len(letters) - 1 - letters.index(a)) for a in "zyx")


def test_several_points_in_time_are_refused(tmp_path: Path) -> None:
    image_store(tmp_path / "a.zarr", [TIME, *space("zyx")], coded(2))
    with pytest.raises(DataError, match=r"a\.zarr: axes tzyx \(2, 3, 4, 5\) have 2 points in time"):
        load(Address(tmp_path / "a.zarr"))


def test_section_without_an_axis_z_is_one_section(tmp_path: Path) -> None:
    image_store(tmp_path / "a.zarr", [CHANNEL, *space("yx")], coded())
    with open_volume(Address(tmp_path / "a.zarr")) as volume:
        assert (volume.size, volume.channels, volume.voxel_nm) == ((1, 4, 5), 3, None)
        assert np.array_equal(volume.read(order="czyx"), coded()[:, None])


def test_lengths_count_in_their_unit(tmp_path: Path) -> None:
    axes = [*space("z", "micrometer"), *space("y", "angstrom"), *space("x", "nanometer")]
    image_store(tmp_path / "a.zarr", axes, coded())
    with open_volume(Address(tmp_path / "a.zarr")) as volume:
        assert volume.voxel_nm == pytest.approx((4000, 0.2, 1))
    image_store(tmp_path / "b.zarr", [{"name": a, "type": "space"} for a in "zyx"], coded())
    with open_volume(Address(tmp_path / "b.zarr")) as volume:
        assert (volume.voxel_nm, volume.origin_nm) == (None, None)


def test_transformations_of_the_whole_image_come_after_those_of_the_level(tmp_path: Path) -> None:
    steps = [{"type": "scale", "scale": [10, 10, 10]}, {"type": "translation", "translation": [1, 2, 3]}]
    image_store(tmp_path / "a.zarr", space("zyx"), coded(), coordinateTransformations=steps)
    with open_volume(Address(tmp_path / "a.zarr", "1")) as volume:
        assert volume.voxel_nm == (80, 40, 20)
        assert volume.origin_nm == (1, 2, 1003)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_images_below_the_root_are_found(tmp_path: Path, version: str) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2 if version == "0.4" else 3)
    image_store(tmp_path / "a.zarr" / "labels" / "cells", space("yzx"), coded(), version)
    for key, level in (("labels/cells", 0), ("labels/cells/0", 0), ("labels/cells/2", 2)):
        with open_volume(Address(tmp_path / "a.zarr", key)) as volume:
            assert np.array_equal(volume.read(), coded().transpose(1, 0, 2) + level)
    zarr.open_group(tmp_path / "a.zarr", mode="a").require_group("labels")
    with pytest.raises(DataError, match=r"no array 'labels/cells/3': did you mean"):
        load(Address(tmp_path / "a.zarr", "labels/cells/3"))


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ([{"name": "depth", "type": "space"}, *space("yx")], "axis 'depth' of its OME-NGFF metadata is none of"),
        (space("zy"), "cannot be read"),
        ([{"type": "space"}] * 3, "cannot be read"),
        (space("zzx"), "axes 'zzx': write an order"),
    ],
)
def test_metadata_that_are_wrong_name_the_store(tmp_path: Path, axes: list[Any], words: str) -> None:
    image_store(tmp_path / "a.zarr", axes, coded())
    with pytest.raises(DataError, match=rf"a\.zarr: .*{words}|a\.zarr: {words}"):
        load(Address(tmp_path / "a.zarr"))


def test_position_in_space_passes_through(tmp_path: Path) -> None:
    """A volume made of another keeps its place, also where only a part was taken."""
    image_store(tmp_path / "a.zarr", space("zyx"), coded())
    with open_volume(parse_address(f"{tmp_path}/a.zarr[1:]")) as source:
        made = {"voxel_nm": source.voxel_nm, "origin_nm": source.origin_nm}
        with create_volume(Address(tmp_path / "b.zarr"), source.size, np.uint8, **made):
            pass
    with open_volume(Address(tmp_path / "b.zarr")) as volume:
        assert (volume.voxel_nm, volume.origin_nm) == ((4, 2, 1), (4, 0, 100))


def test_store_of_unknown_voxel_size_claims_no_unit(tmp_path: Path) -> None:
    with create_volume(Address(tmp_path / "a.zarr"), SIZE, np.uint8):
        pass
    (scales,) = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]["multiscales"]
    assert [axis.get("unit") for axis in scales["axes"]] == [None, None, None]
    with open_volume(Address(tmp_path / "a.zarr")) as volume:
        assert volume.voxel_nm is None


def test_a_bit_that_has_changed_in_a_store_of_ours_is_told(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(
        0, 256, (8, 9, 10), np.uint8
    )  # noise: zstd itself would take other bytes
    with create_volume(Address(tmp_path / "a.zarr"), values.shape, np.uint8) as sink:
        sink.write(whole(values.shape), values)
    (shard,) = (file for file in (tmp_path / "a.zarr" / "0" / "c").rglob("*") if file.is_file())
    content = shard.read_bytes()
    for place in range(20, values.size, 97):
        wrong = bytearray(content)
        wrong[place] ^= 4
        shard.write_bytes(wrong)
        with pytest.raises(DataError, match=r"a\.zarr: cannot be read .*copy it again"):
            load(Address(tmp_path / "a.zarr"))
    shard.write_bytes(content)
    assert np.array_equal(load(Address(tmp_path / "a.zarr")), values)
