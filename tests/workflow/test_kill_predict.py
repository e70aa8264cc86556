"""Killed at any moment and started again, or shared by several processes, a prediction ends with the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from elektronn.artefacts import digest
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from tests.workflow.test_bad_input import own_mounts

BLOCKS = 10
NETWORK = NetworkSettings(kernels=((1, 4, 4), (3, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(4, 4))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    save_model(folder / "model.safetensors", build(chain(NETWORK), seed=1), {"fingerprint": "f"})
    np.save(folder / "image.npy", np.random.default_rng(0).integers(0, 256, (8, 500, 1200), np.uint8))
    return folder


def start(inputs: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "elektronn", "predict", str(inputs / "image.npy"), str(out)]
    command += ["--model", str(inputs / "model.safetensors")]
    for setting in ("predict.device=cpu", "predict.threads=1", "predict.output=float32", *more):
        command += ["--set", setting]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    said = process.communicate(timeout=300)[1]
    assert process.returncode == code, said
    return said


def marks(out: Path) -> dict[str, int]:
    """Blocks that are done, and when."""
    return {file.name: file.stat().st_mtime_ns for file in Path(f"{out}.part/blocks").glob("*.done")}


def wait_for_block(process: subprocess.Popen[str], out: Path, more_than: int) -> None:
    while process.poll() is None and len(marks(out)) <= more_than:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "p.zarr"
    finish(start(inputs, out))
    return out


def same(out: Path, whole: Path) -> bool:
    """Store and manifest equal those of the undisturbed run, and nothing is left beside them."""
    assert sorted(file.name for file in out.parent.iterdir()) == ["p.zarr", "p.zarr.json"]
    manifests = [Path(f"{path}.json").read_text() for path in (out, whole)]
    return digest(out) == digest(whole) == json.loads(manifests[0])["sha256"] and manifests[0] == manifests[1]


def test_killed_at_random_moments_only_the_rest_is_computed_and_the_bytes_are_the_same(
    inputs: Path, whole: Path, tmp_path: Path
) -> None:
    out, chance, kills = tmp_path / "p.zarr", random.Random(1), 0
    for _ in range(4):
        before = marks(out)
        process = start(inputs, out)
        wait_for_block(process, out, len(before))
        time.sleep(chance.uniform(0, 0.3))
        kills += process.poll() is None
        process.kill()
        process.communicate(timeout=60)
        after = marks(out)
        assert not after or before.items() <= after.items(), "what was done must not be done again"
        if not after:
            break
    finish(start(inputs, out))
    assert kills >= 2
    assert same(out, whole)


@pytest.mark.parametrize("moment", ["publish", "_end", "say"])
def test_killed_while_it_finishes_the_next_run_ends_it(inputs: Path, whole: Path, tmp_path: Path, moment: str) -> None:
    out = tmp_path / "p.zarr"
    code = f"""
