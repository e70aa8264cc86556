"""Both engines for real, on a small project: done once is done, and one believes the other only with proof."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.workflow.conftest import Project, copy

SEGMENTS = {"segmentation": 1, "evaluate_segments": 1}
"""Jobs of the one volume that the experiment wants to be segmented."""


def test_a_second_snakemake_run_does_nothing(made: Project) -> None:
    assert made.jobs() == {}


def test_every_stage_leaves_its_artefacts(made: Project) -> None:
    metrics = json.loads((made.folder / "data/reports/neuro/metrics.json").read_text())
    assert 0 <= metrics["test"]["roc_area"] <= 1
    segments = json.loads((made.folder / "data/reports/neuro/segments.json").read_text())
    assert segments["test"]["segments"] == segments["volumes"]["cube2"]["segments"] > 0
    assert json.loads((made.folder / "data/segmentations/neuro/cube2.zarr.json").read_text())["segments"] > 0
    page = (made.folder / "data/reports/neuro/index.html").read_text()
    assert len(page.encode()) < 5_000_000
    assert 'src="http' not in page
    # a short training is judged by its figures alone: all that was claimed about the run was checked, and holds
    assert page.count('<li class="holds">') == 6
    assert (made.folder / "data/models/neuro/params.resolved.yaml").exists()
    left = [file for file in (made.folder / "data").rglob(".*") if file.name.endswith((".part", ".old"))]
    assert left == []


def test_changing_evaluation_reruns_evaluation_and_report_only(fresh: Project) -> None:
    fresh.set(r"curve_points: 500", "curve_points: 100")
    assert fresh.jobs() == {"evaluate": 1, "report": 1}


def test_changing_the_training_reruns_training_and_what_follows(fresh: Project) -> None:
    fresh.set(r"rate: 0.001", "rate: 0.002")
    assert fresh.jobs() == {"train": 1, "prediction": 2, "evaluate": 1, **SEGMENTS, "report": 1}


def test_a_dvc_experiment_with_another_setting_leaves_both_engines_content(fresh: Project) -> None:
    fresh.run("elektronn", "adopt", "dvc")
    fresh.run("git", "config", "user.email", "test@example.org")
    fresh.run("git", "config", "user.name", "test")
    fresh.run("git", "add", ".")
    fresh.run("git", "commit", "-q", "-m", "all")
    fresh.run("dvc", "exp", "run", "-S", "evaluate.curve_points=100")
    rows = (fresh.folder / "data/reports/neuro/roc.csv").read_text().splitlines()
    assert len(rows) <= 101
    assert fresh.jobs() == {}


def test_a_row_of_role_predict_is_one_new_prediction(fresh: Project) -> None:
    with (fresh.folder / "data/volumes.tsv").open("a") as table:
        table.write("extra\tdata/raw/sample_0.h5:raw\t\tzyx\t20,10,10\tpredict\n")
    for target in ("predict_neuro", "predict"):
        jobs = fresh.jobs(target)
        assert jobs["prediction"] == 1
        assert "train" not in jobs


def test_a_volume_that_cannot_be_predicted_does_not_stop_the_others(fresh: Project) -> None:
    (fresh.folder / "data/raw/bad.h5").write_text("no volume")
    with (fresh.folder / "data/volumes.tsv").open("a") as table:
        for name, file in (("bad", "bad.h5"), ("gone", "gone.h5"), ("good", "sample_0.h5"), ("other", "sample_1.h5")):
            table.write(f"{name}\tdata/raw/{file}:raw\t\tzyx\t20,10,10\tpredict\n")
    said = fresh.run("snakemake", "--cores", "1", "predict", check=False)
    assert "bad.h5: is not an HDF5 file" in (fresh.folder / "data/logs/predict/neuro/bad.log").read_text()
    found = {file.name for file in (fresh.folder / "data/predictions/neuro").glob("*.json")}
    assert found >= {"good.zarr.json", "other.zarr.json"}, said[-3000:]
    assert "bad.zarr.json" not in found
    rows = [line.split("\t") for line in (fresh.folder / "data/predictions/neuro/summary.tsv").read_text().splitlines()]
    assert [(row[0], row[3]) for row in rows[1:]] == [
        ("bad", "failed"),
        ("gone", "failed"),
        ("good", "done"),
        ("other", "done"),
    ]
    assert "is not an HDF5 file" in rows[1][-1]
    assert "gone.h5: no such file" in rows[2][-1]
    assert fresh.jobs("predict") == {"prediction": 2, "predict": 1}


def test_a_replaced_prediction_is_noticed_by_its_manifest(fresh: Project) -> None:
    manifest = fresh.folder / "data/predictions/neuro/cube2.zarr.json"
    manifest.write_text(manifest.read_text().replace('"sha256": "', '"sha256": "0'))
    assert fresh.jobs() == {"evaluate": 1, **SEGMENTS, "report": 1}


def test_adopted_by_dvc_the_run_is_a_no_op_there_and_edits_are_noticed_by_both(fresh: Project) -> None:
    said = fresh.run("elektronn", "adopt", "dvc")
    assert "left alone" not in said
    again = fresh.run("dvc", "repro")
    assert "Running stage" not in again
    # by times alone, as for files that are too large to be compared by content
    assert fresh.jobs("--max-checksum-file-size", "1") == {}
    fresh.set(r"curve_points: 500", "curve_points: 100")
    refused = fresh.run("elektronn", "adopt", "dvc")
    assert refused.split("left alone:")[1].split() == ["evaluate_neuro,", "report_neuro"]
    ran = fresh.run("dvc", "repro")
    assert sorted(line.split("'")[1] for line in ran.splitlines() if line.startswith("Running stage")) == [
        "evaluate_neuro",
        "report_neuro",
    ]
    assert fresh.jobs() == {}


def test_dvc_in_a_fresh_clone_gives_the_same_metrics_and_snakemake_has_nothing_to_do(
    blank: Project, made: Project
) -> None:
    project = copy(blank, "by_dvc")
    project.run("dvc", "repro")
    ours, theirs = (json.loads((p.folder / "data/reports/neuro/metrics.json").read_text()) for p in (project, made))
    assert ours == theirs
    model = "data/models/neuro/model.safetensors"
    assert (project.folder / model).read_bytes() == (made.folder / model).read_bytes()
    assert project.jobs() == {}
    shown = project.run("dvc", "metrics", "show", "--json")
    assert "roc_area" in shown


def test_artefacts_restored_by_dvc_are_adopted_by_snakemake(fresh: Project) -> None:
    fresh.run("elektronn", "adopt", "dvc")
    manifest = fresh.folder / "data/reports/neuro/metrics.json"
    manifest.unlink()
    fresh.run("dvc", "checkout", "--force")
    fresh.run("elektronn", "adopt", "snakemake")
    assert fresh.jobs() == {}


def test_the_workflow_is_clean_for_its_own_linter(made: Project) -> None:
    text = made.run("snakemake", "--lint")
    assert "Congratulations" in text


def test_a_bare_call_of_the_stage_script_is_refused(made: Project) -> None:
    assert "is called by dvc" in made.run("python", "workflow/stage.py", "train", "x", check=False)


def trainers(project: Project) -> list[int]:
    """Process ids of the trainers at work in the project."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            # the command itself, not the shell that Snakemake starts it with
            if b"train" in words and b"--state" in words and (process / "cwd").resolve() == project.folder.resolve():
                found.append(int(process.name))
    return found


def test_a_trainer_killed_under_snakemake_is_started_again_and_resumes(blank: Project) -> None:
    project = copy(blank, "killed")
    project.set(r"steps: 30", "steps: 1500\n      backup_s: 0.2")
    with (project.folder / "out").open("w") as out:
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "train_neuro"]
        running = subprocess.Popen(command, cwd=project.folder, stdout=out, stderr=subprocess.STDOUT)
        while running.poll() is None and not list((project.folder / "data/state/neuro").glob("backup_*")):
            time.sleep(0.05)
        killed = trainers(project)
        for process in killed:
            os.kill(process, signal.SIGKILL)
        code = running.wait(timeout=300)
    said = (project.folder / "out").read_text()
    assert killed
    assert code == 0, said[-3000:]
    assert "resumed at step" in (project.folder / "data/logs/train/neuro.log").read_text()
    assert project.jobs("train_neuro") == {}
