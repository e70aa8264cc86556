"""Schedules are functions of the step; people may set a number while the training runs; both survive a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch

from elektronn.cli.main import main
from elektronn.config.load import resolve
from elektronn.errors import ConfigError
from elektronn.network.chain import NetworkSettings, chain
from elektronn.sampling.augment import SamplingSettings, Warp
from elektronn.training.control import Noted, SetValue
from elektronn.training.plan import plan_of
from elektronn.training.schedules import Value, factor, value_at
from elektronn.training.settings import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    Loss,
    OneCycle,
    Schedule,
    Sgd,
    Steps,
    TrainingSettings,
)
from tests.unit.small_training import SAMPLING, stopped_and_resumed, trainer_in, weights

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "schedules.json").read_text())


def ours(said: dict[str, Any]) -> Schedule:
    """Our schedule for the arguments of ELEKTRONN2's."""
    if "dec" in said:
        return Exponential(decay=said["dec"], jumps="after")
    if "lindec" in said:
        return Linear(until=said["lindec"][0], every=1000)
    return Steps(values=tuple((step, _frozen(value)) for step, value in said["updates"]))


def _frozen(value: Any) -> Value:
    return tuple(value) if isinstance(value, list | tuple) else float(value)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: str(case["kwargs"]))
def test_schedules_of_elektronn2(case: dict[str, Any]) -> None:
    start, last = _frozen(case["start"]), int(case["iterations"].split("..")[1])
    expected = dict(case["expect_changes"])
    if case["kwargs"].get("lindec") == [2500, 0.01]:
        expected |= {2500: 0.0, 3000: 0.0}  # there it stuck at 0.002 for ever
    value = start
    for step in range(last + 1):
        value = _frozen(expected.get(step, value))
        assert value_at(ours(case["kwargs"]), start, step, last) == pytest.approx(value, abs=1e-12), step


