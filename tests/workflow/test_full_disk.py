"""A disk that is really full: a small file system in memory, in which a training keeps its state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.workflow.test_bad_input import own_mounts

PROGRAM = """
import os, shutil, sys
from pathlib import Path
from elektronn.cli.main import main

cubes, folder = sys.argv[1:]
words = ["train", "tiny", "--model", f"{folder}/model.safetensors", "--state", f"{folder}/state"]
words += ["--train", "a", f"{cubes}:a", f"{cubes}:a_labels"]
for setting in (
    "network.kernels=[[1,4,4],[1,3,3]]", "network.pools=[[1,2,2],[1,1,1]]", "network.features=[4,4]",
    "network.patch=[1,20,20]", "training.steps=600", "training.history_every=200", "training.preview_every=0",
    "training.device=cpu", "training.backup_s=0.000001",
):
    words += ["--set", f"experiments.tiny.{setting}"]
many = ["--set", "experiments.tiny.training.snapshot_h=0.0000002"]
codes = [main([*words, *many]), main([*words, *many, "--set", "experiments.tiny.training.on_full_disk=stop"])]
left = len(list(Path(folder, "state").glob("backup_*")))
shutil.rmtree(f"{folder}/state/snapshots")
codes.append(main(words))
print(codes, left, Path(folder, "model.safetensors").exists())
"""


def test_the_run_says_so_keeps_its_backups_and_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    mounts = own_mounts()
    if mounts is None:
        pytest.skip("nothing can be mounted here")
    with h5py.File(tmp_path / "cubes.h5", "w") as file:
        dark = np.repeat(np.repeat(np.random.default_rng(0).random((4, 12, 12)) < 0.3, 4, 1), 4, 2)
        file["a"], file["a_labels"] = np.where(dark, 50, 200).astype(np.uint8), dark.astype(np.uint8)
    state = tmp_path / "state"
    state.mkdir()
    inside = [sys.executable, "-c", PROGRAM, str(tmp_path / "cubes.h5"), str(tmp_path)]
    mount = f'mount -t tmpfs -o size=160k none "{state}" && exec "$@"'
    done = subprocess.run([*mounts, "sh", "-c", mount, "sh", *inside], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[5, 5, 0] 2 True", done.stdout + done.stderr
    assert "warning: no backup at step" in done.stderr
    assert "the disk is full; free some space and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("resumed at step") == 2
