"""Killed at any moment and started again, a training ends with the same bits as one that was never killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from elektronn.artefacts import digest

SETTINGS = (
    "experiments.tiny.network.kernels=[[1,4,4],[3,3,3]]",
    "experiments.tiny.network.pools=[[1,2,2],[1,1,1]]",
    "experiments.tiny.network.features=[6,6]",
    "experiments.tiny.network.patch=[4,40,40]",
    "experiments.tiny.training.steps=1500",
    "experiments.tiny.training.history_every=100",
    "experiments.tiny.training.preview_every=200",
    "experiments.tiny.training.backup_s=0.1",
    "experiments.tiny.training.device=cpu",
)


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


def start(cubes: Path, folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "elektronn", "train", "tiny", "--model", str(folder / "model.safetensors")]
    command += ["--train", "a", f"{cubes}:a", f"{cubes}:a_labels", "--valid", "b", f"{cubes}:b", f"{cubes}:b_labels"]
    for setting in (*SETTINGS, *more):
        command += ["--set", setting]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    said = process.communicate(timeout=300)[1]
    assert process.returncode == code, said
    return said


def wait_for_backup(process: subprocess.Popen[str], state: Path, since: int) -> None:
    """Wait until a backup younger than ``since`` (ns) is there, or the training is over."""
    while process.poll() is None:
        if any(file.stat().st_mtime_ns > since for file in state.glob("backup_*.safetensors")):
            return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(cubes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(cubes, folder))
    return folder


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bits(
    cubes: Path, whole: Path, tmp_path: Path, seed: int
) -> None:
    chance, resumed, kills = random.Random(seed), 0, 0
    for attempt in range(5):
        before = time.time_ns()
        # another number of workers must not matter either
        process = start(cubes, tmp_path, f"experiments.tiny.sampling.workers={attempt % 3}")
        wait_for_backup(process, tmp_path / "state", before)
        time.sleep(chance.uniform(0, 0.6))
        kills += process.poll() is None
        process.kill()
        said = process.communicate(timeout=60)[1]
        resumed += "resumed at step" in said
        assert not list(tmp_path.glob("*.part")), "only hidden temporary files may be left by a kill"
    said = finish(start(cubes, tmp_path))
    assert kills >= 2
    assert resumed >= 2
    assert "resumed at step" in said
    assert digest(tmp_path / "model.safetensors") == digest(whole / "model.safetensors")


def test_sigterm_saves_and_says_so_with_its_exit_code(cubes: Path, whole: Path, tmp_path: Path) -> None:
    process = start(cubes, tmp_path)
    wait_for_backup(process, tmp_path / "state", 0)
    process.send_signal(signal.SIGTERM)
    said = finish(process, 130)
    assert "stopped at step" in said
    assert "SIGTERM" in said
    assert "resumed at step" in finish(start(cubes, tmp_path))
    assert digest(tmp_path / "model.safetensors") == digest(whole / "model.safetensors")


def test_a_second_trainer_is_refused_and_the_first_goes_on(cubes: Path, tmp_path: Path) -> None:
    first = start(cubes, tmp_path)
    wait_for_backup(first, tmp_path / "state", 0)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        assert "another trainer is at work here" in finish(start(cubes, tmp_path), 2)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    finish(first)
