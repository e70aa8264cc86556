"""Bad input and bad places: what is said, the exit code, and what is left of the work before."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.artefacts import digest
from elektronn.axes import Size, whole
from elektronn.cli.main import main
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction import plan as planning
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume
from elektronn.volumes.zarr_store import Shardwise

NET = NetworkSettings(kernels=((1, 4, 4), (2, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(2, 3))
IMAGE = np.random.default_rng(0).integers(0, 256, (17, 70, 130), dtype=np.uint8)
FILES = 2 * 1 * 2


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD", Size(8, 64, 64))
    monkeypatch.setattr(planning, "LARGEST", 1)
    monkeypatch.setattr("elektronn.prediction.work.CHUNKS", Size(2, 16, 16))


def store(path: Path, values: np.ndarray) -> None:
    with create_volume(parse_address(str(path)), values.shape, values.dtype, chunks=(4, 32, 32)) as sink:
        sink.write(whole(values.shape[-3:]), values)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    save_model(tmp_path / "m", build(chain(NET), seed=1), {"fingerprint": "f"})
    store(tmp_path / "image.zarr", IMAGE)
    return tmp_path


def predict(world: Path, out: str = "p.zarr", image: str = "image.zarr") -> int:
    command = ["predict", f"{world}/{image}", f"{world}/{out}", "--model", f"{world}/m"]
    return main([*command, *("--set", "predict.device=cpu", "--set", "predict.threads=1")])


def done(world: Path) -> set[str]:
    return {file.name for file in (world / "p.zarr.part" / "blocks").glob("*.done")}


def chunks(world: Path) -> list[Path]:
    return sorted(f for f in (world / "image.zarr" / "0" / "c").rglob("*") if f.is_file())


def cut(world: Path) -> None:
    file = chunks(world)[-1]
    file.write_bytes(file.read_bytes()[:100])


def remove(world: Path) -> None:
    chunks(world)[-1].unlink()


def more_channels(world: Path) -> None:
    store(world / "image.zarr", np.stack([IMAGE, IMAGE]))


def small(world: Path) -> None:
    store(world / "image.zarr", IMAGE[:, :5, :5])


def not_a_number(world: Path) -> None:
    values = IMAGE / np.float32(255)
    values[3, 4, 5] = np.nan
    store(world / "image.zarr", values)


CASES: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "damaged chunk": (cut, 4, "image.zarr: cannot be read"),
    "missing file": (remove, 4, "chunks are not in the file (the first at"),
    "channels": (more_channels, 4, "has 2 channels, the model was made for 1"),
    "field of view": (small, 2, "image of 17×5×5 voxels (zyx) is smaller than the field of view"),
    "NaN": (not_a_number, 4, "NaN or infinite value at zyx (3, 4, 5)"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_images_are_refused_with_a_reason_and_leave_no_output(
    world: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, code, says = CASES[name]
    spoil(world)
    assert predict(world) == code
    assert says in capsys.readouterr().err
    assert not (world / "p.zarr").exists()
    assert not (world / "p.zarr.json").exists()


WRITES = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk is full; free some space",
    errno.EROFS: "no permission to write here; choose another place",
    errno.EIO: "cannot be written here",
}


@pytest.mark.parametrize("code", WRITES, ids=errno.errorcode.get)
def test_blocks_before_a_failure_of_the_disk_are_safe_and_the_rest_is_made_later(
    world: Path, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(world, "whole.zarr") == 0
    right, count = Shardwise.__setitem__, [0]

    def write(self: Shardwise, *rest: Any) -> None:
        count[0] += 1
        if count[0] > 3:
            raise OSError(code, os.strerror(code))
        right(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Shardwise, "__setitem__", write)
        assert predict(world) == 5
    said = capsys.readouterr().err
    assert f"{world}/p.zarr: {WRITES[code]}" in said
    assert f"what is finished stays in {world}/p.zarr.part, and the same command goes on" in said
    assert len(done(world)) == 3
    assert not (world / "p.zarr").exists()
    count[0] = -1000
    monkeypatch.setattr(Shardwise, "__setitem__", write)
    assert predict(world) == 0
    assert count[0] == -1000 + FILES - 3, "only the rest is computed"
    assert digest(world / "p.zarr") == digest(world / "whole.zarr")


@pytest.mark.parametrize("out", ["p.zarr", "p.h5"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    world: Path, out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Path.mkdir

    def locked(self: Path, *rest: Any, **more: Any) -> None:
        if self.name.endswith(".part"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        right(self, *rest, **more)

    monkeypatch.setattr(Path, "mkdir", locked)
    assert predict(world, out) == 5
    assert f"{world}/{out}: no permission to write here; choose another place" in capsys.readouterr().err
    assert not [file for file in world.iterdir() if file.name.startswith("p.")]


def test_a_disk_that_fills_up_under_the_final_hdf5_file_keeps_all_blocks(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("elektronn.volumes.hdf5.Watched.__setitem__", full)
        assert predict(world, "p.h5") == 5
    assert "p.h5: the disk is full" in capsys.readouterr().err
    assert len(list((world / "p.h5.part" / "blocks").glob("*.done"))) == FILES
    monkeypatch.setattr("elektronn.prediction.work.Work.write", lambda *_: pytest.fail("all blocks are there"))
    assert predict(world, "p.h5") == 0
