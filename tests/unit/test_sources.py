"""One battery of tests that every format of volumes passes, each file written by the libraries themselves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
import zarr
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.cli.volume import describe
from elektronn.errors import ConfigError, DataError
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.stage import predict
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import load, load_labels, open_volume
from elektronn.volumes.boundaries import BoundarySettings
from elektronn.volumes.convert import convert

Array = NDArray[Any]
SIZE = Size(5, 18, 21)
VOXEL = (30.0, 8.0, 9.0)


def coded(channels: int = 0, dtype: Any = np.uint16) -> Array:
    """Value = 8000·c + index, ``zyx`` or ``czyx``."""
    index = np.arange(SIZE.voxels).reshape(SIZE)
    return (np.stack([index + 8000 * c for c in range(channels)]) if channels else index).astype(dtype)


def in_order(values: Array, order: str) -> Array:
    source = "czyx"[-values.ndim :]
    return np.ascontiguousarray(values.transpose([source.index(letter) for letter in order]))


def hdf5(path: Path, values: Array, order: str) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("raw", data=values, chunks=True, compression="gzip", fletcher32=True)
        data.attrs.update({"voxel_nm": VOXEL, "axes": order})


def npy(path: Path, values: Array, order: str) -> None:
    np.save(path, values)


def plain_zarr(version: int) -> Callable[[Path, Array, str], None]:
    def write(path: Path, values: Array, order: str) -> None:
        array = zarr.create_array(path, shape=values.shape, dtype=values.dtype, zarr_format=version, chunks=(5,) * values.ndim)  # type: ignore[arg-type] # fmt: skip
        array.attrs.update({"voxel_nm": VOXEL, "axes": order})
        array[...] = values

    return write


def ngff(version: str) -> Callable[[Path, Array, str], None]:
    def write(path: Path, values: Array, order: str) -> None:
        """Two levels; lengths in micrometres, the second level's voxels twice as wide."""
        group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
        names = {"c": {"name": "channels", "type": "channel"}}
        axes = [names.get(a) or {"name": a, "type": "space", "unit": "micrometer"} for a in order]
        sizes = dict(zip("zyx", VOXEL))
        sets = []
        for level, factor in enumerate((1, 2)):
            part = values[tuple(slice(None, None, factor if a in "yx" else 1) for a in order)]
            array = group.create_array(f"s{level}", shape=part.shape, dtype=part.dtype, chunks=(3,) * part.ndim)
            array[...] = part
            scale = [sizes.get(a, 1e3) * 1e-3 * (factor if a in "yx" else 1) for a in order]
            shift = [0.0 if a == "c" else 0.5 for a in order]
            steps = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
            sets.append({"path": f"s{level}", "coordinateTransformations": steps})
        images = [{"version": version, "axes": axes, "datasets": sets}]
        group.attrs.update({"multiscales": images} if version == "0.4" else {"ome": {"multiscales": images}})

    return write


def imagej(path: Path, values: Array, order: str) -> None:
    """Uncompressed, in one piece."""
    said = {"axes": order.upper(), "spacing": 0.03, "unit": "um"}
    tifffile.imwrite(path, values, imagej=True, resolution=(1000 / 9, 1000 / 8), metadata=said)


def ome(**options: Any) -> Callable[[Path, Array, str], None]:
    def write(path: Path, values: Array, order: str) -> None:
        said: dict[str, Any] = {"axes": order.upper()}
        for letter, length in zip("ZYX", VOXEL):
            said |= {f"PhysicalSize{letter}": length, f"PhysicalSize{letter}Unit": "nm"}
        tifffile.imwrite(path, values, ome=True, metadata=said, **options)

    return write


def pages(**options: Any) -> Callable[[Path, Array, str], None]:
    """Pages that say nothing about themselves; two channels are samples of a pixel."""

    def write(path: Path, values: Array, order: str) -> None:
        with tifffile.TiffWriter(path) as file:
            for section in values:
                file.write(section, contiguous=False, metadata=None, **samples(section), **options)

    return write


