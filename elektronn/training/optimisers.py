"""Optimisers by settings, one of which is in use while the others keep their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from elektronn.training import settings as say
from elektronn.training.checkpoint import flatten, restore
from elektronn.training.optimiser_cg import ConjugateGradient
from elektronn.training.optimiser_lbfgs import Lbfgs
from elektronn.training.optimiser_rules import (
    Group,
    Ruled,
    adadelta,
    adagrad,
    adam_elektronn1,
    adam_elektronn2,
    momentum,
    rprop,
)
from elektronn.training.optimiser_schedule_free import ScheduleFree

FREE_OF_DECAY = ("bias", "first")
"""Names of parameters that weight decay spares in ELEKTRONN2."""

DECAY_OF_GAMMA = 3.0
"""How much more it takes from the scale of a batch normalisation there; not so in AdaGrad."""


def make_optimiser(settings: say.Optimiser, parameters: Mapping[str, Parameter]) -> torch.optim.Optimizer:
    """The torch optimiser of a settings section; its ``step`` takes a closure that computes loss and gradients.

    Args:
        settings: kind and numbers.
        parameters: by name.
    """
    groups = _groups(parameters, settings)
    match settings:
        case say.Sgd(rule="torch"):
            return torch.optim.SGD(groups, lr=settings.rate, momentum=settings.momentum, fused=True)
        case say.Sgd():
            return Ruled(groups, momentum, lr=settings.rate, momentum=settings.momentum)
        case say.Adam():
            return _adam(settings, groups)
        case say.AdamW():
            return torch.optim.AdamW(groups, lr=settings.rate, betas=(settings.beta1, settings.beta2), fused=True)
        case say.AdaGrad(rule="torch"):
            return torch.optim.Adagrad(groups, lr=settings.rate)
        case say.AdaGrad():
            return Ruled(groups, adagrad, lr=settings.rate)
        case say.AdaDelta(rule="torch"):
            return torch.optim.Adadelta(groups, lr=settings.rate, rho=settings.rho)
        case say.AdaDelta():
            return Ruled(groups, adadelta, lr=settings.rate, rho=settings.rho)
        case say.ScheduleFree():
            betas = (settings.beta1, settings.beta2)
            return ScheduleFree(groups, lr=settings.rate, betas=betas, eps=1e-8, warmup=settings.warmup)
        case _:
            return _of_large_batches(settings, groups)


def _adam(settings: say.Adam, groups: list[Group]) -> torch.optim.Optimizer:
    betas, epsilon = (settings.beta1, settings.beta2), settings.epsilon or 1e-8
    match settings.rule:
        case "torch":
            return torch.optim.Adam(groups, lr=settings.rate, betas=betas, eps=epsilon, fused=True)
        case "elektronn1":
            return Ruled(groups, adam_elektronn1, lr=settings.rate, betas=betas, eps=epsilon)
        case "elektronn2":
            return Ruled(groups, adam_elektronn2, lr=settings.rate, betas=betas, eps=settings.epsilon or 1e-5)


def _of_large_batches(
    settings: say.Rprop | say.ConjugateGradient | say.Lbfgs, groups: list[Group]
) -> torch.optim.Optimizer:
    numbers = {
        name: getattr(settings, name) for name in type(settings).model_fields if name not in ("kind", "weight_decay")
    }
    match settings:
        case say.Rprop():
            return Ruled(groups, rprop, **numbers)
        case say.ConjugateGradient():
            return ConjugateGradient(groups, **numbers)
        case say.Lbfgs():
            names = {
                "iterations": "maxiter",
                "evaluations": "maxfun",
                "memory": "m",
                "reduction": "factr",
                "gradient": "pgtol",
            }
            return Lbfgs(groups, **{names[name]: value for name, value in numbers.items()})


def _groups(parameters: Mapping[str, Parameter], settings: say.Optimiser) -> list[Group]:
    """Parameters by what weight decay takes of them; ``decay_share`` stays with the group when the decay changes."""
    decay, shares = getattr(settings, "weight_decay", 0.0), dict[float, list[Parameter]]()
    for name, parameter in parameters.items():
        shares.setdefault(_decay_share(name, settings), []).append(parameter)
    return [{"params": rows, "decay_share": share, "weight_decay": decay * share} for share, rows in shares.items()]


def _decay_share(name: str, settings: say.Optimiser) -> float:
    last = name.rpartition(".")[2]
    if getattr(settings, "rule", "torch") != "elektronn2":
        return 1.0
    if last in FREE_OF_DECAY:
        return 0.0
    return DECAY_OF_GAMMA if last == "gamma" and not isinstance(settings, say.AdaGrad) else 1.0


def set_number(optimiser: torch.optim.Optimizer, name: str, value: Any) -> None:
    """Change one number of a settings section in the optimiser that was made from it."""
    for group in optimiser.param_groups:
        match name:
            case "rate":
                group["lr"] = value
            case "weight_decay":
                group["weight_decay"] = value * group["decay_share"]
            case "beta1" | "beta2" if "betas" in group:
                group["betas"] = (value, group["betas"][1]) if name == "beta1" else (group["betas"][0], value)
            case "epsilon":
                group["eps"] = value
            case "reduction" | "gradient":
                group[{"reduction": "factr", "gradient": "pgtol"}[name]] = value
            case _:
                group[name] = value


def state_name(settings: say.Optimiser) -> str:
    """Name of the state of an optimiser: kind, and rule if it is not torch's.

    Example:
        >>> state_name(say.Sgd(rule="elektronn1")), state_name(say.Lbfgs())
        ('sgd-elektronn1', 'lbfgs')
    """
    rule = getattr(settings, "rule", "torch")
    return settings.kind if rule == "torch" else f"{settings.kind}-{rule}"


class Optimisers:
    """The optimiser in use and, with their state, those used before.

    Args:
        settings: of the first.
        parameters: by name.
    """

    def __init__(self, settings: say.Optimiser, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = parameters
        self._made: dict[str, tuple[say.Optimiser, torch.optim.Optimizer]] = {}
        self.use(settings)

    @property
    def current(self) -> torch.optim.Optimizer:
        """The one in use."""
        return self._last()[1]

    @property
    def settings(self) -> say.Optimiser:
        """Of the one in use."""
        return self._last()[0]

    @property
    def used(self) -> list[say.Optimiser]:
        """Settings of all, the one in use last."""
        return [settings for settings, _ in self._made.values()]

    def use(self, settings: say.Optimiser) -> None:
        """Take another one, with the state that it had when it was last in use."""
        optimiser = make_optimiser(settings, self._parameters)
        _, before = self._made.pop(state_name(settings), (None, None))
        if before is not None:
            optimiser.state.update(before.state)
        self._made[state_name(settings)] = settings, optimiser

    def tensors(self) -> dict[str, Tensor]:
        """The states of all."""
        return {key: t for name, (_, made) in self._made.items() for key, t in flatten(made, name).items()}

    def restore(self, used: list[say.Optimiser], tensors: Mapping[str, Tensor]) -> None:
        """Put back what :attr:`used` and :meth:`tensors` gave."""
        self._made.clear()
        for settings in used:
            self.use(settings)
            restore(self.current, tensors, state_name(settings))

    def _last(self) -> tuple[say.Optimiser, torch.optim.Optimizer]:
        return next(reversed(self._made.values()))
