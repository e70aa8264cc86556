"""Start a network from the weights of another one that need not have the same sizes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from elektronn.errors import ConfigError
from elektronn.network.build import Network


def adapt(network: Network, tensors: Mapping[str, Tensor], *, strict: bool = False) -> list[str]:
    """Copy stored weights into a network, layer by layer from the first; returns a line per layer on what was done.

    Layers are matched by name if the names are the same, else by their order.

    Rules for a layer of other sizes: too few stored maps are repeated (tiled), of too many the first are taken; too
    few stored input channels are repeated, of too many the middle ones are taken; a smaller kernel is pasted into the
    centre of the larger one, whose rest stays as it was drawn, and of a larger one the centre is taken; biases are cut
    or repeated like the maps. A fully connected layer of another input size is left as it was drawn, and so are layers
    that the file does not have.

    Args:
        network: changed in place.
        tensors: by name, as :func:`elektronn.network.weights.load_tensors` gives them.
        strict: refuse every difference instead.

    Raises:
        ConfigError: ``strict`` and something differs; lists it all.

    Example:
        >>> from elektronn.network.build import build
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> one, two = (build(chain(NetworkSettings()), seed=s) for s in (1, 2))
        >>> adapt(two, one.state_dict())[0]
        'conv1: loaded'
    """
    own, stored = _by_layer(network.state_dict()), _by_layer(tensors)
    if own.keys() == stored.keys():
        stored = {name: stored[name] for name in own}
    plans = [(name, mine, theirs) for (name, mine), (_, theirs) in zip(own.items(), stored.items())]
    lines = [f"{name}: {_difference(mine, theirs)}" for name, mine, theirs in plans]
    lines += [f"{name}: not in the file, left as drawn" for name in list(own)[len(stored) :]]
    lines += [f"{name}: in the file, not in the network" for name in list(stored)[len(own) :]]
    if strict and any(not line.endswith(": loaded") for line in lines):
        raise ConfigError("weights do not fit: " + "; ".join(line for line in lines if not line.endswith(": loaded")))
    with torch.no_grad():
        for _, mine, theirs in plans:
            if _fits(mine, theirs):
                for key, target in mine.items():
                    _fill(target, theirs[key])
    return lines


def _by_layer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    layers: dict[str, dict[str, Tensor]] = {}
    for full, tensor in tensors.items():
        layer, _, key = full.removeprefix("layers.").rpartition(".")
        layers.setdefault(layer, {})[key] = tensor
    return dict(sorted(layers.items(), key=lambda item: _order(item[0])))


def _order(layer: str) -> tuple[int, int]:
    """Layers are numbered in their names; the output layer comes last."""
    digits = "".join(c for c in layer if c.isdigit())
    return (1, 0) if layer == "output" else (0, int(digits) if digits else 0)


def _fits(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    if mine.keys() != theirs.keys() or any(mine[k].ndim != theirs[k].ndim for k in mine):
        return False
    is_conv = "weight" in mine and mine["weight"].ndim > 2
    return is_conv or all(mine[k].shape == theirs[k].shape for k in mine)


def _difference(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    if not _fits(mine, theirs):
        return "of another kind or input size, left as drawn"
    if "weight" not in mine:
        return "loaded"
    ours, stored = mine["weight"].shape, theirs["weight"].shape
    done = []
    for what, n, m in (("maps", ours[0], stored[0]), ("channels", ours[1], stored[1])):
        if n != m:
            taken = "tiled" if n > m else "cut, first" if what == "maps" else "cut, middle"
            done.append(f"{m} {what} {taken} to {n}")
    if ours[2:] != stored[2:]:
        done.append(f"kernel {'×'.join(map(str, stored[2:]))} centred in {'×'.join(map(str, ours[2:]))}")
    return ", ".join(done) or "loaded"


def _fill(target: Tensor, source: Tensor) -> None:
    """Copy ``source`` into ``target`` by the rules of :func:`adapt`."""
    source = _resized(source, 0, target.shape[0], middle=False)
    if target.ndim > 1:
        source = _resized(source, 1, target.shape[1], middle=True)
    for axis in range(2, target.ndim):
        extent = min(target.shape[axis], source.shape[axis])
        target = target.narrow(axis, (target.shape[axis] - extent) // 2, extent)
        source = source.narrow(axis, (source.shape[axis] - extent) // 2, extent)
    target.copy_(source)


def _resized(source: Tensor, axis: int, wanted: int, *, middle: bool) -> Tensor:
    have = source.shape[axis]
    if have >= wanted:
        return source.narrow(axis, (have - wanted) // 2 if middle else 0, wanted)
    return source.index_select(axis, torch.arange(wanted) % have)
