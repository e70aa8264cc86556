"""How a volume is cut for dense prediction, and what that costs."""

from __future__ import annotations

from elektronn.axes import Size
from elektronn.errors import GeometryError
from elektronn.geometry import Geometry
from elektronn.network.document import ConvLayer, Document, layers, reaches

MEASURED_OVERHEAD = 1.15
"""Peak memory over the closed form below, measured at most 1.09 (benchmarks/network.py)."""


def bytes_of(document: Document, geometry: Geometry, tile: Size) -> int:
    """Memory of the activations that live at the same time, at most, for one output tile (zyx), bytes."""
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
            extra = layer.kernel.z * layer.features_in * source.voxels if layer.kernel.z > 1 else 0
            inner = Size(*(n - (k - 1) * d for n, k, d in zip(source, layer.kernel, before.stride)))
            kept = layer.maps * inner.voxels
        largest = max(largest, sum(alive.values()) + extra + kept)
        alive[node.name] = kept
        alive = {name: count for name, count in alive.items() if readers.get(name) != node.name}
    return int(4 * largest * MEASURED_OVERHEAD)


def choose_tile(document: Document, geometry: Geometry, wanted: Size, memory: float) -> Size:
    """Largest output tile (zyx) for an output of size ``wanted`` within ``memory`` bytes.

    The axis whose halving recomputes least is halved until the tile fits.

    Raises:
        GeometryError: even one voxel does not fit.
    """
    tile = wanted
    while bytes_of(document, geometry, tile) > memory:
        if tile.voxels == 1:
            raise GeometryError(f"predict.memory_gb: one voxel needs {bytes_of(document, geometry, tile) / 1e9:.3f} GB")
        halves = [Size(*(-(-n // 2) if i == axis else n for i, n in enumerate(tile))) for axis in range(3)]
        tile = min((h for h in halves if h != tile), key=lambda h: _overlap(geometry, h) * tile.voxels)
    return tile


def _overlap(geometry: Geometry, tile: Size) -> float:
    """Input voxels read per output voxel."""
    share = 1.0
    for n, f in zip(tile, geometry.field):
        share *= (n + f - 1) / n
    return share
