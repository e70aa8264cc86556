"""L-BFGS-B of scipy on the parameters of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import fmin_l_bfgs_b
from torch import Tensor

from elektronn.training.optimiser_rules import Group
from elektronn.training.optimiser_vector import ParameterVector


class Lbfgs(torch.optim.Optimizer):
    """A few iterations of L-BFGS-B on one batch; nothing is kept for the next batch.

    The parameters end at the best point found. (ELEKTRONN 1 left them at the last one that was tried.)

    Args:
        groups: parameters, one group.
        options: of :func:`scipy.optimize.fmin_l_bfgs_b`.
    """

    def __init__(self, groups: list[Group], **options: Any) -> None:
        super().__init__(groups, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """All iterations on one batch; the loss after them. ``closure`` computes loss and gradients."""
        group = self.param_groups[0]
        vector = ParameterVector(group["params"])
        start = vector.read()

        def evaluate(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            vector.write(torch.from_numpy(point).to(start))
            loss, gradient = vector.evaluate(closure)
            return loss, gradient.double().cpu().numpy()

        options = {name: group[name] for name in ("m", "factr", "pgtol", "maxfun", "maxiter")}
        best, loss, _ = fmin_l_bfgs_b(evaluate, start.double().cpu().numpy(), **options)
        vector.write(torch.from_numpy(best).to(start))
        return torch.as_tensor(loss)
