"""How a volume is cut for dense prediction, and what that costs."""

from __future__ import annotations

import math

from elektronn.axes import Size
from elektronn.errors import GeometryError
from elektronn.geometry import Geometry
from elektronn.network.document import ConvLayer, Document, layers, reaches
from elektronn.network.nodes import SMALL
from elektronn.prediction.lanes_plan import lanes_bytes, misfit

MEASURED_OVERHEAD = 1.25
"""Peak memory over the closed form below, measured at most 1.24 with the allocator as it is (benchmarks/dense.py)."""


def bytes_of(document: Document, geometry: Geometry, tile: Size) -> int:
    """Memory that one output tile (zyx) takes at most, whichever engine predicts it, bytes."""
    in_lanes = 0 if misfit(document) else lanes_bytes(document, geometry, tile)
    return int(MEASURED_OVERHEAD * max(in_lanes, 4 * _alive(document, geometry, tile)))


def _alive(document: Document, geometry: Geometry, tile: Size) -> int:
    """Numbers of the portable engine that live at the same time, at most."""
    patch = Size(*(n + f - 1 for n, f in zip(tile, geometry.field)))
    seen, nodes = reaches(document), document.nodes
    readers = {parent: node.name for node in nodes for parent in node.parents}
    alive, largest = {nodes[0].name: 0}, 0
    for node, layer in zip(nodes[1:], layers(document)):
        before = seen[node.parents[0]]
        size = Size(*(n - f + 1 for n, f in zip(patch, seen[node.name].field)))
        extra, kept = 0, layer.features * size.voxels
        if isinstance(layer, ConvLayer):
            source = Size(*(n - f + 1 for n, f in zip(patch, before.field)))
            if layer.kernel.z > 1 and layer.features_in * source.z * source.y <= SMALL:
                extra = layer.kernel.z * layer.features_in * source.voxels
            inner = Size(*(n - (k - 1) * d for n, k, d in zip(source, layer.kernel, before.stride)))
            kept = layer.maps * inner.voxels
        largest = max(largest, sum(alive.values()) + extra + kept)
        alive[node.name] = kept
        alive = {name: count for name, count in alive.items() if readers.get(name) != node.name}
    return largest


def choose_tile(document: Document, geometry: Geometry, wanted: Size, memory: float) -> Size:
    """The output tile (zyx) that computes least twice, for an output of size ``wanted`` within ``memory`` bytes.

    The volume is cut into equal parts until they fit, once more each time along the axis where that adds the least
    work for the memory it saves. Late layers carry most of the work and see little beyond a tile, so tiles become flat
    where kernels are.

    Raises:
        GeometryError: even one voxel does not fit.
    """
    tile = wanted
    while bytes_of(document, geometry, tile) > memory:
        if tile.voxels == 1:
            raise GeometryError(f"predict.memory_gb: one voxel needs {bytes_of(document, geometry, tile) / 1e9:.3f} GB")
        before, smaller = _work(document, geometry, tile), [_cut(tile, wanted, axis) for axis in range(3)]
        prices = {
            cut: math.log(_work(document, geometry, cut) / before) / math.log(tile.voxels / cut.voxels)
            for cut in smaller
            if cut != tile
        }
        tile = min(prices, key=lambda cut: prices[cut])
    return tile


def _cut(tile: Size, wanted: Size, axis: int) -> Size:
    """A tile of one part more along an axis, or of several where that makes no difference."""
    parts = -(-wanted[axis] // tile[axis])
    while parts < wanted[axis] and -(-wanted[axis] // parts) == tile[axis]:
        parts += 1
    return Size(*(-(-wanted[axis] // parts) if a == axis else n for a, n in enumerate(tile)))


def _work(document: Document, geometry: Geometry, tile: Size) -> float:
    """Multiply-adds per output voxel when the volume is cut into such tiles."""
    seen, total = reaches(document), 0
    for node, layer in zip(document.nodes[1:], layers(document)):
        before, places = seen[node.parents[0]], 1
        if isinstance(layer, ConvLayer):
            for n, field, r, kernel in zip(tile, geometry.field, before.axes, layer.kernel):
                places *= n + field - r.field - (kernel - 1) * r.stride
            total += places * layer.maps * layer.features_in * layer.kernel.voxels
    return max(total, 1) / tile.voxels
