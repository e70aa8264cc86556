"""Calibration, figures per section, intervals by resampling blocks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from elektronn.axes import Size, blocks, whole
from elektronn.cli.main import main
from elektronn.evaluation.cells import Cells
from elektronn.evaluation.counters import Counter, Histogram
from elektronn.evaluation.curves import calibration, calibration_error, confusion, roc_area
from elektronn.evaluation.evaluate import Evaluation, Pair, evaluate
from elektronn.evaluation.settings import EvaluateSettings
from elektronn.evaluation.tables import SECTION_COLUMNS, metrics_of
from elektronn.evaluation.uncertainty import roc_area_interval
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import create_volume

SIZE = (10, 30, 34)


def scene(seed: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels, some of them ignored; one section without boundary."""
    random = np.random.default_rng(seed)
    labels = (random.random(SIZE) < 0.3).astype(np.int8)
    labels[random.random(SIZE) < 0.1] = -1
    labels[4] = np.minimum(labels[4], 0)
    p = np.clip(np.where(labels == 1, 0.65, 0.35) + random.normal(0, 0.25, SIZE), 0, 1)
    scale = 1 if dtype == "float32" else np.iinfo(dtype).max
    return (p if dtype == "float32" else np.rint(p * scale)).astype(dtype), labels


def counted(scores: np.ndarray, labels: np.ndarray, bins: int = 65536) -> Histogram:
    counter = Counter(scores.dtype, bins)
    counter.add(scores, labels)
    return counter.histogram()


def pair(folder: Path, name: str, seed: int, dtype: str, role: str = "test") -> Pair:
    scores, labels = scene(seed, dtype)
    addresses = Address(folder / f"{name}_p.zarr"), Address(folder / f"{name}_l.h5")
    given = {"offset_vox": (3, 2, 2), "attributes": {"image_size": [16, 34, 38]}}
    for address, values, said in zip(addresses, (scores, labels), (given, {})):
        with create_volume(address, values.shape, values.dtype, **said) as sink:
            sink.write(whole(values.shape), values)
    return Pair(name, role, *addresses)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_calibration_equals_the_reference(dtype: str) -> None:
    scores, labels = scene(0, dtype)
    keep = labels >= 0
    p = scores[keep] / (1 if dtype == "float32" else np.iinfo(dtype).max)
    # seven parts: no stored score lies on an edge, where the reference counts it to the part below
    found = calibration(counted(scores, labels), 7)
    observed, predicted = calibration_curve(labels[keep], p, n_bins=7)
    assert found.observed == pytest.approx(observed, abs=2e-3)
    assert found.predicted == pytest.approx(predicted, abs=2e-3)
    assert found.voxels.sum() == keep.sum()
    error = np.average(np.abs(found.observed - found.predicted), weights=found.voxels)
    assert calibration_error(counted(scores, labels), 7) == pytest.approx(error)


def test_a_score_that_is_the_part_of_boundary_is_calibrated() -> None:
    counts = np.array([[100, 75, 50, 25, 0], [0, 25, 50, 75, 100]])
    assert calibration_error(Histogram(counts, 4, True, 0)) == pytest.approx(0)
    assert calibration_error(Histogram(counts[::-1], 4, True, 0)) == pytest.approx(0.6)
    assert calibration_error(Histogram(counts * 0, 4, True, 0)) is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_cells_add_up_and_do_not_depend_on_the_blocks(dtype: str) -> None:
    scores, labels = scene(1, dtype)
    results = []
    for cut in ((3, 7, 34), SIZE):
        cells, counter = Cells(Size(4, 10, 9), 256), Counter(scores.dtype)
        for box in blocks(SIZE, cut):
            cells.add(box.start, scores[box.slices], labels[box.slices], counter)
        results.append(cells.items())
    assert [place for place, _ in results[0]] == [place for place, _ in results[1]]
    assert len(results[0]) == 3 * 3 * 4
    for (_, one), (_, other) in zip(*results):
        assert np.array_equal(one.counts, other.counts)
        assert one.ignored == other.ignored
    total = sum(histogram.counts for _, histogram in results[0])
    assert total.sum(axis=1).tolist() == [(labels == 0).sum(), (labels == 1).sum()]
    place, last = results[0][-1]
    assert place == (2, 2, 3)
    assert last.positives == (labels[8:, 20:, 27:] == 1).sum()
    if dtype == "uint8":
        assert np.array_equal(total, counted(scores, labels).counts)


def test_sections_are_judged_alone_at_the_common_threshold(tmp_path: Path) -> None:
    volume = pair(tmp_path, "a", 2, "uint8")
    scores, labels = scene(2, "uint8")
    result = evaluate([volume], EvaluateSettings(block=(3, 11, 34)), sections=True)
    sections = result.volumes[0].sections
    assert [z for z, _ in sections] == list(range(3, 13))
    for z, histogram in sections:
        assert np.array_equal(histogram.counts, counted(scores[z - 3], labels[z - 3]).counts)
    assert evaluate([volume], EvaluateSettings()).volumes[0].sections == ()


