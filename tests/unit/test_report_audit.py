"""Planted leaks and stale parts of a run: each must appear in red."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elektronn.axes import Box, Size
from elektronn.report.audit import (
    Evidence,
    differences,
    judge_certificates,
    judge_making,
    judge_settings,
    judge_threshold,
)
from elektronn.report.content import Certificate, ReportInputs, ReportVolume
from elektronn.report.gather import gather
from elektronn.report.page import build_page, report
from elektronn.report.split import distance, judge_split
from elektronn.report.verdict import verdict
from elektronn.volumes.address import parse_address
from tests.unit.test_report import SETTINGS, inputs

FIELD = {"field": [5, 9, 9], "offset": [2, 4, 4]}
SUM = "5a" * 32


def part(name: str, role: str, crop: str, size: tuple[int, int, int], **more: Any) -> ReportVolume:
    """A part of one file."""
    address = parse_address(f"em.h5:raw[{crop}]")
    return ReportVolume(name, role, address, **{"sha256": SUM, "image_size": Size(*size), **more})


def pair(z: int, **more: Any) -> tuple[ReportVolume, ReportVolume]:
    """40 sections to train on, then 20 to test from section ``z`` on."""
    return part("a", "train", "0:40", (40, 64, 64)), part("b", "test", f"{z}:{z + 20}", (20, 64, 64), **more)


def edited(folder: Path, file: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file of a run."""
    said = json.loads((folder / file).read_text())
    change(said)
    (folder / file).write_text(json.dumps(said))


def check_red(run: ReportInputs, *words: str) -> None:
    """The page is red, and says these words in the verdict and in a broken claim."""
    html = report(run, SETTINGS)
    assert '<div class="verdict bad"' in html
    head = html[html.index('<div class="verdict') : html.index("<nav")]
    claim = html[html.index('<li class="broken">') :]
    claim = claim[: claim.index("</li>\n")]
    for word in words:
        assert word in head
        assert word in claim


