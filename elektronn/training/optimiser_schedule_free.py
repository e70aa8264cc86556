"""AdamW without a schedule: gradients are taken between a fast point and the average of all fast points."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from elektronn.training.optimiser_rules import Group


class ScheduleFree(torch.optim.Optimizer):
    """Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled", algorithm 1).

    Between steps the parameters are the average x, which is what a network is measured and saved with; inside a step
    they move to y = (1 − β1) z + β1 x, where the gradient is taken.

    Args:
        groups: parameters.
        numbers: ``lr``, ``betas``, ``eps``, ``weight_decay`` and ``warmup`` (steps) of all groups.
    """

    def __init__(self, groups: list[Group], **numbers: float | tuple[float, float]) -> None:
        super().__init__(groups, numbers)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """One update; the loss at y. ``closure`` computes loss and gradients."""
        pairs = [(group, parameter) for group in self.param_groups for parameter in group["params"]]
        averages = [parameter.clone() for _, parameter in pairs]
        for group, parameter in pairs:
            state = self.state[parameter]
            if not state:
                state["fast"], state["square"] = parameter.clone(), torch.zeros_like(parameter)
                state["step"], state["weights"] = torch.zeros(()), parameter.new_zeros(())
            parameter.lerp_(state["fast"], 1 - group["betas"][0])
        with torch.enable_grad():
            loss = closure()
        for (group, parameter), average in zip(pairs, averages):
            self._update(parameter, average, group)
        return loss

    def _update(self, parameter: Tensor, average: Tensor, group: Group) -> None:
        """Move the fast point z by the gradient at y and the average x towards z; the parameter becomes x."""
        state, beta2 = self.state[parameter], group["betas"][1]
        if parameter.grad is None:
            parameter.copy_(average)
            return
        state["step"] += 1
        step = float(state["step"])
        rate = group["lr"] * math.sqrt(1 - beta2**step) * min(1.0, step / max(group["warmup"], 1))
        state["square"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
        state["fast"].addcdiv_(parameter.grad, state["square"].sqrt().add_(group["eps"]), value=-rate)
        state["fast"].sub_(parameter, alpha=rate * group["weight_decay"])
        state["weights"] += rate**2
        share = rate**2 / state["weights"] if rate else torch.zeros_like(state["weights"])
        parameter.copy_(average.lerp_(state["fast"], share))
