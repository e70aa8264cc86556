"""The early verdict: after the first minutes, whether a training looks healthy, or why not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elektronn.network.build import Network

SHARE = 0.05
"""Share of the steps after which the verdict is made, at most :data:`STEPS`."""
STEPS = 200

DEAD = 0.9
"""Share of the feature maps of a layer that may be 0 everywhere; networks learn well with every second one at rest."""
LOOKS = 8
"""Monitor batches that the activations are looked at on."""
FADED = 1e-7
"""Smallest gradient of a layer, relative to its weights, that still moves it."""


@dataclass(frozen=True)
class Verdict:
    """What the first steps show.

    Attributes:
        step: when.
        facts: what was measured, one sentence.
        faults: why it does not look healthy, one sentence each; empty if it does.
    """

    step: int
    facts: str
    faults: tuple[str, ...]

    @property
    def is_healthy(self) -> bool:
        """Nothing was found."""
        return not self.faults

    def __str__(self) -> str:
        opinion = "looks healthy" if self.is_healthy else "; ".join(self.faults)
        return f"early verdict at step {self.step}: {opinion} ({self.facts})"


def due_at(steps: int) -> int:
    """Step of the verdict in a training of so many steps.

    Example:
        >>> due_at(100), due_at(1_000_000)
        (5, 200)
    """
    return max(1, min(STEPS, round(steps * SHARE)))


def constant_loss(labels: NDArray[Any], classes: int) -> tuple[float, NDArray[np.float64], float]:
    """Loss of the best constant prediction, the share of each class, and the share of ignored labels.

    Example:
        >>> loss, shares, ignored = constant_loss(np.array([0, 1, 1, -1]), 2)
        >>> round(loss, 3), shares.round(2).tolist(), ignored
        (0.637, [0.33, 0.67], 0.25)
    """
    known = labels[labels >= 0].ravel()
    shares = np.bincount(known, minlength=classes)[:classes] / max(known.size, 1)
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum()), shares, 1 - known.size / max(labels.size, 1)


def early_verdict(
    step: int,
    network: Network,
    losses_of: Sequence[Callable[[], Tensor]],
    labels: NDArray[Any] | None,
    losses: tuple[float, float],
) -> Verdict:
    """Judge a training by its first steps.

    Args:
        step: updates so far.
        network: as it is now; left without gradients.
        losses_of: compute the loss of one monitor batch each, without dropout, with its graph.
        labels: classes of the first of these batches; None for values.
        losses: loss on the monitor examples before the first step, and now.
    """
    dead, gradients = _look(network, losses_of)
    faults = [
        f"{share:.0%} of the maps of layer '{name}' are 0 everywhere: lower the learning rate"
        for name, share in [*dead.items()][:-1]  # an output may well be 0
        if share > DEAD
    ]
    weak = [name for name, ratio in gradients.items() if not ratio > FADED]
    if weak:
        faults.append(f"no gradient reaches layer '{weak[0]}': check activations and initialisation")
    first, now = losses
    facts = f"loss {first:.3f} → {now:.3f}"
    if labels is not None:
        baseline, shares, ignored = constant_loss(labels, network.document.classes)
        facts += f", a constant prediction has {baseline:.3f}; classes " + ", ".join(f"{s:.0%}" for s in shares)
        facts += f", ignored {ignored:.0%}" if ignored else ""
        if now > 1.1 * max(baseline, 0.01) and not now < first:
            faults.append("the loss does not fall and is above that of a constant prediction: lower the learning rate")
    elif not now < first:
        faults.append("the loss does not fall: change the learning rate")
    if not math.isfinite(now):
        faults.append("the loss is no number: lower the learning rate")
    return Verdict(step, facts, tuple(faults))


def _look(network: Network, losses_of: Sequence[Callable[[], Tensor]]) -> tuple[dict[str, float], dict[str, float]]:
    """Per layer, the share of maps that are 0 everywhere, and the size of the gradient relative to the weights."""
    largest: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: object, given: object, found: Tensor) -> None:
            maps = found.detach().flatten(2).abs().amax((0, 2)) if found.ndim > 2 else found.detach().abs().amax(0)
            largest[name] = torch.maximum(largest.get(name, maps), maps)

        return hook

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in network.layers.items()]
    network.zero_grad(set_to_none=True)
    try:
        losses_of[0]().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for loss_of in losses_of[1:]:
                loss_of()
    finally:
        for hook in hooks:
            hook.remove()
    ratios = {}
    for name, layer in network.layers.items():
        weights = [p for p in layer.parameters() if p.grad is not None and p.ndim > 1]
        if weights:
            moved = sum(float(p.grad.square().sum()) for p in weights if p.grad is not None)
            size = sum(float(p.detach().square().sum()) for p in weights)
            ratios[name] = math.sqrt(moved / max(size, 1e-30))
    network.zero_grad(set_to_none=True)
    return {name: float((maps == 0).float().mean()) for name, maps in largest.items()}, ratios


def monitor_labels(labels: Tensor, of_classes: bool) -> NDArray[Any] | None:
    """Labels of a monitor batch for the verdict; None where they are values."""
    return labels.detach().to("cpu", torch.int64).numpy() if of_classes else None
