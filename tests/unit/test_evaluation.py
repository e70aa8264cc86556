"""Evaluation of files: where voxels lie, what is judged, and what the tables say."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter as Tally
from pathlib import Path

import numpy as np
import pytest

from elektronn.axes import Size, whole
from elektronn.errors import ConfigError, DataError
from elektronn.evaluation.counters import Counter, Histogram
from elektronn.evaluation.curves import (
    Confusion,
    average_precision,
    best_threshold,
    confusion,
    precision_recall,
    roc,
    roc_area,
)
from elektronn.evaluation.evaluate import Evaluation, Pair, evaluate
from elektronn.evaluation.placement import Place
from elektronn.evaluation.settings import EvaluateSettings
from elektronn.evaluation.tables import confusion_rows, metrics_of, write_tables
from elektronn.settings import parse
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import create_volume

SETTINGS = EvaluateSettings(block=(3, 4, 5))


def store(path: Path, values: np.ndarray, **attributes: object) -> Address:
    offset = attributes.pop("offset_vox", (0, 0, 0))
    address = Address(path)
    with create_volume(address, values.shape, values.dtype, offset_vox=offset, attributes=attributes) as sink:
        sink.write(whole(values.shape[-3:]), values)
    return address


def two_classes(p: np.ndarray) -> np.ndarray:
    """A czyx uint8 prediction from the probability of class 1."""
    boundary = np.round(p * 255).astype(np.uint8)
    return np.stack([255 - boundary, boundary])


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and the predicted probability of boundary of a whole image of 12×20×22."""
    random = np.random.default_rng(seed)
    truth = (random.random((12, 20, 22)) < 0.3).astype(np.int8)
    truth[random.random(truth.shape) < 0.1] = -1
    return truth, np.clip(np.where(truth == 1, 0.7, 0.3) + random.normal(0, 0.3, truth.shape), 0, 1)


def world(folder: Path, name: str, role: str, seed: int) -> Pair:
    """An image of 12×20×22 whose labels (8×16×18) lie in its centre and whose prediction (10×14×16) lies at 1, 4, 3."""
    truth, p = scene(seed)
    labels = store(folder / f"{name}_labels.h5", truth[2:10, 2:18, 2:20])
    values = two_classes(p)[:, 1:11, 4:18, 3:19]
    prediction = store(folder / f"{name}.zarr", values, offset_vox=(1, 4, 3), image_size=[12, 20, 22])
    return Pair(name, role, prediction, labels)


def expected(seed: int, z: slice = slice(2, 10)) -> np.ndarray:
    """Counts of the overlap 2:10, 4:18, 3:19 of the image, without any of our placing."""
    truth, p = scene(seed)
    scores, labels = np.round(p * 255).astype(int)[z, 4:18, 3:19], truth[z, 4:18, 3:19]
    return np.stack([np.bincount(scores[labels == c], minlength=256) for c in (0, 1)])


def test_overlap_of_prediction_and_centred_labels_is_counted_voxel_by_voxel(tmp_path: Path) -> None:
    pair = world(tmp_path, "a", "test", 1)
    result = evaluate([pair], SETTINGS)
    assert np.array_equal(result.volumes[0].histogram.counts, expected(1))
    assert result.volumes[0].place == Place(Size(8, 14, 16), Size(1, 0, 0), Size(0, 2, 1), Size(2, 4, 3))


def test_block_size_does_not_matter(tmp_path: Path) -> None:
    pairs = [world(tmp_path, "a", "valid", 1), world(tmp_path, "b", "test", 2)]
    results = [metrics_of(evaluate(pairs, EvaluateSettings(block=b))) for b in [(1, 1, 7), (64, 512, 512)]]
    assert results[0] == results[1]


def test_threshold_comes_from_valid_and_is_used_on_test(tmp_path: Path) -> None:
    pairs = [world(tmp_path, "a", "valid", 1), world(tmp_path, "b", "valid", 2), world(tmp_path, "c", "test", 3)]
    result = evaluate(pairs, SETTINGS)
    valid = Histogram(expected(1) + expected(2), 255, True, 0)
    test = Histogram(expected(3), 255, True, 0)
    assert result.threshold_from == "valid"
    assert result.threshold == best_threshold(valid) != best_threshold(test)
    metrics = metrics_of(result)
    assert metrics["test"]["f1"] == confusion(test, result.threshold).f1
    assert metrics["valid"]["roc_area"] == roc_area(valid)
    assert metrics["volumes"]["c"]["roc_area"] == metrics["test"]["roc_area"] == roc_area(test)
    assert metrics["overall"]["voxels"] == metrics["valid"]["voxels"] + metrics["test"]["voxels"]
    assert metrics["warnings"] == []


