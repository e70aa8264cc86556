"""Killed at any moment and started again, a training ends with the same bits as one that was never killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from elektronn.training.checkpoint import Backups

ROOT = Path(__file__).parents[2]

SETTINGS = (
    "network.kernels=[[1,4,4],[3,3,3]]",
    "network.pools=[[1,2,2],[1,1,1]]",
    "network.features=[6,6]",
    "network.patch=[4,40,40]",
    "training.steps=100000",
    "training.preview_every=0",
    "training.backup_s=0.1",
    "training.device=cpu",
)


def test_killed_at_fifteen_moments_a_training_ends_with_the_same_bits() -> None:
    """The moments, most of them in the middle of writing, are those of the campaign; ``make torture`` runs more."""
    command = [sys.executable, "-m", "tests.workflow.kill_campaign", "--kills", "15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "15 kills in " in done.stdout
    assert done.stdout.strip().endswith("bit-identical")


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kill") / "cubes.h5"
    noise = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name in ("a", "b"):
            dark = np.repeat(np.repeat(noise.random((6, 20, 20)) < 0.3, 4, 1), 4, 2)
            file[name] = (200 - 150 * dark + noise.integers(-20, 20, dark.shape)).astype(np.uint8)
            file[f"{name}_labels"] = dark.astype(np.uint8)
    return path


def start(cubes: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "elektronn", "train", "tiny", "--model", str(folder / "model.safetensors")]
    command += ["--train", "a", f"{cubes}:a", f"{cubes}:a_labels", "--valid", "b", f"{cubes}:b", f"{cubes}:b_labels"]
    command += [word for setting in SETTINGS for word in ("--set", f"experiments.tiny.{setting}")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    said = process.communicate(timeout=300)[1]
    assert process.returncode == code, said
    return said


def wait_for_backup(process: subprocess.Popen[str], state: Path) -> None:
    """Wait until a backup is there, or the training is over."""
    while process.poll() is None and not list(state.glob("backup_*.safetensors")):
        time.sleep(0.02)


def test_sigterm_and_sigusr1_save_and_say_so_and_meanwhile_a_second_trainer_is_refused(
    cubes: Path, tmp_path: Path
) -> None:
    """What a scheduler sends before it takes the machine away; the code tells it to queue the command again."""
    running = {name: start(cubes, tmp_path / name) for name in ("SIGTERM", "SIGUSR1")}
    for name, process in running.items():
        wait_for_backup(process, tmp_path / name / "state")
    running["SIGTERM"].send_signal(signal.SIGSTOP)
    second = start(cubes, tmp_path / "SIGTERM")
    try:
        assert "another trainer is at work here" in finish(second, 2)
    finally:
        running["SIGTERM"].send_signal(signal.SIGCONT)
    for name, process in running.items():
        os.kill(process.pid, getattr(signal, name))
        said = finish(process, 130)
        stopped = re.search(rf"stopped at step (\d+) \({name}\); the same command resumes there", said)
        assert stopped, said
        backups = Backups(tmp_path / name / "state")
        assert max(facts["step"] for _, _, facts in backups._readable()) == int(stopped[1])
        assert not list((tmp_path / name).rglob("model.safetensors"))
