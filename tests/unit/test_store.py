"""Store to store: formats, types, classes, coarser levels, what is kept beside the values, and what resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
import zarr
from numpy.typing import NDArray

from elektronn.artefacts import digest
from elektronn.axes import Box, Size, whole
from elektronn.errors import CheckFailed, ConfigError, DataError, StorageError
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import plan as planning
from elektronn.prediction import stage
from elektronn.prediction.certificate import Certificate
from elektronn.prediction.dense import Engine
from elektronn.prediction.forecast import Forecast
from elektronn.prediction.plan import Plan, block_for
from elektronn.prediction.pyramid import levels_for, means
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.work import Work
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume, load, open_volume

CPU = torch.device("cpu")
NET = NetworkSettings(
    kernels=((1, 4, 4), (2, 3, 3), (2, 2, 2)), pools=((1, 2, 2), (2, 1, 3), (1, 1, 1)), features=(4, 5, 6), classes=3
)
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 90, 100), dtype=np.uint8)


@pytest.fixture
def network() -> Network:
    return build(chain(NET), seed=4)


@pytest.fixture
def truth(network: Network) -> NDArray[np.float32]:
    return Engine(network, CPU).block(IMAGE[None])


@pytest.fixture
def model(tmp_path: Path, network: Network) -> Path:
    save_model(tmp_path / "model.safetensors", network, {"fingerprint": "f"})
    return tmp_path / "model.safetensors"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of which a small volume has several."""
    monkeypatch.setattr(planning, "SHARD", Size(8, 64, 64))
    monkeypatch.setattr(planning, "LARGEST", 1)
    monkeypatch.setattr("elektronn.prediction.work.CHUNKS", Size(2, 16, 16))


def predict(
    model: Path, source: str, out: str, say: Callable[[str], None] = lambda text: None, **settings: Any
) -> Certificate:
    chosen = PredictSettings(threads=1, **{"output": "float32", "certificate": 4, **settings})
    address = parse_address(out)
    manifest = address.path.with_name(address.path.name + ".json")
    return stage.predict(model, parse_address(source), address, manifest, chosen, device=CPU, say=say)


def sources(folder: Path) -> dict[str, str]:
    """The image in every format that is read."""
    with h5py.File(folder / "a.h5", "w") as file:
        file["raw"] = IMAGE
        file["turned"] = IMAGE.transpose(2, 1, 0)
    np.save(folder / "a.npy", IMAGE)
    tifffile.imwrite(folder / "a.tif", IMAGE)
    for name, mark in (("v3", ""), ("v2", "@ngff0.4")):
        with create_volume(parse_address(f"{folder}/{name}.zarr{mark}"), IMAGE.shape, IMAGE.dtype) as sink:
            sink.write(whole(IMAGE.shape), IMAGE)
    names = {name: f"{folder}/{name}" for name in ("a.npy", "a.tif", "v3.zarr", "v2.zarr")}
    return {**names, "hdf5": f"{folder}/a.h5:raw", "xyz": f"{folder}/a.h5:turned@xyz"}


PAIRS = [(source, "p.zarr") for source in ("a.npy", "a.tif", "v3.zarr", "v2.zarr", "hdf5", "xyz")]
PAIRS += [(source, out) for source in ("v2.zarr", "hdf5") for out in ("p.zarr@ngff0.4", "p.h5", "p.npy")]
"""Each input once, each output twice."""


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("source", "out"), PAIRS)
def test_every_input_gives_the_same_in_every_output(
    tmp_path: Path, model: Path, truth: NDArray[np.float32], source: str, out: str
) -> None:
    predict(model, sources(tmp_path)[source], f"{tmp_path}/{out}")
    found = load(parse_address(f"{tmp_path}/{out.partition('@')[0]}"), order="czyx")
    np.testing.assert_allclose(found, truth, atol=2e-6)
    assert not (tmp_path / f"{out.partition('@')[0]}.part").exists()


