"""The trainer: learns, stops, resumes exactly, refuses strangers."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from elektronn.artefacts import digest
from elektronn.errors import BusyError, CheckFailed, ConfigError, Stopped
from elektronn.network.chain import NetworkSettings
from elektronn.sampling.augment import SamplingSettings
from elektronn.training import control, trainer
from elektronn.training.checkpoint import Backups, State, locked
from elektronn.training.control import Mailbox, Stop
from elektronn.training.losses import nll
from elektronn.training.schedules import value_at
from elektronn.training.settings import Adam, Cosine, Sgd, TrainingSettings
from elektronn.training.stage import Outputs, train
from elektronn.volumes.address import parse_address

NETWORK = NetworkSettings(
    kernels=((1, 4, 4), (1, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(4, 4), patch=(1, 20, 20)
)
TRAINING = TrainingSettings(
    steps=40, history_every=10, monitor_examples=4, preview_every=15, threads=1, device="cpu", backup_s=1e6
)


ADVANCE = trainer.Trainer._advance


@pytest.fixture
def cubes(tmp_path: Path) -> Path:
    """Two volumes whose boundary is where the image is dark: learnable in a few steps."""
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "cubes.h5", "w") as file:
        for name in ("a", "b"):
            dark = random.random((4, 12, 12)) < 0.3
            dark = np.repeat(np.repeat(dark, 4, 1), 4, 2)
            file[name] = (200 - 150 * dark + random.integers(-20, 20, dark.shape)).astype(np.uint8)
            file[f"{name}_labels"] = dark.astype(np.uint8)
    return tmp_path / "cubes.h5"


def run(cubes: Path, folder: Path, training: TrainingSettings = TRAINING, **more: Any) -> Outputs:
    outputs = Outputs(folder / "model.safetensors", folder / "history.csv", folder / "model.json", folder / "state")
    sampling = more.pop("sampling", SamplingSettings(workers=0))
    volumes = {
        name: [(name, parse_address(f"{cubes}:{name}"), parse_address(f"{cubes}:{name}_labels"))] for name in "ab"
    }
    train(volumes["a"], volumes["b"], NETWORK, sampling, training, outputs, **more)
    return outputs


def test_training_learns_and_leaves_model_history_and_card(cubes: Path, tmp_path: Path) -> None:
    events: list[control.Event] = []
    outputs = run(
        cubes,
        tmp_path / "m",
        TRAINING.model_copy(update={"steps": 200, "optimiser": Adam(rate=0.01)}),
        listen=events.append,
    )
    rows = [e.values for e in events if isinstance(e, control.Row)]
    assert [int(row["step"]) for row in rows] == list(range(0, 201, 10))
    assert rows[-1]["valid_loss"] < 0.7 * rows[0]["valid_loss"]
    assert rows[-1]["valid_error"] < 0.15
    assert len(outputs.history.read_text().splitlines()) == 22
    card = json.loads(outputs.card.read_text())
    assert card["steps"] == 200
    assert card["warnings"] == []
    assert card["layers"][-1]["size"] == "1×6×6"
    previews = [e for e in events if isinstance(e, control.Preview)]
    assert [p.step for p in previews] == list(range(15, 201, 15))
    assert previews[0].image.shape == previews[0].probability.shape == previews[0].labels.shape


def test_stopped_and_resumed_equals_uninterrupted_to_the_last_bit(cubes: Path, tmp_path: Path) -> None:
    for optimiser, precision in ((Adam(), "float32"), (Sgd(rate=0.01), "float32"), (Adam(), "bf16")):
        training = TRAINING.model_copy(update={"optimiser": optimiser, "precision": precision})
        folder = tmp_path / f"{optimiser.kind} {precision}"
        whole = run(cubes, folder / "whole", training)
        for stop_at in (7, 10, 33):
            mailbox, place = Mailbox(), folder / f"stopped{stop_at}"
            with pytest.MonkeyPatch.context() as patch:

                def advance(self: trainer.Trainer, batches: Any, when: int = stop_at, box: Mailbox = mailbox) -> None:
                    ADVANCE(self, batches)
                    if self.step == when:
                        box.post(Stop("test"))

                patch.setattr(trainer.Trainer, "_advance", advance)
                with pytest.raises(Stopped, match=f"stopped at step {stop_at}"):
                    run(cubes, place, training, mailbox=mailbox)
            assert not (place / "model.safetensors").exists()
            resumed = run(cubes, place, training, sampling=SamplingSettings(workers=2, prefetch=3))
            assert digest(resumed.model) == digest(whole.model)
            assert losses(resumed.history) == losses(whole.history)


def losses(history: Path) -> list[str]:
    """The columns that are numbers of the training, not of the clock."""
    import csv

    with history.open() as file:
        keep = ("step", "loss", "train_loss", "valid_loss", "valid_error", "rate", "warped")
        return [",".join(row[name] for name in keep) for row in csv.DictReader(file)]


def test_a_finished_training_is_exported_again_not_repeated(cubes: Path, tmp_path: Path) -> None:
    first = run(cubes, tmp_path / "m")
    before = digest(first.model)
    first.model.unlink()
    events: list[control.Event] = []
    run(cubes, tmp_path / "m", listen=events.append)
    assert digest(first.model) == before
    assert not any(isinstance(e, control.Stepped) for e in events)


def test_the_model_of_another_run_is_never_overwritten(cubes: Path, tmp_path: Path) -> None:
    outputs = run(cubes, tmp_path / "m")
    before = digest(outputs.model)
    with pytest.raises(ConfigError, match=r"model.safetensors: holds the model of another run .* give another --model"):
        run(cubes, tmp_path / "m", TRAINING.model_copy(update={"seed": 9}))
    assert digest(outputs.model) == before


def test_other_settings_start_anew_and_keep_the_old_backups(cubes: Path, tmp_path: Path) -> None:
    run(cubes, tmp_path / "m").model.unlink()
    events: list[control.Event] = []
    run(cubes, tmp_path / "m", TRAINING.model_copy(update={"seed": 9}), listen=events.append)
    started = next(e for e in events if isinstance(e, control.Started))
    assert started.step == 0
    assert started.resumed_from is None
    assert len(list((tmp_path / "m" / "state").glob("other-*/*.safetensors"))) == 1


def test_a_second_trainer_in_the_same_state_is_refused(cubes: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "m" / "state"), pytest.raises(BusyError, match="another trainer is at work here"):
        run(cubes, tmp_path / "m")


def test_a_damaged_backup_falls_back_to_the_other_one(tmp_path: Path) -> None:
    backups = Backups(tmp_path)
    for step in (1, 2):
        backups.save(State({"weights.a": torch.tensor([float(step)])}, {"step": step, "fingerprint": "f"}))
    found = backups.load("f")
    assert found is not None
    assert found[0].facts["step"] == 2
    newest = found[1]
    newest.write_bytes(newest.read_bytes()[:-2])
    found = backups.load("f")
    assert found is not None
    assert found[0].facts["step"] == 1


def test_backups_alternate(tmp_path: Path) -> None:
    backups = Backups(tmp_path)
    paths = [backups.save(State({"weights.a": torch.zeros(1)}, {"step": i, "fingerprint": "f"})).name for i in range(4)]
    assert paths[0] != paths[1]
    assert paths[:2] == paths[2:]


def test_divergence_is_a_failed_check_with_a_cure(cubes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "elektronn.training.losses.nll", lambda scores, labels, **more: nll(scores, labels, **more) * math.inf
    )
    with pytest.raises(CheckFailed, match=r"diverged.*lower training.optimiser.rate"):
        run(cubes, tmp_path / "m")
    assert not (tmp_path / "m" / "model.safetensors").exists()


def test_a_network_that_is_wrong_on_the_validation_labels_is_reported(cubes: Path, tmp_path: Path) -> None:
    with h5py.File(cubes, "a") as file:
        file["b_labels"][:] = 1 - file["b_labels"][:]
    outputs = run(cubes, tmp_path / "m", TRAINING.model_copy(update={"steps": 200, "optimiser": Adam(rate=0.01)}))
    (warning,) = json.loads(outputs.card.read_text())["warnings"]
    assert re.match(r"the final error of 0\.\d+ is not below 0\.\d+, which a constant prediction reaches", warning)


def test_a_full_disk_while_saving_warns_and_goes_on(
    cubes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elektronn.errors import StorageError

    calls = []
    save = Backups.save

    def full_once(self: Backups, state: State) -> Path:
        calls.append(state.facts["step"])
        if len(calls) == 1:
            raise StorageError("the disk is full")
        return save(self, state)

    monkeypatch.setattr(Backups, "save", full_once)
    events: list[control.Event] = []
    run(cubes, tmp_path / "m", TRAINING.model_copy(update={"backup_s": 1e-6}), listen=events.append)
    saved = [e for e in events if isinstance(e, control.Saved)]
    assert saved[0].failure == "the disk is full"
    assert all(e.failure is None for e in saved[1:])
    assert (tmp_path / "m" / "model.safetensors").exists()


def test_loss_ignores_unlabelled_outputs() -> None:
    scores = torch.tensor([[[[[2.0, 0.0]]], [[[0.0, 5.0]]]]])
    labels = torch.tensor([[[[0, -1]]]])
    for epsilon in (0.0, 1e-9):
        assert float(nll(scores, labels, epsilon=epsilon)) == pytest.approx(math.log(1 + math.exp(-2)))
        assert float(nll(scores, torch.full_like(labels, -1), epsilon=epsilon)) == 0


def test_cosine_ends_at_its_floor() -> None:
    assert value_at(Cosine(floor=0.01), 0.1, 100, 100) == pytest.approx(0.001)


def test_reduced_precision_trains(cubes: Path, tmp_path: Path) -> None:
    run(cubes, tmp_path / "m", TRAINING.model_copy(update={"precision": "bf16", "steps": 5}))


def test_state_survives_a_round_trip(tmp_path: Path) -> None:
    backups = Backups(tmp_path)
    state = State({"weights.a": torch.rand(3), "optimiser.0.step": torch.tensor(4.0)}, {"step": 1, "fingerprint": "f"})
    backups.save(state)
    found = backups.load("f")
    assert found is not None
    assert all(torch.equal(found[0].tensors[name], tensor) for name, tensor in state.tensors.items())
    assert backups.load("g") is None
