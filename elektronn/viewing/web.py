"""A scene in Neuroglancer: its state as plain data, and a server for the voxels on this machine.

The state places every layer by whole voxels of the frame (``transform``), so it can be tested without a browser. The
server reads from disk what the browser asks for, and nothing else.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from elektronn.errors import ConfigError, DataError
from elektronn.viewing.lazy import Lazy, opened
from elektronn.viewing.scene import Layer, Scene

MESH_VOXELS = 2**27
"""Cells of larger segmentations get no surfaces, since they are made from the whole volume in memory."""

_COARSEST = 16
"""Most voxels that are read for one of a coarse level; browsers ask for the coarsest first."""

_GREY = """#uicontrol invlerp normalized
void main() { emitGrayscale(normalized()); }
"""
_PROBABILITY = """#uicontrol vec3 colour color(default="#ff2fa0")
#uicontrol invlerp probability
void main() { emitRGBA(vec4(colour, probability())); }
"""
_CLASSES = """#uicontrol vec3 boundary color(default="#ff7f0e")
#uicontrol vec3 ignored color(default="#b9c9e4")
#uicontrol vec3 others color(default="#17becf")
void main() {
  int label = int(toRaw(getDataValue()));
  if (label == 1) emitRGB(boundary);
  else if (label < 0) emitRGBA(vec4(ignored, 0.5));
  else if (label > 1) emitRGB(others);
  else emitTransparent();
}
"""
_LOOK = {
    "image": (_GREY, "normalized", 1.0),
    "prediction": (_PROBABILITY, "probability", 0.7),
    "boundaries": (_CLASSES, "", 0.5),
}
"""Kind → shader, its scale of brightness, opacity."""


def state_of(scene: Scene, urls: Sequence[str] = ()) -> dict[str, Any]:
    """The state of a viewer.

    Args:
        scene: what is to be seen.
        urls: where the voxels of each layer are; by default the addresses of the volumes, which a browser cannot read.

    Returns:
        Plain data in Neuroglancer's JSON. Axes are x, y, z; lengths are voxels of the frame.
    """
    urls = urls or [str(layer.source.address) for layer in scene.layers]
    middle = [(a + b) // 2 + 0.5 for a, b in zip(*scene.focus)]  # of a voxel
    return {
        "title": scene.name,
        "dimensions": _dimensions(scene),
        "position": middle[::-1],
        # of a large volume a part is shown: coarser levels are made while one looks, from all voxels under them
        "crossSectionScale": min(1.0, max(scene.size.y, scene.size.x) / 600),
        "projectionScale": 1.6 * max(scene.size),
        "layers": [_layer(layer, url, scene) for layer, url in zip(scene.layers, urls)],
        "showSlices": False,
        "layout": "4panel",
    }


def _dimensions(scene: Scene) -> dict[str, list[Any]]:
    """Size of a voxel along each axis, metres."""
    if scene.voxel_nm is None:
        return {letter: [1, ""] for letter in "xyz"}
    return {letter: [nm / 1e9, "m"] for letter, nm in zip("xyz", scene.voxel_nm[::-1])}


def _layer(layer: Layer, url: str, scene: Scene) -> dict[str, Any]:
    place = [[float(row == column) for column in range(3)] + [layer.start[2 - row]] for row in range(3)]
    source = {"url": url, "transform": {"outputDimensions": _dimensions(scene), "matrix": place}}
    common = {"name": layer.name, "source": source, "visible": layer.is_shown}
    if layer.is_ids:
        return {"type": "segmentation", **common, "selectedAlpha": 0.4, "notSelectedAlpha": 0.2, "segments": []}
    shader, control, opacity = _LOOK[layer.kind]
    controls = {control: {"range": list(layer.bright)}} if control else {}
    return {"type": "image", **common, "shader": shader, "shaderControls": controls, "opacity": opacity}


@contextmanager
def served(scenes: Sequence[Scene], host: str = "127.0.0.1", port: int = 0) -> Iterator[list[str]]:
    """Serve scenes while the block runs; only who knows the address of a page can open it.

    Args:
        scenes: one page each.
        host: address of this machine that is listened at.
        port: 0: any that is free.

    Yields:
        The address of each page.

    Raises:
        ConfigError: Neuroglancer is not installed, or the port cannot be used.
        DataError: a file is no longer what it was.
    """
    neuroglancer = _library()
    with ExitStack() as stack:
        arrays = [stack.enter_context(opened(scene.layers, "xyz")) for scene in scenes]
        _check_free(host, port)
        neuroglancer.set_server_bind_address(host, port)
        stack.callback(neuroglancer.stop)
        viewers = [neuroglancer.Viewer(allow_credentials=False) for _ in scenes]
        for viewer, scene, volumes in zip(viewers, scenes, arrays):
            voxels = [_volume(layer, lazy, scene) for layer, lazy in zip(scene.layers, volumes)]
            viewer.set_state(state_of(scene, [viewer.volume_manager.register_volume(volume) for volume in voxels]))
        yield [viewer.get_viewer_url() for viewer in viewers]


def _check_free(host: str, port: int) -> None:
    """Refuse what cannot be listened at; the library's server would leave its socket open."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise ConfigError(f"port {port} at {host}: {reason}; choose others with --port and --host") from error


def _library() -> Any:
    try:
        return import_module("neuroglancer")
    except ImportError as error:
        raise ConfigError(
            "Neuroglancer is not installed: run `pip install 'elektronn[view]'`; without it, `--scroll` shows the sections "
            "in a window and `--save FILE.png` draws some of them"
        ) from error


def _volume(layer: Layer, values: Lazy, scene: Scene) -> Any:
    """What the server hands out for a layer."""
    local = import_module("neuroglancer.local_volume")
    dimensions = import_module("neuroglancer").CoordinateSpace(json=_dimensions(scene))

    class Patient(local.LocalVolume):  # type: ignore[misc, name-defined]
        """Says what it cannot do; a failure would leave the browser waiting."""

        def get_object_mesh(self, object_id: int) -> Any:
            if values.size > MESH_VOXELS:
                raise local.MeshesNotSupportedForVolume
            return super().get_object_mesh(object_id)

        def get_encoded_subvolume(self, *place: Any, **named: Any) -> Any:
            try:
                return super().get_encoded_subvolume(*place, **named)
            except DataError as error:
                raise ValueError(str(error)) from error

    # classes are no quantities: coarser levels take every n-th voxel, as those of IDs do
    kind = "image" if layer.kind in ("image", "prediction") else "segmentation"
    return Patient(values, dimensions=dimensions, volume_type=kind, max_downsampling=_COARSEST)
