"""Mission rows M100 to M108, M194 and M206: optimisers and schedules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from elektronn.config.load import resolve
from elektronn.legacy.config_file import read_config
from elektronn.training.control import SetValue
from elektronn.training.optimiser_cg import ConjugateGradient
from elektronn.training.optimisers import make_optimiser
from elektronn.training.schedules import value_at
from elektronn.training.settings import AdaDelta, AdaGrad, Adam, Constant, Exponential, Lbfgs, Linear, Sgd, Steps
from elektronn.training.settings import ConjugateGradient as CgSettings
from tests.golden import test_optimisers as golden
from tests.mission.test_config_rows import BASE, home  # noqa: F401 - home is a fixture
from tests.unit.small_training import trainer_in, weights


def regression(weight: Parameter, optimiser: torch.optim.Optimizer) -> Callable[[], torch.Tensor]:
    """Mean squared error of a linear regression that can be solved exactly."""
    random = np.random.default_rng(1)
    x = torch.from_numpy(random.normal(size=(40, weight.numel())).astype(np.float32))
    y = x @ torch.arange(1.0, weight.numel() + 1)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = ((x @ weight - y) ** 2).mean()
        loss.backward()
        return loss.detach()

    return closure


def test_M100_sgd_with_momentum_and_weight_decay() -> None:
    golden.test_trajectory_of_elektronn1("SGD")


def test_M101_rprop() -> None:
    golden.test_trajectory_of_elektronn1("RPROP")


def test_M102_conjugate_gradient_descends_in_each_call() -> None:
    golden.test_trajectory_of_elektronn1("CG")
    weight = Parameter(torch.zeros(5))
    optimiser = make_optimiser(CgSettings(searches=3, max_step=0.5), {"weight": weight})
    assert isinstance(optimiser, ConjugateGradient)
    losses = []
    for _ in range(6):
        losses.append(float(optimiser.step(regression(weight, optimiser))))
        assert len(optimiser.timeline) == 3
        assert optimiser.timeline[-1].loss == pytest.approx(losses[-1])
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-3 * losses[0]


def test_M103_lbfgs_solves_a_linear_regression_in_five_calls() -> None:
    weight = Parameter(torch.zeros(5))
    optimiser = make_optimiser(Lbfgs(), {"weight": weight})
    for _ in range(5):
        loss = optimiser.step(regression(weight, optimiser))
    assert float(loss) < 1e-3
    np.testing.assert_allclose(weight.detach(), [1, 2, 3, 4, 5], atol=0.05)


def test_M104_adam_and_its_rate_can_be_changed(tmp_path: Path) -> None:
    golden.test_trajectory_of_elektronn1("Adam")
    # in ELEKTRONN 1 the rate of Adam was fixed when the training began
    stopped = trainer_in(
        tmp_path / "a",
        {"optimiser": Adam(rule="elektronn1"), "schedule": Constant()},
        commands={3: [SetValue("rate", 1e-30)]},
    )
    stopped.run()
    short = trainer_in(tmp_path / "b", {"optimiser": Adam(rule="elektronn1"), "schedule": Constant(), "steps": 3})
    short.run()
    assert torch.equal(weights(stopped), weights(short))


def test_M105_decay_per_thousand_steps() -> None:
    assert value_at(Exponential(decay=0.993, jumps="after"), 0.01, 2001, 9999) == pytest.approx(0.01 * 0.993**2)
    assert value_at(Exponential(decay=0.993, jumps="before"), 0.01, 2001, 9999) == pytest.approx(0.01 * 0.993**3)
    assert value_at(Exponential(decay=0.993, jumps="before"), 0.01, 1, 9999) == pytest.approx(0.00993)


def test_M106_schedule_in_any_order() -> None:
    for values in (((8, 0.2), (3, 0.1)), ((3, 0.1), (8, 0.2))):
        found = {step: value_at(Steps(values=values), 0.5, step, 100) for step in (0, 2, 4, 9, 99)}
        assert found == {0: 0.5, 2: 0.5, 4: 0.1, 9: 0.2, 99: 0.2}
    # decay and schedule together, as in ELEKTRONN 1: it goes on from the given value
    both = Steps(values=((1500, 0.2),), decay=0.5)
    assert [value_at(both, 0.8, step, 9999) for step in (0, 1000, 1500, 2000)] == [0.8, 0.4, 0.2, 0.1]


def test_M107_part_of_a_section_changes_only_its_own_keys(tmp_path: Path, home: Path) -> None:  # noqa: F811
    def read(optimiser: dict[str, Any]) -> Any:
        return resolve({"experiments": {"e": {"training": {"optimiser": optimiser}}}}).experiments["e"].training

    assert read({"kind": "sgd", "rate": 0.5}).optimiser == Sgd(rate=0.5, momentum=0.9)
    assert read({"kind": "cg", "alpha": 0.5}).optimiser == CgSettings(alpha=0.5, searches=4, max_step=0.02)
    # in ELEKTRONN 1 a change of one optimiser reset rate, momentum and weight decay of the others
    trainer = trainer_in(
        tmp_path / "a", {"optimiser": Sgd(rate=0.1, weight_decay=0.01)}, commands={2: [SetValue("momentum", 0.5)]}
    )
    trainer.run()
    (group,) = trainer.steering.optimisers.current.param_groups
    assert (group["momentum"], group["weight_decay"]) == (0.5, 0.01)
    (home / "old.py").write_text(BASE.replace("dict(LR=0.001, momentum=0.9)", "dict(LR=0.5)"))
    options = read_config(home / "old.py", None).options
    assert options["SGD_params"]["LR"] == 0.5
    assert options["CG_params"]["n_steps"] == 4


def test_M108_adagrad_and_adadelta_follow_the_textbook() -> None:
    """Duchi et al. 2011 with epsilon beside the root; Zeiler 2012, algorithm 1."""
    gradients = np.random.default_rng(2).normal(size=(6, 3))
    found = {}
    for settings in (AdaGrad(rate=0.1), AdaDelta(rate=0.5, rho=0.8)):
        weight = Parameter(torch.ones(3, dtype=torch.float64))
        optimiser = make_optimiser(settings, {"weight": weight})
        for gradient in gradients:
            weight.grad = torch.from_numpy(gradient.copy())
            optimiser.step(lambda: torch.zeros(()))
        found[settings.kind] = weight.detach().numpy()
    adagrad, adadelta, total, squares, moves = (np.ones(3), np.ones(3), *np.zeros((3, 3)))
    for gradient in gradients:
        total = total + gradient**2
        adagrad = adagrad - 0.1 * gradient / (np.sqrt(total) + 1e-10)
        squares = 0.8 * squares + 0.2 * gradient**2
        move = gradient * np.sqrt(moves + 1e-6) / np.sqrt(squares + 1e-6)
        moves = 0.8 * moves + 0.2 * move**2
        adadelta = adadelta - 0.5 * move
    np.testing.assert_allclose(found["adagrad"], adagrad, rtol=1e-12)
    np.testing.assert_allclose(found["adadelta"], adadelta, rtol=1e-12)


def test_M194_schedules_can_be_given_to_any_number(tmp_path: Path) -> None:
    schedules = {"momentum": Linear(), "warp.amount": Steps(values=((4, 2.0),)), "dropout": Exponential(decay=0.5)}
    plain, planned = (
        trainer_in(tmp_path / name, {"optimiser": Sgd(), "schedules": said})
        for name, said in (("plain", {}), ("planned", schedules))
    )
    assert planned.steering.plan.values_at(7)["momentum"] == 0.0
    assert planned.steering.plan.values_at(4)["warp.amount"] == 2.0
    plain.run()
    planned.run()
    assert not torch.equal(weights(plain), weights(planned))


def test_M206_schedules_of_elektronn2() -> None:
    decay = [value_at(Exponential(decay=0.95, jumps="after"), 1.0, s, 9999) for s in (999, 1000, 1999, 2000)]
    assert decay == pytest.approx([1, 0.95, 0.95, 0.95**2])
    linear = [
        value_at(Linear(until=4000, every=1000), 0.001, s, 9999) for s in (0, 999, 1000, 2000, 3000, 3999, 4000, 5000)
    ]
    assert linear == pytest.approx([0.001, 0.001, 0.00075, 0.0005, 0.00025, 0.00025, 0, 0])
    updates = Steps(values=((500, 0.8), (1000, 0.7), (1500, 0.9)))
    found = [value_at(updates, 0.95, s, 9999) for s in (499, 500, 999, 1000, 1499, 1500, 9998)]
    assert found == [0.95, 0.8, 0.8, 0.7, 0.7, 0.9, 0.9]