def test_without_valid_volumes_the_threshold_is_a_half_and_a_warning_says_so(tmp_path: Path) -> None:
    result = evaluate([world(tmp_path, "a", "test", 1)], SETTINGS)
    assert (result.threshold, result.threshold_from) == (0.5, "default")
    assert "no validation volume" in result.warnings[0]


def test_same_labels_in_two_roles_is_a_warning(tmp_path: Path) -> None:
    pair = world(tmp_path, "a", "valid", 1)
    result = evaluate([pair, Pair("b", "test", pair.prediction, pair.labels)], SETTINGS)
    assert any("use the same labels" in text for text in result.warnings)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_zyx_prediction_without_position_lies_on_the_labels(tmp_path: Path, dtype: str) -> None:
    truth = np.zeros((4, 6, 8), np.uint8)
    truth[:, 2:4] = 1
    scale = 1 if dtype == "float32" else np.iinfo(dtype).max
    prediction = store(tmp_path / "p.zarr", (truth.astype(float) * scale).astype(dtype))
    result = evaluate([Pair("a", "test", prediction, store(tmp_path / "l.h5", truth))], SETTINGS)
    found = metrics_of(result)["test"]
    assert (found["roc_area"], found["accuracy"], found["f1"], found["voxels"]) == (1, 1, 1, truth.size)


def test_smaller_prediction_without_position_is_concentric(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).integers(0, 2, (6, 8, 8)).astype(np.int8)
    prediction = store(tmp_path / "p.zarr", 255 * truth[1:5, 2:6, 3:5].astype(np.uint8))
    result = evaluate([Pair("a", "test", prediction, store(tmp_path / "l.h5", truth))], SETTINGS)
    assert metrics_of(result)["test"]["accuracy"] == 1


def test_cropped_prediction_stays_at_its_place(tmp_path: Path) -> None:
    pair = world(tmp_path, "a", "test", 1)
    crop = Address(pair.prediction.path, "", ((3, 9),))
    result = evaluate([Pair("a", "test", crop, pair.labels)], SETTINGS)
    assert np.array_equal(result.volumes[0].histogram.counts, expected(1, slice(4, 10)))


def test_odd_surplus_names_the_axis(tmp_path: Path) -> None:
    prediction = store(tmp_path / "p.zarr", np.zeros((4, 4, 5), np.uint8), image_size=[4, 4, 5])
    labels = store(tmp_path / "l.h5", np.zeros((4, 4, 4), np.int8))
    with pytest.raises(DataError, match=r"volume a: labels: .* surplus along x is odd"):
        evaluate([Pair("a", "test", prediction, labels)], SETTINGS)


def test_boxes_that_do_not_meet_are_refused(tmp_path: Path) -> None:
    prediction = store(tmp_path / "p.zarr", np.zeros((2, 4, 4), np.uint8), image_size=[20, 4, 4])
    labels = store(tmp_path / "l.h5", np.zeros((4, 4, 4), np.int8))
    with pytest.raises(DataError, match="do not overlap"):
        evaluate([Pair("a", "test", prediction, labels)], SETTINGS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((2, 2, 2), 255, np.uint8), "labels hold 255"),
        (np.full((2, 2, 2), -2, np.int16), "labels hold -2"),
        (np.zeros((2, 2, 2), np.float32), "labels are float32"),
        (np.full((2, 2, 2), -1, np.int8), "every label is -1"),
    ],
)
def test_labels_that_cannot_be_judged_are_refused(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    prediction = store(tmp_path / "p.zarr", np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(DataError, match=message):
        evaluate([Pair("a", "test", prediction, store(tmp_path / "l.h5", labels))], SETTINGS)


def test_no_pairs_and_equal_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate([], SETTINGS)
    pair = world(tmp_path, "a", "test", 1)
    with pytest.raises(ConfigError, match="same name"):
        evaluate([pair, pair], SETTINGS)


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.5, np.inf])
def test_scores_that_are_no_probabilities_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match="expected probabilities"):
        Counter(np.float32).add(np.float32([0.5, bad]), np.array([0, 1]))


def test_scores_of_another_type_or_size_are_refused() -> None:
    with pytest.raises(DataError, match="int32"):
        Counter(np.int32)
    with pytest.raises(DataError, match="differ in size"):
        Counter(np.uint8).add(np.zeros(3, np.uint8), np.zeros(4, np.int8))
    with pytest.raises(DataError, match="same output type"):
        Counter(np.uint8).histogram() + Counter(np.uint16).histogram()


