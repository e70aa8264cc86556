"""Update rules of the ancestors where they differ from torch's, one function each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]
Group = dict[str, Any]
Update = Callable[[Tensor, Tensor, State, Group], None]
"""Changes a parameter in place, given its gradient, its state and the numbers of its group (``lr``, ``weight_decay`` …)."""


class Ruled(torch.optim.Optimizer):
    """An optimiser that applies one rule to each parameter by itself.

    Args:
        groups: parameters, as torch's optimisers take them.
        update: the rule.
        numbers: of all groups that do not say them.
    """

    def __init__(self, groups: Iterable[Group], update: Update, **numbers: Any) -> None:
        super().__init__(list(groups), dict(numbers))
        self.update = update

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """One update; the loss before it. ``closure`` computes loss and gradients."""
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, parameter.grad, self.state[parameter], group)
        return loss


def momentum(parameter: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    """SGD of both ancestors: weight decay beside the momentum, not in it."""
    velocity = _kept(state, "velocity", parameter)
    velocity.mul_(group["momentum"]).add_(gradient)
    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(velocity, alpha=group["lr"])


def rprop(parameter: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    """RPROP of ELEKTRONN 1: the size of a step is changed after it was used; no step is taken back."""
    size, last = _kept(state, "size", parameter, group["initial"]), _kept(state, "last", parameter)
    agreement = gradient * last
    factor = 1 - group["penalty"] * (agreement < -1e-9) + group["gain"] * (agreement > 1e-11)
    parameter.mul_(1 - group["weight_decay"]).sub_(size * gradient / (gradient.abs() + 1e-6))
    size.mul_(factor).clamp_(group["smallest"], group["largest"])
    last.copy_(gradient)


def adam_elektronn1(parameter: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    """Adam of ELEKTRONN 1: epsilon beside the root of the uncorrected second moment, no weight decay."""
    mean, square, rate = _moments(parameter, gradient, state, group)
    parameter.sub_(rate * mean / (square.sqrt() + group["eps"]))


def adam_elektronn2(parameter: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    """Adam of ELEKTRONN2: epsilon under the root, weight decay beside the gradient."""
    mean, square, rate = _moments(parameter, gradient, state, group)
    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(rate * mean / (square + group["eps"]).sqrt())


def adagrad(parameter: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    """AdaGrad of ELEKTRONN2: the first squared gradient counts twice, no epsilon.

    There, a weight whose gradients were all 0 became NaN; here it stays.
    """
    if "sum" not in state:
        state["sum"] = gradient.square()
    state["sum"].add_(gradient.square())
    wanted = group["lr"] / state["sum"].sqrt() * (gradient + group["weight_decay"] * parameter)
    parameter.sub_(torch.where(state["sum"] > 0, wanted, 0.0))


def adadelta(parameter: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    """AdaDelta of ELEKTRONN2: scaled by the means before this gradient, weight decay beside it."""
    squares, moves, rho = _kept(state, "squares", parameter), _kept(state, "moves", parameter), group["rho"]
    move = gradient * ((moves + 1e-5) / (squares + 1e-5)).sqrt()
    squares.mul_(rho).add_(gradient.square(), alpha=1 - rho)
    moves.mul_(rho).add_(move.square(), alpha=1 - rho)
    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(move, alpha=group["lr"])


def _moments(parameter: Tensor, gradient: Tensor, state: State, group: Group) -> tuple[Tensor, Tensor, float]:
    """Running means of gradient and squared gradient after this step, and the rate corrected for their start at 0."""
    mean, square = _kept(state, "mean", parameter), _kept(state, "square", parameter)
    step = state.setdefault("step", torch.zeros(()))
    step += 1
    beta1, beta2 = group["betas"]
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).add_(gradient.square(), alpha=1 - beta2)
    return mean, square, group["lr"] * math.sqrt(1 - beta2 ** float(step)) / (1 - beta1 ** float(step))


def _kept(state: State, name: str, parameter: Tensor, start: float = 0.0) -> Tensor:
    """A tensor of the state, of the parameter's shape; ``start`` at first."""
    if name not in state:
        state[name] = torch.full_like(parameter, start)
    return state[name]
