"""Mission rows M040–M043, M045, M050, M063, and labels (B26) and empty labels (B24): what loading of volumes promises."""

from __future__ import annotations

import gc
import json
import tracemalloc
from itertools import permutations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.errors import ConfigError
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import load, load_labels, open_volume
from elektronn.volumes.cache import CachedVolume
from elektronn.volumes.downsample import downsample
from elektronn.volumes.moments import scale_of
from elektronn.volumes.registration import centre
from elektronn.volumes.table import read_table

GOLDEN = Path(__file__).parent.parent / "golden" / "registration.json"
SIZE = Size(5, 6, 7)
IMAGE = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)


def store(path: Path, key: str, values: NDArray[Any]) -> str:
    with h5py.File(path, "a") as file:
        file[key] = values
    return f"{path}:{key}"


def table(folder: Path, *rows: str) -> Path:
    path = folder / "volumes.tsv"
    path.write_text("\n".join(("name\timage\tlabels\taxes\tvoxel_nm\trole", *rows)) + "\n")
    return path


def test_M040_two_pairs_of_file_and_key_are_two_volumes(tmp_path: Path) -> None:
    for name in "ab":
        store(tmp_path / f"{name}.h5", "raw", IMAGE)
        store(tmp_path / f"{name}.h5", "ids", IMAGE)
    path = table(tmp_path, *(f"{n}\t{tmp_path}/{n}.h5:raw\t{tmp_path}/{n}.h5:ids\tzyx\t\ttrain" for n in "ab"))
    rows = read_table(path, tmp_path)
    assert [row.name for row in rows] == ["a", "b"]
    assert all(np.array_equal(load(address), IMAGE) for row in rows for address in (row.image, row.labels) if address)


def test_M040_an_image_without_its_labels_is_an_error(tmp_path: Path) -> None:
    path = table(tmp_path, "a\ta.h5:raw\ta.h5:ids\tzyx\t\ttrain", "b\tb.h5:raw\t\tzyx\t\ttrain")
    with pytest.raises(ConfigError, match=r"line 3: volume 'b' has role train but no labels"):
        read_table(path, tmp_path)


def test_M041_a_channel_axis_of_length_1_makes_no_difference(tmp_path: Path) -> None:
    xyz = IMAGE.transpose(2, 1, 0)
    plain = parse_address(store(tmp_path / "a.h5", "raw", xyz) + "@xyz")
    channel = parse_address(store(tmp_path / "b.h5", "raw", xyz[None]) + "@cxyz")
    assert np.array_equal(load(plain, order="czyx"), load(channel, order="czyx"))
    assert np.array_equal(load(channel), IMAGE)


def test_M041_a_file_of_three_channels_has_three(tmp_path: Path) -> None:
    address = parse_address(store(tmp_path / "a.h5", "raw", np.stack([IMAGE.transpose(2, 1, 0)] * 3)) + "@cxyz")
    with open_volume(address) as volume:
        assert (volume.channels, volume.size) == (3, SIZE)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32"])
def test_M042_the_largest_integer_becomes_1(dtype: str) -> None:
    top = np.iinfo(dtype).max
    coarse, _ = downsample(np.array([[[[0, top]]]], dtype), np.zeros((1, 1, 2), np.int16), 1)
    assert (coarse.dtype, coarse.tolist()) == (np.float32, [[[[0.0, 1.0]]]])
    assert float(top * scale_of(np.dtype(dtype))) == 1.0


def test_M042_a_float_image_is_untouched_and_labels_keep_their_type(tmp_path: Path) -> None:
    image = np.random.default_rng(1).random(SIZE).astype(np.float32)
    coarse, _ = downsample(image[None], np.zeros(SIZE, np.int16), 1)
    assert np.array_equal(coarse[0], image)
    for name, dtype in (("a", np.int16), ("b", np.float32), ("c", np.int64)):
        labels = np.full(SIZE, 3, dtype)
        found = load_labels(parse_address(store(tmp_path / f"{name}.h5", "l", labels)), SIZE)
        assert found.dtype == dtype
        assert np.array_equal(found, labels)


def test_M042_the_label_40000_stays_40000(tmp_path: Path) -> None:
    labels = np.full(SIZE, 40000, np.uint16)
    found = load_labels(parse_address(store(tmp_path / "a.h5", "l", labels)), SIZE)
    assert (int(found.min()), int(found.max())) == (40000, 40000)
    assert int(downsample(IMAGE[None], found, 2)[1].min()) == 40000


@pytest.mark.parametrize("shape", [(0,), (0, 0, 0)])
@pytest.mark.parametrize("axes", ["", "@xyz", "@zyx"])
def test_M042_an_empty_label_data_set_is_0_everywhere(tmp_path: Path, shape: tuple[int, ...], axes: str) -> None:
    found = load_labels(parse_address(store(tmp_path / "a.h5", "l", np.zeros(shape, np.int16)) + axes), SIZE)
    assert (found.shape, found.dtype, found.any()) == (SIZE, np.int16, False)


