"""Optimisers and schedules by name."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from elektronn.training.settings import Adam, Cosine, Exponential, Sgd


def make_optimiser(settings: Sgd | Adam, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The torch optimiser of a settings section."""
    if isinstance(settings, Sgd):
        return torch.optim.SGD(
            parameters, lr=settings.rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    betas = (settings.beta1, settings.beta2)
    return torch.optim.Adam(parameters, lr=settings.rate, betas=betas, weight_decay=settings.weight_decay)


def rate_at(schedule: Exponential | Cosine, start: float, step: int, steps: int) -> float:
    """Learning rate of the update number ``step`` (from 0) of ``steps``: a function, so that resume needs no state.

    Example:
        >>> round(rate_at(Exponential(decay=0.5), 0.1, 2000, 9999), 6)
        0.025
        >>> rate_at(Cosine(floor=0.0), 0.1, 50, 100)
        0.05
    """
    if isinstance(schedule, Exponential):
        return start * float(schedule.decay ** (step / 1000))
    share = 0.5 * (1 + math.cos(math.pi * step / steps))
    return start * (schedule.floor + (1 - schedule.floor) * share)