def test_planted_overlap_of_boxes_is_red_with_its_numbers(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    one, other = run.volumes
    leak = replace(
        other, image=parse_address(f"{tmp_path}/copy.h5[1:4,5:48]"), sha256=one.sha256, image_size=Size(3, 43, 32)
    )
    check_red(replace(run, volumes=(one, leak)), "cube (test) and other (train) overlap", "z 1–3, y 7–45, x 2–29")


def test_planted_threshold_of_the_test_is_red(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    edited(tmp_path, "metrics.json", lambda said: said.update(threshold_from="test"))
    check_red(run, "the threshold was chosen on &#x27;test&#x27;, not on the validation volumes")


def test_planted_test_scores_under_the_name_of_validation_are_red(tmp_path: Path) -> None:
    run = inputs(tmp_path)

    def plant(said: dict[str, Any]) -> None:
        said["volumes"]["cube"]["scores_sha256"] = "77" * 32
        said["volumes"]["v"] = {**said["volumes"]["cube"], "role": "valid"}

    edited(tmp_path, "metrics.json", plant)
    check_red(run, "the scores of v, which chose the threshold, are those of cube (test)")


def test_planted_stale_prediction_is_red(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    edited(tmp_path, "model.json", lambda said: said.update(fingerprint="beef"))
    check_red(run, "the prediction of cube was made by another model (f00d, now beef)")


def test_planted_change_of_the_stored_prediction_is_red(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    with (tmp_path / "cube.zarr" / "zarr.json").open("a") as file:
        file.write(" ")
    check_red(run, "the prediction of cube was changed afterwards")


def test_planted_change_of_params_is_red(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    settings = {**run.settings, "experiments.neuro": {"training": {"rate": 0.02}}}
    check_red(replace(run, settings=settings), "experiments.neuro.training.rate: the run had 0.01, now it is 0.02")


def test_a_run_without_leaks_has_no_broken_claim(tmp_path: Path) -> None:
    content = gather(inputs(tmp_path), SETTINGS)
    assert [claim.state for claim in content.claims] == ["holds"] * 5
    assert verdict(content).level == "good"
    assert "broken" not in build_page(content).split("<main", 1)[1].replace("<h2>Places", "")


@pytest.mark.parametrize(
    ("z", "state", "apart"),
    [
        (30, "broken", 0),  # overlap
        (39, "broken", 4),  # one section in both
        (40, "holds", 5),  # the fields of view meet and share nothing
        (60, "holds", 25),
    ],
)
def test_boxes_of_one_file_are_red_exactly_if_the_network_sees_common_voxels(z: int, state: str, apart: int) -> None:
    claim, (found,) = judge_split(pair(z), FIELD)
    assert (claim.state, found.is_close, found.apart) == (state, state == "broken", (apart, 0, 0))


def test_closer_than_the_field_says_the_distance_and_the_field() -> None:
    claim, _ = judge_split(pair(39), FIELD)
    assert claim.findings[0].startswith(
        "a (train) and b (test) lie closer than the field of view: z 4 voxels apart in em.h5"
    )
    assert "the field is 5×9×9" in claim.findings[0]


def test_labels_smaller_than_the_image_count_where_they_are() -> None:
    # what a is learnt from ends at z 7; b is judged from z 18 to z 21, the middle of its image
    first = part("a", "train", "0:10", (10, 64, 64))
    near = part("b", "test", "10:30", (20, 64, 64), ids=parse_address("em.h5:ids[10:30]"), ids_size=Size(4, 64, 64))
    claim, (found,) = judge_split((first, near), FIELD)
    assert (claim.state, found.apart.z) == ("holds", 18 - 7)


def test_another_file_key_or_axis_keeps_boxes_apart() -> None:
    one, other = pair(10)
    for far in (
        replace(other, sha256="6b" * 32),
        replace(other, image=replace(other.image, key="raw2")),
        replace(other, image=parse_address("em.h5:raw[10:30,64:128]"), image_size=Size(20, 64, 64)),
    ):
        assert judge_split((one, far), FIELD)[0].state == "holds"


def test_the_same_file_under_another_name_is_recognised_and_without_digest_by_its_path() -> None:
    one, other = pair(10)
    copied = replace(other, image=replace(other.image, path=Path("copy.h5")))
    assert judge_split((one, copied), FIELD)[0].state == "broken"
    assert judge_split((replace(one, sha256=""), replace(other, sha256="")), FIELD)[0].state == "broken"


def test_a_test_volume_that_the_model_learnt_from_is_red_whatever_its_role_is_now() -> None:
    one, other = pair(60)
    card = {**FIELD, "data": {"b": {"image": SUM, "labels": "", "parts": "x.h5:raw[60:80] x.h5"}}}
    claim, _ = judge_split((one, other), card)
    assert claim.state == "broken"
    assert "b (test) and what the model learnt from ('b' in its card) overlap" in claim.findings[0]
    own = {**FIELD, "data": {"a": {"image": SUM, "labels": "", "parts": "x.h5:raw[0:40] x.h5"}}}
    assert judge_split((one, other), own)[0].state == "holds"


def test_labels_that_two_roles_share_are_red_though_their_images_differ() -> None:
    ids: dict[str, Any] = {"ids": parse_address("ids.h5:ids"), "ids_size": Size(4, 9, 9), "ids_sha256": SUM}
    one = part("a", "train", "0:4", (4, 9, 9), **ids)
    other = replace(one, name="b", role="valid", sha256="6b" * 32)
    claim, pairs = judge_split((one, other), FIELD)
    assert (claim.state, pairs) == ("broken", ())
    assert "a (train) and b (valid) have labels in common" in claim.findings[0]


def test_split_without_field_of_view_or_volumes_is_not_checked() -> None:
    assert judge_split(pair(60), {})[0].state == "unchecked"
    assert judge_split(pair(30), {})[0].state == "broken"
    assert judge_split(pair(60)[:1], FIELD)[0].state == "unchecked"


def test_distance_is_symmetric_and_1_for_neighbours() -> None:
    one, other = Box(Size(0, 0, 0), Size(2, 2, 2)), Box(Size(2, 0, 7), Size(3, 2, 9))
    assert distance(one, other) == distance(other, one) == (1, 0, 6)


def test_a_volume_judged_in_another_role_than_the_table_says_is_red() -> None:
    metrics = {"threshold_from": "valid", "volumes": {"a": {"role": "valid"}, "b": {"role": "test"}}}
    claim = judge_threshold(Evidence(metrics=metrics, roles={"a": "test", "b": "test"}))
    assert claim.findings == ("a chose the threshold, and the table of volumes calls it 'test'",)
    assert judge_threshold(Evidence(metrics=metrics, roles={"a": "valid"})).state == "holds"
    assert judge_threshold(Evidence()).state == "unchecked"


MANIFEST = {"inputs": {"model": "m1", "image": "i1"}, "attributes": {"model_fingerprint": "f1"}, "sha256": "s1"}
SOUND = Evidence(
    model={"fingerprint": "f1", "data": {"v": {"image": "i1", "labels": "l1"}}},
    metrics={"volumes": {"v": {"made_of": {"model": "m1", "image": "i1"}}}},
    manifests={"v": MANIFEST},
    weights="m1",
    images={"v": "i1"},
    labels={"v": "l1"},
    stores={"v": "s1"},
)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, ""),
        ({"images": {"v": "i2"}}, "the model was trained with another image of v"),
        ({"images": {"v": "i2"}}, "the prediction of v is of another image"),
        ({"labels": {"v": "l2"}}, "the model was trained with another boundary map of v"),
        ({"weights": "m2"}, "the prediction of v was made by another model file"),
        ({"stores": {"v": "s2"}}, "the prediction of v was changed afterwards"),
        (
            {"metrics": {"volumes": {"v": {"made_of": {"model": "m0"}}}}},
            "the figures of v are of a prediction by another model",
        ),
    ],
)
def test_every_part_of_another_making_is_named(change: dict[str, Any], sentence: str) -> None:
    claim = judge_making(replace(SOUND, **change))
    assert claim.state == ("broken" if sentence else "holds")
    assert any(sentence in text for text in claim.findings)


def test_nothing_to_compare_is_not_checked() -> None:
    assert judge_making(Evidence()).state == "unchecked"
    assert judge_settings(Evidence()).state == "unchecked"
    assert judge_settings(Evidence(now={"predict": {"output": "uint8"}})).state == "unchecked"
    assert judge_certificates([]).state == "unchecked"


def test_settings_of_prediction_and_evaluation_count_those_without_effect_do_not() -> None:
    run = {"output": "uint8", "threads": 1, "memory_gb": 1.0, "device": "cpu", "certificate": 64}
    now = {
        "predict": {**run, "threads": 9, "memory_gb": 9.0, "device": "auto", "certificate": 9},
        "evaluate": {"bins": 256},
    }
    found = Evidence(manifests={"v": {"settings": run}}, evaluated={"bins": 256}, now=now)
    assert judge_settings(found).state == "holds"
    changed = replace(found, evaluated={"bins": 4096}, manifests={"v": {"settings": {**run, "output": "float32"}}})
    assert judge_settings(changed).findings == (
        "prediction of v: predict.output: the run had float32, now it is uint8",
        "evaluate.bins: the run had 4096, now it is 256",
    )


def test_a_setting_that_is_gone_is_said() -> None:
    assert differences("x", {"a": {"b": 1}, "c": None}, {"a": {}, "c": None}) == [
        "x.a.b: the run had 1, now it is gone"
    ]


def test_a_certificate_that_does_not_hold_is_red() -> None:
    claim = judge_certificates([Certificate("a.zarr", 64, 0.5, 0.002), Certificate("b.zarr", 64, float("nan"), 0.002)])
    assert (claim.state, len(claim.findings)) == ("broken", 2)
