"""Curves for TensorBoard, read back by TensorBoard."""

from __future__ import annotations

from pathlib import Path

import pytest

from elektronn.errors import ConfigError
from elektronn.training.board import FOLDER, board, require_board
from elektronn.training.control import Event, Listener, Row, Started, Warned


def told(listen: Listener, start: int, rows: list[int], resumed_from: Path | None = None) -> None:
    listen(Started(start, 9, resumed_from, "cpu", 7))
    for step in rows:
        values = {"step": step, "seconds": 0.1, "train_loss": 0.5 / (step + 1), "train_error": 0.25, "rate": 0.01}
        if step:
            values |= {"loss": 0.7 - step / 100, "steps_per_s": 8.0, "data_wait": 0.125}
        listen(Row(values))


def test_curves_hold_every_row_once_though_a_killed_run_wrote_some_before(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    with board(tmp_path, True, print) as listen:
        told(listen, 0, [0, 2, 4, 6])
    # killed at 6, its last backup was made at 3
    with board(tmp_path, True, print) as listen:
        told(listen, 3, [4, 6, 8], tmp_path / "backup_a.safetensors")
    found = EventAccumulator(str(tmp_path / FOLDER))
    found.Reload()
    points = {name: [(p.step, p.value) for p in found.Scalars(name)] for name in found.Tags()["scalars"]}
    assert set(points) == {
        "loss/augmented",
        "loss/train",
        "error/train",
        "rate",
        "speed/steps_per_s",
        "speed/data_wait",
    }
    assert points["error/train"] == [(step, 0.25) for step in (0, 2, 4, 6, 8)]
    assert dict(points["loss/augmented"]) == pytest.approx({step: 0.7 - step / 100 for step in (2, 4, 6, 8)})
    assert len(points["loss/augmented"]) == 4


def test_nothing_is_written_unless_it_is_wanted(tmp_path: Path) -> None:
    with board(tmp_path, False, print) as listen:
        told(listen, 0, [0])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_curves_and_not_the_training(tmp_path: Path) -> None:
    events: list[Event] = []
    (tmp_path / FOLDER).write_text("in the way")
    with board(tmp_path, True, events.append) as listen:
        told(listen, 0, [0, 2])
    assert [type(event) for event in events] == [Warned]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_board()
    monkeypatch.setattr("elektronn.training.board.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"elektronn\[tensorboard\]"):
        require_board()
