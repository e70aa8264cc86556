"""The page: self-contained, equal for equal inputs, honest about what is missing."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread, imsave

from elektronn.artefacts import digest
from elektronn.axes import Size, whole
from elektronn.cli.report import commands, look
from elektronn.errors import DataError
from elektronn.report import findings
from elektronn.report import page as page_module
from elektronn.report.charts import Line, chart, learning_curves
from elektronn.report.content import Check, Panel, Picture, ReportContent, ReportInputs, ReportVolume
from elektronn.report.gather import gather
from elektronn.report.interventions import interventions_of
from elektronn.report.making import TIME
from elektronn.report.page import MOST_BYTES, build_page, report
from elektronn.report.panels import BOUNDARY, FALSE_NEGATIVE, FALSE_POSITIVE, encoded, painted, panels_of
from elektronn.report.settings import ReportSettings
from elektronn.report.verdict import verdict
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import create_volume

SETTINGS = ReportSettings(panel_vox=16)
NASTY = "<script>alert('&')</script>"


class Tags(HTMLParser):
    """Collects tags and checks that they close in order."""

    EMPTY = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser.seen


def stored(path: Path, values: np.ndarray, **attributes: object) -> Address:
    with create_volume(Address(path), values.shape, values.dtype, attributes=attributes) as sink:
        sink.write(whole(values.shape[-3:]), values)
    return Address(path)


def volume(folder: Path, name: str = "cube") -> ReportVolume:
    """4×48×32 image; labels in its centre 2:40:28; a prediction whose only errors lie in two windows."""
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (4, 48, 32)).astype(np.uint8)
    labels = np.zeros((2, 40, 28), np.int8)
    labels[:, :, ::4] = 1
    boundary = np.where(labels == 1, 255, 0).astype(np.uint8)
    boundary[1, 16:32, :16] = 255  # worst: everything is called boundary
    boundary[0, 0, 1] = 255
    return ReportVolume(
        name,
        "test",
        stored(folder / "image.h5", image),
        stored(folder / "labels.h5", labels),
        stored(folder / f"{name}.zarr", np.stack([255 - boundary, boundary])),
        sha256="ab" * 32,
        image_size=Size(4, 48, 32),
    )


PLACE = {"size": [2, 40, 28], "prediction": [0, 0, 0], "labels": [0, 0, 0], "image": [1, 4, 2]}


def inputs(folder: Path, name: str = "cube", area: float = 0.95) -> ReportInputs:
    figures = {
        "roc_area": area,
        "f1": 0.8,
        "threshold": 0.5,
        "recall": 0.8,
        "precision": 0.8,
        "false_positive": 1,
        "true_negative": 9,
    }
    cube = volume(folder, safe(name))
    volumes = {name: {"role": "test", **figures, "place": PLACE}}
    metrics = {"test": figures, "volumes": volumes, "judged": "test", "threshold_from": "valid", "warnings": []}
    model = {
        "layers": [{"name": "conv0", "kernel": [1, 4, 4], "note": NASTY}, {"name": "conv1", "parameters": 12345}],
        "fingerprint": "f00d",
        "field": [1, 5, 5],
        "offset": [0, 2, 2],
        "settings": {"training": {"rate": 0.01}},
        "versions": {"torch": "2.13"},
        "seed": 7,
        "seconds": 12.5,
        "warnings": [],
    }
    weights, store = folder / "model.safetensors", folder / f"{safe(name)}.zarr"
    weights.write_text("weights")
    manifest = {
        "store": store.name,
        "sha256": digest(store),
        "inputs": {"model": digest(weights), "image": "ab" * 32},
        "attributes": {"model_fingerprint": "f00d"},
        "settings": {"output": "uint8", "threads": 3},
        "certificate": {"voxels": 64, "largest_difference": 0.001, "tolerance": 0.002},
    }
    command = {"event": "command", "number": 1, "step": 2, "who": "terminal", "text": "setlr 0.5 <b>"}
    journal = [{"event": "run", "fingerprint": "f00d"}, {"event": "started", "step": 0, "time": "MONDAY"}]
    journal += [{**command, "time": "TUESDAY"}]
    imsave(folder / "check.png", np.zeros((4, 4, 3), np.uint8))
    check = {"ok": True, "sentence": "labels lie on the image", "volume": name, "picture": "check.png"}
    texts = {
        "metrics.json": json.dumps(metrics),
        "model.json": json.dumps(model),
        "check.json": json.dumps(check),
        "roc.csv": "role,fpr,tpr,threshold\ntest,0,0,1\ntest,0.1,0.8,0.5\ntest,1,1,0\n",
        "pr.csv": "role,recall,precision,threshold\ntest,0,1,1\ntest,1,0.4,0\n",
        "confusion.csv": "actual,predicted,count\nother,other,600\nother,other,1\nboundary,other,77\n",
        "history.csv": "step,seconds,loss,valid_loss,rate,steps_per_s\n1,0.1,0.9,,0.01,7\n2,0.2,0.7,0.8,0.01,8\n3,0.3,0.6,0.7,0.005,9\n",
        "manifest.json": json.dumps(manifest),
        "events.jsonl": "".join(json.dumps(row) + "\n" for row in journal) + '{"event": "cut o',
        "evaluate.yaml": "evaluate: {curve_points: 500}\n",
    }
    for file, text in texts.items():
        (folder / file).write_text(text)
    return ReportInputs(
        metrics=folder / "metrics.json",
        roc=folder / "roc.csv",
        pr=folder / "pr.csv",
        confusion=folder / "confusion.csv",
        history=folder / "history.csv",
        model=folder / "model.json",
        weights=weights,
        events=folder / "events.jsonl",
        evaluated=folder / "evaluate.yaml",
        checks=(folder / "check.json",),
        manifests=(folder / "manifest.json",),
        volumes=(replace(cube, name=name), replace(cube, name="other", role="train", sha256="cd" * 32)),
        settings={
            "experiments.neuro": {"training": {"rate": 0.01, "note": NASTY}},
            "predict": {"output": "uint8", "threads": 1},
            "evaluate": {"curve_points": 500},
        },
        commands=("snakemake --cores 8 report",),
        looks={name: "look --z {z} --y {y} --x {x}"},
    )


def safe(name: str) -> str:
    """A name that a file may have."""
    return re.sub(r"\W", "_", name)


@pytest.fixture(scope="module")
def whole_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run that has everything."""
    return report(inputs(tmp_path_factory.mktemp("run")), SETTINGS)