@pytest.mark.parametrize(("output", "step"), [("uint8", 0.5 / 255), ("float16", 2**-12), ("float32", 0)])
def test_types_hold_the_probability_to_their_step(
    tmp_path: Path, model: Path, truth: NDArray[np.float32], output: str, step: float
) -> None:
    certificate = predict(model, sources(tmp_path)["hdf5"], f"{tmp_path}/p.zarr", output=output, certificate=64)
    with open_volume(parse_address(f"{tmp_path}/p.zarr")) as volume:
        assert volume.dtype == output
        said = volume.attributes
        values = volume.read(order="czyx") / (255 if output == "uint8" else 1)
    assert said["value"] == ("p * 255" if output == "uint8" else "p")
    assert np.abs(values - truth).max() <= step + 2e-6
    assert certificate.voxels >= 64
    assert certificate.largest <= step + 2e-6


@pytest.mark.parametrize(("classes", "shape"), [((2, 0), (2, 16, 80, 88)), ((1,), (16, 80, 88))])
def test_chosen_classes_are_stored_in_the_given_order(
    tmp_path: Path, model: Path, truth: NDArray[np.float32], classes: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    predict(model, sources(tmp_path)["hdf5"], f"{tmp_path}/p.zarr", classes=classes)
    with open_volume(parse_address(f"{tmp_path}/p.zarr")) as volume:
        assert tuple(volume.stored.shape) == (len(classes),) * (len(classes) > 1) + truth.shape[1:]
        np.testing.assert_allclose(volume.read(order="czyx"), truth[list(classes)], atol=2e-6)
        assert volume.attributes["classes"] == (["boundary"] if classes == (1,) else list(classes))


@pytest.mark.parametrize("classes", [(), (3,), (1, 1)])
def test_classes_that_are_not_there_are_refused(tmp_path: Path, model: Path, classes: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="the model has the classes 0 to 2; name some of them, each once"):
        predict(model, sources(tmp_path)["hdf5"], f"{tmp_path}/p.zarr", classes=classes)


def test_place_in_space_of_an_image_that_has_one_is_kept(tmp_path: Path, model: Path, network: Network) -> None:
    with create_volume(
        parse_address(f"{tmp_path}/a.zarr"), IMAGE.shape, IMAGE.dtype, voxel_nm=(40, 8, 8), origin_nm=(1000, 200, 300)
    ) as sink:
        sink.write(whole(IMAGE.shape), IMAGE)
    predict(model, f"{tmp_path}/a.zarr[1:,2:,3:]", f"{tmp_path}/p.zarr")
    offset = network.geometry.offset
    with open_volume(parse_address(f"{tmp_path}/p.zarr")) as volume:
        assert volume.voxel_nm == (40, 8, 8)
        expected = [o + (a + b) * v for o, a, b, v in zip((1000, 200, 300), (1, 2, 3), offset, (40, 8, 8))]
        assert list(volume.origin_nm or ()) == expected


def test_a_part_of_an_image_without_a_place_lies_where_it_lies_in_the_file(
    tmp_path: Path, model: Path, network: Network
) -> None:
    np.save(tmp_path / "a.npy", IMAGE)
    image, out, settings = parse_address(f"{tmp_path}/a.npy[1:,2:,3:]"), tmp_path / "p.zarr", PredictSettings(threads=1)
    voxel = (40.0, 8.0, 8.0)
    stage.predict(model, image, parse_address(str(out)), tmp_path / "p", settings, device=CPU, voxel_nm=voxel)
    with open_volume(parse_address(str(out))) as volume:
        expected = [(a + b) * v for a, b, v in zip((1, 2, 3), network.geometry.offset, voxel)]
        assert list(volume.origin_nm or ()) == expected
        assert volume.attributes["offset_vox"] == list(network.geometry.offset)


def test_a_voxel_size_that_is_said_later_makes_the_output_anew(tmp_path: Path, model: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGE)
    image, out, manifest = parse_address(f"{tmp_path}/a.npy"), tmp_path / "p.zarr", tmp_path / "p.json"
    settings = PredictSettings(threads=1, certificate=4)
    seen = []
    for voxel in (None, (40.0, 10.0, 10.0), (40, 10, 10)):
        made = stage.predict(model, image, parse_address(str(out)), manifest, settings, device=CPU, voxel_nm=voxel)
        with open_volume(parse_address(str(out))) as volume:
            seen.append((made.is_new, volume.voxel_nm))
    assert seen == [(True, None), (True, (40.0, 10.0, 10.0)), (False, (40.0, 10.0, 10.0))]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("mark", ["", "@ngff0.4"])
def test_coarser_levels_are_means_and_lie_where_their_voxels_lie(tmp_path: Path, model: Path, mark: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = IMAGE
        file["raw"].attrs["voxel_nm"] = (20.0, 10.0, 10.0)
    predict(model, f"{tmp_path}/a.h5:raw", f"{tmp_path}/p.zarr{mark}", pyramid=2, output="uint8")
    group = zarr.open_group(tmp_path / "p.zarr", mode="r")
    full, half, quarter = (np.asarray(group[key][...]) for key in "012")  # type: ignore[index]
    np.testing.assert_array_equal(half, means(full, (1, 2, 2)))
    np.testing.assert_array_equal(quarter, means(half, (2, 2, 2)))
    scales, shifts = zip(
        *(
            [step[step["type"]][1:] for step in level["coordinateTransformations"]]
            for level in dict(group.attrs).get("ome", group.attrs)["multiscales"][0]["datasets"]  # type: ignore[union-attr,index,call-overload]
        )
    )
    assert scales == ([20, 10, 10], [20, 20, 20], [40, 40, 40])
    first = np.array(shifts[0])
    assert np.array_equal(shifts[1] - first, [0, 5, 5])
    assert np.array_equal(shifts[2] - first, [10, 15, 15])
    with open_volume(parse_address(f"{tmp_path}/p.zarr:2")) as volume:
        assert volume.voxel_nm == (40, 40, 40)
        assert volume.axes == "czyx"


def test_means_at_the_far_end_are_of_what_is_there() -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 9)).astype(np.float32)
    found = means(values, (2, 2, 2))
    expected = [
        [[values[z : z + 2, y : y + 2, x : x + 2].mean() for x in range(0, 9, 2)] for y in range(0, 7, 2)]
        for z in range(0, 5, 2)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_levels_end_at_one_voxel_and_leave_single_sections_alone() -> None:
    assert [tuple(level.size) for level in levels_for(Size(1, 3, 2), None, 9)] == [(1, 2, 1), (1, 1, 1)]


def test_a_pyramid_in_a_file_that_cannot_hold_it_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match=r"set predict.pyramid to 0, or name an output ending .zarr"):
        predict(model, sources(tmp_path)["hdf5"], f"{tmp_path}/p.h5", pyramid=1)