def test_command_writes_sections_calibration_and_interval(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    volume = pair(tmp_path, "a", 3, "float32")
    out = tmp_path / "out"
    words = ["evaluate", str(volume.prediction), str(volume.labels), "--json", str(out / "m.json")]
    more = ["--sections", str(out / "z.csv"), "--calibration", str(out / "c.csv")]
    chosen = ["--set", "evaluate.bootstrap=200", "--set", "evaluate.bootstrap_block=[5,10,10]"]
    assert main([*words, *more, *chosen]) == 0
    metrics = json.loads((out / "m.json").read_text())["test"]
    rows = list(csv.DictReader((out / "z.csv").read_text().splitlines()))
    assert tuple(rows[0]) == SECTION_COLUMNS
    assert [row["z"] for row in rows] == [str(z) for z in range(3, 13)]
    assert sum(int(row["voxels"]) for row in rows) == metrics["voxels"]
    assert rows[4]["boundary_voxels"] == "0"
    assert (rows[4]["roc_area"], rows[4]["recall"], rows[4]["accuracy"] > "0") == ("", "", True)
    scores, labels = scene(3, "float32")
    keep = labels[0] >= 0
    assert float(rows[0]["roc_area"]) == pytest.approx(roc_auc_score(labels[0][keep], scores[0][keep]), abs=1e-4)
    table = confusion(counted(scores[0], labels[0], 4096), 0.5)
    assert float(rows[0]["f1"]) == pytest.approx(table.f1)
    lines = list(csv.DictReader((out / "c.csv").read_text().splitlines()))
    assert sum(int(line["voxels"]) for line in lines) == metrics["voxels"]
    span = metrics["roc_area_interval"]
    assert span["low"] < metrics["roc_area"] < span["high"]
    assert (span["blocks"], span["resamples"], span["level"]) == (2 * 3 * 4, 200, 0.95)
    assert f"(95% interval {span['low']:.4f} to {span['high']:.4f}, 24 blocks)" in capfd.readouterr().err
    assert main(words) == 0
    assert "roc_area_interval" not in json.loads((out / "m.json").read_text())["test"]


def test_the_interval_is_that_of_the_resampled_voxels() -> None:
    random = np.random.default_rng(4)
    scores, labels = random.integers(0, 256, (6, 50)).astype(np.uint8), random.integers(0, 2, (6, 50)).astype(np.int8)
    found = roc_area_interval([counted(s, label) for s, label in zip(scores, labels)], 300)
    draws = np.random.Generator(np.random.Philox(2012))
    areas = []
    for n in (64, 64, 64, 64, 44):
        for weights in draws.multinomial(6, np.full(6, 1 / 6), size=n):
            chosen = np.repeat(np.arange(6), weights)
            areas.append(roc_auc_score(labels[chosen].ravel(), scores[chosen].ravel()))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])))


def test_an_interval_covers_the_area_of_the_whole_world_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    shift = random.normal(0, 25, 4000)
    labels = random.integers(0, 2, (4000, 60)).astype(np.int8)
    scores = np.clip(random.normal(110, 30, labels.shape) + 35 * labels + shift[:, None], 0, 255).astype(np.uint8)
    truth = roc_area(counted(scores, labels))
    assert truth is not None
    world = [counted(s, label) for s, label in zip(scores, labels)]
    hits = 0
    for start in range(0, 4000, 40):
        found = roc_area_interval(world[start : start + 40], 200)
        assert found is not None
        hits += found.low <= truth <= found.high
    assert 85 <= hits <= 100


def test_an_interval_needs_blocks_and_both_classes() -> None:
    one, none = Histogram(np.array([[1, 2], [3, 1]]), 1, True, 0), Histogram(np.zeros((2, 2), int), 1, True, 9)
    rest = Histogram(np.array([[1, 2], [0, 0]]), 1, True, 0)
    assert roc_area_interval([one, none], 50) is None
    assert roc_area_interval([rest, rest], 50) is None
    found = roc_area_interval([one, rest], 50)
    assert found is not None
    assert found.resamples < 50


def test_volumes_of_a_role_are_drawn_from_together(tmp_path: Path) -> None:
    pairs = [
        pair(tmp_path, name, seed, "uint8", role)
        for seed, (name, role) in enumerate([("a", "test"), ("b", "test"), ("c", "valid")])
    ]
    result: Evaluation = evaluate(pairs, EvaluateSettings(bootstrap=20, bootstrap_block=(5, 15, 17)))
    test, valid = result.interval("test"), result.interval("valid")
    assert test is not None
    assert valid is not None
    assert (test.blocks, valid.blocks) == (16, 8)


def test_metrics_say_which_scores_were_judged_and_what_made_them(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (2, 8, 8)).astype(np.int8)
    scores = random.integers(0, 256, (2, 8, 8)).astype(np.uint8)
    made = {"model_sha256": "m", "image_sha256": "i"}
    pairs = []
    for name, values, attributes in (("a", scores, made), ("b", scores, {}), ("c", scores ^ 1, {})):
        for kind, array, said in (("scores", values, attributes), ("labels", labels, {})):
            place = Address(tmp_path / f"{name}_{kind}.zarr")
            with create_volume(place, array.shape, array.dtype, attributes=said) as sink:
                sink.write(whole(array.shape), array)
        pairs.append(
            Pair(name, "test", Address(tmp_path / f"{name}_scores.zarr"), Address(tmp_path / f"{name}_labels.zarr"))
        )
    said = metrics_of(evaluate(pairs, EvaluateSettings()))["volumes"]
    assert said["a"]["scores_sha256"] == said["b"]["scores_sha256"] != said["c"]["scores_sha256"]
    assert (said["a"]["made_of"], said["b"]["made_of"]) == ({"model": "m", "image": "i"}, {})
