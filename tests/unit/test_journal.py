"""Commands, the journal, and doing it all again: resumed or replayed, a run with human hands in it ends with the same bits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elektronn.errors import CheckFailed, ConfigError, DataError, Stopped
from elektronn.sampling.augment import Flip, SamplingSettings, Warp
from elektronn.training import commands as say
from elektronn.training.checkpoint import Backups
from elektronn.training.control import Answered, BatchPicture, Event, FilterPicture, Letter, Refused, Row, both
from elektronn.training.facade import NAMES, value_of
from elektronn.training.history import rows_in
from elektronn.training.journal import (
    FILE,
    Entry,
    Journal,
    as_data,
    entries,
    from_data,
    made_by,
    outstanding,
    read_rows,
)
from elektronn.training.orders import Orders
from elektronn.training.settings import Adam, Constant, Sgd
from elektronn.training.trainer import Trainer
from tests.unit.small_training import trainer_in, weights

HANDS: Mapping[int, Sequence[say.Command]] = {
    1: [say.SetValue("rate", 0.02)],
    2: [say.UseOptimiser("sgd", {"rate": 0.05}), say.SetData("warp_on", False)],
    4: [say.SetValue("dropout", 0.5), say.SetHistory(1)],
    5: [say.SetData("warp_on", 0.8), say.UseOptimiser("adam")],
}
CHANGES = {"steps": 9}


def journalled(
    folder: Path, commands: Mapping[int, Sequence[say.Command]] | None = None, replay: Path | None = None, **more: Any
) -> Trainer:
    """A small training that keeps a journal; ``allow_python`` goes to its orders."""
    folder.mkdir(exist_ok=True)
    allow = more.pop("allow_python", False)
    trainer = trainer_in(folder, more.pop("changes", CHANGES), commands=commands, **more)
    journal = Journal(folder / FILE, "small")
    trainer.listen = both(journal.hear, trainer.listen)
    trainer.orders = Orders(journal, entries(replay) if replay else (), allow_python=allow)
    return trainer


def ran(trainer: Trainer) -> torch.Tensor:
    trainer.run()
    return weights(trainer)


@pytest.fixture(scope="module")
def handled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """State directory and weights of a run with hands in it."""
    folder = tmp_path_factory.mktemp("handled")
    return folder, ran(journalled(folder, HANDS))


def test_commands_survive_json() -> None:
    for command in (
        say.SetValue("rate", 0.1),
        say.SetValue("dropout", (0.1, 0.2)),
        say.SetOptimiser(Sgd(rate=0.5), Constant()),
        say.SetOptimiser(Adam()),
        say.UseOptimiser("cg", {"alpha": 0.5}),
        say.SetData("warp_on", False),
        say.SetHistory(5),
        say.LoadWeights(Path("/a/b"), "abc"),
        say.Execute("x = 5"),
        say.Abort(),
        say.RecordNow(),
        say.Reset(("optimiser", "schedule")),
        say.TakeOver(Path("/a/b"), "abc"),
    ):
        assert from_data(json.loads(json.dumps(as_data(command))), Path("/a")) == command


def test_hands_change_the_weights_and_a_replay_gives_them_bit_for_bit(
    handled: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    folder, found = handled
    assert not torch.equal(found, ran(journalled(tmp_path / "plain")))
    replayed = journalled(tmp_path / "again", replay=folder / FILE)
    assert torch.equal(found, ran(replayed))
    assert len(replayed.steering.changes) == 7
    # the journal of the replay is as good as the original
    assert torch.equal(found, ran(journalled(tmp_path / "third", replay=tmp_path / "again" / FILE)))


class Gone(BaseException):
    """Stands for kill -9: nothing is saved."""


@pytest.mark.parametrize(("saved", "killed"), [(0, 3), (1, 6), (2, 3), (2, 7), (4, 5), (5, 8)])
def test_killed_after_a_backup_it_resumes_with_what_was_asked_for_since(
    handled: tuple[Path, torch.Tensor], tmp_path: Path, saved: int, killed: int
) -> None:
    def listen(event: Event) -> None:
        first_listen(event)
        if trainer.step == saved and saved and not (tmp_path / "a" / "backup_a.safetensors").exists():
            trainer.save()
        if trainer.step == killed and isinstance(event, Row):
            raise Gone

    trainer = journalled(tmp_path / "a", HANDS)
    first_listen, trainer.listen = trainer.listen, listen
    with pytest.raises(Gone):
        trainer.run()
    resumed = journalled(tmp_path / "a", {step: said for step, said in HANDS.items() if step >= killed})
    assert torch.equal(handled[1], ran(resumed))
    assert resumed.steering.changes == [f"step {step}: {command}" for step, said in HANDS.items() for command in said]


def test_a_backup_between_two_commands_of_one_step_replays_the_second_only(tmp_path: Path) -> None:
    commands = {3: [say.SetValue("rate", 0.02), say.Stop("test")]}
    trainer = journalled(tmp_path / "a", commands)
    with pytest.raises(Stopped):
        trainer.run()
    # a second command of the same step is in the journal and not in the backup
    trainer.orders._one(Letter(say.SetData("warp_on", False)), trainer)
    resumed = journalled(tmp_path / "a")
    found = ran(resumed)
    assert [line.split(": ")[1] for line in resumed.steering.changes] == ["rate = 0.02", "data.warp_on = False"]
    whole = {3: [say.SetValue("rate", 0.02), say.SetData("warp_on", False)]}
    assert torch.equal(found, ran(journalled(tmp_path / "b", whole)))


def test_a_line_cut_off_by_a_crash_had_no_effect_and_the_next_one_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / FILE, "f")
    journal.command(3, Letter(say.SetHistory(2)))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"event": "command", "number": 2, "st')
    again = Journal(tmp_path / FILE, "f")
    assert again.command(5, Letter(say.SetHistory(4))) == 2
    assert [entry.step for entry in entries(tmp_path / FILE)] == [3, 5]
    assert made_by(tmp_path / FILE) == "f"


def test_refused_commands_are_in_the_journal_and_are_not_repeated(tmp_path: Path) -> None:
    events: list[Event] = []
    trainer = journalled(tmp_path / "a", {2: [say.SetValue("rate", -1.0), say.SetHistory(0)]}, events=events)
    trainer.run()
    assert len([event for event in events if isinstance(event, Refused)]) == 2
    assert entries(tmp_path / "a" / FILE) == []
    assert sum(row["event"] == "refused" for row in read_rows(tmp_path / "a" / FILE)) == 2


def test_the_journal_holds_who_said_what_when_and_the_rows(handled: tuple[Path, torch.Tensor]) -> None:
    rows = read_rows(handled[0] / FILE)
    (first, *_) = [row for row in rows if row["event"] == "command"]
    assert (first["step"], first["who"], first["command"]) == (1, "program", as_data(say.SetValue("rate", 0.02)))
    assert [row["step"] for row in rows if row["event"] == "row"] == list(range(10))


def test_a_replay_that_was_interrupted_does_nothing_twice() -> None:
    def entry(step: int, value: float, known: bool = False) -> Entry:
        return Entry(step, Letter(say.SetValue("rate", value), known=known))

    given = [entry(1, 0.1), entry(3, 0.3), entry(3, 0.3), entry(5, 0.5)]
    own = given[:2]
    assert outstanding(own, given, 3, 1) == [(3, given[2].letter), (5, given[3].letter)]
    # own commands of later steps were lost with the part of the run that made them
    assert outstanding(own, given, 2, 0) == [
        (3, entry(3, 0.3, True).letter),
        (3, given[2].letter),
        (5, given[3].letter),
    ]


def test_abort_ends_with_the_weights_of_now_and_again_after_a_restart(tmp_path: Path) -> None:
    found = ran(journalled(tmp_path / "a", {4: [say.Abort()]}))
    short = ran(journalled(tmp_path / "b", changes={"steps": 4, "schedule": Constant()}, commands={}))
    assert found.shape == short.shape
    again = journalled(tmp_path / "a")
    assert torch.equal(found, ran(again))
    assert again.step == 4
    assert [row["step"] for row in again.history] == [0, 1, 2, 3, 4]


def test_kill_saves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="nothing was saved"):
        journalled(tmp_path / "a", {3: [say.Kill()]}).run()
    assert not list((tmp_path / "a").glob("backup*"))


def test_weights_are_saved_and_loaded_and_loaded_again_when_the_file_is_gone(tmp_path: Path) -> None:
    events: list[Event] = []
    hands = {2: [say.SaveNow(Path("CNN.save"))], 5: [say.LoadWeights(Path("CNN.save"))]}
    first = journalled(tmp_path / "a", hands, events=events)
    found = ran(first)
    assert (tmp_path / "a" / "CNN.save").is_file()
    assert "conv1: loaded" in next(e.text for e in events if isinstance(e, Answered) and "loaded" in e.text)
    assert not torch.equal(found, ran(journalled(tmp_path / "plain")))
    (tmp_path / "a" / "CNN.save").unlink()
    assert torch.equal(found, ran(journalled(tmp_path / "b", replay=tmp_path / "a" / FILE)))
    next((tmp_path / "a").glob("loaded_*")).write_bytes(b"other")
    events.clear()
    journalled(tmp_path / "c", replay=tmp_path / "a" / FILE, events=events).run()
    assert any(isinstance(event, Refused) for event in events)


def test_loading_forgets_the_momenta(tmp_path: Path) -> None:
    trainer = journalled(tmp_path / "a", {3: [say.SaveNow(Path("x")), say.LoadWeights(Path("x"))]})
    found = ran(trainer)
    assert not torch.equal(found, ran(journalled(tmp_path / "b")))
    (state, *_) = trainer.steering.optimisers.current.state.values()
    assert float(state["step"]) == 6


def test_augmentation_can_be_turned_off_and_on_for_all_workers(tmp_path: Path) -> None:
    sampling = SamplingSettings(batch_size=2, augment=(Flip(z=False), Warp(probability=1.0)), workers=2, prefetch=3)
    trainer = journalled(
        tmp_path / "a", {3: [say.SetData("warp_on", False)], 6: [say.SetData("warp_on", True)]}, sampling=sampling
    )
    trainer.run()
    shares = [row["warped"] + row["warp_misfits"] for row in trainer.history[1:]]
    assert shares == [1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_python_needs_leave_and_is_repeated_word_for_word(tmp_path: Path) -> None:
    events: list[Event] = []
    halve = "with __import__('torch').no_grad(): [p.mul_(0.5) for p in cnn.parameters()]"
    hands = {2: [say.Execute("x = 5"), say.Ask("x"), say.Execute(halve), say.Execute("1 / 0")]}
    refused = ran(journalled(tmp_path / "a", hands, events=events))
    assert [type(e) for e in events if isinstance(e, Refused | Answered)] == [Refused] * 4
    assert torch.equal(refused, ran(journalled(tmp_path / "plain")))
    events.clear()
    found = ran(journalled(tmp_path / "b", hands, events=events, allow_python=True))
    answers = [e.text for e in events if isinstance(e, Answered)]
    assert answers[0] == "5"
    assert "ZeroDivisionError" in answers[1]
    assert not torch.equal(found, refused)
    assert torch.equal(found, ran(journalled(tmp_path / "c", replay=tmp_path / "b" / FILE, allow_python=True)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cnn.input_shape", (2, 1, 1, 8, 8)),
        ("cnn.input_shape[-2:]", (8, 8)),
        ("data.warp.probability", 0.5),
        ("config.training.optimiser.rate * 1000", 1.0),
        ("self.step", 0),
        ("-cnn.n_lab // 2", -1),
    ],
)
def test_expressions(tmp_path: Path, text: str, value: Any) -> None:
    trainer = trainer_in(tmp_path / "a")
    assert value_of(text, trainer) == value
    for name in NAMES:
        value_of(name, trainer)


@pytest.mark.parametrize(
    "text",
    [
        "cnn.__class__",
        "config.training.__dict__",
        "self.steering",
        "exec('x')",
        "[1] * 10",
        "config.training.model_dump",
        "cnn.input_shap",
        "data.x.y",
        "1 / 0",
        "cnn.input_shape[9]",
        "().__class__",
        "lambda: 1",
        "smth else",
    ],
)
def test_expressions_reach_nothing_else(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        value_of(text, trainer_in(tmp_path / "a"))


def test_looking_changes_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    looks: list[say.Command] = [say.Describe(what) for what in ("parameters", "gradients", "activations", "status")]
    looks += [say.Ask("cnn.rate"), say.Measure("train"), say.Measure("valid"), say.PreviewNow(), say.ShowBatch()]
    looks += [say.ShowFilters(), say.ShowFilters("output"), say.SaveNow(Path("x"))]
    seen = ran(journalled(tmp_path / "a", dict.fromkeys((0, 3), looks), events=events))
    assert torch.equal(seen, ran(journalled(tmp_path / "plain")))
    assert [event for event in events if isinstance(event, Refused)] == []
    answers = [event.text for event in events if isinstance(event, Answered)]
    assert len(answers) == 2 * len(looks)
    assert answers[0].splitlines()[0].split() == ["name", "shape", "mean", "deviation", "median", "|x|"]
    pictures = [event for event in events if isinstance(event, BatchPicture | FilterPicture)]
    assert len(pictures) == 6


def test_statistics_are_those_of_numpy(tmp_path: Path) -> None:
    from elektronn.training.statistics import parameters_table

    trainer = trainer_in(tmp_path / "a")
    line = next(line for line in parameters_table(trainer.network).splitlines() if "conv1.weight" in line)
    values = trainer.network.layers["conv1"].weight.detach().numpy()
    numbers = [float(cell) for cell in line.split()[2:]]
    np.testing.assert_allclose(numbers, [values.mean(), values.std(), np.median(abs(values))], rtol=0.06)


def test_divergence_keeps_batch_and_state(tmp_path: Path) -> None:
    from elektronn.network.weights import load_tensors

    trainer = journalled(tmp_path / "a", changes={"optimiser": Sgd(rate=1e30), "steps": 30})
    with pytest.raises(CheckFailed, match=r"diverged.*batch and state are in .*diverged.safetensors"):
        trainer.run()
    tensors, facts = load_tensors(tmp_path / "a" / "diverged.safetensors")
    assert tensors["batch.image"].shape == (2, 1, 1, 8, 8)
    assert not math.isfinite(facts["loss_sum"])


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        entries(tmp_path / "x")
    (tmp_path / "x").write_text(
        '{"event": "command", "number": 1, "step": 1, "who": "", "text": "", "command": {"do": "No"}}\n'
    )
    with pytest.raises(DataError, match="cannot be read as a journal"):
        entries(tmp_path / "x")


def test_another_run_gets_another_journal(tmp_path: Path) -> None:
    from elektronn.training.stage import _repeated, _set_aside

    Journal(tmp_path / FILE, "fedcba9876").command(3, Letter(say.SetHistory(2)))
    told: list[Event] = []
    assert len(_repeated(tmp_path / FILE, "another", told.append)) == 1
    assert len(told) == 1
    assert len(_repeated(tmp_path / FILE, "fedcba9876", told.append)) == 1
    assert len(told) == 1
    _set_aside(Backups(tmp_path), "fedcba9876")
    assert (tmp_path / FILE).exists()
    _set_aside(Backups(tmp_path), "another")
    assert not (tmp_path / FILE).exists()
    assert (tmp_path / "other-fedcba98" / FILE).exists()


def test_rows_that_are_made_again_are_told_once(tmp_path: Path) -> None:
    """A row that was asked for at a step, after the backup of that step, is lost by a crash and asked for again."""
    lines: list[dict[str, Any]] = [{"event": "started", "step": 0, "rows": 0}]
    lines += [{"event": "row", "step": step, "loss": 1.0} for step in (0, 10, 20, 20)]
    lines += [{"event": "started", "step": 20, "rows": 3}, {"event": "row", "step": 20, "loss": 1.0}]
    lines += [{"event": "started", "step": 10, "rows": 2}, {"event": "row", "step": 20, "loss": 2.0}]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [(row["step"], row["loss"]) for row in rows_in(tmp_path / "events.jsonl")] == [
        (0, 1.0),
        (10, 1.0),
        (20, 2.0),
    ]
    lines = lines[:-2]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [row["step"] for row in rows_in(tmp_path / "events.jsonl")] == [0, 10, 20, 20]
