"""Trajectories of the original programs' optimisers on small linear problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from elektronn.training.optimiser_cg import ConjugateGradient
from elektronn.training.optimisers import make_optimiser
from elektronn.training.settings import AdaDelta, AdaGrad, Adam, Optimiser, Rprop, Sgd
from elektronn.training.settings import ConjugateGradient as CgSettings

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "optimisers.json").read_text())
FIRST, SECOND = GOLDEN["elektronn1"], GOLDEN["elektronn2"]

ELEKTRONN1: dict[str, Optimiser] = {
    "SGD": Sgd(rule="elektronn1", rate=0.1, momentum=0.9, weight_decay=0.01),
    "RPROP": Rprop(weight_decay=0.01),
    "Adam": Adam(rule="elektronn1", rate=0.01, epsilon=1e-8),
    # beta is the fallback of the original's class, which its configuration overrides
    "CG": CgSettings(searches=3, max_step=0.5, min_step=0.001, beta=0.7),
}

ELEKTRONN2: dict[str, Optimiser] = {
    "SGD": Sgd(rule="elektronn2", rate=0.1, momentum=0.8, weight_decay=0.01),
    "AdaGrad": AdaGrad(rule="elektronn2", rate=0.1, weight_decay=0.01),
    "AdaDelta": AdaDelta(rule="elektronn2", rate=0.1, rho=0.8, weight_decay=0.01),
    "Adam": Adam(rule="elektronn2", rate=0.1, beta1=0.8, beta2=0.99, weight_decay=0.01),
}


@pytest.mark.parametrize("name", FIRST["runs"])
def test_trajectory_of_elektronn1(name: str) -> None:
    x, y = torch.tensor(FIRST["x"]), torch.tensor(FIRST["y"])
    weight, bias = Parameter(torch.tensor(FIRST["W0"])), Parameter(torch.tensor(FIRST["b0"]))
    optimiser = make_optimiser(ELEKTRONN1[name], {"weight": weight, "bias": bias})

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = ((x @ weight[:, None] + bias - y) ** 2).mean()
        loss.backward()
        return loss.detach()

    # the conjugate coefficient is a difference of nearly equal numbers, in single precision
    near = {"abs": 5e-5 if name == "CG" else 1e-6}
    rows = []
    for said in FIRST["runs"][name]["steps"]:
        loss = optimiser.step(closure)
        assert float(loss) == pytest.approx(said["loss"], rel=1e-5)
        assert weight.tolist() == pytest.approx(said["W"], rel=1e-5, **near)
        assert bias.tolist() == pytest.approx(said["b"], rel=1e-5, **near)
        if isinstance(optimiser, ConjugateGradient):
            rows += [[s.loss, s.step, s.coefficient, s.evaluations] for s in optimiser.timeline]
    for row, expected in zip(rows, FIRST["runs"][name].get("timeline_loss_t_coeff_count", []), strict=True):
        assert row == pytest.approx(expected, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize("case", SECOND["cases"], ids=lambda case: case["optimiser"])
def test_trajectory_of_elektronn2(case: dict[str, Any]) -> None:
    weight, bias = Parameter(torch.tensor(SECOND["w0"])), Parameter(torch.tensor(SECOND["b0"]))
    optimiser = make_optimiser(ELEKTRONN2[case["optimiser"]], {"dot.weight": weight, "dot.bias": bias})
    for step, said in enumerate(case["steps"]):
        x, target = torch.tensor(SECOND["x"][step]), torch.tensor(SECOND["t"][step])

        def closure(x: torch.Tensor = x, target: torch.Tensor = target) -> torch.Tensor:
            optimiser.zero_grad()
            difference = x @ weight + bias - target
            loss = (0.5 * difference**2).mean() * difference.numel() / (difference.numel() + 1)
            loss.backward()
            return loss.detach()

        assert float(optimiser.step(closure)) == pytest.approx(said["loss_before"], rel=1e-4)
        torch.testing.assert_close(weight.detach(), torch.tensor(said["w"]), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(bias.detach(), torch.tensor(said["b"]), rtol=1e-4, atol=1e-6)
