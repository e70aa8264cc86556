"""All parameters of an optimiser as one vector, for methods that move them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class ParameterVector:
    """Parameters that are read and written as one vector.

    Args:
        parameters: in a fixed order.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters

    def read(self) -> Tensor:
        """A copy of all parameters, ``(count,)``."""
        return torch.cat([parameter.flatten() for parameter in self.parameters])

    def write(self, vector: Tensor) -> None:
        """Set all parameters, in place."""
        for parameter, part in zip(
            self.parameters, torch.split_with_sizes(vector, [p.numel() for p in self.parameters])
        ):
            parameter.copy_(part.view(parameter.shape))

    def evaluate(self, closure: Callable[[], Tensor]) -> tuple[float, Tensor]:
        """Loss and gradient here; 0 for a parameter without one."""
        with torch.enable_grad():
            loss = float(closure().detach())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        return loss, torch.cat([gradient.flatten() for gradient in gradients])
