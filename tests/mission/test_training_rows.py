"""Mission rows M120 to M127 and M138 to M140: what a training counts, shows, writes and says at its end."""

from __future__ import annotations

import csv
import re
import shutil
import signal
import struct
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from elektronn.artefacts import digest, digests
from elektronn.cli.main import main
from elektronn.network.weights import load_model, load_tensors
from elektronn.training.checkpoint import NAMES
from elektronn.training.history import COLUMNS, rows_in
from elektronn.training.trainer import Trainer

SETTINGS: dict[str, Any] = {
    "network.kernels": [[1, 4, 4], [1, 3, 3]],
    "network.pools": [[1, 2, 2], [1, 1, 1]],
    "network.features": [4, 4],
    "network.dropout": [0.3, 0.2],
    "network.patch": [1, 20, 20],
    "sampling.workers": 0,
    "training.steps": 40,
    "training.history_every": 10,
    "training.preview_every": 0,
    "training.device": "cpu",
}


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "cubes.h5"
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name in ("a", "b"):
            dark = np.repeat(np.repeat(random.random((4, 12, 12)) < 0.3, 4, 1), 4, 2)
            file[name] = (200 - 150 * dark + random.integers(-20, 20, dark.shape)).astype(np.uint8)
            file[f"{name}_labels"] = dark.astype(np.uint8)
    with h5py.File(path.with_name("previews.h5"), "w") as file:
        for name in ("first", "second"):
            file[name] = random.integers(0, 256, (9, 32, 30), np.uint8)
    return path


