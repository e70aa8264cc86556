"""A resume on another device, or one that leaves parts of the state behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from elektronn.artefacts import digest
from elektronn.cli.elektronn_train import parser as old_parser
from elektronn.cli.main import main
from elektronn.errors import ConfigError, Stopped
from elektronn.network.weights import load_tensors, save_tensors
from elektronn.training.checkpoint import Backups
from elektronn.training.commands import Command, SetValue, Stop, UseOptimiser
from elektronn.training.control import Event, Mailbox, Row
from elektronn.training.journal import entries
from elektronn.training.optimisers import Optimisers
from elektronn.training.settings import Adam, Sgd
from elektronn.training.stage import Outputs
from tests.unit.test_training import TRAINING, cubes, run

__all__ = ["cubes"]

SETTINGS = TRAINING.model_copy(update={"preview_every": 0})


def told(commands: dict[int, Command]) -> dict[str, Any]:
    """A mailbox and a listener that posts commands when rows of these steps are there."""
    mailbox = Mailbox()

    def listen(event: Event) -> None:
        if isinstance(event, Row) and (command := commands.pop(int(event.values["step"]), None)):
            mailbox.post(command)

    return {"mailbox": mailbox, "listen": listen}


@pytest.fixture
def stopped(cubes: Path, tmp_path: Path) -> Path:
    """A training with human hands in it, stopped at step 20 of 40."""
    folder = tmp_path / "stopped"
    commands: dict[int, Command] = {10: SetValue("rate", 0.05), 20: Stop("test")}
    with pytest.raises(Stopped):
        run(cubes, folder, SETTINGS, **told(commands))
    return folder


def ended(outputs: Outputs) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The last backup."""
    facts: dict[str, Any] = {}
    found = Backups(outputs.state)
    return max(((t, f) for _, t, f in found._readable()), key=lambda pair: pair[1]["step"], default=({}, facts))


def test_reset_optimiser_forgets_its_memory_and_nothing_else(cubes: Path, stopped: Path, tmp_path: Path) -> None:
    outputs = run(cubes, stopped, SETTINGS, reset=("optimiser",))
    tensors, facts = ended(outputs)
    assert float(tensors["optimiser.adam.0.step"]) == 20
    assert [row["step"] for row in facts["history"]] == [0, 10, 20, 30, 40]
    assert facts["steering"]["hands"] == {"rate": [10, 0.05]}
    assert facts["steering"]["changes"][-1] == "step 20: optimiser as at the start"
    # what was done stands in the journal, and can be done again
    journal = outputs.state / "events.jsonl"
    assert [entry.letter.text for entry in entries(journal)][-1] == "--reset optimiser"
    again = run(cubes, tmp_path / "again", SETTINGS, replay=journal)
    assert digest(again.model) == digest(outputs.model)