def sections(**options: Any) -> Callable[[Path, Array, str], None]:
    """A file for each section; without leading zeros."""

    def write(path: Path, values: Array, order: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number, section in enumerate(values):
            file = path.with_name(path.name.replace("*", str(number + 8)))
            tifffile.imwrite(file, section, **samples(section), **options)

    return write


def samples(section: Array) -> dict[str, Any]:
    """Channels, if there are any, lie side by side in each pixel."""
    return {"photometric": "minisblack"} | ({"planarconfig": "contig"} if section.ndim == 3 else {})


@dataclass(frozen=True)
class Source:
    """A kind of file.

    Attributes:
        name: of the file (or the files), with the key if there is one.
        write: makes it of an array in an order of axes.
        orders: of axes that the format can hold without ``@``; of others it must be told.
        voxel: whether it holds the voxel size.
        dtypes: values that it can hold.
        damage: file inside that is cut off; empty: the file itself.
    """

    name: str
    write: Callable[[Path, Array, str], None]
    orders: tuple[str, ...] = ()
    voxel: bool = True
    dtypes: tuple[str, ...] = ("uint8", "uint16", ">u2", "int16", "int64", "float32")
    damage: str = ""

    @property
    def path(self) -> str:
        return self.name.split(":")[0]


NO_OME_64 = ("uint8", "uint16", "int16", "float32")
ALL = tuple("".join(order) for letters in ("zyx", "czyx") for order in permutations(letters))
SOURCES = {
    "hdf5": Source("a.h5:raw", hdf5, ALL),
    "npy": Source("a.npy", npy, ("zyx", "czyx"), voxel=False),
    "zarr2": Source("a.zarr", plain_zarr(2), ALL, damage="*"),
    "zarr3": Source("a.zarr", plain_zarr(3), ALL, damage="c/**/*"),
    "ngff0.4": Source("a.zarr", ngff("0.4"), ALL, damage="s0/**/*"),
    "ngff0.5": Source("a.zarr:s0", ngff("0.5"), ALL, damage="s0/c/**/*"),
    "imagej": Source("a.tif", imagej, ("zyx", "zcyx"), dtypes=("uint8", "uint16", "float32")),
    "ome": Source("a.ome.tif", ome(), ("zyx", "czyx", "zcyx"), dtypes=NO_OME_64),
    "ome, tiles": Source("a.tiff", ome(tile=(16, 16), compression="zlib"), ("zyx", "czyx", "zcyx"), dtypes=NO_OME_64),
    "pages": Source("a.TIF", pages(), ("zyx", "zyxc"), voxel=False),
    "strips": Source("a.tif:0", pages(rowsperstrip=4), ("zyx",), voxel=False),
    "deflate": Source("a.tif", pages(compression="zlib", predictor=2), ("zyx",), voxel=False, dtypes=("uint8", "int16")),
    "lzma": Source("a.tif", pages(compression="lzma", tile=(16, 16)), ("zyx",), voxel=False),
    "sections": Source("stack/s_*.tif", sections(), ("zyx", "zyxc"), voxel=False, damage="s_10.tif"),
    "folder": Source("stack/", sections(compression="zlib"), ("zyx",), voxel=False, damage="s_10.tif"),
}  # fmt: skip


def make(folder: Path, source: Source, values: Array, order: str) -> str:
    """Write ``values`` (``zyx`` or ``czyx``) in ``order``; the address."""
    name = source.path + ("s_*.tif" if source.path.endswith("/") else "")
    source.write(folder / name, in_order(values, order), order)
    return f"{folder}/{source.name}"


each = pytest.mark.parametrize("name", SOURCES)
each_order = pytest.mark.parametrize(
    ("name", "order"), [(name, order) for name, source in SOURCES.items() for order in source.orders]
)


@each_order
def test_order_that_the_file_says_is_understood(tmp_path: Path, name: str, order: str) -> None:
    values = coded(2 if "c" in order else 0)
    with open_volume(parse_address(make(tmp_path, SOURCES[name], values, order) + told(name, order))) as volume:
        assert (volume.size, volume.channels) == (SIZE, 2 if "c" in order else 1)
        found = volume.read(order="czyx")
        assert np.array_equal(found, values if "c" in order else values[None])
        assert found.flags.c_contiguous
        box = Box(Size(1, 3, 5), Size(4, 17, 21))
        inner = found[(slice(None), *box.slices)]
        assert np.array_equal(volume.read(box, order="czyx"), inner)
        assert np.array_equal(volume.read(box, order="cxzy"), inner.transpose(0, 3, 1, 2))


def told(name: str, order: str) -> str:
    return f"@{order}" if name == "npy" else ""


@pytest.mark.parametrize(
    ("name", "own", "order"),
    [
        (name, own, order)
        for name, source in SOURCES.items()
        for own in ("zyx", source.orders[-1])
        for order in ("zyx", "xyz", "yzx", "czyx", "xzcy", "yxzc")
        if len(own) == len(order)
    ],
)
def test_order_that_the_address_says_counts_before_the_files(tmp_path: Path, name: str, own: str, order: str) -> None:
    """The file shows the axes of its own order; the address gives each of them another meaning."""
    on_disk = in_order(coded(2 if "c" in own else 0), own)
    address = parse_address(make(tmp_path, SOURCES[name], coded(2 if "c" in own else 0), own) + f"@{order}")
    wanted = "czyx" if "c" in order else "zyx"
    with open_volume(address) as volume:
        assert np.array_equal(volume.read(order=wanted), on_disk.transpose([order.index(letter) for letter in wanted]))


@each
def test_boxes_are_parts_of_the_whole(tmp_path: Path, name: str) -> None:
    values = coded()
    random = np.random.default_rng(1)
    with open_volume(parse_address(make(tmp_path, SOURCES[name], values, "zyx") + "[1:,:,2:20]")) as volume:
        assert volume.size == (4, 18, 18)
        for _ in range(20):
            low, high = np.sort(random.integers(0, [[n + 1] * 2 for n in volume.size]), axis=1).T
            box = Box(Size(*map(int, low)), Size(*map(int, np.maximum(high, low + 1)))).within(volume.size)
            if min(box.size) > 0:
                assert np.array_equal(volume.read(box), values[1:, :, 2:20][box.slices])


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name, s in SOURCES.items() for dtype in s.dtypes])
def test_type_of_the_values_stays_in_the_byte_order_of_the_machine(tmp_path: Path, name: str, dtype: str) -> None:
    values = coded(dtype=dtype) if dtype != "uint8" else (coded() % 251).astype(dtype)
    with open_volume(parse_address(make(tmp_path, SOURCES[name], values, "zyx"))) as volume:
        found = volume.read()
        assert volume.dtype == found.dtype == np.dtype(dtype).newbyteorder("=")
        assert found.dtype.isnative
        assert np.array_equal(found, values)


