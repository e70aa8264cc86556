"""The early verdict, and what is kept of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from elektronn.network.weights import load_model
from elektronn.training.control import Event, Noted, Preview, Warned
from elektronn.training.keeping import Keeper
from elektronn.training.settings import Adam, Sgd, TrainingSettings
from elektronn.training.verdict import constant_loss, due_at, early_verdict
from tests.unit.small_training import trainer_in, weights


def said(events: list[Event]) -> list[str]:
    return [e.text for e in events if isinstance(e, Noted | Warned) and "early verdict" in e.text]


def test_a_training_that_learns_looks_healthy(tmp_path: Path) -> None:
    events: list[Event] = []
    changes = {"steps": 200, "history_every": 100, "optimiser": Adam(rate=0.02), "monitor_examples": 8}
    trainer_in(tmp_path, changes, events=events).run()
    assert len(said(events)) == 1
    assert said(events)[0].startswith("early verdict at step 10: looks healthy (loss ")


def test_a_rate_that_kills_the_units_is_told(tmp_path: Path) -> None:
    events: list[Event] = []
    changes = {"steps": 200, "history_every": 100, "optimiser": Sgd(rate=30.0), "backup_s": 1e6}
    trainer = trainer_in(tmp_path, changes, events=events)
    with torch.no_grad():
        trainer.network.layers["conv1"].bias.fill_(-100.0)
    trainer.run()
    assert "maps of layer 'conv1' are 0 everywhere" in said(events)[0]
    assert trainer.warnings


def test_a_layer_without_gradient_is_named(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, {})
    with torch.no_grad():
        trainer.network.layers["output"].weight.zero_()
    batch = trainer.task.watch["train"].batch(0)
    verdict = early_verdict(3, trainer.network, [lambda: trainer.loss_of(batch)], batch.labels, (0.9, 0.6))
    assert verdict.faults == ("no gradient reaches layer 'conv1': check activations and initialisation",)
    assert all(p.grad is None for p in trainer.network.parameters())


def test_a_loss_above_the_constant_prediction_that_does_not_fall_is_told(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, {})
    batch = trainer.task.watch["train"].batch(0)
    verdict = early_verdict(3, trainer.network, [lambda: trainer.loss_of(batch)], batch.labels, (1.5, 1.6))
    assert "above that of a constant prediction" in verdict.faults[0]
    assert not verdict.is_healthy


def test_the_verdict_does_not_change_the_weights(tmp_path: Path) -> None:
    changes = {"steps": 30, "history_every": 30}
    one = trainer_in(tmp_path / "a", changes)
    one.run()
    two = trainer_in(tmp_path / "b", changes)
    two._judge = lambda: None  # type: ignore[method-assign]
    two.run()
    assert torch.equal(weights(one), weights(two))


def test_constant_loss_of_one_class_is_0() -> None:
    loss, shares, ignored = constant_loss(np.zeros((2, 3), np.int16), 2)
    assert (loss, shares.tolist(), ignored) == (0.0, [1.0, 0.0], 0.0)


@pytest.mark.parametrize(("steps", "when"), [(1, 1), (10, 1), (1000, 50), (4000, 200), (10**12, 200)])
def test_when_the_verdict_is_made(steps: int, when: int) -> None:
    assert due_at(steps) == when


def keeper(folder: Path, **settings: object) -> Keeper:
    return Keeper(folder, TrainingSettings(**settings), {"fingerprint": "f"}, lambda event: None)  # type: ignore[arg-type]


def test_the_best_model_on_the_validation_data_is_kept(tmp_path: Path) -> None:
    network = trainer_in(tmp_path / "t").network
    kept = keeper(tmp_path)
    for step, error in ((0, 0.1), (10, 0.5), (20, 0.3), (30, 0.4)):
        kept.look(network, step, {"valid_error": error})
        if step == 0:
            assert not (tmp_path / "best.safetensors").exists()
    card = load_model(tmp_path / "best.safetensors").card
    assert (card["step"], card["valid_error"]) == (20, 0.3)
    again = keeper(tmp_path)
    again.restore(kept.facts())
    again.look(network, 40, {"valid_error": 0.35})
    assert load_model(tmp_path / "best.safetensors").card["step"] == 20


def test_M125_snapshots_are_named_by_hours_and_the_last_model_is_the_one_in_memory(tmp_path: Path) -> None:
    kept = keeper(tmp_path, snapshot_h=0.5)
    network = trainer_in(tmp_path / "t").network
    for seconds in (10, 1800, 1900, 3600, 3601):
        kept.tick(network, int(seconds), seconds)
    assert sorted(f.name for f in (tmp_path / "snapshots").iterdir()) == ["0.5h.safetensors", "1h.safetensors"]
    stored = load_model(tmp_path / "snapshots" / "1h.safetensors").network
    assert all(torch.equal(a, b) for a, b in zip(stored.parameters(), network.parameters()))


def test_M126_previews_come_by_time(tmp_path: Path) -> None:
    kept = keeper(tmp_path, preview_h=(0.5, 2.0))
    due = [seconds for seconds in range(0, 5 * 3600, 60) if kept.preview_due(seconds)]
    assert due == [1800, 9000, 16200]
    events: list[Event] = []
    changes = {"steps": 5, "preview_h": (0.0, 1.0), "preview_every": 0}
    trainer_in(tmp_path / "t", changes, events=events).run()
    assert len([e for e in events if isinstance(e, Preview)]) == 1


def test_a_full_disk_does_not_end_a_training(tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("a file where a folder should be")
    told: list[Event] = []
    kept = Keeper(tmp_path, TrainingSettings(snapshot_h=0.1), {}, told.append)
    kept.tick(trainer_in(tmp_path / "t").network, 1, 400)
    assert "cannot be written" in str(told[0])
