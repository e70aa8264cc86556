"""A scene in napari: a program of a few lines, and the same lines run."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from elektronn.viewing.lazy import lazy
from elektronn.viewing.scene import Layer, Scene

_COLOURS = {"image": "gray", "prediction": "#ff2fa0", "boundaries": "#ff7f0e"}
_OPACITY = {"image": 1.0, "prediction": 0.7, "boundaries": 0.5, "labels": 0.4, "segmentation": 0.4}


def program(scenes: tuple[Scene, ...]) -> str:
    """A Python program that shows scenes, one window each; it needs napari and elektronn."""
    lines = ["import napari", "from elektronn.viewing.lazy import lazy", ""]
    for scene in scenes:
        lines.append(f"viewer = napari.Viewer(title={scene.name!r}, axis_labels=('z', 'y', 'x'))")
        for layer in scene.layers:
            options = "".join(f", {name}={value!r}" for name, value in options_of(layer, scene).items())
            volume = f"lazy({str(layer.source.address)!r}, {layer.channel}, {layer.dtype.name!r})"
            lines.append(f"viewer.{_method(layer)}({volume}{options})")
    return "\n".join([*lines, "napari.run()"])


def show(scenes: tuple[Scene, ...]) -> str:
    """Show scenes until their windows are closed.

    Returns:
        Why it cannot be done here; empty: it was.
    """
    if _has_no_display():
        return "there is no display here"
    try:
        napari = import_module("napari")
    except ImportError:
        return "napari is not installed here"
    try:
        _open(napari, scenes)
    except ImportError:  # napari comes without the library of its windows, and misses it late
        return "napari has no Qt here (`pip install 'napari[pyqt6]'`)"
    return ""


def _open(napari: Any, scenes: tuple[Scene, ...]) -> None:
    for scene in scenes:
        viewer = napari.Viewer(title=scene.name, axis_labels=("z", "y", "x"))
        for layer in scene.layers:
            values = lazy(str(layer.source.address), layer.channel, layer.dtype)
            getattr(viewer, _method(layer))(values, **options_of(layer, scene))
    with suppress(KeyboardInterrupt):
        napari.run()


def _has_no_display() -> bool:
    """Qt would end the process without a word that helps."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return sys.platform.startswith("linux") and not any(os.environ.get(name) for name in names)


def _method(layer: Layer) -> str:
    return "add_labels" if layer.is_ids else "add_image"


def options_of(layer: Layer, scene: Scene) -> dict[str, Any]:
    """How napari draws a layer: at its place, in nanometres (voxels where their size is not known)."""
    scale = scene.voxel_nm or (1.0, 1.0, 1.0)
    place = tuple(start * nm for start, nm in zip(layer.start, scale))
    options: dict[str, Any] = {"name": layer.name, "scale": scale, "translate": place}
    if scene.voxel_nm:
        options["units"] = ("nm", "nm", "nm")
    options |= {"visible": layer.is_shown, "opacity": _OPACITY[layer.kind]}
    if not layer.is_ids:
        blending = "translucent" if layer.kind == "image" else "additive"
        options |= {"colormap": _COLOURS[layer.kind], "contrast_limits": layer.bright, "blending": blending}
    return options
