"""Tables of a network's parameters, gradients and activations: shape, mean, deviation, median magnitude."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

HEAD = ("name", "shape", "mean", "deviation", "median |x|")


def parameters_table(network: nn.Module) -> str:
    """One line per parameter, layers in their order.

    Example:
        >>> print(parameters_table(nn.Linear(2, 1, bias=False).requires_grad_(False).apply(lambda m: m.weight.fill_(-2))))
        name    shape      mean  deviation  median |x|
        weight  1×2    -2.0e+00    0.0e+00     2.0e+00
    """
    return _table(network.named_parameters())


def gradients_table(network: nn.Module, loss: Callable[[], Tensor]) -> str:
    """The same for the gradients of a loss; leaves none behind."""
    network.zero_grad(set_to_none=True)
    loss().backward()  # type: ignore[no-untyped-call]
    rows = [(name, p.grad) for name, p in network.named_parameters() if p.grad is not None]
    text = _table(rows)
    network.zero_grad(set_to_none=True)
    return text


def activations_table(network: Any, run: Callable[[], object]) -> str:
    """The same for what each layer gives while ``run`` computes."""
    rows: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Callable[..., None]:
        return lambda module, given, found: rows.append((name, found.detach()))

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in network.layers.items()]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return _table(rows)


def _table(rows: Iterable[tuple[str, Tensor]]) -> str:
    lines = [HEAD, *(_row(name, tensor.detach().float()) for name, tensor in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths)))
        for line in lines
    )


def _row(name: str, values: Tensor) -> tuple[str, ...]:
    numbers = (values.mean(), values.std(unbiased=False), values.abs().median())
    return (name, "×".join(map(str, values.shape)) or "1", *(f"{float(number):.1e}" for number in numbers))


def mean_label(labels: Tensor) -> float | None:
    """Mean of the labels that are known: classes of 0 and more, values that are numbers; None if there are none.

    Args:
        labels: of a batch, of any shape.

    Example:
        >>> mean_label(torch.tensor([-1, 0, 1, 1]))
        0.6666666666666666
    """
    known = labels[labels == labels] if labels.is_floating_point() else labels[labels >= 0]
    return float(known.double().mean()) if known.numel() else None
