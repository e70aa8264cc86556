"""The slow, obvious twins of the kernels: every coordinate written out. They test them, and serve maps with a bend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.sampling.grey import Curve, Image
from elektronn.sampling.maps import Map, Points


def cut_image(
    volume: NDArray[np.generic],
    map: Map,
    scale: float,
    curve: Curve | None,
    out: Image,
    *,
    interpolation: str = "linear",
) -> None:
    """As :func:`elektronn.sampling.cut.cut_image`."""
    at = map.coordinates([np.arange(n) for n in out.shape], map.image_shifts)
    values = (_linear if interpolation == "linear" else _nearest)(volume, at).astype(np.float64) * scale
    out[:] = values if curve is None else np.clip(curve.a * values + curve.b, 0, 1) ** curve.g


def cut_labels(
    volume: NDArray[np.generic],
    map: Map,
    start: Sequence[int],
    stride: Sequence[int],
    origin: Size,
    out: NDArray[np.generic],
) -> None:
    """As :func:`elektronn.sampling.cut.cut_labels`."""
    axes = [a + b * np.arange(n) for a, b, n in zip(start, stride, out.shape)]
    at = map.coordinates(axes, map.label_shifts) - np.reshape(origin, (3, 1, 1, 1))
    out[:] = (_linear if volume.dtype.kind == "f" else _nearest)(volume, at)


def _linear(volume: NDArray[np.generic], at: Points) -> NDArray[np.float64]:
    from scipy.ndimage import map_coordinates

    result: NDArray[np.float64] = map_coordinates(volume.astype(np.float64), at, order=1, mode="nearest")
    return result


def _nearest(volume: NDArray[Any], at: Points) -> NDArray[Any]:
    last = np.array(volume.shape)[:, None, None, None] - 1
    index = np.clip(np.floor(at + 0.5).astype(np.int64), 0, last)
    found: NDArray[Any] = volume[index[0], index[1], index[2]]
    return found