def test_reset_optimiser_goes_back_to_the_optimiser_of_the_settings(cubes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sgd"
    with pytest.raises(Stopped):
        run(cubes, folder, SETTINGS, **told({10: UseOptimiser("sgd"), 20: Stop("test")}))
    tensors, facts = ended(run(cubes, folder, SETTINGS, reset=("optimiser",)))
    assert [said["kind"] for said in facts["steering"]["optimisers"]] == ["adam"]
    assert not [name for name in tensors if ".sgd." in name]


def test_reset_schedule_forgets_what_was_set_by_hand(cubes: Path, stopped: Path) -> None:
    tensors, facts = ended(run(cubes, stopped, SETTINGS, reset=("schedule",)))
    assert facts["steering"]["hands"] == {}
    assert float(tensors["optimiser.adam.0.step"]) == 40
    rates = [row["rate"] for row in facts["history"]]
    # rows show the rate of the next update; the one of step 20 was made before the stop
    assert rates[1] == pytest.approx(0.001 * (0.01 + 0.99 * 0.8536), rel=1e-3)
    assert rates[2] > 0.01
    assert rates[3] == pytest.approx(0.001 * (0.01 + 0.99 * 0.1464), rel=1e-3)


@pytest.mark.parametrize(("parts", "memory"), [(("step",), 60), (("optimiser", "schedule", "step"), 40)])
def test_reset_step_counts_anew_from_the_same_weights(
    cubes: Path, stopped: Path, tmp_path: Path, parts: tuple[str, ...], memory: int
) -> None:
    before = ended(Outputs(stopped / "m", stopped / "h", stopped / "c", stopped / "state"))
    copy = shutil.copytree(stopped, tmp_path / "copy")
    outputs = run(cubes, stopped, SETTINGS, reset=parts)
    tensors, facts = ended(outputs)
    assert float(tensors["optimiser.adam.0.step"]) == memory
    rows = facts["history"]
    assert [row["step"] for row in rows] == [0, 0, 10, 20, 30, 40]
    assert rows[1]["valid_loss"] == before[1]["history"][-1]["valid_loss"]
    assert facts["steering"]["hands"] == ({} if "schedule" in parts else {"rate": [0, 0.05]})
    assert {p.name for p in (outputs.state / "until_step_20").iterdir()} >= {"backup_b.safetensors", "events.jsonl"}
    # stopped and resumed without the option, and repeated from its journal, it ends with the same bits
    with pytest.raises(Stopped):
        run(cubes, copy, SETTINGS, reset=parts, **told({30: Stop("test")}))
    assert digest(run(cubes, copy, SETTINGS).model) == digest(outputs.model)
    again = run(cubes, tmp_path / "again", SETTINGS, replay=outputs.state / "events.jsonl")
    assert digest(again.model) == digest(outputs.model)


def test_reset_needs_a_state_and_an_unfinished_training(cubes: Path, stopped: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--reset: no backup of this run in .*state, so there is nothing"):
        run(cubes, tmp_path / "new", SETTINGS, reset=("step",))
    outputs = run(cubes, stopped, SETTINGS)
    kept = digest(outputs.model)
    with pytest.raises(ConfigError, match=r"--reset: .*model\.safetensors is finished and would be overwritten"):
        run(cubes, stopped, SETTINGS, reset=("step",))
    assert digest(outputs.model) == kept


def test_unknown_parts_are_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    for call in (
        lambda: main(["train", "t", "--model", "m", "--reset", "step,rates"]),
        lambda: old(["--reset", "rates"]),
    ):
        with pytest.raises(SystemExit) as error:
            call()
        assert error.value.code == 2
        assert "'rates': write optimiser, schedule, step, or several of them with commas" in capsys.readouterr().err


def old(words: list[str]) -> None:
    old_parser().parse_args(["config.py", *words])


def test_the_old_command_takes_the_options_of_the_console() -> None:
    given = old_parser().parse_args(["c.py", "--allow-python", "--replay", "events.jsonl", "--reset", "step,optimiser"])
    assert (given.allow_python, given.replay, given.console) == (True, Path("events.jsonl"), "auto")
    assert given.reset == ("optimiser", "step")


def test_the_state_of_the_optimisers_follows_the_parameters_to_their_device() -> None:
    """``meta`` stands for any other device: it has shapes and no values."""
    here = {"a": torch.nn.Parameter(torch.ones(3))}
    for settings in (Adam(), Sgd(), Adam(rule="elektronn1")):
        made = Optimisers(settings, here)
        here["a"].grad = torch.ones(3)
        made.current.step(lambda: torch.zeros(()))
        tensors = made.tensors()
        assert tensors
        there = Optimisers(settings, {"a": torch.nn.Parameter(torch.ones(3, device="meta"))})
        there.restore([settings], tensors)
        (state,) = there.current.state.values()
        assert {v.device.type for v in state.values() if isinstance(v, torch.Tensor) and v.ndim} == {"meta"}


def test_a_restored_state_no_longer_lies_in_its_file(tmp_path: Path) -> None:
    """Tensors that are read are pages of the file, and optimisers take them as they are."""
    first = {"a": torch.nn.Parameter(torch.ones(5000))}
    made = Optimisers(Adam(), first)
    first["a"].grad = torch.ones(5000)
    made.current.step(lambda: torch.zeros(()))
    save_tensors(tmp_path / "backup.safetensors", made.tensors(), {})
    made.restore([Adam()], load_tensors(tmp_path / "backup.safetensors")[0])
    with (tmp_path / "backup.safetensors").open("r+b") as file:
        file.write(bytes((tmp_path / "backup.safetensors").stat().st_size))
    (state,) = made.current.state.values()
    torch.testing.assert_close(state["exp_avg"], torch.full((5000,), 0.1))


def test_another_device_is_no_other_run(cubes: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup is found, and its tensors are mapped to the device that the training has now."""
    events: list[Event] = []
    outputs = run(cubes, stopped, SETTINGS.model_copy(update={"device": "auto"}), listen=events.append)
    assert [event.step for event in events if type(event).__name__ == "Started"] == [20]
    assert all(tensor.device.type == "cpu" for tensor in load_tensors(outputs.model)[0].values())
