"""Comparison of segmentations: the worked page, files, blocks, border, background, thinning, the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.axes import whole
from elektronn.cli.main import main
from elektronn.errors import ConfigError, DataError
from elektronn.evaluation.compare import compare, near_border
from elektronn.evaluation.contingency import contingency, summed
from elektronn.evaluation.segments import DEFINITIONS, adapted_rand_errors, measures
from elektronn.evaluation.thinning import CUTS, section_scores, thin, thinned
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import create_volume

PAGE = (Path(__file__).parents[2] / "docs" / "segmentation_metrics.md").read_text(encoding="utf-8")


def grid(name: str) -> np.ndarray:
    rows = re.search(rf"^    {name}\n((?:    [\d ]+\n)+)", PAGE, re.MULTILINE)
    assert rows
    return np.array([line.split() for line in rows[1].splitlines()], int)


def cells(start: str) -> list[str]:
    row = re.search(rf"^\| `{re.escape(start)}`.*\|$", PAGE, re.MULTILINE)
    assert row
    return [cell.strip() for cell in row[0].strip("|").split("|")]


def store(path: Path, values: np.ndarray, **attributes: Any) -> Address:
    address = Address(path)
    with create_volume(address, values.shape, values.dtype, **attributes) as sink:
        sink.write(whole(values.shape), values)
    return address


@pytest.mark.parametrize("name", ["cremi", "singletons", "scikit-image", "funlib"])
def test_page_shows_the_four_adapted_rand_errors(name: str) -> None:
    table = contingency(grid("truth"), grid("prediction"))
    lines = PAGE[PAGE.index("## Four definitions") : PAGE.index("## What background")]
    shown = re.search(rf"^\| `{name}` \|.*\| ([\d.]+) \|$", lines, re.MULTILINE)
    assert shown
    assert f"{adapted_rand_errors(table)[name]:.4f}" == shown[1]


@pytest.mark.parametrize("background", ["segment", "singletons", "ignore"])
def test_page_shows_the_three_meanings_of_background(background: Any) -> None:
    found = measures(contingency(grid("truth"), grid("prediction")), background)
    lines = PAGE[PAGE.index("## What background") :]
    shown = re.search(rf"^\| `{background}`:.*?\| (.*) \|$", lines, re.MULTILINE)
    assert shown
    names = ("voi_split_bits", "voi_merge_bits", "v_rand", "v_info")
    assert [f"{found[name]:.4f}" for name in names] == shown[1].split(" | ")


def test_page_counts_its_voxels() -> None:
    found = measures(contingency(grid("truth"), grid("prediction")), "segment")
    text = f"{found['voxels']} voxels count, {found['background_voxels']} of them have the predicted id 0"
    assert text in " ".join(PAGE.split())


def test_every_figure_has_its_definition_beside_it() -> None:
    found = measures(contingency(grid("truth"), grid("prediction")), "segment")
    figures = {name for name, value in found.items() if isinstance(value, float)}
    figures |= {f"adapted_rand_error.{name}" for name in found["adapted_rand_error"]}
    assert figures == set(found["definitions"]) == set(DEFINITIONS)


def test_background_without_a_word_about_it_is_refused_and_harmless_without_background() -> None:
    with pytest.raises(ConfigError, match=r"id 0 at 9 of the 38 voxels .* --background \{segment,singletons,ignore\}"):
        measures(contingency(grid("truth"), grid("prediction")), None)
    table = contingency(grid("truth"), grid("prediction") + 1)
    assert measures(table, None)["v_rand"] == measures(table, "segment")["v_rand"]
    outside = contingency(np.array([0, 1]), np.array([0, 3]))
    assert measures(outside, None)["background"] == "none"


def test_hand_computed_merger_and_split() -> None:
    truth = np.array([1, 1, 2, 2])
    merged, split = (measures(contingency(truth, np.array(ids)), None) for ids in ([9, 9, 9, 9], [1, 2, 3, 4]))
    assert (merged["voi_split_bits"], merged["voi_merge_bits"]) == (0, 1)
    assert (split["voi_split_bits"], split["voi_merge_bits"]) == (1, 0)
    assert merged["v_rand"] == split["v_rand"] == 2 / 3
    assert (merged["v_info"], split["v_info"]) == (0, 2 / 3)
    assert split["adapted_rand_error"]["scikit-image"] == 1


def test_one_segment_each_is_perfect_and_undefined_only_where_nothing_can_be_divided() -> None:
    one = measures(contingency(np.ones(1, int), np.ones(1, int)), None)
    assert (one["v_info"], one["v_rand"], one["voi_bits"]) == (1, 1, 0)
    assert one["adapted_rand_error"]["scikit-image"] is None
    none = measures(contingency(np.zeros(1, int), np.ones(1, int)), None)
    assert (none["v_info"], none["v_rand"], none["voi_bits"]) == (None, None, None)


def test_ids_of_any_size_stay_apart() -> None:
    huge = np.array([2**64 - 1, 2**64 - 2, 2**53, 2**53 + 1], np.uint64)
    table = contingency(huge, huge)
    assert table.counts.tolist() == [1, 1, 1, 1]
    assert table.truth.tolist() == sorted(huge.tolist())


@pytest.mark.parametrize(
    ("truth", "found", "says"),
    [
        (np.ones(3, int), np.ones(4, int), "differ in size"),
        (np.ones(3, int), np.ones(3), "the predicted ids are float64"),
        (np.ones(3), np.ones(3, int), "the true ids are float64"),
        (np.ones(3, int), -np.ones(3, int), "the predicted ids hold -1"),
    ],
)
def test_what_is_no_pair_of_segmentations_is_refused(truth: np.ndarray, found: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=says):
        contingency(truth, found)


def cellular(seed: int, size: tuple[int, int, int]) -> np.ndarray:
    """Voronoi cells, ids from 1."""
    random = np.random.default_rng(seed)
    centres = random.random((12, 3)) * size
    places = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1)
    return (((places[..., None, :] - centres) ** 2).sum(-1).argmin(-1) + 1).astype(np.uint32)


def near_slowly(ids: np.ndarray, pixel: tuple[float, float], distance: float) -> np.ndarray:
    near = np.zeros(ids.shape, bool)
    for z, section in enumerate(ids):
        edges = [
            (y, x)
            for y, x in np.ndindex(section.shape)
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            if 0 <= y + dy < section.shape[0]
            and 0 <= x + dx < section.shape[1]
            and section[y, x] != section[y + dy, x + dx]
        ]
        for y, x in np.ndindex(section.shape):
            near[z, y, x] = any((pixel[0] * (y - a)) ** 2 + (pixel[1] * (x - b)) ** 2 <= distance**2 for a, b in edges)
    return near


@pytest.mark.parametrize(("pixel", "distance"), [((1, 1), 0), ((1, 1), 2), ((4, 3), 5), ((2, 5), 4.9)])
def test_border_mask_equals_the_obvious_one(pixel: tuple[float, float], distance: float) -> None:
    ids = cellular(0, (3, 14, 11))
    ids[2] = 1
    assert np.array_equal(near_border(ids, pixel, distance), near_slowly(ids, pixel, distance))


@pytest.mark.parametrize("border_nm", [None, 25.0])
@pytest.mark.parametrize("block", [(1, 3, 5), (4, 7, 6), (64, 512, 512)])
def test_files_are_compared_where_both_are_in_blocks_of_any_size(
    tmp_path: Path, block: tuple[int, int, int], border_nm: float | None
) -> None:
    truth, found = cellular(1, (8, 20, 22)), cellular(2, (8, 20, 22))
    truth[0, :5] = 0
    found[:, 3] = 0
    labels = store(tmp_path / "t.h5", truth[1:7, 2:18, 2:20], voxel_nm=(30, 10, 10))
    attributes = {"image_size": [8, 20, 22]}
    guess = store(tmp_path / "s.zarr", found[2:8, 1:15, 3:19], offset_vox=(2, 1, 3), attributes=attributes)
    table, place = compare(guess, labels, block, border_nm=border_nm)
    masked = near_slowly(truth[1:7, 2:18, 2:20], (10, 10), border_nm)[1:, :13, 1:17] if border_nm else None
    expected = contingency(truth[2:7, 2:15, 3:19], found[2:7, 2:15, 3:19], masked)
    for name in ("truth", "found", "counts", "ignored"):
        assert np.array_equal(getattr(table, name), getattr(expected, name)), name
    assert place.size == (5, 13, 16)


def test_a_border_in_nanometres_needs_a_voxel_size_and_something_must_be_left(tmp_path: Path) -> None:
    ids = store(tmp_path / "a.h5", cellular(3, (2, 6, 6)))
    with pytest.raises(ConfigError, match=r"neither .* says its voxel size"):
        compare(ids, ids, (1, 9, 9), border_nm=5)
    sized = store(tmp_path / "b.h5", cellular(3, (2, 6, 6)), voxel_nm=(30, 10, 10))
    with pytest.raises(DataError, match="no voxel with an id above 0 is left"):
        compare(ids, sized, (1, 9, 9), border_nm=500)


def test_many_tables_are_merged_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elektronn.evaluation.contingency.PENDING", 5)
    truth, found = cellular(4, (6, 9, 9)), cellular(5, (6, 9, 9))
    total, expected = summed(map(contingency, truth, found)), contingency(truth, found)
    assert np.array_equal(total.counts, expected.counts)
    assert np.array_equal(total.found, expected.found)


def test_thinning_ignores_the_width_of_a_boundary_and_sees_a_gap() -> None:
    interior = np.ones((9, 13), bool)
    interior[:, 6] = False
    wide, gap = np.zeros((2, 9, 13))
    wide[:, 4:9] = 0.95
    gap[:4, 6] = gap[6:, 6] = 0.95
    perfect, merged = (list(section_scores(p, interior)) for p in (wide, gap))
    assert perfect[5] == pytest.approx((1, 1))
    assert merged[5][0] == pytest.approx(2 / 3)
    assert merged[5][1] == 0
    assert perfect[10] == merged[10]


def test_lines_are_one_pixel_wide_and_separate() -> None:
    boundary = np.zeros((20, 20), bool)
    boundary[8:13] = boundary[:, 5:8] = True
    ids = thin(boundary)
    assert len(np.unique(ids)) == 5
    lines = ids == 0
    assert not (lines[1:, 1:] & lines[1:, :-1] & lines[:-1, 1:] & lines[:-1, :-1])[:8].any()
    assert not thin(np.ones((4, 4), bool)).any()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_thinned_files_take_the_mean_over_sections_at_the_best_cut(tmp_path: Path, dtype: str) -> None:
    random = np.random.default_rng(0)
    labels = np.zeros((4, 16, 16), np.int8)
    labels[:, :, 7] = 1
    labels[3] = 1
    p = np.clip(labels * 0.6 + random.random(labels.shape) * 0.35, 0, 1)
    stored = np.rint(p * 255).astype(np.uint8) if dtype == "uint8" else p.astype(np.float32)
    found, place = thinned(store(tmp_path / "p.zarr", stored), store(tmp_path / "l.h5", labels))
    fraction = stored / 255 if dtype == "uint8" else stored
    rows = np.mean([list(section_scores(fraction[z].astype(float), labels[z] == 0)) for z in range(3)], axis=0)
    plain = found.plain()
    assert (found.sections, place.size) == (3, (4, 16, 16))
    assert plain["v_rand_thinned"] == pytest.approx(rows[:, 0].max()) == pytest.approx(1)
    assert plain["v_info_thinned_above"] == CUTS[int(rows[:, 1].argmax())]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_command_writes_measures_and_prints_each_with_its_definition(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    truth, found = (store(tmp_path / f"{name}.h5", grid(name)[None]) for name in ("truth", "prediction"))
    out = tmp_path / "out" / "m.json"
    assert run("evaluate", found, truth, "--segmentation", "--json", out) == 2
    assert "say what it means: --background" in capfd.readouterr().err
    assert not out.exists()
    assert run("evaluate", found, truth, "--segmentation", "--background", "singletons", "--json", out) == 0
    said = capfd.readouterr().err
    result = json.loads(out.read_text())
    assert result["voi_split_bits"] == pytest.approx(1.4410, abs=1e-4)
    assert "predicted id 0 counts as: singletons" in said
    for name, words in DEFINITIONS.items():
        assert f"{name}: {words}" in said
    assert "  0.4576  adapted_rand_error.cremi" in said


def test_command_compares_several_volumes_by_role(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    truth, found = (store(tmp_path / f"{name}.h5", grid(name)[None]) for name in ("truth", "prediction"))
    pairs = ["--test", "a", found, truth, "--test", "b", truth, truth, "--valid", "v", found, truth]
    settings = ["--set", "evaluate.segments.background=segment"]
    assert run("evaluate", "--segmentation", *pairs, *settings, "--json", tmp_path / "m.json") == 0
    result = json.loads((tmp_path / "m.json").read_text())
    assert list(result["volumes"]) == ["v", "a", "b"]
    assert result["volumes"]["a"]["voi_split_bits"] == pytest.approx(0.9802, abs=1e-4)
    assert result["volumes"]["b"]["voi_bits"] == 0
    assert result["test"]["voi_split_bits"] == pytest.approx(0.9802 / 2, abs=1e-4)
    assert (result["test"]["voxels"], result["test"]["true_segments"]) == (76, 6)
    assert result["valid"]["v_rand"] == result["volumes"]["a"]["v_rand"]
    said = capfd.readouterr().err
    assert said.index("test:") < said.index("valid:")
    assert run("evaluate", "--segmentation", *pairs, "--json", tmp_path / "m.json") == 2
    assert "volume v: the prediction has background" in capfd.readouterr().err
    assert run("evaluate", "--segmentation", *pairs[:4], *pairs[:4], "--json", tmp_path / "m.json") == 2
    assert "no name twice" in capfd.readouterr().err


def test_command_thinned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros((1, 8, 9), np.uint8)
    labels[:, :, 4] = 1
    p, truth = store(tmp_path / "p.npy", labels * np.uint8(255)), store(tmp_path / "l.h5", labels)
    assert run("evaluate", p, truth, "--thinned", "--json", tmp_path / "m.json") == 0
    assert "1.0000  v_rand_thinned: mean over sections" in capfd.readouterr().err
    assert len(json.loads((tmp_path / "m.json").read_text())["cuts"]) == 11


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a.h5", "b.h5", "--background", "ignore"], "add --segmentation"),
        (["a.h5", "--segmentation"], "1 volume given"),
        (["a.h5", "b.h5", "--thinned", "--roc", "r.csv"], "--roc is about boundaries"),
        (["a.h5", "b.h5", "--segmentation"], "no such file"),
    ],
)
def test_wrong_words_are_told(words: list[str], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", *words, "--json", tmp_path / "m.json") in (2, 4)
    assert says in capfd.readouterr().err
