"""Runs side by side: the numbers are those of the files that dvc calls metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from elektronn.cli.main import main
from elektronn.errors import ConfigError, DataError
from elektronn.report.compare import compare, differing
from elektronn.report.making import TIME
from elektronn.report.runs import Run, figures_of, run_of
from tests.unit.test_report import tags

ROOT = Path(__file__).parents[2]


def made(project: Path, name: str, area: float, rate: float, seconds: float = 1.0) -> Path:
    """A run as the workflow leaves it; the folder of its report."""
    reports, models = project / "data" / "reports" / name, project / "data" / "models" / name
    test = {"roc_area": area, "calibration_error": 1 - area, "f1": None, "voxels": 1234567, "roc_area_interval": [0, 1]}
    metrics = {"test": test, "valid": test, "volumes": {"a": test}, "judged": "test", "warnings": []}
    card = {
        "versions": {"torch": "2"},
        "data": {"a": {"image": "1a" * 32, "labels": "2b" * 32}},
        "changes": ["step 5: rate = 1"] if rate > 0.1 else [],
        "seconds": seconds,
    }
    training = {"optimiser": {"rate": rate}, "steps": 9}
    resolved = {
        "experiments": {name: {"volumes": [], "sampling": {"augment": [{"kind": "flip"}]}, "training": training}}
    }
    texts = {
        reports / "metrics.json": json.dumps(metrics),
        reports / "roc.csv": "role,fpr,tpr,threshold\ntest,0,0,1\ntest,1,1,0\n",
        reports / "pr.csv": "role,recall,precision,threshold\ntest,0,1,1\ntest,1,0.4,0\n",
        reports / "evaluate.resolved.yaml": "evaluate: {bins: 256}\n",
        models / "model.json": json.dumps(card),
        models / "params.resolved.yaml": yaml.safe_dump(resolved),
        models / "history.csv": f"step,seconds,loss,valid_error,rate\n0,0,1,0.5,{rate}\n9,1,{area},0.4,{rate}\n",
    }
    for file, text in texts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return reports


def test_page_shows_what_differs_curves_of_all_and_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "one", 0.91, 0.01)
    made(tmp_path / "other", "one", 0.9234567, 0.2)
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--compare", "one", "other/data/reports/one", "--out", "both.html"]) == 0
    html = Path("both.html").read_text()
    seen = tags(html)
    assert "2 runs side by side" in capsys.readouterr().err
    assert "2 settings differ. Best ROC area on the test volumes: other/one with 0.9235." in html
    assert "<td>optimiser.rate" not in html
    for row in ("training.optimiser.rate</td><td><code>0.01</code></td><td><code>0.2</code>", "step 5: rate = 1"):
        assert row in html
    assert '<span class="best">0.92346 <span title="best">★' in html
    assert '<span class="best">0.07654 <span title="best">★' in html  # of the calibration error less is better
    assert "<td>1234567</td><td>1234567</td>" in html
    assert len([1 for tag, _ in seen if tag == "svg"]) == 3 + 2  # validation error, loss, rate; ROC, PR
    assert all("one" in str(a["aria-label"]) and "other/one" in str(a["aria-label"]) for tag, a in seen if tag == "svg")


def test_numbers_are_those_of_the_files_that_dvc_calls_metrics_and_plots(tmp_path: Path) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    (metrics,) = stages["evaluate_neuro"]["metrics"]
    plots = [next(iter(entry)) for stage in ("train_neuro", "evaluate_neuro") for entry in stages[stage]["plots"]]
    made(tmp_path, "neuro", 0.912345678, 0.01)
    made(tmp_path, "two", 0.9, 0.01)
    html = compare([run_of(name, tmp_path) for name in ("neuro", "two")])
    said = json.loads((tmp_path / metrics).read_text())
    shown = dict(re.findall(r"<tr><td>([\w.]+)</td><td>(?:<span class=\"best\">)?([^<★ ]+)", html))
    numbers = {
        f"{role}.{name}": n
        for role in ("test", "valid")
        for name, n in said[role].items()
        if isinstance(n, int | float)
    }
    assert len(numbers) == 6
    assert {name: shown[name] for name in numbers} == {
        name: str(n) if isinstance(n, int) else f"{n:.5f}" for name, n in numbers.items()
    }
    # dvc draws the very tables that the curves of the page are made of
    assert {Path(plot).name for plot in plots} == {"history.csv", "roc.csv", "pr.csv", "confusion.csv"}
    for plot in plots:
        if not plot.endswith("confusion.csv"):
            (tmp_path / plot).write_text("step\n")
    assert compare([run_of(name, tmp_path) for name in ("neuro", "two")]).count("neuro against") == 0


def test_figures_are_named_as_dvc_names_them_and_volumes_are_left_out() -> None:
    metrics: dict[str, Any] = {
        "test": {"f1": 0.5, "n": 3, "who": "x", "ok": True},
        "volumes": {"a": {"f1": 1}},
        "judged": "t",
    }
    assert dict(figures_of(metrics)) == {"test.f1": 0.5, "test.n": 3}


def test_figures_of_segments_are_compared_too(tmp_path: Path) -> None:
    for name, error in (("one", 0.2), ("two", 0.3)):
        said = {"test": {"voi_bits": 1 + error, "adapted_rand_error": {"cremi": error}, "background": "segment"}}
        folder = made(tmp_path, name, 0.9, 0.1)
        (folder / "segments.json").write_text(json.dumps({**said, "volumes": said, "definitions": {"n": 1}}))
    html = compare([run_of(name, tmp_path) for name in ("one", "two")])
    assert "Volumes: segments, test" in html
    for row in ("test.voi_bits", "test.adapted_rand_error.cremi"):
        assert re.search(
            rf'<td>{row}</td><td><span class="best">[\d.]+ <span title="best">★</span></span></td><td>\d', html
        )
    assert "definitions" not in html


def test_runs_that_were_judged_on_different_images_are_not_ranked(tmp_path: Path) -> None:
    for name, area, image in (("one", 0.8, "aa"), ("two", 0.9, "bb"), ("same", 0.7, "aa")):
        file = made(tmp_path, name, area, 0.1) / "metrics.json"
        said = json.loads(file.read_text())
        said["volumes"] = {
            "v": {"role": "valid", "made_of": {"image": name}},
            "t": {"role": "test", "made_of": {"image": image}},
        }
        file.write_text(json.dumps(said))
    one, two, same = (run_of(name, tmp_path) for name in ("one", "two", "same"))
    html = compare([one, two])
    assert '<p class="alarm">The runs were judged on different test volumes' in html
    assert "No setting differs. ROC areas on the test volumes: one 0.8000, two 0.9000." in html
    assert "★</span>" not in html
    html = compare([one, same])
    assert "judged on different" not in html
    assert "Best ROC area on the test volumes: one with 0.8000." in html


def test_equal_runs_differ_in_the_marked_block_of_times_only(tmp_path: Path) -> None:
    for name, seconds in (("one", 1.0), ("two", 2.0)):
        for folder in ("a", "b"):
            made(tmp_path / folder, name, 0.9, 0.1, seconds if folder == "a" else 2 * seconds)
    one, two = (compare([run_of(name, tmp_path / folder) for name in ("one", "two")]) for folder in ("a", "b"))
    assert one != two
    assert re.sub(f"{TIME[0]}.*{TIME[1]}", "", one, flags=re.DOTALL) == re.sub(
        f"{TIME[0]}.*{TIME[1]}", "", two, flags=re.DOTALL
    )
    assert "Settings, data and versions are the same." in one


def test_a_run_that_is_not_there_and_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run 'gone': neither .*data/reports/gone nor"):
        run_of("gone", tmp_path)
    for runs in ([Run("a")], [Run("a"), Run("a")]):
        with pytest.raises(ConfigError, match="name two runs or more, each once"):
            compare(runs)


def test_missing_files_and_settings_leave_gaps_not_failures(tmp_path: Path) -> None:
    reports = made(tmp_path, "one", 0.9, 0.1)
    lone = tmp_path / "lone"
    lone.mkdir()
    (lone / "metrics.json").write_text('{"test": {"f1": 0.5}}')
    html = compare([run_of(str(reports), tmp_path), run_of("lone", tmp_path)])
    assert "undefined" in html
    assert "<code>—</code>" in html


def test_differing_settings_keep_their_order_and_show_what_one_run_lacks() -> None:
    runs = [Run("a", {"x": 1, "y": 2, "z": 3}), Run("b", {"x": 1, "y": 5})]
    assert differing(runs) == {"y": [2, 5], "z": [3, "—"]}


def test_compare_beside_an_experiment_or_nothing_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == 2
    assert main(["report", "neuro", "--compare", "a", "b"]) == 2
    said = capsys.readouterr().err
    assert "name EXPERIMENT and OUT, or runs with --compare RUN RUN" in said
    assert "wants runs only" in said
