"""Segmentation of files: what the command reads, writes, keeps and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.artefacts import digest
from elektronn.axes import whole
from elektronn.cli.main import main
from elektronn.errors import ConfigError, DataError
from elektronn.evaluation.compare import compare
from elektronn.evaluation.segments import measures
from elektronn.segmentation.contacts import contacts, summed
from elektronn.segmentation.depth import Landscape
from elektronn.segmentation.settings import AgglomerateSettings, SegmentSettings
from elektronn.segmentation.stage import segment
from elektronn.settings import parse
from elektronn.volumes.address import Address, parse_address
from elektronn.volumes.arrays import create_volume, load, open_volume

SMALL = SegmentSettings(seed_nm=20.0, min_voxels=0, block=(3, 8, 8))


def store(path: Path, values: np.ndarray, **given: Any) -> Address:
    address = Address(path)
    with create_volume(address, values.shape, values.dtype, **given) as sink:
        sink.write(whole(values.shape[-3:]), values)
    return address


def rooms(size: tuple[int, int, int] = (6, 20, 24)) -> np.ndarray:
    """Probability of boundary: four rooms with walls two voxels wide."""
    p = np.zeros(size, np.float32)
    p[:, 9:11] = p[:, :, 11:13] = 1
    return p


def test_rooms_become_segments_that_share_the_walls(tmp_path: Path) -> None:
    p = store(tmp_path / "p.h5", (rooms() * 255).astype(np.uint8), voxel_nm=(30, 10, 10))
    assert segment(p, Address(tmp_path / "ids.h5"), SMALL) == 4
    ids = load(Address(tmp_path / "ids.h5"))
    assert ids.dtype == np.uint32
    expected = np.ones((6, 20, 24), int)
    expected[:, :, 12:] += 1
    expected[:, 10:] += 2
    assert (ids[rooms() == 0] == expected[rooms() == 0]).all()
    assert (ids > 0).all()
    open_walls = SMALL.model_copy(update={"fill_boundaries": False})
    segment(p, Address(tmp_path / "open.h5"), open_walls)
    assert np.array_equal(load(Address(tmp_path / "open.h5")), np.where(rooms() == 0, expected, 0))


def test_a_narrow_gap_is_cut_and_a_wide_one_is_not(tmp_path: Path) -> None:
    p = rooms()
    p[:, 4:6, 11:13] = 0
    narrow = store(tmp_path / "p.h5", p, voxel_nm=(30, 10, 10))
    assert segment(narrow, Address(tmp_path / "a.h5"), SMALL) == 4
    p[:, 2:8, 11:13] = 0
    wide = store(tmp_path / "q.h5", p, voxel_nm=(30, 10, 10))
    assert segment(wide, Address(tmp_path / "b.h5"), SMALL) == 3


def test_small_segments_fall_to_their_neighbours_and_what_no_seed_reaches_is_kept(tmp_path: Path) -> None:
    p = rooms((1, 20, 24))
    p[:, 4:8, 4:8] = 1
    p[:, 5:7, 5:7] = 0  # a thin neurite: 4 voxels of interior, nowhere deep enough for a seed
    source = store(tmp_path / "p.h5", p, voxel_nm=(30, 10, 10))
    kept, dropped = (
        (segment(source, Address(tmp_path / f"{n}.h5"), SMALL.model_copy(update={"min_voxels": n})), n) for n in (4, 5)
    )
    assert (kept, dropped) == ((5, 4), (4, 5))
    ids = load(Address(tmp_path / "5.h5"))
    assert (ids[0, 4:8, 4:8] == 1).all()


def test_anisotropic_voxels_are_measured_in_nanometres() -> None:
    boundary = np.zeros((3, 1, 9), np.float32)
    boundary[0, 0, 0] = 1
    costs = Landscape.of(0.5, 40.0, (30, 10, 10), False).costs(boundary)
    levels = Landscape.of(0.5, 40.0, (30, 10, 10), False).top - (costs >> np.uint64(32)).astype(int)
    depths = np.append(0, Landscape.of(0.5, 40.0, (30, 10, 10), False).depths)
    assert depths[levels[0, 0]].tolist() == [0, 10, 20, 30, 40, 40, 40, 40, 40]
    assert depths[levels[1, 0, :3]] == pytest.approx([30, np.hypot(30, 10), np.hypot(30, 20)])
    assert depths[levels[2, 0]].tolist() == [40] * 9
    alone = Landscape.of(0.5, 40.0, (30, 10, 10), True)
    assert (alone.costs(boundary)[1:] < 1 << 32).all()


def test_sections_by_themselves_share_no_id(tmp_path: Path) -> None:
    source = store(tmp_path / "p.h5", rooms(), voxel_nm=(30, 10, 10))
    settings = SMALL.model_copy(update={"per_section": True})
    assert segment(source, Address(tmp_path / "ids.h5"), settings) == 24
    ids = load(Address(tmp_path / "ids.h5"))
    assert [np.unique(section).tolist() for section in ids] == [list(range(4 * z + 1, 4 * z + 5)) for z in range(6)]


def test_ngff_lies_on_its_image_and_is_compared_with_the_truth(tmp_path: Path) -> None:
    said = {"image_size": [10, 24, 28]}
    p = np.stack([1 - rooms(), rooms()])
    source = store(tmp_path / "p.zarr", p, voxel_nm=(30, 10, 10), offset_vox=(2, 2, 2), attributes=said)
    out = tmp_path / "ids.zarr"
    assert segment(parse_address(f"{source.path}[1:5]"), Address(out), SMALL) == 4
    group = json.loads((out / "zarr.json").read_text())["attributes"]
    steps = group["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert steps == [
        {"type": "scale", "scale": [30, 10, 10]},
        {"type": "translation", "translation": [90, 20, 20]},
    ]
    with open_volume(Address(out)) as volume:
        assert volume.attributes["kind"] == "segmentation"
        assert volume.attributes["segments"] == 4
        assert json.loads(volume.attributes["segment"])["seed_nm"] == 20
        assert "block" not in json.loads(volume.attributes["segment"])
        assert (volume.size, volume.voxel_nm) == ((4, 20, 24), (30, 10, 10))
    truth = np.zeros((10, 24, 28), np.uint32)
    truth[3:7, 2:22, 2:26] = load(Address(out))
    table, place = compare(Address(out), store(tmp_path / "t.h5", truth), (2, 9, 9))
    assert measures(table, None)["v_rand"] == 1
    assert place.image == (3, 2, 2)


def test_types_of_probability_agree(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    p = np.clip(rooms() + random.normal(0, 0.2, rooms().shape), 0, 1)
    bytes_ = np.rint(p * 255).astype(np.uint8)
    results = []
    for name, values in (
        ("a.npy", bytes_),
        ("b.npy", bytes_.astype(np.uint16) * 257),
        ("c.npy", (bytes_ / 255).astype(np.float32)),
        ("d.npy", bytes_ / 255),
    ):
        segment(store(tmp_path / name, values), Address(tmp_path / f"{name}.h5"), SMALL, voxel_nm=(30, 10, 10))
        results.append(load(Address(tmp_path / f"{name}.h5")))
    assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.full((2, 8, 8), np.nan, np.float32), "lie between nan and nan"),
        (np.full((2, 8, 8), 1.5, np.float32), "lie between 1.5 and 1.5"),
        (np.zeros((2, 8, 8), np.int32), "the probabilities are int32"),
        (np.full((2, 8, 8), 255, np.uint8), "nothing was left to keep"),
    ],
)
def test_what_is_no_probability_is_refused_and_nothing_is_left(tmp_path: Path, values: np.ndarray, says: str) -> None:
    source = store(tmp_path / "p.npy", values)
    with pytest.raises(DataError, match=says):
        segment(source, Address(tmp_path / "ids.zarr"), SMALL, voxel_nm=(30, 10, 10))
    assert [file.name for file in tmp_path.iterdir()] == ["p.npy"]


def test_a_voxel_size_is_needed_and_the_input_is_not_overwritten(tmp_path: Path) -> None:
    source = store(tmp_path / "p.npy", rooms())
    with pytest.raises(ConfigError, match="--voxel-nm Z Y X"):
        segment(source, Address(tmp_path / "ids.zarr"), SMALL)
    with pytest.raises(ConfigError, match="would replace the probability"):
        segment(source, source, SMALL, voxel_nm=(30, 10, 10))


def test_progress_counts_to_its_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = store(tmp_path / "p.npy", rooms())
    segment(source, Address(tmp_path / "i.npy"), SMALL, voxel_nm=(30, 10, 10), progress=lambda *n: seen.append(n))
    assert seen == [(i, 19) for i in range(1, 20)]


def test_command_writes_ids_and_fails_with_its_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = store(tmp_path / "p.npy", rooms())
    words = ["segment", str(source), str(tmp_path / "ids.zarr")]
    options = ["--voxel-nm", "30", "10", "10", "--set", "segment.min_voxels=0", "--log", str(tmp_path / "log")]
    assert main([*words, *options]) == 0
    assert f"{tmp_path / 'ids.zarr'}: 4 segments of {source}" in (tmp_path / "log").read_text()
    assert load(Address(tmp_path / "ids.zarr")).max() == 4
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ids.zarr", "ids.zarr.json", "log", "p.npy"]
    assert main(words) == 2
    assert "does not say its voxel size" in capfd.readouterr().err
    assert main(["segment", str(tmp_path / "no.h5"), str(tmp_path / "b.zarr")]) == 4
    assert main([*words, *options, "--set", "segment.seed_nm=-1"]) == 2
    assert "segment.seed_nm: -1 is too small" in capfd.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["segment", str(source), str(tmp_path / "file" / "a.zarr"), *options[:4]]) == 5


def test_a_failure_in_the_middle_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = store(tmp_path / "p.npy", rooms()), Address(tmp_path / "ids.npy")
    manifest = tmp_path / "ids.json"
    segment(source, out, SMALL, voxel_nm=(30, 10, 10), manifest=manifest)
    before = out.path.read_bytes(), manifest.read_bytes()

    def breaks(done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    other = SegmentSettings(block=(2, 9, 9), min_voxels=1)
    with pytest.raises(KeyboardInterrupt):
        segment(source, out, other, voxel_nm=(30, 10, 10), manifest=manifest, progress=breaks)
    assert (out.path.read_bytes(), manifest.read_bytes()) == before
    assert len(list(tmp_path.iterdir())) == 3


def weak_walls() -> np.ndarray:
    """Four rooms; the wall along x is boundary everywhere, of the one along y only half of its length."""
    p = rooms()
    p[:, 9:11, :11] = np.where(np.arange(11) % 2, 0.55, 0.1)
    return p


MERGING = SMALL.model_copy(update={"seed_nm": 30.0, "agglomerate": AgglomerateSettings()})


def test_rooms_behind_a_weak_wall_become_one(tmp_path: Path) -> None:
    source = store(tmp_path / "p.h5", np.rint(weak_walls() * 65535).astype(np.uint16), voxel_nm=(30, 10, 10))
    assert segment(source, Address(tmp_path / "four.h5"), MERGING.model_copy(update={"agglomerate": None})) == 4
    assert segment(source, Address(tmp_path / "ids.h5"), MERGING) == 3
    ids = load(Address(tmp_path / "ids.h5"))
    assert [ids[0, y, x] for y, x in ((0, 0), (0, 23), (19, 0), (19, 23))] == [1, 2, 1, 3]
    low = MERGING.model_copy(update={"agglomerate": AgglomerateSettings(threshold=0.2)})
    assert segment(source, Address(tmp_path / "low.h5"), low) == 4


def test_contacts_count_each_face_once_and_weigh_it_by_its_area() -> None:
    ids = np.array([[[1, 1], [2, 0]], [[1, 3], [3, 3]]], np.uint64)
    p = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    found = contacts(ids, p, (slice(0, 2),) * 3, per_section=False)
    assert found.pairs.tolist() == [[1, 2], [1, 3], [2, 3]]
    assert found.faces.tolist() == [[0, 1, 0], [1, 1, 1], [1, 0, 0]]
    assert found.sums.tolist() == [[0, 2, 0], [6, 10, 9], [8, 0, 0]]
    assert found.areas((5, 2, 1)).tolist() == [5, 2 + 5 + 10, 2]
    assert found.means((5, 2, 1), 10)[1] == (6 * 2 + 10 * 5 + 9 * 10) / 17 / 20
    flat = contacts(ids, p, (slice(0, 2),) * 3, per_section=True)
    assert flat.faces.tolist() == [[0, 1, 0], [0, 1, 1]]
    parts = [contacts(ids, p, (slice(a, a + 1), slice(0, 2), slice(0, 2)), per_section=False) for a in (1, 0)]
    assert summed(parts).sums.tolist() == found.sums.tolist()


def test_one_segment_and_segments_that_do_not_touch_are_left_alone(tmp_path: Path) -> None:
    alone = store(tmp_path / "p.h5", np.zeros((2, 8, 8), np.float32), voxel_nm=(30, 10, 10))
    assert segment(alone, Address(tmp_path / "ids.h5"), MERGING) == 1
    sections = store(tmp_path / "q.h5", np.zeros((3, 8, 8), np.uint8), voxel_nm=(30, 10, 10))
    assert segment(sections, Address(tmp_path / "s.h5"), MERGING.model_copy(update={"per_section": True})) == 3


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bioimage_cpp.graph", None)
    source = store(tmp_path / "p.npy", rooms())
    with pytest.raises(ConfigError, match=r"pip install 'elektronn\[agglomerate\]'"):
        segment(source, Address(tmp_path / "ids.zarr"), MERGING, voxel_nm=(30, 10, 10))
    assert segment(source, Address(tmp_path / "ids.npy"), SMALL, voxel_nm=(30, 10, 10)) == 4


def test_merging_needs_divided_boundaries() -> None:
    said = {"agglomerate": {"threshold": 0.4}, "fill_boundaries": False}
    with pytest.raises(ConfigError, match="segment: agglomerate: needs the boundary"):
        parse(SegmentSettings, said, "segment")
    assert parse(SegmentSettings, {"agglomerate": {}}, "segment").agglomerate == AgglomerateSettings(threshold=0.5)


def test_the_manifest_says_what_made_the_ids(tmp_path: Path) -> None:
    source = store(tmp_path / "p.npy", rooms())
    options = ["--voxel-nm", "30", "10", "10", "--set", "segment.min_voxels=0", "--set", "segment.agglomerate={}"]
    assert main(["segment", str(source), str(tmp_path / "ids.zarr"), *options]) == 0
    said = json.loads((tmp_path / "ids.zarr.json").read_text())
    assert (said["store"], said["sha256"], said["segments"]) == ("ids.zarr", digest(tmp_path / "ids.zarr"), 4)
    assert said["inputs"] == {"probability": digest(tmp_path / "p.npy")}
    assert said["settings"]["agglomerate"] == {"threshold": 0.5}
    assert list(said["libraries"]) == ["bioimage-cpp"]
    with open_volume(Address(tmp_path / "ids.zarr")) as volume:
        assert volume.attributes["probability_sha256"] == said["inputs"]["probability"]
        assert volume.attributes["fingerprint"] == said["fingerprint"]
