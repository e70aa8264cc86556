"""Mission rows M198, M211, M212, M213, M214: the evaluation functions of ELEKTRONN2 and its boundary maps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import label as components
from sklearn.metrics import auc, confusion_matrix, log_loss, roc_auc_score

from elektronn.errors import DataError
from elektronn.evaluation import elektronn2 as old
from elektronn.volumes.barriers import barriers
from elektronn.volumes.boundaries import BoundarySettings

PNG = b"\x89PNG"


def test_M198_ids_become_the_recorded_boundaries() -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden" / "ids2barriers.json").read_text())["cases"]
    every = (True, True, True)
    plain = [case for case in cases if not case["kwargs"]]
    assert plain
    for case in plain:
        found = barriers(np.array(case["ids"]), BoundarySettings(connectivity=every, dilate=every))
        np.testing.assert_array_equal(found, case["expect"])


def test_M211_confusion_table_ignores_minus_one_and_measures_follow_their_formulas() -> None:
    labels, called = [1, 0, 1, -1], [1, 1, 0, 1]
    assert old.confusion_table(labels, called) == (1, 0, 1, 1)
    random = np.random.default_rng(0)
    truth, found = random.integers(0, 2, (2, 500))
    (tn, fp), (fn, tp) = confusion_matrix(truth, found)
    assert old.confusion_table(truth, found) == (tp, tn, fp, fn)
    tpr, fpr, precision, recall, balanced, accuracy, f1 = old.performance_measure(tp, tn, fp, fn)
    assert (tpr, fpr, precision) == pytest.approx((tp / (tp + fn), fp / (fp + tn), tp / (tp + fp)))
    assert (recall, balanced) == pytest.approx((tpr, (tpr + 1 - fpr) / 2))
    assert (accuracy, f1) == pytest.approx(((tp + tn) / 500, 2 * tp / (2 * tp + fp + fn)))


def test_M212_a_perfect_classifier_has_area_1_and_a_random_one_a_half(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, (4, 60, 60))
    assert old.evaluate(truth, truth.astype(float), str(tmp_path / "good"))[:2] == (1.0, 1.0)
    p = random.random(truth.shape)
    accuracy, area, thresh = old.evaluate(truth, p, str(tmp_path / "bad"))
    assert area == pytest.approx(0.5, abs=0.02)
    assert accuracy == old.eval_thresh((thresh, truth, p))[5]
    assert (tmp_path / "good.performance.png").read_bytes().startswith(PNG)


def test_M212_64_thresholds_come_close_to_the_area_of_every_score(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    truth = random.integers(0, 2, 5000)
    p = np.clip(random.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    area = old.evaluate(truth, p, str(tmp_path / "a"))[1]
    assert area == pytest.approx(roc_auc_score(truth, p), abs=1e-3)
    rates = np.array([old.eval_thresh((t, truth, p))[:2] for t in old.THRESHOLDS])
    assert area == pytest.approx(auc(rates[:, 1], rates[:, 0]))


def test_M212_any_number_of_workers_and_cubes_of_any_size(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    truth = [random.integers(-1, 2, (3, 5, n)) for n in (4, 7)]
    p = [random.random(label.shape) for label in truth]
    flat = [np.concatenate([a.ravel() for a in arrays]) for arrays in (truth, p)]
    results = {old.evaluate(truth, p, str(tmp_path / "a"), n_proc=n) for n in (None, 1, 2, 3)}
    assert results == {old.evaluate(flat[0], flat[1], str(tmp_path / "b"))}


def test_M212_find_nearest_takes_the_first_of_equals() -> None:
    assert old.find_nearest([[0.0, 1.0], [2.0, 3.0]], 1.5) == 1.0


def test_labels_that_are_all_ignored_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every label is negative"):
        old.evaluate([-1, -1], [0.1, 0.2], str(tmp_path / "a"))
    assert list(tmp_path.iterdir()) == []


def test_M213_error_histogram_counts_every_labelled_voxel_once(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    truth = random.integers(-1, 2, (5, 20, 20))
    found = old.error_hist(truth, random.random(truth.shape), str(tmp_path / "a"))
    assert (found.total == found.pos + found.neg).all()
    assert found.total.sum() == (truth >= 0).sum()
    assert (tmp_path / "a.error_histogram.png").read_bytes().startswith(PNG)


def test_M213_rescale_and_loss() -> None:
    assert old.rescale_fudge([0, 0.15, 0.5, 1]).tolist() == [0, 0, 0.5, 1]
    random = np.random.default_rng(5)
    truth, p = random.integers(0, 2, 100), random.uniform(0.01, 0.99, 100)
    assert old.binary_nll(p, truth) == pytest.approx(0.5 * log_loss(truth, p))


class Stub:
    """Knows its predictions: the image is the probability; counts how often it is asked."""

    def __init__(self, fingerprint: str = "one") -> None:
        self.fingerprint, self.asked = fingerprint, 0

    def predict_dense(self, raw: np.ndarray) -> np.ndarray:
        self.asked += 1
        return np.stack([1 - raw[0], raw[0]])[:, 1:-1, 2:-2, 2:-2]


def world(count: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    random = np.random.default_rng(seed)
    labels = [(random.random((6, 16, 16)) < 0.4).astype(np.int8) for _ in range(count)]
    for label in labels:
        label[0] = -1
    return [
        np.clip(random.normal(0.3 + 0.4 * label, 0.2), 0.01, 0.99)[None].astype(np.float32) for label in labels
    ], labels


def test_M214_report_has_its_13_columns_and_the_numbers_of_a_hand_computation(tmp_path: Path) -> None:
    (valid_d, valid_l), (train_d, train_l) = world(4, 6), world(5, 7)
    found = old.evaluate_model_binary(
        Stub(), str(tmp_path / "net"), valid_d=valid_d, valid_l=valid_l, train_d=train_d, train_l=train_l
    )
    header, row = (tmp_path / "0-net-REPORT.txt").read_text().splitlines()
    names = "T_nll T_acc T_ROCA V_nll V_acc V_ROCA d_acc d_ROCA Rand_0 Rand_1 Rand_2 Rand_3 Rand_mean"
    assert header.split("\t") == names.split() == list(found)
    assert [float(text) for text in row.split("\t")] == pytest.approx(list(found.values()), rel=1e-5)
    assert len(list(tmp_path.glob("2-net_train_*_pred.h5"))) == 4
    inside = (slice(1, -1), slice(2, -2), slice(2, -2))
    for letter, images, labels in (("T", train_d[:4], train_l[:4]), ("V", valid_d, valid_l)):
        truth = np.concatenate([label[inside].ravel() for label in labels])
        p = np.concatenate([image[0][inside].ravel() for image in images]).astype(float)
        keep = truth >= 0
        accuracy = [((p[keep] >= t) == truth[keep]).mean() for t in old.THRESHOLDS]
        assert found[f"{letter}_acc"] == pytest.approx(max(accuracy))
        losses = [log_loss(label[inside].ravel(), image[0][inside].ravel()) for label, image in zip(labels, images)]
        assert found[f"{letter}_nll"] == pytest.approx(np.mean(losses) / 2, rel=1e-5)
        assert found[f"{letter}_ROCA"] == pytest.approx(roc_auc_score(truth[keep], p[keep]), abs=5e-3)
    assert found["d_acc"] == pytest.approx(found["T_acc"] - found["V_acc"])
    ids = components(valid_l[0][inside] == 0)[0]
    level = [components(np.rint(valid_d[0][0][inside] * 255) < n)[0] for n in (100, 128, 156, 184, 212, 240)]
    assert found["Rand_0"] == max(old.rand_index(ids, segments)[0] for segments in level)
    assert found["Rand_mean"] == pytest.approx(np.mean([found[f"Rand_{i}"] for i in range(4)]))


def test_M214_ignored_voxels_do_not_count(tmp_path: Path) -> None:
    images, labels = world(1, 8)
    spoilt = [images[0].copy()]
    spoilt[0][0, 1][labels[0][1] >= 0] = 0.5
    labels[0][1] = -1
    reports = [
        old.evaluate_model_binary(Stub(), str(tmp_path / name), valid_d=d, valid_l=labels)
        for name, d in (("a", images), ("b", spoilt))
    ]
    assert reports[0]["V_acc"] == reports[1]["V_acc"]
    assert reports[0]["V_nll"] == reports[1]["V_nll"]
    assert math.isnan(reports[0]["T_acc"])


def test_M214_a_prediction_of_another_model_or_image_is_not_taken_from_the_disk(tmp_path: Path) -> None:
    images, labels = world(1, 9)

    def asked(model: Any, image: np.ndarray) -> int:
        old.evaluate_model_binary(model, str(tmp_path / "net"), valid_d=[image], valid_l=labels)
        return int(model.asked)

    assert asked(Stub(), images[0]) == 1
    assert asked(Stub(), images[0]) == 0
    assert asked(Stub("two"), images[0]) == 1
    assert asked(Stub("two"), images[0] * np.float32(0.9)) == 1
    assert asked(Stub(""), images[0] * np.float32(0.9)) == 1


def test_M214_other_channel_and_softened_loss(tmp_path: Path) -> None:
    images, labels = world(1, 10)
    flipped = old.evaluate_model_binary(Stub(), str(tmp_path / "a"), valid_d=images, valid_l=labels, betaloss=True)
    plain = old.evaluate_model_binary(Stub(), str(tmp_path / "b"), valid_d=images, valid_l=labels)
    soft = old.evaluate_model_binary(Stub(), str(tmp_path / "c"), valid_d=images, valid_l=labels, fudgeysoft=True)
    assert flipped["V_ROCA"] < 0.5 < plain["V_ROCA"]
    assert soft["V_acc"] == plain["V_acc"]
    assert soft["V_nll"] != plain["V_nll"]


def test_M214_without_validation_labels_or_with_an_odd_size_it_says_so(tmp_path: Path) -> None:
    images, labels = world(1, 11)
    with pytest.raises(DataError, match="no validation labels"):
        old.evaluate_model_binary(Stub(), str(tmp_path / "a"), train_d=images, train_l=labels)
    with pytest.raises(DataError, match="odd"):
        old.evaluate_model_binary(Stub(), str(tmp_path / "a"), valid_d=images, valid_l=[labels[0][:, :, 1:]])
    with pytest.raises(DataError, match="1 valid images and 2 labels"):
        old.evaluate_model_binary(Stub(), str(tmp_path / "a"), valid_d=images, valid_l=labels * 2)