def train(cubes: Path, folder: Path, code: int = 0, *more: str, **changes: Any) -> Path:
    """Train in ``folder``, in this process."""
    words = ["train", "tiny", "--model", str(folder / "model.safetensors"), *more]
    words += ["--train", "a", f"{cubes}:a", f"{cubes}:a_labels", "--valid", "b", f"{cubes}:b", f"{cubes}:b_labels"]
    settings = {**SETTINGS, **{key.replace("__", "."): value for key, value in changes.items()}}
    for key, value in settings.items():
        words += ["--set", f"experiments.tiny.{key}={value}"]
    assert main(words) == code
    return folder


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def plain(cubes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training as the settings say it."""
    return train(cubes, tmp_path_factory.mktemp("plain"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes an hour of training."""
    advance = Trainer._advance

    def slow(self: Trainer, batches: Any) -> None:
        advance(self, batches)
        self.seconds = self.step * 3600.0

    monkeypatch.setattr(Trainer, "_advance", slow)


def test_M120_fifty_steps_give_fifty_rows_and_max_runtime_ends_after_the_step_in_which_it_is_over(
    cubes: Path, tmp_path: Path, clock: None
) -> None:
    changes = {"training__steps": 50, "training__history_every": 1, "training__monitor_examples": 1}
    counted = history(train(cubes, tmp_path / "a", **changes))
    # and one of before the first step
    assert [int(row["step"]) for row in counted] == list(range(51))
    assert all(float(row["loss"]) > 0 for row in counted[1:])
    timed = history(train(cubes, tmp_path / "b", training__steps=10**6, training__max_seconds=2.5 * 3600))
    assert [(int(row["step"]), float(row["seconds"])) for row in timed][-1] == (3, 3 * 3600.0)


def test_M121_history_freq(cubes: Path, tmp_path: Path) -> None:
    sgd = {"training__optimiser": {"kind": "sgd", "momentum": 0.8}}
    rows = history(train(cubes, tmp_path, training__steps=101, training__history_every=20, **sgd))
    # the end has a row in any case
    assert [int(row["step"]) for row in rows] == [0, 20, 40, 60, 80, 100, 101]
    assert {row["momentum"] for row in rows} == {"0.8"}


@pytest.mark.parametrize(("wanted", "used"), [(10, 12), (8, 8), (1, 4)])
def test_M122_monitor_batch_size_is_filled_up_to_whole_batches(
    cubes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int, used: int
) -> None:
    """The ancestor rounded 10 down to 8, with batches of 4; what was asked for is now the least that is looked at."""
    seen = []
    mistakes = Trainer.measure

    def count(self: Trainer, source: str) -> tuple[float, float]:
        supply = self.task.watch[source]
        looked: list[int] = []
        monkeypatch.setattr(type(self), "_watched", lambda self, source: Counting(supply, looked))
        found = mistakes(self, source)
        seen.append((source, sum(looked)))
        return found

    class Counting:
        def __init__(self, supply: Any, looked: list[int]) -> None:
            self.supply, self.looked = supply, looked

        def batch(self, step: int) -> Any:
            found = self.supply.batch(step)
            self.looked.append(len(found.image))
            return found

    monkeypatch.setattr(Trainer, "measure", count)
    changes = {"sampling__batch_size": 4, "training__monitor_examples": wanted, "training__steps": 1}
    train(cubes, tmp_path, **changes)
    assert set(seen) == {("train", used), ("valid", used)}


STATUS = (
    r"step 10  loss \d\.\d+  train error 0\.\d+  valid error 0\.\d+  labels 0\.\d+  diff [+-]\d\.\d\de[+-]\d\d  "
    r"rate 0\.\d+  \d+\.\d it/s, data wait \d+\.\d%  \d+ s\n"
)


def test_M123_status_line_fields(cubes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(cubes, tmp_path, training__steps=20)
    assert re.search(STATUS, capfd.readouterr().err)
    first, last, _ = history(tmp_path)
    assert {last["momentum"], first["momentum"]} == {""}, "Adam has none"
    assert float(last["diff"]) == float(last["train_loss"]) - float(first["train_loss"])
    assert 0.05 < float(last["label_mean"]) < 0.6


def size_of(picture: Path) -> tuple[int, int]:
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_M124_plots(plain: Path, tmp_path: Path) -> None:
    assert main(["curves", str(plain), "--out", str(tmp_path)]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["errors.png", "loss.png", "rates.png"]
    for picture in (*tmp_path.iterdir(), plain / "curves.png"):
        assert picture.stat().st_size > 10_000
        assert min(size_of(picture)) >= 450


def test_M124_plots_are_drawn_by_another_process_while_the_training_runs(plain: Path, tmp_path: Path) -> None:
    from elektronn.cli.sketcher import Sketcher
    from elektronn.training.control import Noted, Row

    (tmp_path / "state").mkdir()
    shutil.copy(plain / "state" / "events.jsonl", tmp_path / "state")
    with closing(Sketcher(tmp_path / "state", first_s=0, every_s=1000)) as sketcher:
        sketcher.hear(Noted("no row"))
        assert sketcher._process is None
        sketcher.hear(Row({"step": 10}))
        process = sketcher._process
        assert process is not None
        sketcher.hear(Row({"step": 20}))
        assert sketcher._process is process, "not before its time"
        assert process.wait(timeout=100) == 0
    assert (tmp_path / "state" / "curves" / "loss.png").stat().st_size > 10_000
    with closing(Sketcher(tmp_path / "state", first_s=0)) as sketcher:
        sketcher.hear(Row({"step": 10}))
    assert sketcher._process is not None
    assert sketcher._process.returncode == -signal.SIGKILL


def test_M125_parameters_by_the_hour_the_last_and_the_best(cubes: Path, tmp_path: Path, clock: None) -> None:
    train(cubes, tmp_path, training__steps=5, training__snapshot_h=2, training__history_every=1)
    state = tmp_path / "state"
    assert sorted(file.name for file in (state / "snapshots").iterdir()) == ["2h.safetensors", "4h.safetensors"]
    at = {hours: load_model(state / "snapshots" / f"{hours}h.safetensors") for hours in (2, 4)}
    assert [model.card["step"] for model in at.values()] == [2, 4]
    # the file at the end holds what was in memory after the last step
    backups = [load_tensors(state / name) for name in NAMES if (state / name).exists()]
    tensors, facts = max(backups, key=lambda pair: pair[1]["step"])
    ended = load_tensors(tmp_path / "model.safetensors")[0]
    assert facts["step"] == 5
    assert all(torch.equal(tensors[f"weights.{name}"], value) for name, value in ended.items())
    assert load_model(state / "best.safetensors").card["valid_error"] == min(
        float(row["valid_error"]) for row in history(tmp_path)[1:]
    )


PREVIEWS = {"training__preview_h": [1, 3], "training__steps": 5}


def test_M126_previews_of_two_cubes_twice_with_raw_planes_once(
    cubes: Path, tmp_path: Path, clock: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from elektronn.report import learning

    drawn = []
    draw = learning.draw_plane
    monkeypatch.setattr(learning, "draw_plane", lambda values, path: (drawn.append(path.name), draw(values, path)))
    volumes = [str(cubes.with_name("previews.h5"))]
    train(cubes, tmp_path, training__preview_volumes=volumes, **PREVIEWS)
    raw = [f"{name}_z{z:04d}" for name in ("first", "second") for z in range(2, 7)]
    assert sorted(drawn) == sorted(
        [f"{name}.png" for name in raw] + [f"{n}_class_1_step_{step:08d}.png" for n in raw for step in (1, 4)]
    )
    # as many voxels as there are predictions: the raw plane lies under them
    sizes = {size_of(tmp_path / "state" / "previews" / name) for name in drawn}
    assert sizes == {(30 - 8, 32 - 8)}
    with h5py.File(volumes[0]) as file:
        from matplotlib.image import imread

        picture = imread(tmp_path / "state" / "previews" / "first_z0003.png")[..., 0]
        np.testing.assert_allclose(picture, file["first"][3, 4:-4, 4:-4] / 255, atol=1 / 255)
    # one that fails does not stop the training

    def fails(*given: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(learning, "draw_plane", fails)
    train(cubes, tmp_path / "again", training__preview_volumes=volumes, **PREVIEWS)
    assert capfd.readouterr().err.count("no preview at step") == 2
    assert digest(tmp_path / "again" / "model.safetensors") == digest(tmp_path / "model.safetensors")


def test_M127_preview_kwargs(cubes: Path, tmp_path: Path, clock: None, capfd: pytest.CaptureFixture[str]) -> None:
    volumes = [str(cubes.with_name("previews.h5"))]
    more = {"training__preview_planes": 2, "training__preview_classes": "all", "training__preview_h": [1, 100]}
    train(cubes, tmp_path, training__preview_volumes=volumes, training__steps=2, **more)
    for name in ("first", "second"):
        found = sorted(file.name for file in (tmp_path / "state" / "previews").glob(f"{name}*class*"))
        assert found == sorted(f"{name}_z{z:04d}_class_{c}_step_00000001.png" for c in (0, 1) for z in (3, 4))
    wrong = {"training__preview_classes": [2]}
    train(cubes, tmp_path / "wrong", 2, training__preview_volumes=volumes, **wrong)
    assert "training.preview_classes: 2 is none of the 2 classes" in capfd.readouterr().err
    assert not (tmp_path / "wrong").exists() or not list((tmp_path / "wrong").rglob("*.safetensors"))


def test_M138_history_files_have_the_documented_columns_and_plots_come_from_them_alone(
    plain: Path, tmp_path: Path
) -> None:
    with (plain / "history.csv").open() as file:
        assert file.readline().strip() == ",".join(COLUMNS)
    rows = history(plain)
    # the journal holds the same rows; it is written while the training runs
    kept = rows_in(plain / "state" / "events.jsonl")
    assert [{name: str(row.get(name, "")) for name in COLUMNS} for row in kept] == rows
    shutil.copy(plain / "history.csv", tmp_path / "alone.csv")
    (tmp_path / "state").mkdir()
    shutil.copy(plain / "state" / "events.jsonl", tmp_path / "state")
    assert main(["curves", str(tmp_path / "alone.csv"), "--out", str(tmp_path / "one")]) == 0
    assert main(["curves", str(tmp_path / "state")]) == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "state" / "curves")


def test_M138_what_is_no_history_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").write_text(",".join(COLUMNS) + "\n")
    for given in (tmp_path, tmp_path / "other.csv", tmp_path / "empty.csv"):
        assert main(["curves", str(given)]) == 4
    said = capfd.readouterr().err
    assert "no history.csv and no events.jsonl there" in said
    assert "other.csv: not a history of `elektronn train`: no columns step and seconds" in said
    assert "empty.csv: holds no rows yet" in said


def test_M139_stopped_and_resumed_is_bit_for_bit_as_never_stopped(cubes: Path, plain: Path, tmp_path: Path) -> None:
    from elektronn.training.control import Mailbox, Stop

    with pytest.MonkeyPatch.context() as patch:
        drain = Mailbox.drain

        def stop(self: Mailbox, step: int) -> Any:
            if step == 20:
                self.post(Stop("test"))
            return drain(self, step)

        patch.setattr(Mailbox, "drain", stop)
        patch.setattr("elektronn.console.desk.Desk.drain", stop)
        train(cubes, tmp_path, 130)
    assert not (tmp_path / "model.safetensors").exists()
    train(cubes, tmp_path, sampling__workers=2)
    assert digest(tmp_path / "model.safetensors") == digest(plain / "model.safetensors")
    clock = ("seconds", "steps_per_s", "data_wait")
    whole, resumed = (
        [{k: v for k, v in row.items() if k not in clock} for row in history(f)] for f in (plain, tmp_path)
    )
    assert whole == resumed


def test_M140_a_missing_file_is_an_error_and_what_was_there_stays(
    cubes: Path, plain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(plain, tmp_path / "run")
    before = digests(folder)
    train(cubes.with_name("nowhere.h5"), folder, 4)
    assert "nowhere.h5: no such file" in capfd.readouterr().err
    train(cubes, folder, 2, training__optimiser={"kind": "adamm"})
    with chdir(tmp_path):
        train(cubes, folder, 2, training__steps=41)
    assert "holds the model of another run" in capfd.readouterr().err
    assert digests(folder) == before


def test_M127_the_old_spelling(tmp_path: Path) -> None:
    """``preview_data_path`` and ``preview_kwargs`` of a config; old volumes lie in the order x, y, z."""
    from elektronn.axes import Size
    from elektronn.geometry import Geometry
    from elektronn.legacy.upgrade import _Notes, _previews
    from elektronn.sampling.slabs import slabs_of

    class Here:
        def path(self, text: str) -> Path:
            return tmp_path / text

    said = {"preview_data_path": "old.h5", "preview_kwargs": {"export_class": "all", "max_z_pred": 2}}
    section = _previews(said, Here(), _Notes())  # type: ignore[arg-type]
    assert (section["preview_planes"], section["preview_classes"]) == (2, "all")
    volume = np.arange(2 * 5 * 6 * 7, dtype=np.uint8).reshape(2, 5, 6, 7)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["flat"], file["two"] = volume[0], volume
    point = Geometry.of([Size(1, 1, 1)], [Size(1, 1, 1)])
    (flat,) = slabs_of([f"{tmp_path}/old.h5:flat@xyz"], point, 1, 7)
    np.testing.assert_allclose(flat.image[0].transpose(2, 1, 0) * 255, volume[0], atol=1e-4)
    with h5py.File(tmp_path / "old.h5", "a") as file:
        del file["flat"]
    (two,) = slabs_of(section["preview_volumes"], point, 2, 2)
    np.testing.assert_allclose(two.image.transpose(0, 3, 2, 1) * 255, volume[..., 2:4], atol=1e-4)
    assert (two.name, two.z) == ("two", 2)
    (tmp_path / "more").mkdir()
    shutil.copy(tmp_path / "old.h5", tmp_path / "more" / "new.h5")
    both = slabs_of([f"{tmp_path}/old.h5:two@cxyz", f"{tmp_path}/more/new.h5:two@cxyz"], point, 2, 1)
    assert [slab.name for slab in both] == ["old_two", "new_two"]
