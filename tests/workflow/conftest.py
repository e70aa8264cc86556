"""A small copy of the project, in which both engines can run for real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """A copy of the project with a small sample and a short training."""

    folder: Path

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the project with the environment of the tests activated; returns all it printed."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PATH": path, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} → {done.returncode}\n{done.stdout[-6000:]}")
        return done.stdout

    def set(self, pattern: str, text: str) -> None:
        """Replace one place of params.yaml."""
        file = self.folder / "params.yaml"
        changed, count = re.subn(pattern, text, file.read_text(), count=1)
        assert count == 1, pattern
        file.write_text(changed)

    def jobs(self, *options: str) -> dict[str, int]:
        """Rule → number of jobs that `snakemake -n` would run; empty if nothing."""
        text = self.run("snakemake", "-n", *options)
        if "Job stats:" not in text:
            assert "Nothing to be done" in text, text[-3000:]
            return {}
        rows = re.findall(r"^(\w+) +(\d+)$", text.split("Job stats:", 1)[1], re.M)
        return {name: int(count) for name, count in rows if name not in ("total", "all")}


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project as cloned, made small; nothing has run in it. Copy it before running anything."""
    folder = tmp_path_factory.mktemp("project") / "blank"
    folder.mkdir()
    for name in ("Snakefile", "params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("workflow", "profiles", "elektronn", "envs"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data" / "volumes.tsv", folder / "data")
    project = Project(folder)
    project.set(r"label_size: .*", "label_size: [12, 72, 72]")
    project.set(r"margin: .*", "margin: [4, 18, 18]")
    project.set(r"patch: .*", "patch: [5, 63, 63]")
    project.set(r"features: .*", "features: [4, 4, 4, 4, 4]")
    project.set(r"steps: \d+", "steps: 30\n      history_every: 10\n      monitor_examples: 4\n      preview_every: 0")
    for command in (("git", "init", "-q"), ("dvc", "init", "-q"), ("dvc", "config", "core.analytics", "false")):
        project.run(*command)
    return project


@pytest.fixture(scope="session")
def made(blank: Project) -> Project:
    """The project after `snakemake --cores 2`; tests that change it work on a copy."""
    project = copy(blank, "made")
    project.run("snakemake", "--cores", "2")
    return project


def copy(project: Project, name: str) -> Project:
    """A copy beside the project, times of the files kept."""
    target = project.folder.with_name(name)
    shutil.copytree(project.folder, target, symlinks=True)
    return Project(target)


@pytest.fixture
def fresh(made: Project, request: pytest.FixtureRequest) -> Project:
    """A copy of the finished project for one test."""
    return copy(made, re.sub(r"\W", "_", request.node.name))