def test_exponential_jumps() -> None:
    steps = (0, 1, 999, 1000, 1001, 2000, 2001)
    assert [factor(Exponential(decay=0.5, jumps="after"), s, 9999) for s in steps] == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    # ELEKTRONN 1 decayed after the first step, too
    before = [factor(Exponential(decay=0.5, jumps="before"), s, 9999) for s in steps]
    assert before == [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert factor(Exponential(decay=0.5, every=10), 5, 9999) == pytest.approx(0.5**0.5)


def test_steps_decay_from_the_given_value() -> None:
    schedule = Steps(values=((2500, 0.8), (500, 0.4)), decay=0.5)
    found = [value_at(schedule, 1.0, s, 9999) for s in (0, 499, 500, 999, 1000, 2000, 2499, 2500, 2999, 3000)]
    assert found == [1.0, 1.0, 0.4, 0.4, 0.2, 0.1, 0.1, 0.8, 0.8, 0.4]


def test_one_cycle_rises_and_falls() -> None:
    schedule = OneCycle(rise=0.25, first=0.1, last=0.01)
    values = [value_at(schedule, 2.0, s, 400) for s in range(401)]
    assert values[0] == pytest.approx(0.2)
    assert values[100] == 2.0 == max(values)
    assert values[50] == pytest.approx(1.1)
    assert values[250] == pytest.approx((2 + 0.02) / 2)
    assert values[400] == pytest.approx(0.02)
    assert values[:101] == sorted(values[:101])
    assert values[100:] == sorted(values[100:], reverse=True)
    assert value_at(OneCycle(rise=0.0), 2.0, 0, 400) == 2.0


def test_linear_ends_at_zero_and_stays() -> None:
    assert [value_at(Linear(), 1.0, s, 4) for s in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]


@pytest.mark.parametrize("schedule", [Exponential(decay=0.5), Cosine(), Linear(until=900), OneCycle(), Constant()])
def test_what_a_person_set_goes_on_in_proportion(schedule: Schedule) -> None:
    for step in (300, 450, 700):
        by = factor(schedule, step, 1000) / factor(schedule, 300, 1000)
        assert value_at(schedule, 0.1, step, 1000, hand=(300, 0.7)) == pytest.approx(0.7 * by)
    assert value_at(Linear(until=100), 1.0, 500, 1000, hand=(200, 0.7)) == 0.7


def test_given_values_come_after_what_a_person_set_before_them() -> None:
    schedule = Steps(values=((3, 0.1), (8, 0.2)))
    found = [value_at(schedule, 0.5, step, 10, hand=(5, 0.7)) for step in range(5, 10)]
    assert found == [0.7, 0.7, 0.7, 0.2, 0.2]
    assert value_at(schedule, 0.5, 8, 10, hand=(8, 0.7)) == 0.7


def test_one_number_for_a_list_counts_for_all_its_entries() -> None:
    assert value_at(Steps(values=((3, 0.1),)), (0.5, 0.6), 4, 10) == (0.1, 0.1)
    assert value_at(Linear(), (0.5, 0.6), 5, 10) == (0.25, 0.3)


# the plan


def plan(network: dict[str, Any] | None = None, **training: Any) -> Any:
    document = chain(NetworkSettings().model_copy(update=network or {}))
    return plan_of(TrainingSettings(**training), SamplingSettings(), document)


def test_numbers_have_names() -> None:
    found = plan({"dropout": 0.3}, optimiser=Sgd(), loss=Loss(class_weights=(1.0, 2.0)))
    assert {"rate", "momentum", "weight_decay", "loss.class_weights", "dropout", "warp.amount"} < set(found.starts)
    assert found.starts["dropout"] == (0.3,) * 5
    assert "dropout" not in plan().starts
    assert {"beta1", "beta2"} < set(plan().starts)


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        ({"momentm": Constant()}, r"^schedules.momentm: no number .* may change: did you mean 'momentum'\?$"),
        ({"momentum": Steps(values=((1, 1.5),))}, r"^schedules.momentum: step 1: momentum: 1.5 is too large"),
        ({"momentum": Steps(values=((1, (0.1, 0.2)),))}, r"^schedules.momentum: step 1: momentum: .* is not a number"),
        (
            {"loss.class_weights": Steps(values=((1, (1.0, 2.0, 3.0)),))},
            r"^schedules.loss.class_weights: step 1: loss.class_weights: has 3 numbers, not 2; write as many$",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_the_training(schedules: dict[str, Schedule], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(optimiser=Sgd(), loss=Loss(class_weights=(1.0, 2.0)), schedules=schedules)


def test_refusals_name_the_place_in_the_file() -> None:
    training = {"schedules": {"warp.amuont": {"kind": "constant"}}}
    with pytest.raises(ConfigError, match=r"experiments\.e: training\.schedules\.warp\.amuont: .*'warp\.amount'"):
        resolve({"experiments": {"e": {"training": training}}})
    training = {"schedules": {"rate": {"kind": "constant"}}}
    with pytest.raises(ConfigError, match=r"has a place of its own; write it as schedule"):
        resolve({"experiments": {"e": {"training": training}}})
    with pytest.raises(ConfigError, match=r"step 8 stands twice; keep one"):
        resolve({"experiments": {"e": {"training": {"schedule": {"kind": "steps", "values": [[8, 1.0], [8, 2.0]]}}}}})
    with pytest.raises(ConfigError, match=r"values: empty; write pairs"):
        resolve({"experiments": {"e": {"training": {"schedule": {"kind": "steps", "values": []}}}}})


def test_the_table_holds_what_changes_from_first_to_last_step() -> None:
    table = plan(steps=100, optimiser=Sgd(), schedules={"momentum": Linear()}).table(points=4)
    assert list(table) == ["rate", "momentum"]
    assert table["momentum"] == [(0, 0.9), (25, 0.675), (50, 0.45), (75, pytest.approx(0.225)), (100, 0.0)]


def test_the_verb_draws_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    text = "experiments: {e: {training: {schedules: {warp.amount: {kind: linear}}}}, f: {training: {optimiser: {kind: cg}}}}"
    (tmp_path / "p.yaml").write_text(text)
    assert main(["config", "schedule", "p.yaml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "schedule_e.png: rate, warp.amount over 5000 steps",
        "f: nothing changes with the step",
    ]
    picture = matplotlib.image.imread(tmp_path / "schedule_e.png")
    assert picture.shape == (480, 960, 4)
    # both panels hold a line
    assert all((half[..., :3].std(2) > 0.1).sum() > 100 for half in np.split(picture, 2, axis=1))


# a live training


def test_numbers_reach_the_training_at_their_step(tmp_path: Path) -> None:
    trainer = trainer_in(
        tmp_path / "a",
        {
            "optimiser": Sgd(rate=0.1),
            "loss": Loss(class_weights=(1.0, 2.0)),
            "schedule": Steps(values=((4, 0.05), (2, 0.08))),
            "schedules": {
                "momentum": Linear(),
                "weight_decay": Constant(),
                "dropout": Steps(values=((3, 0.5),)),
                "loss.class_weights": Steps(values=((5, (3.0, 1.0)),)),
            },
        },
    )
    seen: list[tuple[Any, ...]] = []
    update = trainer._update

    def spy(batch: Any) -> torch.Tensor:
        (group,) = trainer.steering.optimisers.current.param_groups
        layer: Any = trainer.network.layers["conv1"]
        assert trainer.criterion.class_weights is not None
        seen.append((group["lr"], group["momentum"], layer.layer.dropout, trainer.criterion.class_weights.tolist()))
        return update(batch)

    trainer._update = spy  # type: ignore[method-assign]
    trainer.run()
    rates, momenta, dropouts, class_weights = zip(*seen)
    assert rates == (0.1, 0.1, 0.08, 0.08, 0.05, 0.05, 0.05)
    assert momenta == pytest.approx([0.9 * (1 - step / 7) for step in range(7)])
    assert dropouts == (0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5)
    assert class_weights == ([1.0, 2.0],) * 5 + ([3.0, 1.0],) * 2
    assert [row["rate"] for row in trainer.history] == [0.1, 0.1, 0.08, 0.08, 0.05, 0.05, 0.05, 0.05]


def test_scheduled_samples_are_those_of_their_settings(tmp_path: Path) -> None:
    changes = {"schedules": {"warp.amount": Steps(values=((2, 3.0),)), "warp.probability": Steps(values=((2, 1.0),))}}
    trainer = trainer_in(tmp_path / "a", changes)
    settings = SAMPLING.model_copy(update={"augment": (SAMPLING.augment[0], Warp(probability=1.0, amount=3.0))})
    plain = trainer.task.supply
    changed = plain.changed(settings)
    for step in range(4):
        expected = (plain if step < 2 else changed).batch(step)
        assert np.array_equal(trainer._batch(step).image, expected.image)
    assert not np.array_equal(plain.batch(3).image, changed.batch(3).image)


@pytest.mark.parametrize("value", [("rate", 0.05), ("warp.amount", 4.0), ("dropout", (0.5,)), ("beta1", 0.5)])
def test_a_number_set_by_hand_acts_from_the_next_step_and_survives_a_resume(
    tmp_path: Path, value: tuple[str, Value]
) -> None:
    commands = {2: [SetValue(*value)]}
    changes = {"schedule": Constant()}
    plain, whole = trainer_in(tmp_path / "plain", changes), trainer_in(tmp_path / "whole", changes, commands=commands)
    plain.run()
    whole.run()
    assert whole.history[2] == pytest.approx(plain.history[2] | {k: whole.history[2][k] for k in CLOCK})
    assert not torch.equal(weights(whole), weights(plain))
    planned = trainer_in(tmp_path / "planned", {"schedule": Constant(), **_as_schedule(*value)})
    planned.run()
    assert torch.equal(weights(whole), weights(planned))
    parts = stopped_and_resumed(tmp_path / "parts", changes, stop=4, commands=commands)
    assert torch.equal(weights(parts), weights(whole))
    assert parts.steering.changes == [f"step 2: {value[0]} = {value[1]}"]


CLOCK = ("seconds", "steps_per_s", "data_wait")


def _as_schedule(name: str, value: Value) -> dict[str, Any]:
    """The same, planned from the start."""
    steps = Steps(values=((2, value),))
    return {"schedule": steps} if name == "rate" else {"schedules": {name: steps}}


def test_batches_made_ahead_are_made_anew_when_samples_change(tmp_path: Path) -> None:
    found = []
    for workers in (0, 2):
        sampling = SAMPLING.model_copy(update={"workers": workers, "prefetch": 4})
        commands = {3: [SetValue("warp.amount", 4.0), SetValue("rate", 0.01)]}
        trainer = trainer_in(tmp_path / f"w{workers}", commands=commands, sampling=sampling)
        trainer.run()
        found.append(weights(trainer))
        assert len(trainer.steering.changes) == 2
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("momentum", 0.5, "not changed: momentum: no number of this training that may change: known are"),
        ("rate", -1.0, "not changed: rate: -1.0 is too small; write more than 0"),
        ("warp.probability", 1.5, "not changed: warp.probability: 1.5 is too large; write 1"),
        ("dropout", (0.1, 0.2), "not changed: dropout: has 2 numbers, not 1; write as many"),
    ],
)
def test_a_mistake_of_a_person_is_told_and_changes_nothing(tmp_path: Path, name: str, value: Value, said: str) -> None:
    events: list[Any] = []
    trainer = trainer_in(tmp_path / "a", commands={2: [SetValue(name, value)]}, events=events)
    trainer.run()
    (text,) = [event.text for event in events if isinstance(event, Noted) and "verdict" not in event.text]
    assert text.startswith(said)
    assert trainer.steering.changes == []
    assert trainer.step == 7