@each
def test_file_tells_its_voxel_size(tmp_path: Path, name: str) -> None:
    address = parse_address(make(tmp_path, SOURCES[name], coded(), "zyx"))
    with open_volume(address) as volume:
        assert volume.voxel_nm == (pytest.approx(VOXEL) if SOURCES[name].voxel else None)
    with open_volume(address, voxel_nm=(1.0, 2.0, 3.0)) as volume:
        assert volume.voxel_nm == (pytest.approx(VOXEL) if SOURCES[name].voxel else (1.0, 2.0, 3.0))


@each
def test_description_and_digest_follow_the_contents(tmp_path: Path, name: str) -> None:
    first, second, third = (
        describe(parse_address(make(tmp_path / folder, SOURCES[name], coded() + more, "zyx")))
        for folder, more in (("a", 0), ("b", 0), ("c", 1))
        if not (tmp_path / folder).mkdir()  # type: ignore[func-returns-value]
    )
    assert (first["size"], first["channels"], first["dtype"]) == (list(SIZE), 1, "uint16")
    if "ome" not in name and name != "hdf5":  # these hold an identifier or a time
        assert first["sha256"] == second["sha256"]
    assert first["sha256"] != third["sha256"]


@each
def test_threads_read_what_one_reads(tmp_path: Path, name: str) -> None:
    values = coded()
    boxes = [Box(Size(z, y, 0), Size(z + 2, y + 5, 21)) for z in range(4) for y in range(13)]
    address = parse_address(make(tmp_path, SOURCES[name], values, "zyx"))
    with open_volume(address) as volume, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(volume.read, boxes))
    assert all(np.array_equal(part, values[box.slices]) for part, box in zip(found, boxes))


