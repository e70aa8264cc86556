"""Sections of layers as pixels: each alone, and all on one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.viewing.lazy import Lazy
from elektronn.viewing.scene import Layer, Scene

Pixels = NDArray[np.uint8]
_Known = tuple[NDArray[Any], NDArray[np.bool_]]

PIXELS = 2048
"""Most pixels along an edge; larger sections are drawn from every n-th voxel."""
_BAND = 256
"""Rows that are read at once."""
_COLOURS = {"prediction": (255, 47, 160), "boundaries": (255, 127, 14)}
_IGNORED, _OTHER = (185, 201, 228), (23, 190, 207)
_OPACITY = {"prediction": 0.7, "boundaries": 0.5, "labels": 0.35, "segmentation": 0.35}


class Sections:
    """Draws sections of a scene.

    Args:
        scene: what to draw.
        volumes: array ``zyx`` of each of its layers.
    """

    def __init__(self, scene: Scene, volumes: Sequence[Lazy]) -> None:
        self.scene, self.volumes = scene, volumes
        self.step = -(-max(scene.size.y, scene.size.x) // PIXELS)
        self._last: dict[int, tuple[int, _Known]] = {}  # a section is drawn alone and with others

    def alone(self, number: int, z: int) -> Pixels:
        """One layer ``(y, x, 3)`` in section ``z`` of the frame; grey where it is not."""
        layer = self.scene.layers[number]
        values, inside = self._values(number, z)
        paper = np.full((*values.shape, 3), 40, np.uint8)
        if layer.kind in ("image", "prediction"):
            paper[inside] = _grey(layer, values)[inside, None]
        else:
            colours, cover = _colours(layer, values)
            paper[inside] = np.where(cover[..., None] > 0, colours, 0)[inside]
        return paper

    def together(self, numbers: Sequence[int], z: int) -> Pixels:
        """Some layers ``(y, x, 3)`` on one another in section ``z`` of the frame."""
        size = [-(-n // self.step) for n in self.scene.size[1:]]
        paper = np.zeros((*size, 3), np.float32)
        for number in sorted(numbers):
            layer = self.scene.layers[number]
            values, inside = self._values(number, z)
            colours, cover = _colours(layer, values)
            cover = (cover * inside)[..., None]
            paper = paper * (1 - cover) + colours * cover
        return np.rint(paper).astype(np.uint8)

    def value(self, number: int, z: int, y: int, x: int) -> float | int | None:
        """What a layer holds in a voxel of the frame; ``None`` where it is not."""
        values, inside = self._values(number, z)
        place = y // self.step, x // self.step
        if min(place) < 0 or any(at >= n for at, n in zip(place, values.shape)) or not inside[place]:
            return None
        value: float | int = values[place].item()
        return value

    def _values(self, number: int, z: int) -> _Known:
        """Values of a layer over the frame ``(y, x)``, and where the layer is."""
        if self._last.get(number, (-1,))[0] != z:
            self._last[number] = z, self._read(number, z)
        return self._last[number][1]

    def _read(self, number: int, z: int) -> _Known:
        layer, volume, step = self.scene.layers[number], self.volumes[number], self.step
        size = [-(-n // step) for n in self.scene.size[1:]]
        values, inside = np.zeros(size, volume.dtype), np.zeros(size, bool)
        low, high = layer.box
        if not low.z <= z < high.z:
            return values, inside
        rows = range(-(-max(0, low.y) // step), -(-min(high.y, self.scene.size.y) // step))
        columns = range(-(-max(0, low.x) // step), -(-min(high.x, self.scene.size.x) // step))
        x = slice(columns.start * step - low.x, (columns.stop - 1) * step + 1 - low.x, step)
        for first in range(rows.start, rows.stop, max(1, _BAND // step)):
            last = min(first + max(1, _BAND // step), rows.stop)
            y = slice(first * step - low.y, (last - 1) * step + 1 - low.y, step)
            values[first:last, columns.start : columns.stop] = volume[z - low.z, y, x]
        inside[rows.start : rows.stop, columns.start : columns.stop] = True
        return values, inside


def _grey(layer: Layer, values: NDArray[np.generic]) -> Pixels:
    dark, light = layer.bright
    share = np.nan_to_num((values.astype(np.float32) - dark) / (light - dark))
    grey: Pixels = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return grey


def _colours(layer: Layer, values: NDArray[np.generic]) -> tuple[Pixels, NDArray[np.float32]]:
    """Colour ``(y, x, 3)`` and cover (0 to 1) of each value."""
    full, opacity = np.ones(values.shape, np.float32), _OPACITY.get(layer.kind, 1.0)
    if layer.kind == "image":
        return np.repeat(_grey(layer, values)[..., None], 3, axis=-1), full
    if layer.kind == "prediction":
        colour = np.broadcast_to(np.array(_COLOURS["prediction"], np.uint8), (*values.shape, 3))
        return colour, _grey(layer, values).astype(np.float32) * np.float32(opacity / 255)
    if layer.kind == "boundaries":
        table = np.array([_IGNORED, (0, 0, 0), _COLOURS["boundaries"], _OTHER], np.uint8)
        return table[np.clip(values.astype(np.int64), -1, 2) + 1], full * (values != 0) * np.float32(opacity)
    return named_colours(values), full * (values != 0) * np.float32(opacity)


def named_colours(ids: NDArray[np.generic]) -> Pixels:
    """A colour for each ID, the same in every section; neighbours in number are far apart in hue."""
    from matplotlib.colors import hsv_to_rgb

    hue = (ids.astype(np.uint64) % 2**32 * 0.6180339887) % 1
    bright = 0.7 + 0.3 * ((ids.astype(np.uint64) // 7) % 2)
    colours: Pixels = np.rint(hsv_to_rgb(np.stack([hue, np.full(ids.shape, 0.75), bright], -1)) * 255).astype(np.uint8)
    return colours