def test_third_class_counts_as_not_boundary() -> None:
    counter = Counter(np.uint8)
    counter.add(np.uint8([1, 2, 3]), np.array([0, 1, 2]), classes=3)
    histogram = counter.histogram()
    assert histogram.counts[0, [1, 2, 3]].tolist() == [1, 0, 1]
    assert histogram.counts[1, 2] == 1


def test_counts_survive_the_range_of_the_inner_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elektronn.evaluation.counters._MOST", 10)
    counter = Counter(np.uint8)
    for _ in range(7):
        counter.add(np.zeros(13, np.uint8), np.ones(13, np.int8))
    assert counter.histogram().positives == 91
    assert counter._pending == 0


def test_confusion_ignores_minus_one_and_follows_the_definition() -> None:
    counter = Counter(np.uint8)
    counter.add(np.uint8([255, 255, 0, 255]), np.array([1, 0, 1, -1]))
    assert confusion(counter.histogram(), 0.5) == Confusion(1, 1, 1, 0)


def test_threshold_of_a_perfect_classifier_is_the_middle_of_the_gap() -> None:
    counter = Counter(np.uint8)
    counter.add(np.uint8([100, 200]), np.array([0, 1]))
    assert best_threshold(counter.histogram()) == 151 / 255


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_alone_gives_none_with_a_reason_and_valid_json(tmp_path: Path, only: int) -> None:
    prediction = store(tmp_path / "p.zarr", np.full((2, 3, 4), 9, np.uint8))
    labels = store(tmp_path / "l.h5", np.full((2, 3, 4), only, np.int8))
    result = evaluate([Pair("a", "test", prediction, labels)], SETTINGS)
    histogram = result.roles["test"]
    assert roc(histogram) is None
    assert (precision_recall(histogram) is None) == (average_precision(histogram) is None) == (only == 0)
    paths = written(result, tmp_path)
    metrics = json.loads(paths["metrics"].read_text(), parse_constant=pytest.fail)
    assert metrics["test"]["roc_area"] is None
    assert any("undefined" in text for text in metrics["warnings"])
    assert paths["roc"].read_text() == "role,fpr,tpr,threshold\n"
    assert b"undefined" in paths["figure"].read_bytes()


def written(result: Evaluation, folder: Path) -> dict[str, Path]:
    names = {"metrics": "m.json", "roc": "roc.csv", "pr": "pr.csv", "confusion": "confusion.csv", "figure": "f.svg"}
    paths = {key: folder / name for key, name in names.items()}
    write_tables(result, **paths)
    return paths


def test_tables_are_written_twice_byte_for_byte_and_agree(tmp_path: Path) -> None:
    pairs = [world(tmp_path, "a", "valid", 1), world(tmp_path, "b", "test", 2)]
    result = evaluate(pairs, parse(EvaluateSettings, {"curve_points": 40}, ""))
    first = {key: path.read_bytes() for key, path in written(result, tmp_path).items()}
    again = {key: path.read_bytes() for key, path in written(evaluate(pairs, SETTINGS), tmp_path / "b").items()}
    assert first["metrics"] == again["metrics"]
    assert first == {key: path.read_bytes() for key, path in written(result, tmp_path / "c").items()}
    rows = list(csv.DictReader(first["roc"].decode().splitlines()))
    assert 16 < len(rows) <= 40
    assert {row["role"] for row in rows} == {"test"}
    area = np.trapezoid([float(r["tpr"]) for r in rows], [float(r["fpr"]) for r in rows])
    assert area == pytest.approx(json.loads(first["metrics"])["test"]["roc_area"], abs=0.01)
    assert len(list(csv.DictReader(first["pr"].decode().splitlines()))) <= 40


def test_confusion_rows_sum_exactly_and_show_shares_by_number() -> None:
    table = Confusion(true_positive=300_001, false_positive=7, false_negative=99_999, true_negative=600_000)
    rows = list(confusion_rows(table))
    sums, numbers = Tally[tuple[str, str]](), Tally[tuple[str, str]]()
    for actual, predicted, count in rows:
        sums[actual, predicted] += count
        numbers[actual, predicted] += 1
    assert sums["boundary", "boundary"] == 300_001
    assert sums["other", "boundary"] == 7
    assert sums["boundary", "other"] == 99_999
    assert sums["other", "other"] == 600_000
    assert sorted(numbers.values()) == [1, 100, 300, 600]


def test_confusion_rows_of_nothing_are_none() -> None:
    assert list(confusion_rows(Confusion(0, 0, 0, 0))) == []


def test_settings_module_needs_no_compiler() -> None:
    code = "import sys, elektronn.evaluation.settings, elektronn.report.settings; print({'numba','torch','matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
