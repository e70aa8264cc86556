"""Parameter files of ELEKTRONN 1 (``.param``, ``.param.gz``): the arrays of each layer, as they were stored.

A file is a row of pickles: the shapes of each layer's first array, then all arrays, then the pools. It says neither
what the layers are nor what their arrays are called; both follow from the numbers of axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import DataError, at
from elektronn.legacy.unpickle import unpickle

LayerKind = Literal["conv", "perceptron", "recurrent"]
Axes = tuple[str, ...]

_CONV_2D: dict[str, Axes] = {"W": ("out", "in", "x", "y"), "b": ("out",)}
_CONV_3D: dict[str, Axes] = {"W": ("out", "z", "in", "x", "y"), "b": ("out",)}
_PERCEPTRON: dict[str, Axes] = {"b": ("out",), "W": ("in", "out")}
_RECURRENT: dict[str, Axes] = {
    "W_in": ("in", "out"),
    "W_hid": ("out", "out"),
    "b_hid": ("out",),
    "hid_0": ("out",),
}
_LAYERS: dict[int, tuple[LayerKind, dict[str, Axes]]] = {
    1: ("perceptron", _PERCEPTRON),
    2: ("recurrent", _RECURRENT),
    4: ("conv", _CONV_2D),
    5: ("conv", _CONV_3D),
}
"""What a layer is, by the number of axes of its first array; its arrays in the order of the file."""

_CURE = "the file is damaged or not of ELEKTRONN 1; save the network again or name another file"


@dataclass(frozen=True)
class ParamLayer:
    """One layer.

    Attributes:
        kind: ``conv`` (2-D or 3-D), ``perceptron`` or ``recurrent``.
        arrays: by name, in the order of the file, untouched and read-only. The kernels of ``W`` are those of a true
            convolution: a cross-correlation needs them flipped along x, y (and z).
        axes: the axes of each array, such as ``W``: out, in, x, y (2-D) or out, z, in, x, y (3-D).
    """

    kind: LayerKind
    arrays: Mapping[str, NDArray[np.floating[Any]]]
    axes: Mapping[str, Axes]


@dataclass(frozen=True)
class ParamFile:
    """A parameter file.

    Attributes:
        layers: from the input to the output.
        pools: pool of each conv layer, x, y or z, x, y; empty where no layer is conv.
        source: the file.
    """

    layers: tuple[ParamLayer, ...]
    pools: tuple[tuple[int, ...], ...]
    source: Path


def read_param(path: Path | str) -> ParamFile:
    """Read a parameter file, gzipped or not. Nothing in it is run.

    Raises:
        DataError: the file is missing, damaged, asks for more than arrays, or its arrays make no layers.
    """
    values = unpickle(path)
    with at(str(path)):
        shapes, arrays, pools = values[0], values[1:-1], values[-1]
        if not _is_sizes(shapes) or not shapes:
            raise DataError(f"does not begin with the shapes of its layers; {_CURE}")
        if len(values) < 2 or not _is_sizes(pools):
            raise DataError(f"does not end with the pools of its layers; {_CURE}")
        return ParamFile(_layers(shapes, arrays), tuple(map(tuple, pools)), Path(path))


def _is_sizes(value: object) -> bool:
    """Whether this is a list of lists of whole numbers."""
    return isinstance(value, list) and all(
        isinstance(size, list | tuple) and all(type(length) is int for length in size) for size in value
    )


def _layers(shapes: list[tuple[int, ...]], arrays: list[Any]) -> tuple[ParamLayer, ...]:
    """Deal the arrays to the layers."""
    layers, rest = [], list(arrays)
    for index, shape in enumerate(shapes):
        if len(shape) not in _LAYERS:
            raise DataError(f"layer {index} of shape {tuple(shape)} is neither conv, perceptron nor recurrent; {_CURE}")
        kind, axes = _LAYERS[len(shape)]
        own, rest = rest[: len(axes)], rest[len(axes) :]
        with at(f"layer {index} ({kind})"):
            layers.append(_layer(kind, axes, tuple(shape), own))
    if rest:
        raise DataError(f"holds {len(rest)} arrays more than its {len(shapes)} layers have; {_CURE}")
    return tuple(layers)


def _layer(kind: LayerKind, axes: dict[str, Axes], shape: tuple[int, ...], arrays: list[Any]) -> ParamLayer:
    """One layer, once its arrays fit each other."""
    if len(arrays) < len(axes):
        raise DataError(f"has {len(arrays)} of {len(axes)} arrays; {_CURE}")
    sizes: dict[str, int] = {}
    for (name, letters), array in zip(axes.items(), arrays):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != len(letters):
            raise DataError(f"{name} is no array of fractions with {len(letters)} axes; {_CURE}")
        for letter, size in zip(letters, array.shape):
            if sizes.setdefault(letter, size) != size:
                raise DataError(f"{name} has {size} along {letter}, expected {sizes[letter]}; {_CURE}")
    if arrays[0].shape != shape:
        raise DataError(f"{next(iter(axes))} is {arrays[0].shape}, expected {shape}; {_CURE}")
    return ParamLayer(kind, MappingProxyType(dict(zip(axes, arrays))), MappingProxyType(axes))