def test_manifest_and_store_say_what_made_them(tmp_path: Path, model: Path) -> None:
    predict(model, sources(tmp_path)["hdf5"], f"{tmp_path}/p.zarr", certificate=64)
    said = json.loads((tmp_path / "p.zarr.json").read_text())
    assert said["inputs"] == {"model": digest(model), "image": digest(tmp_path / "a.h5")}
    assert said["sha256"] == digest(tmp_path / "p.zarr")
    with open_volume(parse_address(f"{tmp_path}/p.zarr")) as volume:
        stored = volume.attributes
    assert stored["model_sha256"] == said["inputs"]["model"]
    assert stored["image_sha256"] == said["inputs"]["image"]
    assert stored["certificate_voxels"] == said["certificate"]["voxels"] == 64
    assert stored["certificate_largest_difference"] == said["certificate"]["largest_difference"]
    assert len(stored["settings_sha256"]) == 64


def test_the_same_facts_lie_in_hdf5(tmp_path: Path, model: Path) -> None:
    predict(model, sources(tmp_path)["a.npy"], f"{tmp_path}/p.h5")
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["data"].attrs["model_sha256"] == digest(model)
        assert file["data"].attrs["certificate_voxels"] == 4


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("spoil", ["remove", "change", "swap"])
def test_a_block_that_is_not_what_was_written_is_noticed_and_made_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    source, out = sources(tmp_path)["hdf5"], f"{tmp_path}/p.zarr"
    predict(model, source, f"{tmp_path}/whole.zarr")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            predict(model, source, out)
    chunks = sorted(f for f in (tmp_path / "p.zarr.part" / "store.zarr" / "0" / "c").rglob("*") if f.is_file())
    if spoil == "remove":
        chunks[3].unlink()
    elif spoil == "change":
        chunks[3].write_bytes(chunks[3].read_bytes()[:-1] + b"x")
    else:
        chunks[3].write_bytes(chunks[4].read_bytes())
    with pytest.raises(CheckFailed, match=r"1 blocks of \d+ \(0-\d+\) are computed again by the same command"):
        predict(model, source, out)
    assert not Path(out).exists()
    predict(model, source, out)
    assert digest(Path(out)) == digest(tmp_path / "whole.zarr")


