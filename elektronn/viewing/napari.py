"""A scene in napari: a program of a few lines, and the same lines run."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from elektronn.viewing.lazy import lazy
from elektronn.viewing.scene import Layer, Scene

_COLOURS = {"image": "gray", "prediction": "magenta", "boundaries": "yellow"}


def program(scenes: tuple[Scene, ...]) -> str:
    """A Python program that shows scenes, one window each; it needs napari and elektronn."""
    lines = ["import napari", "from elektronn.viewing.lazy import lazy", ""]
    for scene in scenes:
        lines.append(f"viewer = napari.Viewer(title={scene.name!r})")
        for layer in scene.layers:
            options = "".join(f", {name}={value!r}" for name, value in options_of(layer, scene).items())
            volume = f"lazy({str(layer.source.address)!r}, {layer.channel}, {layer.dtype.name!r})"
            lines.append(f"viewer.{_method(layer)}({volume}{options})")
    return "\n".join([*lines, "napari.run()"])


def show(scenes: tuple[Scene, ...]) -> bool:
    """Show scenes until their windows are closed; whether napari is there to do it."""
    try:
        napari = import_module("napari")
    except ImportError:
        return False
    for scene in scenes:
        viewer = napari.Viewer(title=scene.name)
        for layer in scene.layers:
            values = lazy(str(layer.source.address), layer.channel, layer.dtype)
            getattr(viewer, _method(layer))(values, **options_of(layer, scene))
    napari.run()
    return True


def _method(layer: Layer) -> str:
    return "add_labels" if layer.is_ids else "add_image"


def options_of(layer: Layer, scene: Scene) -> dict[str, Any]:
    """How napari draws a layer: at its place, in nanometres (voxels where their size is not known)."""
    scale = scene.voxel_nm or (1.0, 1.0, 1.0)
    place = tuple(start * nm for start, nm in zip(layer.start, scale))
    options = {"name": layer.name, "scale": scale, "translate": place, "visible": layer.is_shown}
    if not layer.is_ids:
        blending = "translucent" if layer.kind == "image" else "additive"
        options |= {"colormap": _COLOURS[layer.kind], "contrast_limits": layer.bright, "blending": blending}
    return options
