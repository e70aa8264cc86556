"""Every kind of optimiser: learns, resumes to the last bit, takes its numbers while running, keeps its state aside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from elektronn.errors import ConfigError
from elektronn.settings import Settings, parse
from elektronn.training import optimiser_lbfgs
from elektronn.training.control import Noted, SetOptimiser, SetValue
from elektronn.training.optimiser_cg import ConjugateGradient
from elektronn.training.optimisers import Optimisers, make_optimiser, set_number, state_name
from elektronn.training.settings import (
    AdaDelta,
    AdaGrad,
    Adam,
    AdamW,
    Constant,
    Lbfgs,
    Optimiser,
    Rprop,
    ScheduleFree,
    Sgd,
    Steps,
    TrainingSettings,
)
from elektronn.training.settings import ConjugateGradient as CgSettings
from tests.unit.small_training import stopped_and_resumed, trainer_in, weights

KINDS: list[Optimiser] = [
    Sgd(rate=0.1, weight_decay=1e-3),
    Sgd(rule="elektronn1", rate=0.1, weight_decay=1e-3),
    Sgd(rule="elektronn2", rate=0.1, weight_decay=1e-3),
    Adam(rate=0.03, weight_decay=1e-3),
    Adam(rule="elektronn1", rate=0.03),
    Adam(rule="elektronn2", rate=0.03, weight_decay=1e-3),
    AdamW(rate=0.03),
    AdaGrad(rate=0.1),
    AdaGrad(rule="elektronn2", rate=0.1),
    AdaDelta(rate=20.0),
    AdaDelta(rule="elektronn2", rate=0.1),
    Rprop(initial=1e-3, largest=0.1),
    CgSettings(max_step=0.5),
    Lbfgs(),
    ScheduleFree(rate=0.1, weight_decay=1e-3, warmup=3),
]

each_kind = pytest.mark.parametrize("settings", KINDS, ids=state_name)


def changes(settings: Optimiser) -> dict[str, Any]:
    return {"optimiser": settings, "schedule": Constant()}


def quadratic(parameters: dict[str, Parameter], optimiser: torch.optim.Optimizer) -> Callable[[], torch.Tensor]:
    """Σ curvature · (p − target)², the target 1 and curvatures from 0.5 to 2."""

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.zeros(())
        for parameter in parameters.values():
            curvature = torch.linspace(0.5, 2, parameter.numel()).view(parameter.shape)
            loss = loss + (curvature * (parameter - 1) ** 2).sum()
        loss.backward()
        return loss.detach()

    return closure


def parameters() -> dict[str, Parameter]:
    return {"a.weight": Parameter(torch.zeros(2, 2)), "a.bias": Parameter(torch.zeros(2))}


@each_kind
def test_a_quadratic_is_minimised(settings: Optimiser) -> None:
    named = parameters()
    optimiser = make_optimiser(settings.model_copy(update={"weight_decay": 0.0}), named)
    closure = quadratic(named, optimiser)
    for _ in range(400):
        optimiser.step(closure)
    assert float(closure()) < 1e-3


@each_kind
def test_stopped_and_resumed_equals_uninterrupted_to_the_last_bit(settings: Optimiser, tmp_path: Path) -> None:
    whole = trainer_in(tmp_path / "whole", changes(settings))
    start = weights(whole)
    whole.run()
    parts = stopped_and_resumed(tmp_path / "parts", changes(settings), stop=3)
    assert torch.equal(weights(parts), weights(whole))
    assert not torch.equal(weights(whole), start)
    clock = {"seconds", "steps_per_s", "data_wait"}
    found, expected = ([{k: v for k, v in row.items() if k not in clock} for row in t.history] for t in (parts, whole))
    np.testing.assert_equal(found, expected)


@each_kind
def test_a_number_set_later_acts_like_one_said_at_the_start(settings: Optimiser) -> None:
    """No number is forgotten on its way into the optimiser, and none goes to a wrong place."""
    numbers = {name: value * 0.75 for name, value in settings if isinstance(value, float)}
    changed = settings.model_copy(update=numbers)
    late, early = make_optimiser(settings, parameters()), make_optimiser(changed, parameters())
    for name, value in numbers.items():
        set_number(late, name, value)
    for found, expected in zip(late.param_groups, early.param_groups, strict=True):
        assert {k: v for k, v in found.items() if k != "params"} == {k: v for k, v in expected.items() if k != "params"}


@each_kind
def test_switching_back_finds_the_old_state(settings: Optimiser) -> None:
    other: Optimiser = Adam(rate=1e-9) if state_name(settings) != "adam" else Sgd(rate=1e-9)
    straight, detour = parameters(), parameters()
    plain = make_optimiser(settings, straight)
    for _ in range(6):
        plain.step(quadratic(straight, plain))
    kept = Optimisers(settings, detour)
    for use, steps in ((settings, 3), (other, 0), (settings, 3)):
        kept.use(use)
        for _ in range(steps):
            kept.current.step(quadratic(detour, kept.current))
    assert all(torch.equal(straight[name], detour[name]) for name in straight)
    assert [state_name(used) for used in kept.used] == [state_name(other), state_name(settings)]


def test_a_switch_is_saved_with_the_states_of_both(tmp_path: Path) -> None:
    commands = {
        2: [SetOptimiser(Sgd(rate=0.05), Constant()), SetValue("momentum", 0.5)],
        5: [SetOptimiser(Adam(rate=0.02))],
    }
    whole = trainer_in(tmp_path / "whole", commands=commands)
    whole.run()
    for stop in (3, 6):
        parts = stopped_and_resumed(tmp_path / f"parts{stop}", {}, stop=stop, commands=commands)
        assert torch.equal(weights(parts), weights(whole))
        assert parts.steering.changes == whole.steering.changes
    assert len(whole.steering.changes) == 3
    assert whole.steering.changes[1] == "step 2: momentum = 0.5"


def test_a_switch_brings_its_rate_and_schedule_and_ends_what_was_set_by_hand(tmp_path: Path) -> None:
    commands = {
        1: [SetValue("rate", 0.5), SetValue("dropout", 0.1)],
        2: [SetOptimiser(Sgd(rate=0.05), Constant())],
        4: [SetValue("rate", 0.001)],
        5: [SetOptimiser(Adam(rate=0.02), Steps(values=((6, 0.03),)))],
    }
    whole = trainer_in(tmp_path / "whole", commands=commands)
    groups: list[dict[str, Any]] = []
    update = whole._update

    def spy(batch: Any) -> torch.Tensor:
        groups.append(dict(whole.steering.optimisers.current.param_groups[0]))
        return update(batch)

    whole._update = spy  # type: ignore[method-assign]
    whole.run()
    assert groups[1]["lr"] == 0.5
    assert [group["lr"] for group in groups[2:]] == [0.05, 0.05, 0.001, 0.02, 0.03]
    assert ["momentum" in group for group in groups] == [False, False, True, True, True, False, False]
    assert whole.steering.plan.hands == {"dropout": (1, (0.1,))}
    # the rate set by hand is that of the first optimiser at its start: it must reach the second one after a resume
    parts = stopped_and_resumed(tmp_path / "parts", {}, stop=4, commands=commands)
    assert torch.equal(weights(parts), weights(whole))


def test_a_switch_that_does_not_go_with_the_schedule_changes_nothing(tmp_path: Path) -> None:
    events: list[Any] = []
    trainer = trainer_in(tmp_path / "a", commands={2: [SetOptimiser(ScheduleFree())]}, events=events)
    trainer.run()
    (noted,) = [e.text for e in events if isinstance(e, Noted) and "verdict" not in e.text]
    assert noted == "not changed: schedule: schedule_free needs a steady rate; write schedule: {kind: constant}"
    assert [state_name(used) for used in trainer.steering.optimisers.used] == ["adam"]


def test_dropout_masks_are_the_same_in_all_evaluations_of_a_step(tmp_path: Path) -> None:
    """With other masks per evaluation the loss at one and the same point would differ."""
    trainer = trainer_in(tmp_path / "a", changes(CgSettings()))
    losses = []
    trainer.steering.optimisers.current.step = lambda evaluate: losses.extend([evaluate(), evaluate()]) or losses[0]  # type: ignore[assignment, func-returns-value]
    trainer._update(trainer.task.supply.batch(0))
    assert torch.equal(losses[0], losses[1])


def test_conjugate_gradient_takes_no_step_uphill() -> None:
    """A loss whose gradient points the wrong way."""
    weight = Parameter(torch.ones(3))
    optimiser = make_optimiser(CgSettings(searches=2), {"weight": weight})
    assert isinstance(optimiser, ConjugateGradient)
    gradients = iter([torch.tensor([1.0, 0.0, 0.0]), torch.tensor([-9.0, 0.0, 0.0])])

    def closure() -> torch.Tensor:
        weight.grad = next(gradients)
        return torch.tensor(1.0 if optimiser.timeline == [] else 2.0)

    group = optimiser.param_groups[0]
    group["alpha"] = 0.0
    optimiser.step(closure)
    first, second = optimiser.timeline
    assert (first.step, first.evaluations) == (0.02, 1)
    assert second.coefficient == 90.0
    assert (second.step, second.evaluations, second.loss) == (0.0, 0, first.loss)
    np.testing.assert_allclose(weight.detach(), [0.98, 1, 1])


def test_lbfgs_ends_at_the_best_point_not_at_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(evaluate: Any, start: Any, **options: int) -> tuple[Any, float, None]:
        assert options == {"m": 10, "factr": 100.0, "pgtol": 1e-9, "maxfun": 40, "maxiter": 4}
        best, _ = evaluate(start - 1)
        evaluate(start + 5)
        return start - 1, best, None

    monkeypatch.setattr(optimiser_lbfgs, "fmin_l_bfgs_b", search)
    weight = Parameter(torch.tensor([2.0, 1.0]))
    optimiser = make_optimiser(Lbfgs(), {"weight": weight})

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss.detach()

    assert float(optimiser.step(closure)) == 1.0
    assert weight.tolist() == [1.0, 0.0]


def test_weight_decay_of_elektronn2_spares_biases_and_takes_three_times_from_gamma() -> None:
    named = {name: Parameter(torch.ones(2)) for name in ("a.weight", "a.bias", "a.gamma", "r.first")}
    optimiser = make_optimiser(Sgd(rule="elektronn2", rate=0.1, weight_decay=0.5), named)
    for parameter in named.values():
        parameter.grad = torch.zeros(2)
    optimiser.step(lambda: torch.zeros(()))
    assert {name: round(float(p.detach()[0]), 6) for name, p in named.items()} == {
        "a.weight": 0.95,
        "a.bias": 1.0,
        "a.gamma": 0.85,
        "r.first": 1.0,
    }


def test_adagrad_of_elektronn2_leaves_weights_without_gradient() -> None:
    weight = Parameter(torch.tensor([1.0, 2.0]))
    optimiser = make_optimiser(AdaGrad(rule="elektronn2", weight_decay=0.1), {"weight": weight})
    weight.grad = torch.tensor([0.0, 1.0])
    optimiser.step(lambda: torch.zeros(()))
    assert weight[0] == 1.0
    assert weight[1] != 2.0


def test_schedule_free_follows_the_formulas_of_the_paper() -> None:
    """One weight, written out in plain numbers; between steps the parameter is the average x."""
    rate, beta1, beta2, decay, warmup = 0.1, 0.9, 0.99, 0.01, 2
    settings = ScheduleFree(rate=rate, beta1=beta1, beta2=beta2, weight_decay=decay, warmup=warmup)
    weight = Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimiser = make_optimiser(settings, {"weight": weight})
    x = z = 3.0
    v = total = 0.0
    for t in range(1, 8):
        y = (1 - beta1) * z + beta1 * x
        seen = []

        def closure(seen: list[float] = seen) -> torch.Tensor:
            optimiser.zero_grad()
            seen.append(float(weight.detach()))
            loss = (weight**4).sum()
            loss.backward()
            return loss.detach()

        optimiser.step(closure)
        gradient = 4 * y**3
        v = beta2 * v + (1 - beta2) * gradient**2
        gamma = rate * np.sqrt(1 - beta2**t) * min(1, t / warmup)
        z = z - gamma * gradient / (np.sqrt(v) + 1e-8) - gamma * decay * y
        total += gamma**2
        x = (1 - gamma**2 / total) * x + gamma**2 / total * z
        assert seen == [pytest.approx(y, rel=1e-9)]
        assert float(weight.detach()) == pytest.approx(x, rel=1e-9)


def test_only_what_has_a_gradient_moves() -> None:
    for settings in KINDS:
        named = parameters()
        optimiser = make_optimiser(settings, named)

        def closure(named: dict[str, Parameter] = named, optimiser: torch.optim.Optimizer = optimiser) -> torch.Tensor:
            optimiser.zero_grad()
            loss = ((named["a.weight"] - 1) ** 2).sum()
            loss.backward()
            return loss.detach()

        optimiser.step(closure)
        assert torch.equal(named["a.bias"], torch.zeros(2)), state_name(settings)
        assert not torch.equal(named["a.weight"], torch.zeros(2, 2)), state_name(settings)


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ({"kind": "sdg"}, "optimiser.kind: unknown kind 'sdg': did you mean 'sgd'?"),
        ({"kind": "adam", "rule": "elektronn1", "weight_decay": 0.1}, "Adam of ELEKTRONN 1 had none; write 0.0"),
        ({"kind": "cg", "min_step": 0.5}, "min_step 0.5 is above max_step 0.02; exchange them"),
        ({"kind": "rprop", "rate": 0.5}, "optimiser.rate: unknown key"),
        ({"kind": "schedule_free"}, "schedule_free needs a steady rate; write schedule: {kind: constant}"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_cure(said: dict[str, Any], cure: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(TrainingSettings, {"optimiser": said}, "training")
    assert cure in str(caught.value)


def test_every_kind_of_the_settings_is_tested_here() -> None:
    kinds: set[type[Settings]] = {type(settings) for settings in KINDS}
    described = TrainingSettings.model_json_schema()["properties"]["optimiser"]["discriminator"]["mapping"]
    assert {kind.model_fields["kind"].default for kind in kinds} == set(described)