# what the stages make of it


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    settings = NetworkSettings(kernels=((1, 4, 4), (2, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(3, 3))
    save_model(path, build(chain(settings), seed=4), {"fingerprint": "f"})
    return path


@each
def test_prediction_is_that_of_the_array(tmp_path: Path, name: str, model: Path) -> None:
    """Written as OME-NGFF 0.4, in its place in space."""
    values = np.random.default_rng(2).integers(0, 255, SIZE).astype(np.uint8)
    np.save(tmp_path / "plain.npy", values)
    found = []
    for image in (f"{tmp_path}/plain.npy", make(tmp_path, SOURCES[name], values, "zyx")):
        out = parse_address(f"{tmp_path}/p.zarr@ngff0.4")
        chosen = PredictSettings(certificate=2, threads=1)
        predict(model, parse_address(image), out, tmp_path / "p.json", chosen, device=torch.device("cpu"))
        found.append(load(parse_address(f"{tmp_path}/p.zarr")))
    assert np.array_equal(*found)
    assert (tmp_path / "p.zarr" / ".zattrs").is_file()
    with open_volume(parse_address(f"{tmp_path}/p.zarr")) as made, open_volume(parse_address(image)) as source:
        offset = made.attributes["offset_vox"]
        assert made.voxel_nm == source.voxel_nm
        if "ngff" in name:
            assert made.origin_nm == pytest.approx([500 + n * v for n, v in zip(offset, VOXEL)])


@each
def test_boundaries_are_those_of_the_array(tmp_path: Path, name: str) -> None:
    """IDs of a part; the result lies where the part does."""
    values = (np.random.default_rng(2).integers(1, 4, SIZE) * 50).astype(np.uint8)
    np.save(tmp_path / "plain.npy", values)
    made = []
    for ids in (f"{tmp_path}/plain.npy", make(tmp_path, SOURCES[name], values, "zyx")):
        convert(parse_address(ids + "[1:,2:18]"), parse_address(f"{tmp_path}/b.zarr@ngff0.4"), BoundarySettings())
        made.append(load(parse_address(f"{tmp_path}/b.zarr")))
    assert np.array_equal(*made)
    assert made[0].shape == (4, 16, 21)
    with open_volume(parse_address(f"{tmp_path}/b.zarr")) as volume:
        assert volume.voxel_nm == (pytest.approx(VOXEL) if SOURCES[name].voxel else None)
        if "ngff" in name:
            assert volume.origin_nm == pytest.approx((530, 516, 500))


# what cannot be read


@each
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    address = parse_address(f"{tmp_path}/{SOURCES[name].name}")
    assert address.files == []
    with pytest.raises(DataError, match=rf"{tmp_path}/.*: no such file; check the path"):
        load(address)


@each
def test_wrong_key_is_named(tmp_path: Path, name: str) -> None:
    address = make(tmp_path, SOURCES[name], coded(), "zyx").rsplit(":", 1)[0]
    with pytest.raises(DataError, match=r"no array 'deep/err'|has no key 'deep/err'; leave the key out"):
        load(parse_address(f"{address}:deep/err"))


@each
@pytest.mark.parametrize("content", [b"", b"\x89PNG no volume at all" * 9, b"II*\0\x10\0\0\0"])
def test_file_of_another_kind_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / SOURCES[name].path.replace("stack/s_*", "s_1").replace("stack/", "s_1.tif")
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path}: .*; .*(copy|write)"):
        load(parse_address(str(path)))


def victim(folder: Path, source: Source) -> Path:
    """The file that gets damaged: of a store the largest, which holds values."""
    root = folder / source.path.split("*")[0].rsplit("/s_")[0]
    if not source.damage:
        return root
    files = [file for file in root.glob("**/" + source.damage) if file.is_file()]
    return max(files, key=lambda file: file.stat().st_size)


@each
@pytest.mark.parametrize("share", np.linspace(0.02, 0.99, 8))
def test_what_is_cut_off_is_never_read_as_something_else(tmp_path: Path, name: str, share: float) -> None:
    values = np.random.default_rng(5).integers(0, 60000, SIZE).astype(np.uint16)
    if name == "deflate":
        values = values.astype(np.int16)
    address = make(tmp_path, SOURCES[name], values, "zyx")
    path = victim(tmp_path, SOURCES[name])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    try:
        found = load(parse_address(address))
    except DataError as error:
        said = str(error)
    else:
        said = "same values" if np.array_equal(found, values) else "other values"
    assert said == "same values" or (str(tmp_path) in said and "copy" in said)


@each
def test_damage_in_the_middle_of_the_values_is_told_with_file_and_cure(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(5).integers(0, 255, SIZE).astype(np.uint8)
    address = make(tmp_path, SOURCES[name], values, "zyx")
    path = victim(tmp_path, SOURCES[name])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"{tmp_path}/.*: .*copy"):
        load(parse_address(address))


@each
def test_wrong_bytes_in_the_head_lead_to_no_other_failure(tmp_path: Path, name: str) -> None:
    address = make(tmp_path, SOURCES[name], (coded() % 251).astype(np.uint8), "zyx")
    files = sorted(file for file in tmp_path.rglob("*") if file.is_file())
    random = np.random.default_rng(7)
    for _ in range(20):
        path = files[random.integers(len(files))]
        content = path.read_bytes()
        wrong = bytearray(content)
        wrong[random.integers(min(len(wrong), 600))] = random.choice([0, 255, ord("9"), random.integers(256)])
        path.write_bytes(wrong)
        with suppress(DataError):
            load(parse_address(address))
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["hdf5", "npy", "ome", "pages", "sections"])
def test_file_without_permission_says_so(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = make(tmp_path, SOURCES[name], coded(), "zyx")

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    for module, attribute in ((h5py, "File"), (np.lib.format, "open_memmap"), (tifffile, "TiffFile")):
        monkeypatch.setattr(module, attribute, refuse)
    with pytest.raises(DataError, match=r"Permission denied.*; give yourself the right"):
        load(parse_address(address))


# labels


@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint64"])
@pytest.mark.parametrize("name", ["hdf5", "npy", "zarr2", "ngff0.5", "pages"])
def test_labels_beyond_16_bits_stay_what_they_are(tmp_path: Path, name: str, dtype: str) -> None:
    top = min(np.iinfo(dtype).max, 2**63 + 1)
    values = np.full(SIZE, 40000, dtype)
    values[0, 0, 0] = top
    found = load_labels(parse_address(make(tmp_path, SOURCES[name], values, "zyx")), SIZE)
    assert (int(found[0, 0, 0]), int(found[1, 1, 1]), found.dtype) == (top, 40000, np.dtype(dtype))


@pytest.mark.parametrize("shape", [(0,), (0, 0, 0), (0, 18, 21), (1, 0, 18, 21)])
@pytest.mark.parametrize("name", ["hdf5", "npy", "zarr3"])
def test_empty_labels_are_0_all_over_the_image(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    path, values = tmp_path / SOURCES[name].path, np.zeros(shape, np.int16)
    if name == "hdf5":
        with h5py.File(path, "w") as file:
            file["raw"] = values
    elif name == "npy":
        np.save(path, values)
    else:
        zarr.create_array(path, shape=shape, dtype="int16")
    address = parse_address(f"{tmp_path}/{SOURCES[name].name}")
    found = load_labels(address, SIZE)
    assert (found.shape, found.dtype, found.any()) == (SIZE, np.int16, False)
    with pytest.raises(DataError, match=r"is empty|has 1 axes"):
        load(address)


# addresses


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("a.zarr/", "a.zarr"),
        ("dir.1/sections/[0:4]@zyx", "dir.1/sections/*.tif*[0:4]@zyx"),
        ("s_*.tif", "s_*.tif"),
        ("s_???.TIFF[2:]", "s_???.TIFF[2:]"),
        ("a.tif:1@cyxz", "a.tif:1@cyxz"),
        ("a.zarr:labels/cells/0", "a.zarr:labels/cells/0"),
        ("out.zarr@ngff0.4", "out.zarr@ngff0.4"),
        ("A.H5:raw", "A.H5:raw"),
    ],
)
def test_addresses_can_be_written_and_read_again(text: str, again: str) -> None:
    address = parse_address(text)
    assert str(address) == again
    assert parse_address(again) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.png", "with a file ending .h5"),
        ("a*.h5:raw", "only TIFF files can be the sections"),
        ("a.zarr@ngff0.3", "unknown layout 'ngff0.3'; write an order of axes, or ngff0.4 or ngff0.5"),
        ("a.h5@ngff0.4", "unknown layout 'ngff0.4'.*behind a .zarr"),
        ("a.tif@zzyx", "axes 'zzyx': write an order"),
    ],
)
def test_addresses_that_mean_nothing_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_address(text)