def held(read: Any) -> tuple[Any, int]:
    """What ``read`` gives, and the bytes that it still holds afterwards."""
    tracemalloc.start()
    found = read()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return found, size


def test_M043_loaded_volumes_take_no_more_than_4_bytes_for_image_and_2_for_labels(tmp_path: Path) -> None:
    size = Size(40, 128, 128)
    image = parse_address(store(tmp_path / "a.h5", "raw", np.zeros(size, np.uint8)))
    labels = parse_address(store(tmp_path / "a.h5", "labels", np.zeros(size, np.int16)))
    load(image)
    (_, _), taken = held(lambda: (load(image, order="czyx"), load_labels(labels, size)))
    assert taken < 1.2 * (4 + 2) * size.voxels
    assert taken < 1.05 * (1 + 2) * size.voxels


def test_M043_a_lazy_volume_takes_its_limit(tmp_path: Path) -> None:
    size = Size(40, 256, 256)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=np.zeros(size, np.uint8), chunks=(8, 64, 64))
    with open_volume(Address(tmp_path / "a.h5")) as volume:
        volume.read(Box(Size(0, 0, 0), Size(1, 1, 1)))
        cached = CachedVolume(volume, 500_000)

        def read_all_over() -> None:
            for z in range(0, 40, 8):
                for y in range(0, 256, 64):
                    cached.read(Box(Size(z, y, 0), Size(z + 8, y + 64, 256)))

        _, taken = held(read_all_over)
    assert cached.use.misses > 0
    assert taken < 600_000 < size.voxels / 4


def test_M045_labels_that_are_lost_are_told() -> None:
    (case,) = [case for case in json.loads(GOLDEN.read_text()) if case["offset_zxy"] == [3, 6, 6]]
    z, x, y = case["image_zxy"]
    u, w, v = case["label_zxy"]
    found = centre(Size(z, y, x), Size(u, v, w), Size(3, 6, 6))
    assert found.label_loss == (1, 1, 1)
    assert "labels lose 1 (z), 1 (y), 1 (x) voxels on each side" in found.warning
    assert centre(Size(z, y, x), Size(u, v, w), Size(2, 5, 5)).warning == ""


@pytest.mark.parametrize("order", ["".join(o) for letters in ("zyx", "czyx") for o in permutations(letters)])
def test_M050_the_same_data_transposed_is_the_same_volume(tmp_path: Path, order: str) -> None:
    """Image in any order with channel, labels in the same without it; by the column of the table and by ``@``."""
    image = np.stack([IMAGE, 255 - IMAGE]) if "c" in order else IMAGE
    source = "czyx"[-image.ndim :]
    stored = image.transpose([source.index(letter) for letter in order])
    of_labels = order.replace("c", "")
    labels = IMAGE.transpose(["zyx".index(letter) for letter in of_labels])
    files = store(tmp_path / "a.h5", "raw", stored), store(tmp_path / "a.h5", "ids", labels)
    by_column = read_table(table(tmp_path, f"a\t{files[0]}\t{files[1]}\t{order}\t\ttrain"), tmp_path)[0]
    by_mark = read_table(table(tmp_path, f"a\t{files[0]}@{order}\t{files[1]}@{of_labels}\t\t\ttrain"), tmp_path)[0]
    assert by_column == by_mark
    assert by_column.labels is not None
    assert np.array_equal(load(by_column.image, order="czyx"), image if "c" in order else image[None])
    assert np.array_equal(load(by_column.labels), IMAGE)


def test_M050_image_and_labels_may_lie_in_different_orders(tmp_path: Path) -> None:
    files = store(tmp_path / "a.h5", "raw", IMAGE), store(tmp_path / "a.h5", "ids", IMAGE.transpose(2, 1, 0)[None])
    (row,) = read_table(table(tmp_path, f"a\t{files[0]}\t{files[1]}@cxyz\tzyx\t\ttrain"), tmp_path)
    assert row.labels is not None
    assert np.array_equal(load(row.image), load(row.labels))


def test_M063_a_factor_of_2_halves_the_section_and_takes_means_of_blocks() -> None:
    image = np.random.default_rng(2).integers(0, 256, (2, 3, 8, 10), np.uint8)
    coarse, _ = downsample(image, np.zeros((3, 8, 10), np.int16), 2)
    assert coarse.shape == (2, 3, 4, 5)
    for c, z, y, x in np.ndindex(coarse.shape):
        block = image[c, z, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        assert coarse[c, z, y, x] == pytest.approx(block.mean() / 255, rel=1e-6)


def test_M063_a_block_takes_the_label_of_most_and_is_ignored_if_a_part_is() -> None:
    """ELEKTRONN 1 takes the floor of the mean: 1 only where all are 1, and −1 among zeros by accident."""
    labels = np.array([[[1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 1, -1, 0]]])
    _, found = downsample(np.zeros((1, *labels.shape), np.uint8), labels, 2)
    assert found.tolist() == [[[1, 1, 0, -1]]]
