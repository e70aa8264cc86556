"""What the workflow asks a cluster for; and, where there is a SLURM, a whole run on it."""

from __future__ import annotations

import importlib.util
import re
import shutil

import pytest

from elektronn.workflow.layout import merged
from tests.workflow.conftest import Project, copy

ON_CPU = ("--config", "experiments={neuro: {training: {device: cpu, history_every: 15}}}", "predict={device: cpu}")


def resources(plan: str, rule: str) -> dict[str, str]:
    """What the first job of a rule asks for."""
    block = re.search(rf"^rule {rule}:.*?^    resources: (.*?)$", plan, re.M | re.S)
    assert block, plan[-3000:]
    return dict(re.findall(r"(\w+)=([^,\s]+)", block[1]))


def test_a_gpu_is_asked_for_unless_the_device_is_the_cpu(blank: Project) -> None:
    plan = blank.run("snakemake", "-n", "--", "train_neuro")
    assert resources(plan, "train")["cpus_per_task"] == "2"
    assert [resources(plan, rule)["gpu"] for rule in ("train", "prediction")] == ["1", "1"]
    plan = blank.run("snakemake", "-n", *ON_CPU, "--", "train_neuro")
    assert [resources(plan, rule)["gpu"] for rule in ("train", "prediction")] == ["0", "0"]


def test_numbers_inside_braces_of_the_command_line_are_numbers() -> None:
    over = {
        "a": {"steps": "7", "rate": "0.001", "on": "true", "device": "cpu", "sizes": ["1", "2"], "new": {"x": "-1"}}
    }
    assert merged({"a": {"steps": 1}}, over)["a"] == {
        "steps": 7,
        "rate": 0.001,
        "on": True,
        "device": "cpu",
        "sizes": [1, 2],
        "new": {"x": -1},
    }


@pytest.mark.skipif(
    not shutil.which("sinfo") or not importlib.util.find_spec("snakemake_executor_plugin_slurm"),
    reason="needs a SLURM cluster and the extra `slurm`",
)
def test_a_run_on_slurm(blank: Project) -> None:
    project = copy(blank, "slurm")
    project.run("snakemake", "--workflow-profile", "workflow/profiles/slurm", *ON_CPU, "--", "train_neuro")
    assert (project.folder / "data/reports/neuro/index.html").exists()