def test_page_of_a_whole_run_holds_everything_and_is_green(whole_page: str) -> None:
    html = whole_page
    assert '<div class="verdict good"' in html
    for text in ("ROC area 0.9500 on the test volumes", "f00d", "ab" * 32, "12\u202f345", "1×4×4", "4×48×32"):
        assert text in html
    for text in ("cube, best", "cube, median", "cube, worst", "snakemake --cores 8 report", "rate: 0.01", ">601<"):
        assert text in html
    pictures = [a for tag, a in tags(html) if tag == "img"]
    assert len(pictures) == 12 + 1  # 3 places of 4 tiles, 1 check
    assert all(a["alt"] for a in pictures)
    drawings = [a for tag, a in tags(html) if tag == "svg"]
    assert len(drawings) == 2 + 2 + 1  # ROC and PR, loss and rate, speed
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    names = [a["id"] for _, a in tags(html) if "id" in a]
    assert len(names) == len(set(names))
    assert "Not on this page" not in html


def test_page_loads_nothing_from_anywhere(whole_page: str) -> None:
    html = whole_page
    for tag, attributes in tags(html):
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"url\((?!#)|@import", html)
    assert len(html.encode()) < 1_000_000


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    assert report(run, SETTINGS) == report(run, SETTINGS)


def test_only_the_marked_block_knows_times(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    one = report(run, SETTINGS)
    for file, old, new in (
        ("model.json", '"seconds": 12.5', '"seconds": 99.5'),
        ("history.csv", "9\n", "4\n"),
        ("events.jsonl", "MONDAY", "FRIDAY"),
        ("events.jsonl", "TUESDAY", "SUNDAY"),
    ):
        text = (tmp_path / file).read_text()
        assert old in text
        (tmp_path / file).write_text(text.replace(old, new))
    two = report(replace(run, made="by night"), SETTINGS)
    assert one != two
    begin, end = TIME
    without = [re.sub(f"{begin}.*{end}", "", html, flags=re.DOTALL) for html in (one, two)]
    assert without[0] == without[1]
    for said in ("the training took 99.5 s", "started at step 0: FRIDAY", "mark 1, step 2: SUNDAY", "by night"):
        assert said in two
        assert said not in one


def test_interventions_are_marked_in_the_curves_and_listed(whole_page: str) -> None:
    html = whole_page
    said = "1: step 2: setlr 0.5 &lt;b&gt;"
    assert html.count(f"<title>{said}</title>") == 2
    assert "<td class=number>2</td><td><code>setlr 0.5 &lt;b&gt;</code></td><td>terminal</td>" in html


def test_every_place_says_how_to_go_there(whole_page: str) -> None:
    html = whole_page
    assert "look --z 2 --y 28 --x 10" in html
    assert html.count("look --z") == 3


def test_all_that_scrolls_or_opens_is_reached_by_keyboard(whole_page: str) -> None:
    found = tags(whole_page)
    scrolling = [a for tag, a in found if a.get("class") == "scroll" or tag == "pre"]
    assert scrolling
    assert all(a.get("tabindex") == "0" for a in scrolling)
    targets = {a.get("id") for _, a in found}
    links = [str(a["href"]) for tag, a in found if tag == "a"]
    assert len(links) > 10
    assert all(link.removeprefix("#") in targets for link in links)


def test_markup_in_names_values_and_sentences_is_escaped(tmp_path: Path) -> None:
    run = inputs(tmp_path, NASTY)
    (tmp_path / "check.json").write_text(json.dumps({"ok": False, "sentence": NASTY, "volume": NASTY}))
    run = replace(run, commands=(NASTY,), made=NASTY)
    html = report(run, ReportSettings(title=NASTY))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 10
    tags(html)


def test_empty_run_says_what_is_missing_and_is_red() -> None:
    html = report(ReportInputs(), SETTINGS)
    assert '<div class="verdict bad"' in html
    assert html.count('<li class="unchecked">') == 6
    for name in ("evaluation", "model card", "ROC table", "PR table", "confusion table", "history of the training"):
        assert f"no {name} was given" in html
    tags(html)


def test_file_that_does_not_exist_is_said_with_its_path(tmp_path: Path) -> None:
    run = replace(inputs(tmp_path), history=tmp_path / "gone.csv", checks=(tmp_path / "lost.json",))
    html = report(run, SETTINGS)
    assert f"{tmp_path / 'gone.csv'} does not exist" in html
    assert f"{tmp_path / 'lost.json'} does not exist" in html


@pytest.mark.parametrize(
    ("file", "text"),
    [("metrics.json", "{"), ("metrics.json", "[]"), ("confusion.csv", "actual,predicted,count\na,b,many\n")],
)
def test_damaged_file_is_a_data_error_that_names_it(tmp_path: Path, file: str, text: str) -> None:
    run = inputs(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=re.escape(str(tmp_path / file))):
        report(run, SETTINGS)


def test_unreadable_volume_costs_its_pictures_only(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    (tmp_path / "image.h5").write_bytes(b"no volume")
    content = gather(run, SETTINGS)
    assert content.panels == ()
    assert any("no pictures of volume cube" in text for text in content.missing)
    assert "cannot be opened" in content.volumes[0].size
    build_page(content)


def test_more_test_volumes_than_panels_are_counted(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    content = gather(run, ReportSettings(panels=0))
    assert content.panels == ()
    assert any("pictures of 1 test volumes" in text for text in content.missing)


def test_sentence_and_warnings_of_a_check_are_found_and_make_the_verdict_amber(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    said = {"ok": True, "content": {"sentence": "shifted by 3"}, "volume": "cube", "warnings": ["labels lose 2"]}
    (tmp_path / "check.json").write_text(json.dumps(said))
    content = gather(run, SETTINGS)
    assert content.checks[0].sentence == "shifted by 3"
    assert content.warnings == ("cube: labels lose 2",)
    assert verdict(content).level == "care"


def run_with(**changes: object) -> ReportContent:
    figures = {"roc_area": changes.pop("area", 0.95), "f1": None}
    metrics = {"test": figures, "judged": changes.pop("judged", "test"), "warnings": changes.pop("warnings", [])}
    metrics[str(metrics["judged"])] = figures
    checks = (Check("cube", bool(changes.pop("ok", True)), "shifted by 3", None),)
    return ReportContent("t", metrics=metrics, checks=checks if changes.pop("checked", True) else ())


@pytest.mark.parametrize(
    ("changes", "level", "reason"),
    [
        ({}, "good", ""),
        ({"area": 0.9}, "good", ""),
        ({"area": 0.85}, "care", "below 0.9"),
        ({"warnings": ["odd"]}, "care", "odd"),
        ({"checked": False}, "care", "was not checked"),
        ({"area": 0.7}, "bad", "below 0.75"),
        ({"area": None}, "bad", "no ROC area"),
        ({"ok": False}, "bad", "registration of cube failed"),
        ({"judged": "valid"}, "bad", "nothing was measured on test volumes"),
    ],
)
def test_verdict(changes: dict[str, object], level: str, reason: str) -> None:
    said = verdict(run_with(**changes))
    assert said.level == level
    assert any(reason in text for text in said.reasons) if reason else said.reasons == ()


def test_places_are_ranked_by_error_and_named_in_image_coordinates(tmp_path: Path) -> None:
    best, median, worst = panels_of(volume(tmp_path), {"threshold": 0.5, "place": PLACE}, 16)
    assert (best.rank, median.rank, worst.rank) == ("best", "median", "worst")
    assert best.error == median.error == 0
    assert worst.error == 0.75
    assert worst.where == "z 2, y 20–35, x 2–17 in the image"


def test_tiles_show_the_right_voxels_in_the_right_colours(tmp_path: Path) -> None:
    cube = volume(tmp_path)
    worst = panels_of(cube, {"threshold": 0.5, "place": PLACE}, 16)[-1]
    tiles = {}
    for picture in worst.pictures:
        (tmp_path / "tile.webp").write_bytes(picture.data)
        tiles[picture.alt] = np.asarray(imread(tmp_path / "tile.webp", format="webp")).astype(int)[..., :3]
    assert list(tiles) == ["image", "label", "prediction", "error"]
    assert all(tile.shape == (16, 16, 3) for tile in tiles.values())
    changed = (tiles["label"] != tiles["image"]).any(axis=-1)
    assert set(np.flatnonzero(changed.any(axis=0))) == {0, 4, 8, 12}
    assert (tiles["prediction"] == 255).all()
    wrong = (tiles["error"] != tiles["image"]).any(axis=-1)
    assert wrong[:, [1, 2, 3]].all()
    assert not wrong[:, [0, 4, 8, 12]].any()


def test_image_tile_is_cut_where_the_place_says(tmp_path: Path) -> None:
    image = np.zeros((4, 48, 32), np.uint8)
    image[2, 25:, 7:] = 255
    cube = replace(volume(tmp_path), image=stored(tmp_path / "step.npy", image))
    tile = panels_of(cube, {"threshold": 0.5, "place": PLACE}, 16)[-1].pictures[0]
    (tmp_path / "tile.webp").write_bytes(tile.data)
    bright = np.asarray(imread(tmp_path / "tile.webp", format="webp"))[..., 0] > 128
    assert np.array_equal(bright, image[2, 20:36, 2:18] > 128)


def test_metrics_without_a_place_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which place was judged"):
        panels_of(volume(tmp_path), {"threshold": 0.5}, 16)


def test_error_colours_differ_for_every_eye() -> None:
    """Lightness and the blue–yellow axis, which most colour-blind eyes keep, both differ."""
    grey = np.full((1, 2), 128, np.uint8)
    pixels = painted(grey, np.array([[True, False]]), FALSE_POSITIVE)
    assert pixels[0, 1].tolist() == [128] * 3
    for a, b in ((FALSE_POSITIVE, FALSE_NEGATIVE), (BOUNDARY, FALSE_NEGATIVE)):
        assert abs((a[0] + a[1]) / 2 - a[2] - (b[0] + b[1]) / 2 + b[2]) > 100
    assert encoded(pixels) == encoded(pixels)


def test_colours_of_page_and_pictures_are_the_same() -> None:
    css = (Path(page_module.__file__).parent / "page.css").read_text()
    for name, colour in (
        ("boundary", BOUNDARY),
        ("false-positive", FALSE_POSITIVE),
        ("false-negative", FALSE_NEGATIVE),
    ):
        assert f".{name} {{ background: rgb({' '.join(map(str, colour))}); }}" in css


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def colours(scheme: str) -> dict[str, str]:
    """Names of the style sheet in a colour scheme."""
    css = (Path(page_module.__file__).parent / "page.css").read_text()
    by_day, by_night = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    day = dict(re.findall(r"(--[\w-]+): (#\w{6});", by_day))
    night = dict(re.findall(r"(--[\w-]+): (#\w{6});", by_night))
    assert night.keys() == day.keys()
    return {"light": day, "dark": night}[scheme]


TEXTS = [(front, back) for front in ("--ink", "--quiet", "--link", "--bad") for back in ("--ground", "--tint")]
TEXTS += [
    (front, f"{level}-ground") for level in ("--good", "--care", "--bad") for front in ("--ink", "--quiet", level)
]
TEXTS += [("--good", "--ground"), ("--care", "--ground"), ("--mark", "--ground"), ("--link", "--care-ground")]
LINES = [(f"--line-{number}", "--ground") for number in range(1, 7)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back", "least"), [(*t, 4.5) for t in TEXTS] + [(*t, 3.0) for t in LINES])
def test_text_and_lines_have_enough_contrast(scheme: str, front: str, back: str, least: float) -> None:
    named = colours(scheme)
    a, b = sorted(luminance(named[name]) for name in (front, back))
    assert (b + 0.05) / (a + 0.05) >= least


def test_pictures_that_do_not_fit_are_left_out_and_named(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (1300, 1300, 3)).astype(np.uint8)
    imsave(tmp_path / "check.png", noise)
    assert (tmp_path / "check.png").stat().st_size > MOST_BYTES
    html = report(run, SETTINGS)
    assert len(html.encode()) <= MOST_BYTES
    assert "the picture of the check of cube: the page would be larger than 5 MB" in html
    assert "cube, worst" in html


def test_panels_go_last_first_when_they_alone_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    big = Picture(bytes(2_000_000), "image/webp", "image")
    panels = tuple(Panel("cube", rank, "here", 0.1, (big,)) for rank in ("best", "median", "worst"))
    monkeypatch.setattr(page_module, "gather", lambda *_: ReportContent("t", panels=panels))
    html = report(ReportInputs(), SETTINGS)
    assert len(html.encode()) <= MOST_BYTES
    assert "cube, best" in html
    assert "the worst place of cube" in html
    assert "the median place of cube" in html


def test_history_draws_what_is_there() -> None:
    rows = [
        {"step": "1", "loss": "1", "rate": ""},
        {"step": "2", "loss": "nan", "rate": "x"},
        {"step": "3", "loss": "2"},
    ]
    (only,) = learning_curves(rows)
    assert only.alt == "Loss: loss against step"
    assert learning_curves([]) == ()


def test_long_history_is_thinned_by_means() -> None:
    rows = [{"step": str(n), "loss": str(n % 2)} for n in range(20000)]
    (only,) = learning_curves(rows)
    assert len(only.data) < 60_000


def test_chart_is_equal_byte_for_byte_and_has_no_date() -> None:
    lines = [Line("a", [0, 1], [0, 1]), Line("b", [0, 1], [1, 0])]
    one, two = (chart("T", lines, ("x", "y"), point=(0.5, 0.5)).data for _ in range(2))
    assert one == two
    assert b"dc:date" not in one


def test_size_of_the_image_is_in_the_table_of_volumes(tmp_path: Path) -> None:
    row = gather(inputs(tmp_path), SETTINGS).volumes[0]
    assert (row.size, row.voxel_nm) == (str(Size(4, 48, 32)), "not recorded")


def test_figures_of_segments_stand_with_their_definitions(tmp_path: Path) -> None:
    said = {
        "background": "ignore",
        "voi_split_bits": 0.25,
        "adapted_rand_error": {"cremi": 0.125, "funlib": None},
        "voxels": 9,
        "definitions": {
            "voi_split_bits": "H(a | b)",
            "adapted_rand_error.cremi": "1 − x",
            "adapted_rand_error.funlib": "y",
        },
    }
    (tmp_path / "cells.json").write_text(json.dumps(said))
    thinned = {"v_rand_thinned": 0.75, "definition": "thin < thick", "threshold": 0.5}
    (tmp_path / "thin.json").write_text(json.dumps(thinned))
    run = ReportInputs(segmentations=(tmp_path / "cells.json", tmp_path / "thin.json"))
    html = report(run, SETTINGS)
    for row in (
        "<td>voi_split_bits</td><td class=number>0.2500</td><td>H(a | b)</td>",
        "<td>adapted_rand_error.cremi</td><td class=number>0.1250</td><td>1 − x</td>",
        "<td>adapted_rand_error.funlib</td><td>undefined</td><td>y</td>",
        "<td>v_rand_thinned</td><td class=number>0.7500</td><td>thin &lt; thick</td>",
        "Predicted id 0 counts as: ignore.",
    ):
        assert row in html
    assert "How well cells are told apart" not in report(ReportInputs(), SETTINGS)
    (tmp_path / "cells.json").write_text("{}")
    assert gather(run, SETTINGS).segmentations[0].name == "thin"
    (tmp_path / "cells.json").write_text('{"f1": 1}')
    with pytest.raises(DataError, match="holds no figures of segments"):
        report(run, SETTINGS)


def test_figures_of_segments_of_several_volumes_stand_by_role(tmp_path: Path) -> None:
    said = {
        "test": {"voi_split_bits": 0.25, "background": "segment"},
        "valid": {"voi_split_bits": 0.5, "background": "segment"},
        "volumes": {
            "cube1": {"role": "valid", "voi_split_bits": 0.5},
            "cube2": {"role": "test", "voi_split_bits": 0.25},
        },
        "definitions": {"voi_split_bits": "H(a | b)"},
    }
    (tmp_path / "segments.json").write_text(json.dumps(said))
    found = gather(ReportInputs(segmentations=(tmp_path / "segments.json",)), SETTINGS).segmentations
    assert [(each.name, each.figures["voi_split_bits"]) for each in found] == [
        ("segments, test volumes", 0.25),
        ("segments, valid volumes", 0.5),
    ]


def test_warnings_of_a_prediction_are_warnings_of_the_run(tmp_path: Path) -> None:
    given = inputs(tmp_path, "cube")
    manifest = json.loads(given.manifests[0].read_text())
    given.manifests[0].write_text(json.dumps({**manifest, "warnings": ["3 of 8 chunks are not in the file"]}))
    assert gather(given, SETTINGS).warnings == ("cube.zarr: 3 of 8 chunks are not in the file",)


def test_warnings_of_the_journal_are_warnings_of_the_run(tmp_path: Path) -> None:
    run = inputs(tmp_path)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('\n{"event": "warning", "text": "loss rose"}\n{"event": "warning", "text": "loss rose"}\n')
    content = gather(run, SETTINGS)
    assert content.warnings == ("loss rose",)
    assert verdict(content).level == "care"


def test_refused_commands_are_no_interventions_and_signals_have_words() -> None:
    journal = [
        {"event": "command", "number": 1, "step": 9, "who": "a", "text": "setlr x"},
        {"event": "refused", "number": 1, "reason": "no number"},
        {
            "event": "command",
            "number": 2,
            "step": 7,
            "who": "signal",
            "text": "",
            "command": {"do": "Stop", "reason": "SIGTERM"},
        },
        {"event": "command", "number": 3, "step": 3, "who": "a", "text": "q"},
    ]
    found = interventions_of(journal, ())
    assert [(one.step, one.text) for one in found] == [(3, "q"), (7, "Stop reason SIGTERM")]


def test_marks_that_nearly_coincide_stand_above_one_another() -> None:
    marks = [(0.0, "a"), (1.0, "b"), (100.0, "c")]
    drawn = chart("T", [Line("a", [0, 100], [0, 1])], ("x", "y"), marks=marks).data.decode()
    heights = [re.search(rf'y="([\d.]+)"[^>]*>{number}</text>', drawn) for number in (1, 2, 3)]
    first, second, third = (float(found[1]) for found in heights if found)
    assert first == third > second


def test_commands_name_the_project_of_the_workflow(tmp_path: Path) -> None:
    given = Namespace(experiment="neuro", model=Path("m.safetensors"), metrics=Path("m.json"), params=None)
    (tmp_path / "a b").mkdir()
    assert commands(given, (), tmp_path / "a b") == ()
    (tmp_path / "Snakefile").touch()
    assert commands(given, (), tmp_path)[-1] == "snakemake --cores all train_neuro"
    assert commands(given, (), tmp_path / "a b")[-1] == "snakemake --directory 'a b' --cores all train_neuro"
    cube = ReportVolume("cube", "test", Address(Path("i.h5")), Address(Path("l.h5")), Address(Path("p.zarr")))
    assert commands(given, (replace(cube, voxel_nm=(50.0, 4.0, 4.5)),), tmp_path)[-2] == (
        "elektronn predict i.h5 p.zarr --model m.safetensors --voxel-nm 50 4 4.5 --params params.yaml"
    )
    assert commands(given, (cube,), tmp_path)[-2:] == (
        "elektronn predict i.h5 p.zarr --model m.safetensors --params params.yaml",
        "elektronn evaluate --test cube p.zarr l.h5 --json m.json --params params.yaml",
    )


def test_a_place_is_opened_by_commands_that_there_are() -> None:
    lines = look("neuro", "cube").format(z=1, y=2, x=3).splitlines()
    assert [line.split("    #")[0] for line in lines] == [
        "elektronn view neuro --volume cube",
        "elektronn view neuro --volume cube --napari",
        "elektronn view neuro --volume cube --section 1 --save section_1.png",
    ]
    assert "z 1, y 2, x 3" in lines[0]


def test_what_binning_does_is_told_where_it_does_anything() -> None:
    exact = {"roc_area": 0.9, "roc_area_error": 0, "average_precision": 0.8, "average_precision_error": 0}
    for area, precision in ((0, 0), (1e-6, 0), (0, None)):
        figures = {**exact, "roc_area_error": area, "average_precision_error": precision}
        page = findings.quality(ReportContent("t", metrics={"test": figures, "volumes": {"a": exact}}))
        heads = page.partition("What the figures mean")[0]
        assert (heads.count("± by binning<"), heads.count("± by binning of that<")) == (2 * bool(area), 0)
