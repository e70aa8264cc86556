"""M093: a parameter file as the start of a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from elektronn.artefacts import digest
from elektronn.errors import DataError
from elektronn.training import control
from elektronn.training.stage import Start
from tests.unit.test_training import cubes, losses, run  # noqa: F401 - cubes is a fixture


def test_M093_a_training_started_from_a_model_begins_where_that_one_ended(cubes: Path, tmp_path: Path) -> None:  # noqa: F811
    first = run(cubes, tmp_path / "first")
    notes: list[str] = []
    second = run(
        cubes,
        tmp_path / "second",
        start=Start.of(first.model),
        listen=lambda e: notes.append(e.text) if isinstance(e, control.Noted) and "first" in e.text else None,
    )
    ended, began = losses(first.history)[-1].split(","), losses(second.history)[0].split(",")
    assert began[2:5] == ended[2:5]
    assert [note.rsplit(": ", 1)[1] for note in notes] == ["loaded"] * 3
    assert digest(second.model) != digest(first.model)


def test_M093_a_missing_start_is_an_error(cubes: Path, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(DataError, match="no such file"):
        run(cubes, tmp_path / "m", start=Start.of(tmp_path / "none.safetensors"))