import os, sys
from elektronn.cli.main import main
from elektronn.prediction.work import Work
Work.{moment} = lambda *all: os.kill(os.getpid(), 9)
main(sys.argv[1:])
"""
    command = ["predict", str(inputs / "image.npy"), str(out), "--model", str(inputs / "model.safetensors")]
    command += ["--set", "predict.device=cpu", "--set", "predict.threads=1", "--set", "predict.output=float32"]
    assert subprocess.run([sys.executable, "-c", code, *command], check=False).returncode == -9
    began = time.time_ns()
    finish(start(inputs, out))
    assert same(out, whole)
    files = [file for file in (out / "0").rglob("*") if file.is_file() and file.name != "zarr.json"]
    assert max(file.stat().st_mtime_ns for file in files) < began, "no block was computed again"


def test_processes_share_one_output_and_survive_each_other(inputs: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.zarr"
    processes = [start(inputs, out) for _ in range(3)]
    wait_for_block(processes[0], out, 1)
    processes[0].kill()
    processes[0].communicate(timeout=60)
    for process in processes[1:]:
        finish(process)
    assert same(out, whole)


def test_a_stopped_process_that_wakes_up_late_harms_nothing(inputs: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.zarr"
    first = start(inputs, out)
    wait_for_block(first, out, 0)
    os.kill(first.pid, signal.SIGSTOP)
    second = start(inputs, out)
    time.sleep(3)
    os.kill(first.pid, signal.SIGCONT)
    finish(second)
    finish(first)
    assert same(out, whole)


def test_a_finished_output_is_not_made_again(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.zarr"
    finish(start(inputs, out))
    made = (out / "zarr.json").stat().st_mtime_ns
    assert "is there already" in finish(start(inputs, out, "predict.threads=2"))
    assert (out / "zarr.json").stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("predict.output=uint8", "another predict.output (float32, now uint8)"),
        ("predict.classes=all", "another predict.classes (boundary, now all)"),
    ],
)
def test_other_settings_on_unfinished_work_are_refused(inputs: Path, tmp_path: Path, setting: str, says: str) -> None:
    out = tmp_path / "p.zarr"
    first = start(inputs, out)
    wait_for_block(first, out, 0)
    first.kill()
    first.communicate(timeout=60)
    before = marks(out)
    said = finish(start(inputs, out, setting), 2)
    assert says in said
    assert f"{out}.part" in said
    assert marks(out) == before


def test_another_model_or_image_on_unfinished_work_is_refused(inputs: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "p.zarr", tmp_path / "other"
    first = start(inputs, out)
    wait_for_block(first, out, 0)
    first.kill()
    first.communicate(timeout=60)
    other.mkdir()
    save_model(other / "model.safetensors", build(chain(NETWORK), seed=2), {"fingerprint": "f"})
    np.save(other / "image.npy", np.load(inputs / "image.npy") // 2)
    said = finish(start(other, out), 2)
    assert "made with another model; go on" in said


SMALL_DISK = """
set -e
folder=$1; shift
mkdir "$folder"
mount -t tmpfs -o size=8m none "$folder"
set +e
"$@"; echo "code $?"
ls "$folder/p.zarr.part/blocks" | grep -c done
set -e
mount -o remount,size=200m "$folder"
"$@"; echo "code $?"
find "$folder" -name '*.part'
cp -a "$folder" "$folder.kept"
mount -o remount,ro "$folder"
set +e
"$@" --set predict.output=uint8; echo "code $?"
"""
"""Runs a command on a disk that is too small, then on one that is large enough, then on one that cannot be written."""


def test_on_a_full_disk_finished_blocks_stay_and_with_more_room_it_goes_on(
    inputs: Path, whole: Path, tmp_path: Path
) -> None:
    unshare = own_mounts()
    if unshare is None:
        pytest.skip("this system lets us mount no small disk")
    folder = tmp_path / "disk"
    command = [sys.executable, "-m", "elektronn", "predict", str(inputs / "image.npy"), str(folder / "p.zarr")]
    command += ["--model", str(inputs / "model.safetensors")]
    for setting in ("predict.device=cpu", "predict.threads=1", "predict.output=float32"):
        command += ["--set", setting]
    done = subprocess.run(
        [*unshare, "sh", "-c", SMALL_DISK, "sh", str(folder), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    full, rest = done.stdout.split("code 5", 1)
    assert f"{folder}/p.zarr: the disk is full; free some space" in full
    assert f"what is finished stays in {folder}/p.zarr.part" in full
    assert 0 < int(rest.split()[0]) < BLOCKS
    again, locked = rest.split("code 0", 1)
    assert ".part" not in locked.split("elektronn predict")[0]
    assert "no permission to write here; choose another place" in locked
    assert locked.split()[-1] == "5"
    assert digest(Path(f"{folder}.kept/p.zarr")) == digest(whole)
    assert "GiB" in again or "MiB" in again


def test_hdf5_is_written_from_the_kept_blocks(inputs: Path, whole: Path, tmp_path: Path) -> None:
    from elektronn.volumes.address import parse_address
    from elektronn.volumes.arrays import load

    out = tmp_path / "p.h5"
    first = start(inputs, out)
    wait_for_block(first, out, 2)
    first.kill()
    first.communicate(timeout=60)
    before = marks(out)
    finish(start(inputs, out))
    assert before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["p.h5", "p.h5.json"]
    assert np.array_equal(load(parse_address(str(out))), load(parse_address(str(whole))))