def zarr_image(folder: Path, values: NDArray[np.uint8] = IMAGE) -> str:
    """An image of many small files."""
    with create_volume(parse_address(f"{folder}/image.zarr"), IMAGE.shape, IMAGE.dtype, chunks=(4, 16, 16)) as sink:
        sink.write(whole(IMAGE.shape), values)
    return f"{folder}/image.zarr"


def parts(store: str) -> list[Path]:
    """Files of the array of a store, in the order of the volume."""
    return sorted(f for f in (Path(store) / "0" / "c").rglob("*") if f.is_file())


def done(out: str) -> dict[str, bytes]:
    """Blocks that are finished, and where their files lie: a block that is made again lies elsewhere."""
    marks = {f.name: json.loads(f.read_text()) for f in Path(f"{out}.part/blocks").glob("*.done")}
    places = {
        name: [Path(f"{out}.part/store.zarr", file).stat().st_mtime_ns for file in said["files"]]
        for name, said in marks.items()
    }
    return {name: repr(times).encode() for name, times in places.items()}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_a_damaged_input_keeps_what_was_finished_and_the_repaired_one_goes_on(
    tmp_path: Path, model: Path, damage: str
) -> None:
    image, out = zarr_image(tmp_path), f"{tmp_path}/p.zarr"
    last = parts(image)[-1]
    right, status = last.read_bytes(), last.stat()
    last.write_bytes(right[: len(right) // 2] if damage == "cut" else right[:-600] + bytes(600))
    with pytest.raises(
        DataError,
        match=r"image.zarr: cannot be read .* lies in zyx \(.* what is finished stays in .*p.zarr.part, and the same",
    ):
        predict(model, image, out)
    before = done(out)
    assert len(before) > 3
    last.write_bytes(right)
    os.utime(last, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = dict[str, bytes]()
    finish, said = stage.finish, list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "finish", lambda job, claims: after.update(done(out)) or finish(job, claims))
        predict(model, image, out, say=said.append)
    assert before.items() <= after.items(), "what was finished is not made again"
    assert f"of {len(before)} finished blocks {len(before)} stay, 0 saw what changed" in said[0]
    predict(model, image, f"{tmp_path}/whole.zarr")
    assert digest(Path(out)) == digest(tmp_path / "whole.zarr")


@pytest.mark.usefixtures("small_blocks")
def test_after_a_change_of_the_image_only_blocks_that_saw_it_are_made_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, out = zarr_image(tmp_path), f"{tmp_path}/p.zarr"
    finish = stage.finish
    with monkeypatch.context() as patch:
        patch.setattr(stage, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            predict(model, image, out, pyramid=1)
    before, after, said = done(out), dict[str, bytes](), list[str]()
    array: Any = zarr.open_group(image, mode="r+")["0"]
    array[:4, :16, :16] = 7
    monkeypatch.setattr(stage, "finish", lambda job, claims: after.update(done(out)) or finish(job, claims))
    predict(model, image, out, pyramid=1, say=said.append)
    assert {name for name in before if before[name] != after[name] and name[0] == "0"} == {"0-0000000.done"}
    blocks = sum(name[0] == "0" for name in before)
    assert f"of {blocks} finished blocks {blocks - 1} stay, 1 saw what changed" in said[0]
    predict(model, image, f"{tmp_path}/whole.zarr", pyramid=1)
    assert digest(Path(out)) == digest(tmp_path / "whole.zarr")


@pytest.mark.usefixtures("small_blocks")
def test_another_image_on_unfinished_work_is_refused(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, out = zarr_image(tmp_path), f"{tmp_path}/p.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(stage, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            predict(model, image, out)
    before = done(out)
    zarr_image(tmp_path, 255 - IMAGE)
    with pytest.raises(ConfigError, match=r"made with another content of the image; go on with what it was begun with"):
        predict(model, image, out)
    assert done(out) == before


@pytest.mark.usefixtures("small_blocks")
def test_an_image_that_changes_while_it_is_predicted_gives_no_output_before_it_is_looked_at_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sources(tmp_path)["hdf5"]
    write = Work.write

    def touched(self: Work, *rest: Any) -> Any:
        os.utime(tmp_path / "a.h5", (1, 1))
        return write(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Work, "write", touched)
        with pytest.raises(DataError, match="was changed while it was predicted; leave it alone and predict once more"):
            predict(model, source, f"{tmp_path}/p.zarr")
    assert not (tmp_path / "p.zarr").exists()
    monkeypatch.setattr(Work, "write", lambda *_: pytest.fail("all blocks are there and right"))
    predict(model, source, f"{tmp_path}/p.zarr")


def test_an_output_of_something_else_is_replaced_only_at_the_end(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = sources(tmp_path)["hdf5"], tmp_path / "p.zarr"
    predict(model, source, str(out))
    before = digest(out)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "finish", lambda *_: (_ for _ in ()).throw(StorageError("full")))
        with pytest.raises(StorageError):
            predict(model, source, str(out), output="uint8")
        assert digest(out) == before
    predict(model, source, str(out), output="uint8")
    with open_volume(parse_address(str(out))) as volume:
        assert volume.dtype == np.uint8
    assert sorted(f.name for f in tmp_path.iterdir() if f.name.startswith((".", "p."))) == ["p.zarr", "p.zarr.json"]


def test_blocks_are_whole_files_of_the_store(tmp_path: Path) -> None:
    geometry = build(chain(NET), seed=1).geometry
    wide = build(chain(NetworkSettings(kernels=((1, 4, 4),) * 5, pools=((1, 2, 2),) * 5, features=(1,) * 5)), seed=1)
    size = Size(1000, 5000, 5000)
    for shape in (block_for(geometry, size), block_for(wide.geometry, size)):
        assert all(n % s == 0 for n, s in zip(shape, planning.SHARD))
    assert block_for(wide.geometry, size).y > block_for(geometry, size).y
    work = Work(parse_address(f"{tmp_path}/p.zarr"))
    work.folder.mkdir()
    work.begin(
        Plan(size, block_for(geometry, size), Size(1, 1, 1), {"settings": {}}), tuple(size), "uint8", attributes={}
    )
    first, second = (set(work.files(Box(Size(0, y, 0), Size(128, y + 256, 256)).slices)) for y in (0, 256))
    assert not first & second
    assert work.array().shards == tuple(planning.SHARD)


def test_a_disk_that_is_clearly_too_small_is_refused_before_the_work(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "elektronn.prediction.forecast.shutil.disk_usage", lambda path: type("Usage", (), {"free": 20_000})
    )
    with pytest.raises(
        StorageError, match=r"p.zarr: needs up to \d+\.\d MiB and the disk has 0\.0 MiB; free some space"
    ):
        predict(model, sources(tmp_path)["hdf5"], f"{tmp_path}/p.zarr")
    assert not (tmp_path / "p.zarr.part").exists()


def test_the_forecast_names_needs_means_and_what_is_tight() -> None:
    gib = 2.0**30
    said = Forecast(4 * gib, 300 * gib, 2 * gib, 100 * gib).line(5424)
    assert said == (
        "needs 4.00 GiB RAM, 300.0 GiB disk, about 90 min; you have 2.00 GiB RAM, 100.0 GiB disk: "
        "memory and disk may not be enough"
    )
    said = Forecast(gib, gib, 2 * gib, 2 * gib, 3 * gib).line(12, is_rough=True)
    assert said.startswith("needs 1.00 GiB RAM and 3.00 GiB on the GPU, 1.00 GiB disk, roughly 12 s; you have")


def holed(folder: Path, kind: str) -> str:
    """The image without its chunk at (10, 45, 0), in different formats."""
    corner = (slice(10, 20), slice(45, 90), slice(0, 50))
    if kind in ("hdf5", "never written"):
        with h5py.File(folder / "a.h5", "w") as file:
            data = file.create_dataset("raw", IMAGE.shape, "u1", chunks=(10, 45, 50), compression="gzip")
            empty = file.create_dataset("none", IMAGE.shape, "u1")
            assert empty.id.get_offset() is None
            for index in np.ndindex(2, 2, 2):
                place = tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, (10, 45, 50)))
                if place != corner:
                    data[place] = IMAGE[place]
        return f"{folder}/a.h5:{'raw' if kind == 'hdf5' else 'none'}"
    values = IMAGE.copy()
    values[corner] = 0  # left out by the library
    mark = "@ngff0.4" if kind == "zarr 2" else ""
    chunks = (10, 45, 50)
    if kind == "zarr 3":
        group = zarr.open_group(folder / "image.zarr", mode="w", zarr_format=3)
        group.create_array("0", shape=IMAGE.shape, dtype="u1", chunks=chunks)[...] = values
    else:
        with create_volume(
            parse_address(f"{folder}/image.zarr{mark}"), IMAGE.shape, IMAGE.dtype, chunks=chunks
        ) as sink:
            sink.write(whole(IMAGE.shape), values)
    if kind == "shard":
        parts(f"{folder}/image.zarr")[0].unlink()
    return f"{folder}/image.zarr"


@pytest.mark.parametrize(
    ("kind", "counted", "first"),
    [
        ("zarr 2", "1 of 8 chunk is", (10, 45, 0)),
        ("zarr 3", "1 of 8 chunk is", (10, 45, 0)),
        ("inside a shard", "1 of 8 chunk is", (10, 45, 0)),
        ("shard", "8 of 8 chunks are", (0, 0, 0)),
        ("hdf5", "1 of 8 chunk is", (10, 45, 0)),
        ("never written", "1 of 1 chunk is", (0, 0, 0)),
    ],
)
def test_missing_chunks_are_refused_or_taken_as_the_fill_value(
    tmp_path: Path, model: Path, network: Network, kind: str, counted: str, first: tuple[int, ...]
) -> None:
    source, said, out = holed(tmp_path, kind), list[str](), f"{tmp_path}/p.zarr"
    words = f"{source}: {counted} not in the file (the first at {first})"
    with pytest.raises(DataError) as refused:
        predict(model, source, out)
    assert str(refused.value) == (
        f"{words}: if a copy broke off, copy the image again; if the image is empty there, "
        "set predict.missing_chunks to fill, and they count as 0"
    )
    assert not Path(f"{out}.part").exists()
    certificate = predict(model, source, out, say=said.append, missing_chunks="fill")
    assert said[0] == f"warning: {words}; they count as 0"
    assert (
        certificate.missing_chunks == json.loads(Path(f"{out}.json").read_text())["missing_chunks"] == int(counted[0])
    )
    assert json.loads(Path(f"{out}.json").read_text())["warnings"] == [
        f"{words.removeprefix(f'{source}: ')}; they count as 0"
    ]
    image = IMAGE.copy()
    image[
        tuple(slice(n, None if kind in ("shard", "never written") else n + m) for n, m in zip(first, (10, 45, 50)))
    ] = 0
    np.testing.assert_allclose(
        load(parse_address(out), order="czyx"), Engine(network, CPU).block(image[None]), atol=2e-6
    )


def test_only_the_part_that_is_predicted_must_be_there(tmp_path: Path, model: Path) -> None:
    source = holed(tmp_path, "inside a shard")
    certificate = predict(model, f"{source}[:,:,50:]", f"{tmp_path}/p.zarr")
    assert certificate.missing_chunks == 0
    with pytest.raises(DataError, match=r"1 of 4 chunk is .* at \(10, 45, 0\)"):
        predict(model, f"{source}[:,:,:50]", f"{tmp_path}/q.zarr")


@pytest.mark.parametrize("kind", ["hdf5", "tiff"])
def test_a_damaged_chunk_of_other_formats_is_told_with_its_place(tmp_path: Path, model: Path, kind: str) -> None:
    if kind == "hdf5":
        with h5py.File(tmp_path / "a.h5", "w") as file:
            data = file.create_dataset("raw", data=IMAGE, chunks=(10, 45, 50), compression="gzip")
            place = data.id.get_chunk_info(6).byte_offset
        source = f"{tmp_path}/a.h5:raw"
    else:
        tifffile.imwrite(tmp_path / "a.tif", IMAGE, compression="zlib", rowsperstrip=45)
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            place = tiff.pages[12].dataoffsets[1]
        source = f"{tmp_path}/a.tif"
    path = parse_address(source).path
    content = bytearray(path.read_bytes())
    content[place + 20 : place + 60] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.\w+(:raw)?: cannot be read .* lies in zyx \(0, 0, 0\) to"):
        predict(model, source, f"{tmp_path}/p.zarr")
    assert not (tmp_path / "p.zarr").exists()


@pytest.mark.parametrize(
    ("out", "says"),
    [("p.tif", "TIFF files are read only"), ("p.npy:key", "has no key 'key'"), ("p.h5@xyz", "leave @xyz out")],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, model: Path, out: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        predict(model, "no such file.h5", f"{tmp_path}/{out}")
