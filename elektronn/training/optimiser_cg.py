"""Non-linear conjugate gradient with a line search, as ELEKTRONN 1 had it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from elektronn.training.optimiser_rules import Group
from elektronn.training.optimiser_vector import ParameterVector

Closure = Callable[[], Tensor]


@dataclass(frozen=True)
class Search:
    """One line search.

    Attributes:
        loss: after it.
        step: length that was taken, in units of the direction; 0 where the direction led uphill.
        coefficient: share of the direction before in this one.
        evaluations: of the network.
    """

    loss: float
    step: float
    coefficient: float
    evaluations: int


class Trial(NamedTuple):
    """A point that a line search tried: what is there, how far along the direction, the how-manieth."""

    loss: float
    gradient: Tensor
    length: float
    evaluations: int


class ConjugateGradient(torch.optim.Optimizer):
    """Line searches on one batch, each direction conjugate to the one before; nothing is kept for the next batch.

    Attributes:
        timeline: the searches of the last batch.
    """

    def __init__(
        self, groups: list[Group], *, searches: int, alpha: float, beta: float, max_step: float, min_step: float
    ) -> None:
        numbers = {"alpha": alpha, "beta": beta, "max_step": max_step, "min_step": min_step}
        super().__init__(groups, numbers)
        self.searches = searches
        self.timeline: list[Search] = []

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]
        """All searches on one batch; the loss after them. ``closure`` computes loss and gradients."""
        vector = ParameterVector(self.param_groups[0]["params"])
        loss, gradient = vector.evaluate(closure)
        direction, coefficient = -gradient, 0.0
        self.timeline = []
        for _ in range(self.searches):
            slope = float(gradient @ direction)
            trial = (
                self._search(closure, vector, loss, direction, slope) if slope <= 0 else Trial(loss, gradient, 0.0, 0)
            )
            self.timeline.append(Search(trial.loss, trial.length, coefficient, trial.evaluations))
            coefficient = polak_ribiere(trial.gradient, gradient)
            loss, gradient = trial.loss, trial.gradient
            direction = coefficient * direction - gradient
        return torch.as_tensor(loss)

    def _search(self, closure: Closure, vector: ParameterVector, loss: float, direction: Tensor, slope: float) -> Trial:
        """Shorten the step until the loss falls by enough of what the slope promises.

        A trial that is worse than the one before is also taken: where shortening does not help, the loss is not smooth.
        """
        group, start, before = self.param_groups[0], vector.read(), math.inf
        shortenings = int(math.log(group["min_step"] / group["max_step"]) / math.log(group["beta"]))
        for count in range(1, shortenings + 2):
            length = group["max_step"] * group["beta"] ** (count - 1)
            vector.write(start + length * direction)
            trial = Trial(*vector.evaluate(closure), length, count)
            if trial.loss <= loss + group["alpha"] * length * slope or trial.loss > before:
                break
            before = trial.loss
        return trial


def polak_ribiere(gradient: Tensor, before: Tensor) -> float:
    """Share of the direction before that makes the next one conjugate; 0 where that would be negative."""
    square = float(before @ before)
    return max(0.0, float(gradient @ (gradient - before)) / square) if square else 0.0
