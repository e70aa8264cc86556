"""How a volume is cut for dense prediction, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence

from elektronn.axes import Size
from elektronn.errors import GeometryError
from elektronn.geometry import Geometry
from elektronn.network.document import ConvLayer, Layer

MEASURED_OVERHEAD = 1.15
"""Peak memory over the closed form below, measured at most 1.09 (benchmarks/network.py)."""


def bytes_of(layers: Sequence[Layer], geometry: Geometry, tile: Size) -> int:
    """Memory of the largest pair of neighbouring activations for one output tile (zyx), bytes."""
    size = Size(*(n + f - 1 for n, f in zip(tile, geometry.field)))
    dilation, largest, before = Size(1, 1, 1), 0, 0
    for layer in (layer for layer in layers if isinstance(layer, ConvLayer)):
        taps = layer.kernel.z * layer.features_in * size.voxels if layer.kernel.z > 1 else 0
        size = Size(*(n - (k - 1) * d for n, k, d in zip(size, layer.kernel, dilation)))
        after = layer.maps * size.voxels
        largest, before = max(largest, before + taps + after), after
        size = Size(*(n - (p - 1) * d for n, p, d in zip(size, layer.pool, dilation)))
        dilation = Size(*(a * b for a, b in zip(dilation, layer.pool)))
    return int(4 * largest * MEASURED_OVERHEAD)


def choose_tile(layers: Sequence[Layer], geometry: Geometry, wanted: Size, memory: float) -> Size:
    """Largest output tile (zyx) for an output of size ``wanted`` within ``memory`` bytes.

    The axis whose halving recomputes least is halved until the tile fits.

    Raises:
        GeometryError: even one voxel does not fit.
    """
    tile = wanted
    while bytes_of(layers, geometry, tile) > memory:
        if tile.voxels == 1:
            raise GeometryError(f"predict.memory_gb: one voxel needs {bytes_of(layers, geometry, tile) / 1e9:.3f} GB")
        halves = [Size(*(-(-n // 2) if i == axis else n for i, n in enumerate(tile))) for axis in range(3)]
        tile = min((h for h in halves if h != tile), key=lambda h: _overlap(geometry, h) * tile.voxels)
    return tile


def _overlap(geometry: Geometry, tile: Size) -> float:
    """Input voxels read per output voxel."""
    share = 1.0
    for n, f in zip(tile, geometry.field):
        share *= (n + f - 1) / n
    return share
