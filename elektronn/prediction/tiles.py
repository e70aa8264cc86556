"""How a volume is cut for dense prediction, and what that costs."""

from __future__ import annotations

import math

from elektronn.axes import Size
from elektronn.errors import GeometryError
from elektronn.geometry import Geometry
from elektronn.network.document import ConvLayer, Document, layers, reaches
from elektronn.network.nodes import SMALL
from elektronn.network.winograd_plan import Plane, in_fours
from elektronn.prediction.lanes_plan import lanes_bytes, misfit

MEASURED_OVERHEAD = 1.25
"""Peak memory of a first tile over the closed form below: measured 0.86 to 1.51, 1.1 in the median (benchmarks/README.md)."""

FRESH = 50
"""Multiply-adds in the time that the system takes to hand over one byte of memory (benchmarks/README.md)."""
LARGE = 3e8
"""Memory of a tile that may be worth saving, bytes."""


def bytes_of(document: Document, geometry: Geometry, tile: Size) -> int:
    """Memory that one output tile (zyx) takes at most, whichever engine predicts it, bytes."""
    in_lanes = 0 if misfit(document) else lanes_bytes(document, geometry, tile)
    return int(MEASURED_OVERHEAD * max(in_lanes, 4 * _alive(document, geometry, tile)))


def _alive(document: Document, geometry: Geometry, tile: Size) -> int:
    """Numbers of the portable engine that live at the same time, at most."""
    patch = Size(*(n + f - 1 for n, f in zip(tile, geometry.field)))
    seen, nodes = reaches(document), document.nodes
    readers = {parent: node.name for node in nodes for parent in node.parents}
    image = document.channels * patch.voxels
    # the image is held to the end by whoever called, and exists twice while it is scaled
    alive, largest, result = dict[str, int](), 2 * image, 0
    for node, layer in zip(nodes[1:], layers(document)):
        before = seen[node.parents[0]]
        size = Size(*(n - f + 1 for n, f in zip(patch, seen[node.name].field)))
        result = layer.features * size.voxels
        inside = 2 * result
        if isinstance(layer, ConvLayer):
            source = Size(*(n - f + 1 for n, f in zip(patch, before.field)))
            inside = _alive_inside(layer, source, before.stride, size)
        largest = max(largest, image + sum(alive.values()) + inside)
        alive[node.name] = result
        alive = {name: count for name, count in alive.items() if readers.get(name) != node.name}
    return max(largest, image + 2 * result)


def _alive_inside(layer: ConvLayer, source: Size, dilation: Size, size: Size) -> int:
    """Numbers of one convolution that live at the same time beside its input, at most.

    Args:
        layer: the convolution.
        source, size: of its input and output, zyx.
        dilation: between the taps of its kernel.
    """
    inner = Size(*(n - (k - 1) * d for n, k, d in zip(source, layer.kernel, dilation)))
    maps, beside = layer.maps * inner.voxels, 0
    if in_fours(layer.features_in, layer.maps, layer.kernel, inner.z, dilation.z):
        beside = Plane(layer.features_in, layer.maps, *source[1:], *inner[1:]).numbers
    elif layer.kernel.z > 1 and layer.features_in * source.z * source.y <= SMALL:
        beside = layer.kernel.z * layer.features_in * source.voxels
    # running maxima: what they are taken of first, the one before and the one being made
    passes = sum((window - 1).bit_length() for window in layer.pool)
    pooling = maps * (1 + min(passes, 2)) if layer.pooling == "max" else 5 * maps
    active = layer.maps * size.voxels * (1 if layer.activation in ("linear", "relu") else 2)
    return max(beside + maps, pooling, active)


def choose_tile(document: Document, geometry: Geometry, wanted: Size, memory: float, voxels: int = 0) -> Size:
    """The output tile (zyx) that computes least twice, for an output of size ``wanted`` within ``memory`` bytes.

    The volume is cut into equal parts until they fit, once more each time along the axis where that adds the least
    work for the memory it saves. Late layers carry most of the work and see little beyond a tile, so tiles become flat
    where kernels are. Where it is known how many ``voxels`` there are to predict in all, the tile is cut further while memory that
    is never taken saves more time than the work adds: a small volume is done before a large tile has paid for itself.

    Raises:
        GeometryError: even one voxel does not fit.
    """
    tile = wanted
    while bytes_of(document, geometry, tile) > memory:
        if tile.voxels == 1:
            raise GeometryError(f"predict.memory_gb: one voxel needs {bytes_of(document, geometry, tile) / 1e9:.3f} GB")
        tile = _smaller(document, geometry, tile, wanted)

    def cost(tile: Size) -> float:
        return voxels * work_of(document, geometry, tile) + FRESH * bytes_of(document, geometry, tile)

    while (
        voxels
        and tile.voxels > 1
        and bytes_of(document, geometry, tile) > LARGE
        and cost(cut := _smaller(document, geometry, tile, wanted)) < cost(tile)
    ):
        tile = cut
    return tile


def _smaller(document: Document, geometry: Geometry, tile: Size, wanted: Size) -> Size:
    """The tile of the next more parts, of more than one voxel."""
    before, smaller = work_of(document, geometry, tile), [_cut(tile, wanted, axis) for axis in range(3)]
    prices = {
        cut: math.log(work_of(document, geometry, cut) / before) / math.log(tile.voxels / cut.voxels)
        for cut in smaller
        if cut != tile
    }
    return min(prices, key=lambda cut: prices[cut])


def _cut(tile: Size, wanted: Size, axis: int) -> Size:
    """A tile of one part more along an axis, or of several where that makes no difference."""
    parts = -(-wanted[axis] // tile[axis])
    while parts < wanted[axis] and -(-wanted[axis] // parts) == tile[axis]:
        parts += 1
    return Size(*(-(-wanted[axis] // parts) if a == axis else n for a, n in enumerate(tile)))


def work_of(document: Document, geometry: Geometry, tile: Size) -> float:
    """Multiply-adds per output voxel when the volume is cut into such tiles."""
    seen, total = reaches(document), 0
    for node, layer in zip(document.nodes[1:], layers(document)):
        before, places = seen[node.parents[0]], 1
        if isinstance(layer, ConvLayer):
            for n, field, r, kernel in zip(tile, geometry.field, before.axes, layer.kernel):
                places *= n + field - r.field - (kernel - 1) * r.stride
            total += places * layer.maps * layer.features_in * layer.kernel.voxels
    return max(total, 1) / tile.voxels
